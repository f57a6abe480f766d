package bucket

import "time"

// lull detects that the store is at rest: idle, or with so few writes that other work on
// the disk does not disturb them. Because of the latter, occasional writes, even to another
// bucket, do not keep compaction from shrinking a bucket.
type lull struct {
	since time.Time
	from  int64 // Store.logged then
	rests bool
}

const (
	// restAfter is the time that the store has to be almost idle to be at rest.
	restAfter = time.Second
	// restRate bounds the bytes per second that go into the log of a store at rest: some
	// hundred small writes. At rest, compaction rewrites segments that are a fifth garbage,
	// and so copies several times that many bytes.
	restRate = 64 << 10
)

// begin resets the detection. The store is not at rest before restAfter has passed.
func (l *lull) begin(now time.Time, logged int64) { *l = lull{since: now, from: logged} }

// look takes the present time and the bytes logged so far, and reports whether the store
// is at rest.
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
