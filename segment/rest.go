package segment

import (
	"fmt"

	"kvd/internal/vfs"
)

// Rest closes the descriptor of an active segment, so that ten thousand small
// buckets need none; the next Reserve or Seal opens the file again. For the
// writer, while nothing is pending and everything written is synced: an error of
// writing back could be missed otherwise.
func (s *Segment) Rest() error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("segment: close %s: %w", s.path, err)
	}
	return nil
}

// wake opens the file of a resting segment.
func (s *Segment) wake() error {
	if s.file != nil {
		return nil
	}
	file, err := s.fs.Open(s.path, vfs.ReadWrite)
	if err != nil {
		return fmt.Errorf("segment: open %s: %w", s.path, err)
	}
	s.file = file
	return nil
}
