package segment

import (
	"fmt"

	"kvd/internal/vfs"
)

// Behind is a range of a segment that was appended and that the system may begin to write.
type Behind struct {
	file   vfs.File
	off, n int64
}

// Behind returns what was appended since the last call that returned something, except what is
// held. ok is false if that is less than least bytes. Only the goroutine that appends may call
// it, and the file must be open.
func (s *Segment) Behind(least int64) (b Behind, ok bool) {
	end := min(s.size.Load(), s.heldFrom.Load())
	if end-s.behind < least {
		return b, false
	}
	b = Behind{s.file, s.behind, end - s.behind}
	s.behind = end
	return b, true
}

// Start has the system begin to write, so that the next sync has less to do. It waits only if the
// disk's queue is full. It may be called at any time from any goroutine; the error matches
// fs.ErrClosed if the file has been closed. After any other error the file's Sync must not be relied on.
func (b Behind) Start() error {
	vfs.Yield()
	if err := b.file.WriteBack(b.off, b.n, false); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	return nil
}
