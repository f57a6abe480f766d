package wal

import (
	"errors"
	"io/fs"

	"kvd/internal/vfs"
)

// sparesKept is how many spares are kept. Two, so that the log can rotate while
// a checkpoint has not yet released the next file.
const sparesKept = 2

// removeStep is how much a file shrinks at a time before it is unlinked:
// freeing a large file at once holds up the syncs of the log beside it.
const removeStep = 1 << 20

// oldFile is a finished file, closed, waiting for Recycle.
type oldFile struct {
	slot   uint64
	size   int64
	final  LSN  // its last frame; 0: it holds none
	used   bool // it counts in Log.Used
	doomed bool // its removal began: it can be no spare
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
	if !l.NeedsSpare() {
		return nil
	}
	f, err := l.build(header{size: l.opts.FileSize, salt: l.opts.Salt(), store: l.opts.StoreID})
	if err != nil {
		return wrap(err)
	}
	if err := l.publish(f); err != nil {
		f.Close()
		return wrap(err)
	}
	return wrap(l.addSpare(f))
}

// addSpare keeps f, or closes it if the log was closed meanwhile.
func (l *Log) addSpare(f *openFile) error {
	l.mu.Lock()
	closed := l.mu.closed
	if !closed {
		l.mu.spares = append(l.mu.spares, f)
	}
	l.mu.Unlock()
	if closed {
		return f.Close()
	}
	return nil
}

// Recycle gives up the frames below the LSN below: files that hold no others
// become spares, or are removed if there are enough of those. The caller must
// have made durable elsewhere that its next Replay starts at below or later.
// The current file stays, whatever it holds. An error leaves the log as it is;
// the next Recycle tries again.
func (l *Log) Recycle(below LSN) error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	for {
		old, keep := l.takeOld(below)
		if old == nil {
			return nil
		}
		var err error
		if keep {
			err = l.keep(*old)
		} else {
			old.doomed = true
			err = l.remove(*old)
		}
		if err != nil {
			l.putBack(*old)
			return wrap(err)
		}
	}
}

// takeOld takes the lowest finished file off the list if it holds no frame from
// below on, and says whether it can be a spare. Nil if there is none.
func (l *Log) takeOld(below LSN) (f *oldFile, keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed || len(l.mu.old) == 0 || l.mu.old[0].final >= below {
		return nil, false
	}
	old := l.mu.old[0]
	l.mu.old = l.mu.old[1:]
	if old.used {
		l.mu.used -= old.size
	}
	return &old, old.size == l.opts.FileSize && !old.doomed && len(l.mu.spares) < sparesKept
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
	path := l.opts.path(fileName(old.slot))
	file, err := l.opts.FS.Open(path, vfs.ReadWrite)
	if err != nil {
		return err
	}
	return l.addSpare(&openFile{File: file, header: header{slot: old.slot, size: old.size}, path: path})
}

// remove takes a file away. It shrinks to its first header, never below, and not
// at all where a power cut tore that one: the next may bring the name back, and
// a file of the log without a header is damage. The directory needs no sync for
// that: what comes back stands below the frames that anyone needs.
func (l *Log) remove(old oldFile) error {
	path := l.opts.path(fileName(old.slot))
	f, err := l.opts.FS.Open(path, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a call removed it and said that it did not
	}
	if err != nil {
		return err
	}
	shrinks := hasHeader(f, old.slot, 0)
	for size := old.size; shrinks && size > pageSize; {
		size = max(pageSize, size-removeStep)
		if err := f.Truncate(size); err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return l.opts.FS.Remove(path)
}
