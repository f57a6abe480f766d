package bucket

import (
	"slices"
	"sync"

	"kvd/segment"
)

// retiredFiles holds the segments whose files are to be removed: both copies of the
// manifest have forgotten them, and all are retired.
type retiredFiles struct {
	sync.Mutex
	segments []*openSegment
}

// removeLater takes retired segments that the manifest does not name any more, gives
// back the pin that their retirement left, and sees to it that their files go: in
// the background, or at once where there is none. A file that a reader has pinned
// waits for him to let go, and without a background for the next burial; one that
// outlives the process is scratch to the next Open.
func (s *Store) removeLater(segments []*openSegment) {
	if len(segments) > 0 {
		for _, sl := range segments {
			sl.Unpin()
		}
		s.retired.Lock()
		s.retired.segments = append(s.retired.segments, segments...)
		s.retired.Unlock()
	}
	if s.maintain == nil || s.closed.Load() {
		s.removeRetired(func() {})
		return
	}
	s.maintain.wakeCompactor()
}

// segmentReleased wakes the background when a retired segment has lost its last
// reader: its file may be waiting for that.
func (s *Store) segmentReleased() {
	if m := s.maintain; m != nil {
		select {
		case m.wakeCompaction <- struct{}{}: // also to one that is awake, and may have looked before
		default:
		}
	}
}

// removeRetired removes the files that nobody reads any more, shrinking them in
// steps, and calls step after each.
func (s *Store) removeRetired(step func()) {
	s.retired.Lock()
	segments := s.retired.segments
	s.retired.segments = nil
	s.retired.Unlock()
	waiting := segments[:0]
	for _, sl := range segments {
		select {
		case <-sl.released:
			if err := segment.Remove(s.segments, sl.Number(), step); err != nil {
				s.opts.Logger.Warn("a dead file stays until the next open", "cause", err)
			}
		default:
			waiting = append(waiting, sl)
		}
	}
	s.retired.Lock()
	defer s.retired.Unlock()
	s.retired.segments = slices.Concat(waiting, s.retired.segments)
}
