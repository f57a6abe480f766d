package wal

import (
	"fmt"

	"kvd/internal/vfs"
)

// openFile is a file of the log that is open for writing.
type openFile struct {
	vfs.File
	header
	path string
}

// fillStep is how much of a new file is written between two syncs: on the disk
// the log's own syncs queue behind these.
const fillStep = 1 << 20

// zeros pads frames and fills new files.
var zeros [64 << 10]byte

// build makes a complete file under a scratch name and syncs it, but not the
// directory. On an error nothing is left of it, as far as the system lets us.
func (l *Log) build(h header) (*openFile, error) {
	l.mu.Lock()
	l.mu.slots++
	h.slot = l.mu.slots
	l.mu.Unlock()
	f := &openFile{header: h, path: l.opts.path(scratchName(h.slot))}
	file, err := l.opts.FS.Open(f.path, vfs.Create)
	if err != nil {
		return nil, err
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
		return fmt.Errorf("%d bytes: %w", f.size, err)
	}
	for at := int64(0); at < f.size; {
		n := min(int64(len(zeros)), f.size-at)
		if _, err := f.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
		if at%fillStep == 0 && at < f.size {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	for _, offset := range [...]int64{0, f.end()} {
		if err := f.writeHeader(f.header, offset); err != nil {
			return err
		}
	}
	return f.Sync()
}

// publish gives a complete file its name, for good.
func (l *Log) publish(f *openFile) error {
	path := l.opts.path(fileName(f.slot))
	if err := l.opts.FS.Rename(f.path, path); err != nil {
		return err
	}
	f.path = path
	return l.opts.FS.SyncDir(l.opts.Dir)
}

// rewriteHeaders gives the file its next life. One copy is durable before the
// other is touched, and if a power cut once tore the last one, that is written
// first: at every moment one of them is readable, the old or the new.
func (f *openFile) rewriteHeaders(h header) error {
	order := [...]int64{0, h.end()}
	if !hasHeader(f, h.slot, h.end()) {
		order = [...]int64{h.end(), 0}
	}
	for _, offset := range order {
		if err := f.writeHeader(h, offset); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	f.header = h
	return nil
}

// hasHeader reports whether a readable header stands at offset of the file with
// that slot.
func hasHeader(f vfs.File, slot uint64, offset int64) bool {
	var page [pageSize]byte
	if readFull(f, page[:], offset) != nil {
		return false
	}
	_, err := decodeHeader(&page, slot, offset)
	return err == nil
}

func (f *openFile) writeHeader(h header, offset int64) error {
	var page [pageSize]byte
	h.encode(&page, offset)
	_, err := f.WriteAt(page[:], offset)
	return err
}
