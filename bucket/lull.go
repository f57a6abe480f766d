package bucket

import "time"

// lull tells whether the store is at rest, or so nearly that whoever writes does not
// mind what else the disk does: a bucket must not stay bloated because there is a
// write now and then, maybe in another.
type lull struct {
	since time.Time
	from  int64 // Store.logged then
	rests bool
}

const (
	// restAfter is how long the store has to be as good as idle to be at rest.
	restAfter = time.Second
	// restRate is how many bytes a second may go into the log of a store at rest:
	// some hundred small writes. Compaction, which at rest rewrites what is a fifth
	// garbage, then copies some times as much.
	restRate = 64 << 10
)

// begin begins anew: the store is not at rest before restAfter has gone by.
func (l *lull) begin(now time.Time, logged int64) { *l = lull{since: now, from: logged} }

// look takes the present, and reports whether the store is at rest.
func (l *lull) look(now time.Time, logged int64) (rests bool) {
	passed := now.Sub(l.since)
	switch allowed := int64(passed.Seconds() * restRate); {
	case passed >= restAfter:
		l.since, l.from, l.rests = now, logged, logged-l.from <= allowed
	case logged-l.from > restRate:
		l.rests = false
	}
	return l.rests
}
