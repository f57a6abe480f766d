package bucket

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"kvd/internal/vfs"
	"kvd/kv"
)

// The files that a store has open at a time, at most. Options.MaxFiles bounds the sum; what the
// others leave of it is for segments that are written to.
const (
	filesOfStore   = 2 // LOCK and the reserve
	filesManifest  = 5 // both copies, twice while they are rewritten, and their directory
	filesLog       = 9 // the current file and the next, four spares, one that is made or removed, the mark, the directory
	filesSegments  = 1 // their directory
	filesCompactor = 3 // an input, the output, and a file that is removed
	filesValues    = valueWriters

	filesFixed = filesOfStore + filesManifest + filesLog + filesSegments + filesCompactor + filesValues + scannersMax

	readsMin = 4 // files that reads open to map them
	readsMax = 64
	warmMin  = 2 // one of a group, one of a checkpoint

	// filesMin is the least Options.MaxFiles.
	filesMin = filesFixed + readsMin + warmMin
)

// readsOf returns how many of a store's files reads may have open at a time.
func readsOf(maxFiles int) int { return min(max(maxFiles/16, readsMin), readsMax) }

// warmOf returns how many of a store's files segments may have open that are written to.
func warmOf(maxFiles int) int { return maxFiles - filesFixed - readsOf(maxFiles) }

// storeFS is the file system of an open store. It counts the files that are open. If the system
// has no descriptor left, it makes room by closing one that can be opened again; if there is
// none, the error matches kv.ErrTooManyFiles.
type storeFS struct {
	vfs.FS
	max   int
	spare func() bool // closes a file that can be opened again
	open  atomic.Int64
}

func (f *storeFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	file, err := opened(f, func() (vfs.File, error) { return f.FS.Open(name, mode) })
	if err != nil {
		return nil, err
	}
	return &storeFile{File: file, handle: handle{fs: f}}, nil
}

func (f *storeFS) OpenDir(name string) (vfs.Dir, error) {
	dir, err := opened(f, func() (vfs.Dir, error) { return f.FS.OpenDir(name) })
	if err != nil {
		return nil, err
	}
	return &storeDir{Dir: dir, handle: handle{fs: f}}, nil
}

func (f *storeFS) Lock(name string) (io.Closer, error) {
	lock, err := opened(f, func() (io.Closer, error) { return f.FS.Lock(name) })
	if err != nil {
		return nil, err
	}
	return &storeLock{Closer: lock, handle: handle{fs: f}}, nil
}

// opened opens something, and counts it.
func opened[T any](f *storeFS, open func() (T, error)) (T, error) {
	v, err := open()
	for errors.Is(err, vfs.ErrTooManyFiles) && f.spare() {
		v, err = open()
	}
	switch {
	case err == nil:
		f.open.Add(1)
	case errors.Is(err, vfs.ErrTooManyFiles):
		err = fmt.Errorf("%w: the store has %d open and expects to be allowed %d; raise the limit (ulimit -n): %w", kv.ErrTooManyFiles, f.open.Load(), f.max, err)
	}
	return v, err
}

// handle is something that is open, until it is closed.
type handle struct {
	fs     *storeFS
	closed atomic.Bool
}

func (h *handle) end() {
	if !h.closed.Swap(true) {
		h.fs.open.Add(-1)
	}
}

type storeFile struct {
	vfs.File
	handle
}

func (f *storeFile) Close() error {
	defer f.end()
	return f.File.Close()
}

func (f *storeFile) Forget(off, n int64) { vfs.Forget(f.File, off, n) }

type storeDir struct {
	vfs.Dir
	handle
}

func (d *storeDir) Close() error {
	defer d.end()
	return d.Dir.Close()
}

type storeLock struct {
	io.Closer
	handle
}

func (l *storeLock) Close() error {
	defer l.end()
	return l.Closer.Close()
}

// Files returns how many files the store has open, and how many it may have open at most:
// Options.MaxFiles.
func (s *Store) Files() (open, limit int) { return int(s.files.open.Load()), s.files.max }
