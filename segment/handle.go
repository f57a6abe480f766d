package segment

import (
	"fmt"

	"kvd/internal/vfs"
)

// CloseFile closes the descriptor of an active segment, so that ten thousand small buckets
// need none. The next Reserve or Seal opens the file again. Only the writer may call it,
// when nothing is pending and everything written is synced: otherwise an error of writing
// back could be missed.
func (s *Segment) CloseFile() error {
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

// openFile opens the file of an active segment if it is closed.
func (s *Segment) openFile() error {
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
