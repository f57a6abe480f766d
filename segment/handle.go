package segment

import (
	"fmt"

	"kvd/internal/vfs"
)

// CloseFile closes the descriptor of a segment that is not sealed, so that ten thousand buckets
// do not need as many. It first makes durable what was written since the last Sync: once no
// descriptor is left, the system may forget that it could not write a page. Entries that no
// index block names yet stay pending. What is held must have been written. The error is that of
// the sync, after which nothing may be tried again; the file is closed then too. Neither the
// writer nor the background may use the segment meanwhile, and OpenFile must be called before
// they do.
func (s *Segment) CloseFile() error {
	if s.file == nil {
		return nil
	}
	s.checkNothingHeld(s.size.Load())
	var err error
	if s.unsynced.Load() {
		err = s.Sync()
	}
	s.CloseUnsynced()
	return err
}

// CloseUnsynced is CloseFile without the sync, for a segment that is given up. What is held can
// still be read.
func (s *Segment) CloseUnsynced() {
	s.held.writing.Lock()
	defer s.held.writing.Unlock()
	if s.file != nil {
		_ = s.file.Close() // what counts is synced
		s.file = nil
	}
}

// OpenFile opens the file of a segment that is not sealed, if it is closed: after Open or
// CloseFile. It matches vfs.ErrTooManyFiles if the process or the system has no descriptor left.
func (s *Segment) OpenFile() error {
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
