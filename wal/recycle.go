package wal

import (
	"errors"
	"io/fs"
	"slices"

	"kvd/internal/vfs"
)

// sparesKept is the number of spares at most. With the sizes of a store, a checkpoint releases
// three or four files, and the log needs as many until the next one. So a log under steady load
// neither makes nor removes files.
const sparesKept = 4

// removeStep is how much a file is cut at a time before it is unlinked: freeing a large
// file at once delays the concurrent syncs of the log.
const removeStep = 1 << 20

// oldFile is a finished file, closed, waiting for Recycle.
type oldFile struct {
	fileID uint64
	size   int64
	final  LSN  // LSN of its last frame; 0: it has none
	used   bool // it is counted in Log.Used
	shrunk bool // its removal has begun, so it cannot be a spare
}

// NeedsSpare reports whether the size of the next file is decided and there is no spare of that
// size, so that the next rotation would have to make a file.
func (l *Log) NeedsSpare() bool { return l.wantedSize() > 0 }

// wantedSize returns the size of the spare that is needed, or 0.
func (l *Log) wantedSize() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed || !l.mu.wanted || l.spareLocked(l.mu.next) >= 0 {
		return 0
	}
	return l.mu.next
}

// Prepare makes a spare if one is needed, so that a rotation finds it. It may take long. On a
// disk without room for it, it makes a smaller one. An error does not change the log; it
// matches vfs.ErrNoSpace if the disk has no room. After it no spare is needed before the next
// rotation.
func (l *Log) Prepare() error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	size := l.wantedSize()
	if size == 0 {
		return nil
	}
	l.setPreparing(true)
	defer l.setPreparing(false)
	f, err := l.buildSpare(size)
	if err != nil {
		l.mu.Lock()
		l.mu.wanted = false
		l.mu.Unlock()
		return wrap(err)
	}
	if err := l.publish(f); err != nil {
		f.Close()
		return wrap(err)
	}
	return wrap(l.addSpare(f))
}

// setPreparing records whether a spare is being made.
func (l *Log) setPreparing(now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.preparing = now
}

// buildSpare makes a file of that size, or of a smaller one if the disk has no room for it.
func (l *Log) buildSpare(size int64) (*openFile, error) {
	for {
		f, err := l.build(header{size: size, salt: l.opts.Salt(), store: l.opts.StoreID})
		if !errors.Is(err, vfs.ErrNoSpace) || size <= l.opts.FirstFileSize {
			return f, err
		}
		size = l.halve(size)
	}
}

// addSpare adds f to the spares, or closes it if the log was closed meanwhile.
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

// Recycle releases the frames below the LSN below. Files with only such frames become
// spares, or are removed if there are enough spares or the next file has another size. Before the call it must be durable
// elsewhere that the next Replay starts at below or later. The current file always stays.
// An error does not change the log; the next Recycle tries again.
func (l *Log) Recycle(below LSN) error {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	if err := l.discardSpares(); err != nil {
		return wrap(err)
	}
	for {
		old, keep := l.takeOld(below)
		if old == nil {
			return nil
		}
		var err error
		if keep {
			err = l.keep(*old)
		} else {
			old.shrunk = true
			err = l.remove(*old)
		}
		if err != nil {
			l.putBack(*old)
			return wrap(err)
		}
	}
}

// discardSpares moves the spares of another size than the next file's to the files that
// Recycle removes. The caller holds tidying.
func (l *Log) discardSpares() error {
	var discarded []*openFile
	l.mu.Lock()
	for i := len(l.mu.spares) - 1; i >= 0; i-- {
		if f := l.mu.spares[i]; f.size != l.mu.next {
			discarded = append(discarded, f)
			l.mu.spares = slices.Delete(l.mu.spares, i, i+1)
			l.mu.old = slices.Insert(l.mu.old, 0, oldFile{fileID: f.fileID, size: f.size})
		}
	}
	l.mu.Unlock()
	var err error
	for _, f := range discarded {
		err = errors.Join(err, f.Close())
	}
	return err
}

// takeOld removes the lowest finished file from the list if all its frames are below the
// LSN below, and reports whether it can be a spare. Otherwise it returns nil.
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
	return &old, old.size == l.mu.next && !old.shrunk && len(l.mu.spares) < sparesKept
}

func (l *Log) putBack(f oldFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.old = append([]oldFile{f}, l.mu.old...)
	if f.used {
		l.mu.used += f.size
	}
}

// keep opens a file that is no longer needed as a spare. Its headers are not changed: they
// belong to a former use, but without them it would not be a file of the log.
func (l *Log) keep(old oldFile) error {
	path := l.opts.path(fileName(old.fileID))
	file, err := l.opts.FS.Open(path, vfs.ReadWrite)
	if err != nil {
		return err
	}
	return l.addSpare(&openFile{File: file, header: header{fileID: old.fileID, size: old.size}, path: path})
}

// remove removes a file. It first cuts the file down to its first header, never below; if
// a power cut has torn that header, it does not cut the file at all. The reason is that a
// power cut may restore the name, and a log file without a header is damage. The directory
// needs no sync: a restored file has only frames below those that are needed.
func (l *Log) remove(old oldFile) error {
	path := l.opts.path(fileName(old.fileID))
	f, err := l.opts.FS.Open(path, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an earlier call removed it, but returned an error
	}
	if err != nil {
		return err
	}
	shrinks := hasHeader(f, old.fileID, 0)
	for size := old.size; shrinks && size > pageSize; {
		size = max(pageSize, size-removeStep)
		vfs.Yield()
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
