package bucket

import (
	"fmt"

	"kvd/bucket/journal"
	"kvd/segment"
	"kvd/wal"
)

// tally is what one frame of the log adds to the totals. A vouching frame adds nothing.
type tally struct {
	records    int
	sum        uint64 // of the records' head checksums, mod 2^64
	operations int
	filter     uint64 // of the ids of the buckets
}

// addRecord counts the encoded record at the start of b.
func (t *tally) addRecord(b []byte, bucketID uint64) {
	t.records++
	t.sum += segment.HeadSum(b)
	t.filter |= journal.FilterBit(bucketID)
}

func (t *tally) addOperation(op journal.Operation) {
	t.operations++
	t.filter |= journal.FilterBit(op.BucketID())
}

// filtersKept is how many frames the filters of a frame's words are about.
const filtersKept = 64

// totals are the running totals of the log. Package journal has their meaning. They are
// counted by whatever appends a frame, and again by replay. They never begin anew inside
// one store: the manifest has those of its position in the log, and replay adds to them.
type totals struct {
	words   wal.Words           // of the next frame
	filters [filtersKept]uint64 // of the newest frames: a ring
	newest  int                 // of filters: that of the last frame
	counted int                 // of filters: how many of the newest ones were counted; the others are bounds
}

// begin sets the totals to the words of the next frame. The words have one filter for 63
// frames, so each of them may be about every bucket of it.
func (t *totals) begin(next wal.Words) {
	for i := range t.filters {
		t.filters[i] = next.Recent
	}
	t.newest, t.counted = 0, 0
	t.filters[t.newest] = next.Before
	t.words = next
}

// add counts a frame.
func (t *totals) add(f tally) {
	t.newest = (t.newest + 1) % filtersKept
	t.filters[t.newest] = f.filter
	t.counted = min(t.counted+1, filtersKept)
	t.words.Records += uint64(f.records)
	t.words.Sum += f.sum
	t.words.Operations += uint64(f.operations)
	t.words.Before = f.filter
	t.words.Recent = t.recent(filtersKept)
}

// recent returns the filter of the newest n frames without the last one.
func (t *totals) recent(n int) (filter uint64) {
	for i := 1; i < n; i++ {
		filter |= t.filters[(t.newest-i+filtersKept)%filtersKept]
	}
	return filter
}

// check returns an error if the words of the next frame, which replay found, are not those
// that were counted. Otherwise it takes them over: their filter may be narrower.
func (t *totals) check(found wal.Words) error {
	want := t.words
	want.Recent = found.Recent
	if found != want || found.Recent&^t.words.Recent != 0 || t.recent(t.counted)&^found.Recent != 0 {
		return fmt.Errorf("the frame has the totals %+v, the frames before it come to %+v", found, t.words)
	}
	for i := range t.filters {
		if i != t.newest {
			t.filters[i] &= found.Recent
		}
	}
	t.words = found
	return nil
}
