package bucket

import (
	"slices"
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
// begin at or below it the last. Where none begins that low it is the first. nil:
// there are no records. The caller holds mu.
func (b *Bucket) holding(rev kv.Revision) (found *slot) {
	for sl := range b.files() {
		first := sl.first()
		if first == 0 {
			continue
		}
		if found != nil && first > rev {
			break
		}
		found = sl
	}
	return found
}

// after returns the segment in which what follows a revision is, for who has read
// sl to its end and everything up to that revision; nil: there is nothing more.
// Where a compaction has put another in the place of sl, that one may have more
// than sl. The caller holds mu.
func (b *Bucket) after(sl *slot, rev kv.Revision) *slot {
	at := slices.Index(b.mu.order, sl)
	if at < 0 {
		return b.holding(rev + 1)
	}
	for _, next := range b.mu.order[at+1:] {
		if next.lost == nil && next.first() != 0 {
			return next
		}
	}
	return nil
}
