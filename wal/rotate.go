package wal

import (
	"errors"
	"fmt"
	"io/fs"

	"kvd/internal/vfs"
	"kvd/kv"
)

// A file's life. It is made under a scratch name, zero-filled and with both
// headers, and gets its name once it is durable: so a file of the log has at
// least one readable header from its first moment on. It becomes the current
// file when both headers are overwritten, one after the other, each synced: so
// a power cut leaves the old header, or the new one, readable. When its frames
// are no longer needed it waits as it is for its next life.

// sparesKept is how many spares are kept. Two, so that the log can rotate while
// a checkpoint has not yet released the next file.
const sparesKept = 2

// fillStep is how much of a new file is written between two syncs: the log's
// own syncs queue behind these on the disk.
const fillStep = 1 << 20

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
	l.file, l.pos, l.vouched = f, PageSize, true
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return l.fail(fmt.Errorf("wal: close %s: %w", old.path, err))
	}
	return nil
}

// next returns the file of h, durable in every respect.
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
		return nil, err // the current file may go on: no header names a final LSN for it
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

// rewriteHeaders gives the file its next life. Once it began, the file before
// must get no more frames: its final LSN may be on disk.
func (f *openFile) rewriteHeaders(h header) error {
	for _, offset := range [...]int64{0, h.end()} {
		if err := f.writeHeader(h, offset); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("wal: sync %s: %w", f.path, err)
		}
	}
	f.header = h
	return nil
}

func (f *openFile) writeHeader(h header, offset int64) error {
	var page [PageSize]byte
	h.encode(&page, offset)
	if _, err := f.WriteAt(page[:], offset); err != nil {
		return fmt.Errorf("wal: write %s: %w", f.path, err)
	}
	return nil
}

// build makes a complete file under a scratch name and syncs it. On an error
// nothing is left of it, as far as the system lets us.
func (l *Log) build(h header) (*openFile, error) {
	l.mu.Lock()
	l.mu.slots++
	h.slot = l.mu.slots
	l.mu.Unlock()
	f := &openFile{header: h, path: l.opts.path(scratchName(h.slot))}
	file, err := l.opts.FS.Open(f.path, vfs.Create)
	if err != nil {
		return nil, fmt.Errorf("wal: create %s: %w", f.path, err)
	}
	f.File = file
	if err := f.fill(); err != nil {
		f.Close()
		_ = l.opts.FS.Remove(f.path) // else the next Start does
		return nil, err
	}
	return f, nil
}

func (f *openFile) fill() error {
	if err := f.Allocate(0, f.size); err != nil {
		return fmt.Errorf("wal: allocate %d bytes for %s: %w", f.size, f.path, err)
	}
	for at := int64(0); at < f.size; {
		n := min(int64(len(zeros)), f.size-at)
		if _, err := f.WriteAt(zeros[:n], at); err != nil {
			return fmt.Errorf("wal: write %s: %w", f.path, err)
		}
		at += n
		if at%fillStep == 0 && at < f.size {
			if err := f.Sync(); err != nil {
				return fmt.Errorf("wal: sync %s: %w", f.path, err)
			}
		}
	}
	for _, offset := range [...]int64{0, f.end()} {
		if err := f.writeHeader(f.header, offset); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("wal: sync %s: %w", f.path, err)
	}
	return nil
}

// publish gives a complete file its name, for good.
func (l *Log) publish(f *openFile) error {
	path := l.opts.path(fileName(f.slot))
	if err := l.opts.FS.Rename(f.path, path); err != nil {
		return fmt.Errorf("wal: rename %s: %w", f.path, err)
	}
	f.path = path
	if err := l.opts.FS.SyncDir(l.opts.Dir); err != nil {
		return fmt.Errorf("wal: sync directory %s: %w", l.opts.Dir, err)
	}
	return nil
}

// NeedsSpare reports whether the next rotation would have to make its file.
func (l *Log) NeedsSpare() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.spares) == 0 && !l.mu.closed
}

// Prepare makes a spare if there is none, so that a rotation finds one. It may
// take long. An error leaves the log as it is; it matches vfs.ErrNoSpace if the
// disk has no room.
func (l *Log) Prepare() error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	l.mu.Lock()
	have, closed := len(l.mu.spares), l.mu.closed
	l.mu.Unlock()
	if closed {
		return kv.ErrClosed
	}
	if have > 0 {
		return nil
	}
	f, err := l.build(header{size: l.opts.FileSize, salt: l.opts.Salt(), store: l.opts.StoreID})
	if err != nil {
		return err
	}
	if err := l.publish(f); err != nil {
		f.Close()
		return err
	}
	return l.addSpare(f)
}

// addSpare keeps f, or closes it if the log was closed meanwhile.
func (l *Log) addSpare(f *openFile) error {
	l.mu.Lock()
	closed := l.mu.closed
	if !closed {
		l.mu.spares = append(l.mu.spares, f)
	}
	l.mu.Unlock()
	if !closed {
		return nil
	}
	return errors.Join(kv.ErrClosed, f.Close())
}

// Recycle gives up the frames below the LSN below: files that hold no others
// become spares, or are removed if there are enough of those. The caller must
// have made durable elsewhere that it no longer needs them, and that its next
// Replay starts at below or later. The current file stays, whatever it holds.
// An error leaves the log as it is; the next Recycle tries again.
func (l *Log) Recycle(below LSN) error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	for {
		old, keep, err := l.takeOld(below)
		if old == nil {
			return err
		}
		if keep {
			err = l.keep(*old)
		} else {
			old.doomed = true
			err = l.remove(*old)
		}
		if err != nil {
			l.putBack(*old)
			return err
		}
	}
}

// takeOld takes the lowest finished file off the list if it holds no frame from
// below on, and says whether it can be a spare. Nil if there is none.
func (l *Log) takeOld(below LSN) (f *oldFile, keep bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return nil, false, kv.ErrClosed
	}
	if len(l.mu.old) == 0 || l.mu.old[0].final >= below {
		return nil, false, nil
	}
	old := l.mu.old[0]
	l.mu.old = l.mu.old[1:]
	if old.used {
		l.mu.used -= old.size
	}
	keep = old.size == l.opts.FileSize && !old.doomed && len(l.mu.spares) < sparesKept
	return &old, keep, nil
}

func (l *Log) putBack(f oldFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.old = append([]oldFile{f}, l.mu.old...)
	if f.used {
		l.mu.used += f.size
	}
}

// keep opens a file that is no longer needed as a spare. Its headers stay: they
// name a life that is over, and they are what makes it a file of the log.
func (l *Log) keep(old oldFile) error {
	f := &openFile{header: header{slot: old.slot, size: old.size}, path: l.opts.path(fileName(old.slot))}
	file, err := l.opts.FS.Open(f.path, vfs.ReadWrite)
	if err != nil {
		return fmt.Errorf("wal: open %s: %w", f.path, err)
	}
	f.File = file
	return l.addSpare(f)
}

// removeStep is how much a file shrinks at a time before it is unlinked:
// freeing a large file at once holds up the syncs of the log beside it.
const removeStep = 1 << 20

// remove takes a file away. It shrinks to its first header, never below: a
// power cut may bring the name back, and a file of the log without a header is
// damage. For the same reason the directory needs no sync: what comes back is
// below the chain or its lowest file, and nobody reads it.
func (l *Log) remove(old oldFile) error {
	path := l.opts.path(fileName(old.slot))
	f, err := l.opts.FS.Open(path, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by a call that said it was not
	}
	if err != nil {
		return fmt.Errorf("wal: open %s: %w", path, err)
	}
	for size := old.size; size > PageSize; {
		size = max(PageSize, size-removeStep)
		if err := f.Truncate(size); err != nil {
			f.Close()
			return fmt.Errorf("wal: shrink %s: %w", path, err)
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("wal: close %s: %w", path, err)
	}
	if err := l.opts.FS.Remove(path); err != nil {
		return fmt.Errorf("wal: remove %s: %w", path, err)
	}
	return nil
}
