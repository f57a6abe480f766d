package bucket

import "kvd/segment"

// heldSegments are the segments that a listing of entries reads from, each with a pin: all that the bucket had
// at the moment of its snapshot, and the outputs of compactions since. A snapshot of the index shows
// the place where a record is now, so a record that was moved is in one of the outputs.
type heldSegments struct {
	bucket   *Bucket
	segments map[uint32]*segment.Segment // by index.Version.Segment. Owned by the listing
	outputs  []*openSegment              // pinned and not yet in segments. Guarded by Bucket.mu
}

// beginLocked pins the segments of this moment. The caller holds mu.
func (h *heldSegments) beginLocked() {
	b := h.bucket
	h.segments = make(map[uint32]*segment.Segment, len(b.mu.numbered))
	for _, sl := range b.mu.numbered { // not order: it lacks the inputs of a compaction that is being installed
		if sl.readable() {
			h.addLocked(sl)
		}
	}
	h.takeOutputs()
	if b.mu.held == nil {
		b.mu.held = make(map[*heldSegments]struct{})
	}
	b.mu.held[h] = struct{}{}
}

func (h *heldSegments) addLocked(sl *openSegment) {
	sl.Pin()
	h.outputs = append(h.outputs, sl)
}

// takeOutputs moves outputs to segments. The caller holds mu, shared at least, so that nobody adds one.
func (h *heldSegments) takeOutputs() {
	for _, sl := range h.outputs {
		if h.segments[sl.number] != nil {
			sl.Unpin() // it was not yet in the order when the listing began
			continue
		}
		h.segments[sl.number] = sl.Segment
	}
	h.outputs = nil
}

// segment returns the segment with that number.
func (h *heldSegments) segment(number uint32) *segment.Segment {
	if h.segments[number] == nil {
		h.bucket.mu.RLock()
		h.takeOutputs()
		h.bucket.mu.RUnlock()
	}
	return h.segments[number]
}

// end releases all pins.
func (h *heldSegments) end() {
	h.bucket.mu.Lock()
	delete(h.bucket.mu.held, h)
	h.takeOutputs()
	h.bucket.mu.Unlock()
	for _, s := range h.segments {
		s.Unpin()
	}
}

// holdLocked pins the output of a compaction for all listings that go on, before a record is moved to
// it. The caller holds mu alone.
func (b *Bucket) holdLocked(output *openSegment) {
	for h := range b.mu.held {
		h.addLocked(output)
	}
}
