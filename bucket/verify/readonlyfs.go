package verify

import (
	"fmt"
	"io"

	"kvd/internal/vfs"
	"kvd/kv"
)

// readOnlyFS is a file system that writes nothing. A call that would write returns an
// error. A sync does nothing and succeeds.
type readOnlyFS struct{ vfs.FS }

var errReadOnly = fmt.Errorf("%w: the store is only looked at", kv.ErrReadOnly)

func (l *readOnlyFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	if mode != vfs.ReadOnly {
		return nil, errReadOnly
	}
	f, err := l.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

func (*readOnlyFS) Mkdir(string) error              { return errReadOnly }
func (*readOnlyFS) Rename(_, _ string) error        { return errReadOnly }
func (*readOnlyFS) Remove(string) error             { return errReadOnly }
func (*readOnlyFS) Lock(string) (io.Closer, error)  { return nil, errReadOnly }
func (*readOnlyFS) OpenDir(string) (vfs.Dir, error) { return readOnlyDir{}, nil }

// readOnlyDir is a directory in which nothing was changed.
type readOnlyDir struct{}

func (readOnlyDir) Sync() error  { return nil }
func (readOnlyDir) Close() error { return nil }

type readOnlyFile struct{ vfs.File }

func (readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (readOnlyFile) Truncate(int64) error               { return errReadOnly }
func (readOnlyFile) Allocate(int64, int64) error        { return errReadOnly }
func (readOnlyFile) Sync() error                        { return nil }
