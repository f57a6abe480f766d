package wal

import (
	"errors"
	"slices"

	"kvd/internal/vfs"
)

// open makes the file of h, whose file id, salt and words it sets, and moves to it. The current
// file, if any, must be synced. A refusal for want of space or of a descriptor is returned unchanged
// and does not change the log. Any other error breaks the log.
func (l *Log) open(h header) error {
	if l.file != nil {
		if err := l.CheckPlace(); err != nil {
			return err
		}
	}
	h.store, h.salt, h.words = l.opts.StoreID, l.opts.Salt(), l.next
	f, err := l.nextFile(h)
	if err != nil {
		return err
	}
	old := l.file
	l.mu.Lock()
	if old != nil {
		l.mu.old = append(l.mu.old, oldFile{fileID: old.fileID, size: old.size, final: h.after, used: true})
	}
	l.mu.used += h.size
	l.mu.wanted = false
	l.mu.Unlock()
	l.file, l.pos, l.vouched, l.planned, l.begun = f, pageSize, true, false, l.now
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return l.fail(err)
	}
	return nil
}

// nextFile returns the file of h. The file, its headers and its name are durable.
//
// Once a spare's header or a new file's name may be on disk, the current file must get no
// more frames, because its final LSN is written there. So only a failure before that can be a
// refusal: of build, or of the first write to a spare that wrote nothing.
func (l *Log) nextFile(h header) (*openFile, error) {
	if f := l.takeSpare(h.size); f != nil {
		h.fileID = f.fileID
		return f, l.reuse(f, h)
	}
	f, err := l.build(h)
	if vfs.Refuses(err) {
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

// reuse begins the next use of a spare. A refusal for want of space puts it back.
func (l *Log) reuse(f *openFile, h header) error {
	err := f.rewriteHeaders(&l.opts, h)
	var unchanged errUnchanged
	if errors.As(err, &unchanged) {
		return errors.Join(wrap(unchanged), l.addSpare(f))
	}
	if err != nil {
		f.Close()
		return l.fail(err)
	}
	return nil
}

// takeSpare removes a spare of that size from the list and returns it, or nil.
func (l *Log) takeSpare(size int64) *openFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.spareLocked(size)
	if i < 0 {
		return nil
	}
	f := l.mu.spares[i]
	l.mu.spares = slices.Delete(l.mu.spares, i, i+1)
	return f
}

// spareLocked returns the index of a spare of that size, or -1. The caller holds mu.
func (l *Log) spareLocked(size int64) int {
	return slices.IndexFunc(l.mu.spares, func(f *openFile) bool { return f.size == size })
}
