package bucket

import (
	"slices"
	"sort"

	"kvd/kv"
)

// mark is the place of a record in a segment.
type mark struct {
	revision kv.Revision
	offset   int64
}

// markEvery is the least number of bytes between two marks of a segment. A revision is
// found by reading about that many bytes; a mark takes 16 bytes of memory.
const markEvery = 64 << 10

// addMark adds a mark for a record that was appended, if one is due. Records come in
// ascending order of revisions. The first record of a segment always gets a mark: it is the
// segment's lowest revision. Erasures have no revision, and get no mark. The caller holds
// the bucket's mu, or has the only reference to it.
func (sl *openSegment) addMark(revision kv.Revision, offset int64) {
	if n := len(sl.marks); n > 0 && offset-sl.marks[n-1].offset < markEvery {
		return
	}
	sl.marks = append(sl.marks, mark{revision, offset})
}

// first returns the segment's lowest revision, 0 if it has none. The caller holds
// the bucket's mu.
func (sl *openSegment) first() kv.Revision {
	if len(sl.marks) == 0 {
		return 0
	}
	return sl.marks[0].revision
}

// seek returns an offset from which a scan finds every record with a revision of at least
// rev. The caller holds the bucket's mu.
func (sl *openSegment) seek(rev kv.Revision) int64 {
	n := sort.Search(len(sl.marks), func(i int) bool { return sl.marks[i].revision > rev })
	if n == 0 {
		return 0
	}
	return sl.marks[n-1].offset
}

// holding returns the segment that has a revision, if any has it: the last of those that
// begin at or below it, or the first if none begins that low. It returns nil if there are
// no records. The caller holds mu.
func (b *Bucket) holding(rev kv.Revision) (found *openSegment) {
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

// after returns the segment to read after sl, for a reader that has read sl to its end and
// every record up to rev; nil if there are no more records. If a compaction has replaced
// sl, its replacement may have more records than sl had. The caller holds mu.
func (b *Bucket) after(sl *openSegment, rev kv.Revision) *openSegment {
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
