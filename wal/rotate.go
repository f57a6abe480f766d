package wal

import (
	"errors"

	"kvd/internal/vfs"
)

// open makes the file of h, whose slot and salt it fills in, and goes on to it.
// The current file, if any, must be synced. A refusal for want of space is
// returned as it is, and leaves the log as it was; any other error breaks it.
func (l *Log) open(h header) error {
	h.store, h.salt = l.opts.StoreID, l.opts.Salt()
	f, err := l.next(h)
	if err != nil {
		return err
	}
	old := l.file
	l.mu.Lock()
	if old != nil {
		l.mu.old = append(l.mu.old, oldFile{slot: old.slot, size: old.size, final: h.after, used: true})
	}
	l.mu.used += h.size
	l.mu.Unlock()
	l.file, l.pos, l.vouched = f, pageSize, true
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return l.fail(err)
	}
	return nil
}

// next returns the file of h, durable in every respect.
//
// Once a spare's header or a file's name may be on disk, the current file must
// get no more frames, since its final LSN stands there: so only a failure to
// build, which nothing in the log knows of yet, can be a refusal.
func (l *Log) next(h header) (*openFile, error) {
	if f := l.takeSpare(h.size); f != nil {
		h.slot = f.slot
		if err := f.rewriteHeaders(h); err != nil {
			f.Close()
			return nil, l.fail(err)
		}
		return f, nil
	}
	f, err := l.build(h)
	if errors.Is(err, vfs.ErrNoSpace) {
		return nil, wrap(err)
	}
	if err != nil {
		return nil, l.fail(err)
	}
	if err := l.publish(f); err != nil {
		f.Close()
		return nil, l.fail(err)
	}
	return f, nil
}

func (l *Log) takeSpare(size int64) *openFile {
	if size != l.opts.FileSize {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.spares) == 0 {
		return nil
	}
	f := l.mu.spares[0]
	l.mu.spares = append(l.mu.spares[:0], l.mu.spares[1:]...)
	return f
}
