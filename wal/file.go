package wal

import (
	"errors"
	"fmt"

	"kvd/internal/vfs"
)

// openFile is a file of the log that is open for writing.
type openFile struct {
	vfs.File
	header
	path string
}

// fillStep is how much of a new file is handed to the disk at a time: the log's syncs wait for as
// much.
const fillStep = 256 << 10

// zeros pads frames and fills new files.
var zeros [64 << 10]byte

// build makes a complete file under a scratch name and syncs it, but not the directory. On
// an error it removes the file, if the system lets it.
func (l *Log) build(h header) (*openFile, error) {
	l.mu.Lock()
	l.mu.maxFileID++
	h.fileID = l.mu.maxFileID
	l.mu.Unlock()
	f := &openFile{header: h, path: l.opts.path(scratchName(h.fileID))}
	file, err := l.opts.FS.Open(f.path, vfs.Create)
	if err != nil {
		return nil, err
	}
	f.File = file
	if err := f.fill(); err != nil {
		f.Close()
		_ = l.opts.FS.Remove(f.path) // if this fails, the next Start removes it
		return nil, err
	}
	return f, nil
}

func (f *openFile) fill() error {
	vfs.Yield()
	if err := f.Allocate(0, f.size); err != nil {
		return fmt.Errorf("%d bytes: %w", f.size, err)
	}
	for at := int64(0); at < f.size; {
		n := min(int64(len(zeros)), f.size-at)
		if _, err := f.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
		if at%fillStep == 0 {
			vfs.Yield()
			if err := f.WriteBack(at-fillStep, fillStep, true); err != nil {
				return err
			}
		}
	}
	for _, offset := range [...]int64{0, f.end()} {
		if err := f.writeHeader(f.header, offset); err != nil {
			return err
		}
	}
	vfs.Yield()
	return f.Sync()
}

// publish gives a complete file its final name.
func (l *Log) publish(f *openFile) error {
	path := l.opts.path(fileName(f.fileID))
	if err := l.opts.FS.Rename(f.path, path); err != nil {
		return err
	}
	f.path = path
	vfs.Yield()
	return l.dir.Sync()
}

// rewriteHeaders begins the next use of the file. One copy is durable before the other is
// overwritten. If a power cut has torn the last copy, that one is written first. So at
// every moment one of them, old or new, is readable. An errUnchanged is a refusal: the file is
// as it was.
func (f *openFile) rewriteHeaders(o *Options, h header) error {
	order := [...]int64{0, h.end()}
	if !hasHeader(f, h.fileID, h.end()) {
		order = [...]int64{h.end(), 0}
	}
	for i, offset := range order {
		var page [pageSize]byte
		h.encode(&page, offset)
		n, err := o.writeAt(f, page[:], offset)
		if i == 0 && n == 0 && errors.Is(err, vfs.ErrNoSpace) {
			return errUnchanged{err}
		}
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	f.header = h
	return nil
}

// errUnchanged is the error of a disk that is full, from a call that changed nothing.
type errUnchanged struct{ error }

func (e errUnchanged) Unwrap() error { return e.error }

// hasHeader reports whether the file with that id has a readable header at offset.
func hasHeader(f vfs.File, fileID uint64, offset int64) bool {
	var page [pageSize]byte
	if readFull(f, page[:], offset) != nil {
		return false
	}
	_, err := decodeHeader(&page, fileID, offset)
	return err == nil
}

func (f *openFile) writeHeader(h header, offset int64) error {
	var page [pageSize]byte
	h.encode(&page, offset)
	_, err := f.WriteAt(page[:], offset)
	return err
}
