package vfs

import "io"

// ReadOnlyView returns a file system that reads base and writes nothing to it: a call that would
// write returns refusal. A sync does nothing and succeeds. Lock takes the lock of base, if base can
// lock a file that it does not write to; otherwise it takes none.
func ReadOnlyView(base FS, refusal error) FS { return &readOnlyFS{base, refusal} }

type readOnlyFS struct {
	FS
	refusal error
}

func (l *readOnlyFS) Open(name string, mode Mode) (File, error) {
	if mode != ReadOnly {
		return nil, l.refusal
	}
	f, err := l.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f, l.refusal}, nil
}

func (l *readOnlyFS) Mkdir(string) error               { return l.refusal }
func (l *readOnlyFS) Rename(_, _ string) error         { return l.refusal }
func (l *readOnlyFS) Remove(string) error              { return l.refusal }
func (l *readOnlyFS) OpenDir(string) (Dir, error)      { return noDir{}, nil }
func (l *readOnlyFS) Lock(p string) (io.Closer, error) { return lockReadOnly(l.FS, p) }

type readOnlyFile struct {
	File
	refusal error
}

func (f readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, f.refusal }
func (f readOnlyFile) Truncate(int64) error               { return f.refusal }
func (f readOnlyFile) Allocate(int64, int64) error        { return f.refusal }
func (f readOnlyFile) WriteBack(int64, int64, bool) error { return nil }
func (f readOnlyFile) Sync() error                        { return nil }

// lockReadOnly takes the lock of a file system without writing to it, if that can be done.
func lockReadOnly(base FS, path string) (io.Closer, error) {
	if l, ok := base.(interface {
		lockReadOnly(path string) (io.Closer, error)
	}); ok {
		return l.lockReadOnly(path)
	}
	return io.NopCloser(nil), nil
}
