package watch

import "sync/atomic"

// Budget bounds the references to initial entries that all watches of a store
// hold, 24 bytes each: a watch that gets few selects more often. The zero Budget
// is ready.
type Budget struct{ taken atomic.Int64 }

const (
	budgetRefs = 4 << 20
	roundMax   = 2 << 20 // refs of one round
	roundMin   = 16 << 10
)

// round returns how many references the next round may have, and takes them.
func (b *Budget) round() int {
	n := min(max((budgetRefs-b.taken.Load())/2, roundMin), roundMax)
	b.taken.Add(n)
	return int(n)
}

// give gives references back.
func (b *Budget) give(n int) { b.taken.Add(-int64(n)) }
