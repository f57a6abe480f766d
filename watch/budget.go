package watch

import "sync/atomic"

// Budget bounds the references to initial entries that all watches of a store
// hold together, 24 bytes each. A watch whose rounds are small selects more often.
// The zero Budget is ready to use. All methods are safe for concurrent use.
type Budget struct{ taken atomic.Int64 }

const (
	budgetRefs = 4 << 20
	roundMax   = 2 << 20 // references of one round
	roundMin   = 16 << 10
)

// round takes references for the next round and returns how many it took: at most so many,
// if most is not 0.
func (b *Budget) round(most int) int {
	n := min(max((budgetRefs-b.taken.Load())/2, roundMin), roundMax)
	if most > 0 {
		n = min(n, int64(most))
	}
	b.taken.Add(n)
	return int(n)
}

// give returns n references to the budget.
func (b *Budget) give(n int) { b.taken.Add(-int64(n)) }
