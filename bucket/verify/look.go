package verify

import (
	"fmt"
	"io"

	"kvd/internal/vfs"
	"kvd/kv"
)

// lookFS is a file system that writes nothing: what would is an error, or for
// syncs of what others wrote no matter.
type lookFS struct{ vfs.FS }

var errLookOnly = fmt.Errorf("%w: the store is only looked at", kv.ErrReadOnly)

func (l *lookFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	if mode != vfs.ReadOnly {
		return nil, errLookOnly
	}
	f, err := l.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return lookFile{f}, nil
}

func (*lookFS) Mkdir(string) error             { return errLookOnly }
func (*lookFS) Rename(_, _ string) error       { return errLookOnly }
func (*lookFS) Remove(string) error            { return errLookOnly }
func (*lookFS) Lock(string) (io.Closer, error) { return nil, errLookOnly }
func (*lookFS) SyncDir(string) error           { return nil }

type lookFile struct{ vfs.File }

func (lookFile) WriteAt([]byte, int64) (int, error) { return 0, errLookOnly }
func (lookFile) Truncate(int64) error               { return errLookOnly }
func (lookFile) Allocate(int64, int64) error        { return errLookOnly }
func (lookFile) Sync() error                        { return nil }
