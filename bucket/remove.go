package bucket

import (
	"slices"
	"sync"

	"kvd/segment"
)

// graveyard holds the segments whose files are to be removed: both copies of the
// manifest have forgotten them, and all are retired.
type graveyard struct {
	sync.Mutex
	slots []*slot
}

// bury takes retired segments that the manifest does not name any more, gives
// back the pin that their retirement left, and sees to it that their files go: in
// the background, or at once where there is none. A file that a reader has pinned
// waits for him to let go, and without a background for the next burial; one that
// outlives the process is scratch to the next Open.
func (s *Store) bury(slots []*slot) {
	if len(slots) > 0 {
		for _, sl := range slots {
			sl.Unpin()
		}
		s.dead.Lock()
		s.dead.slots = append(s.dead.slots, slots...)
		s.dead.Unlock()
	}
	if s.maintain == nil || s.closed.Load() {
		s.removeDead(func() {})
		return
	}
	s.maintain.stirCompaction()
}

// segmentReleased wakes the background when a retired segment has lost its last
// reader: its file may be waiting for that.
func (s *Store) segmentReleased() {
	if m := s.maintain; m != nil {
		select {
		case m.stir <- struct{}{}: // also to one that is awake, and may have looked before
		default:
		}
	}
}

// removeDead removes the files that nobody reads any more, shrinking them in
// steps, and calls step after each.
func (s *Store) removeDead(step func()) {
	s.dead.Lock()
	slots := s.dead.slots
	s.dead.slots = nil
	s.dead.Unlock()
	waiting := slots[:0]
	for _, sl := range slots {
		select {
		case <-sl.released:
			if err := segment.Remove(s.segments, sl.Number(), step); err != nil {
				s.opts.Logger.Warn("a dead file stays until the next open", "cause", err)
			}
		default:
			waiting = append(waiting, sl)
		}
	}
	s.dead.Lock()
	defer s.dead.Unlock()
	s.dead.slots = slices.Concat(waiting, s.dead.slots)
}
