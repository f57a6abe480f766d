package bucket

import (
	"testing"

	"kvd/kv"
)

// A reader comes to the end of a segment that a compaction has meanwhile merged with the
// next one. The rest of both segments is in the output, which begins no later than the
// records that were read.
func TestWhatFollowsASegmentThatWasReplaced(t *testing.T) {
	first, second, output, last := slotFrom(1), slotFrom(101), slotFrom(1), slotFrom(201)
	var b Bucket
	b.mu.order = []*openSegment{first, second, {}, last} // one has erasures only
	for _, tt := range []struct {
		from *openSegment
		rev  int
		want *openSegment
	}{{first, 100, second}, {second, 200, last}, {last, 300, nil}} {
		if got := b.after(tt.from, kv.Revision(tt.rev)); got != tt.want {
			t.Errorf("behind revision %d comes the segment of %v", tt.rev, got)
		}
	}
	b.mu.order = []*openSegment{output, {}, last}
	if got := b.after(first, 100); got != output {
		t.Errorf("behind the replaced segment comes the one of %v", got)
	}
	if got := b.after(second, 200); got != output && got != last {
		t.Errorf("behind the second replaced segment comes the one of %v", got)
	}
	if got := b.after(output, 200); got != last {
		t.Errorf("behind the output comes the one of %v", got)
	}
	for rev, want := range map[int]*openSegment{1: output, 200: output, 201: last, 1000: last} {
		if got := b.holding(kv.Revision(rev)); got != want {
			t.Errorf("revision %d is in the segment of %v", rev, got)
		}
	}
}

func slotFrom(rev int) *openSegment { return &openSegment{marks: []mark{{revision: kv.Revision(rev)}}} }
