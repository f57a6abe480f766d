package wal

import (
	"errors"

	"kvd/internal/vfs"
)

// writeAt writes p to a file of the log. If the disk is full, it writes p again as long as
// Options.MakeRoom finds room. n is the number of bytes that may have reached the file.
func (o *Options) writeAt(f vfs.File, p []byte, off int64) (n int, err error) {
	n, err = f.WriteAt(p, off)
	for errors.Is(err, vfs.ErrNoSpace) && o.MakeRoom() {
		var again int
		again, err = f.WriteAt(p, off)
		n = max(n, again)
	}
	return n, err
}

// writePadded writes frame at l.pos, and zeros after it up to the end of the page. A page
// is always written from its start to its end, so the system never needs to read its old
// content. If frame has the capacity, it is a single write. n is as in writeAt.
func (l *Log) writePadded(frame []byte, end int64) (n int, err error) {
	pad := int(pageUp(end) - end)
	if cap(frame)-len(frame) >= pad {
		n := len(frame)
		frame = frame[:n+pad]
		clear(frame[n:])
		pad = 0
	}
	if n, err = l.opts.writeAt(l.file, frame, l.pos); err != nil || pad == 0 {
		return n, err
	}
	_, err = l.opts.writeAt(l.file, zeros[:pad], end)
	return n, err
}

// withdraw makes sure that the frame at l.pos does not exist, whose write found the disk full
// after n bytes: its header becomes zeros, and these are durable before the refusal is
// returned. Otherwise a refused frame could be found after a crash.
func (l *Log) withdraw(n int, refusal error) error {
	if n == 0 {
		return wrap(refusal)
	}
	if _, err := l.file.WriteAt(zeros[:FrameHeaderSize], l.pos); err != nil {
		return l.fail(errors.Join(refusal, err))
	}
	if err := l.syncFile(); err != nil {
		return err
	}
	return wrap(refusal)
}
