package bucket

import (
	"errors"
	"slices"
	"sync"

	"kvd/segment"
)

// retiredFiles are the segments whose files are to be removed. All are retired, and
// neither copy of the manifest names them.
type retiredFiles struct {
	removing sync.Mutex // held by the one removal under way. No other lock is taken under it but the next
	sync.Mutex
	segments []*openSegment
}

// removeLater takes retired segments that the manifest does not name any more, unpins
// them, and has their files removed: in the background, or at once if there are no
// background goroutines. A file that a reader has pinned is removed after it is
// unpinned; without background goroutines, by the next call of removeLater. A file that
// is left when the process ends is removed by the next Open as unfinished work.
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

// segmentReleased wakes the background when a retired segment has no readers any more:
// its file may now be removed.
func (s *Store) segmentReleased() {
	if m := s.maintain; m != nil {
		signal(m.wakeCompaction) // also if the compactor is awake: it may have looked before this
	}
}

// removeSegment removes the file of a segment. The value files that go with it become spares, or
// are removed too.
func (s *Store) removeSegment(sl *openSegment, step func()) error {
	err := segment.Remove(s.segments, sl.Number(), step)
	for _, v := range sl.values {
		err = errors.Join(err, s.values.spares.give(v.number, step))
	}
	return err
}

// removeRetired removes the files that have no readers any more. It shrinks them in
// steps, and calls step after each step. It waits for another removal that is under way.
func (s *Store) removeRetired(step func()) {
	s.retired.removing.Lock()
	defer s.retired.removing.Unlock()
	s.retired.Lock()
	segments := s.retired.segments
	s.retired.segments = nil
	s.retired.Unlock()
	waiting := segments[:0]
	for _, sl := range segments {
		select {
		case <-sl.released:
			if err := s.removeSegment(sl, step); err != nil {
				s.opts.Logger.Warn("a file that is no longer used stays until the next open", "cause", err)
				continue
			}
			sl.removed.Store(true)
		default:
			waiting = append(waiting, sl)
		}
	}
	s.retired.Lock()
	defer s.retired.Unlock()
	s.retired.segments = slices.Concat(waiting, s.retired.segments)
}
