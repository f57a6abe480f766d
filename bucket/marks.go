package bucket

import (
	"sort"

	"kvd/kv"
)

// mark says where in a segment a revision begins.
type mark struct {
	revision kv.Revision
	offset   int64
}

// markEvery is how many bytes of a segment lie between two marks at least: a
// revision is found by reading no more than about that, for 16 bytes of memory.
const markEvery = 64 << 10

// note adds a mark for a record that was appended, if one is due. Records come in
// ascending order of revisions; the first of a segment always has a mark, so that
// a slot tells where its revisions begin. An erasure has no revision and none. The
// caller holds the bucket's mu, or nobody else has the slot yet.
func (sl *slot) note(revision kv.Revision, offset int64) {
	if n := len(sl.marks); n > 0 && offset-sl.marks[n-1].offset < markEvery {
		return
	}
	sl.marks = append(sl.marks, mark{revision, offset})
}

// first returns the segment's lowest revision, 0 if it has none. The caller holds
// the bucket's mu.
func (sl *slot) first() kv.Revision {
	if len(sl.marks) == 0 {
		return 0
	}
	return sl.marks[0].revision
}

// seek returns an offset from which on every record of a revision from rev on is
// found. The caller holds the bucket's mu.
func (sl *slot) seek(rev kv.Revision) int64 {
	n := sort.Search(len(sl.marks), func(i int) bool { return sl.marks[i].revision > rev })
	if n == 0 {
		return 0
	}
	return sl.marks[n-1].offset
}

// holding returns the segment in which a revision is, if any has it: of those that
// begin at or below it the one that begins last, for the segments' revisions do not
// overlap. Where none begins that low it is the lowest. nil: there are no records.
// The caller holds mu.
func (b *Bucket) holding(rev kv.Revision) *slot {
	var found, lowest *slot
	for sl := range b.files() {
		first := sl.first()
		switch {
		case first == 0:
			continue
		case first <= rev && (found == nil || first > found.first()):
			found = sl
		}
		if lowest == nil || first < lowest.first() {
			lowest = sl
		}
	}
	if found == nil {
		return lowest
	}
	return found
}

// after returns the segment whose revisions follow those of sl, nil if it is the
// last. The caller holds mu.
func (b *Bucket) after(sl *slot) *slot {
	var next *slot
	for s := range b.files() {
		if first := s.first(); first > sl.first() && (next == nil || first < next.first()) {
			next = s
		}
	}
	return next
}
