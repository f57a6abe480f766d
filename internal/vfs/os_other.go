//go:build !linux && !darwin && !freebsd

package vfs

import (
	"errors"
	"fmt"
	"io"
	"runtime"
)

// OS returns a file system whose calls all fail, with an error that matches
// errors.ErrUnsupported: on this system no rule of the package documentation is known to hold.
// Stores in memory and clients work.
func OS() FS { return noFS{} }

type noFS struct{}

var errNoFS = fmt.Errorf("kvd keeps no files on %s, where it is a client of servers elsewhere (--server): %w", runtime.GOOS, errors.ErrUnsupported)

func (noFS) Open(path string, _ Mode) (File, error) { return nil, PathError("open", path, errNoFS) }
func (noFS) Mkdir(path string) error                { return PathError("mkdir", path, errNoFS) }
func (noFS) Rename(from, _ string) error            { return PathError("rename", from, errNoFS) }
func (noFS) Remove(path string) error               { return PathError("remove", path, errNoFS) }
func (noFS) List(dir string) ([]Info, error)        { return nil, PathError("list", dir, errNoFS) }
func (noFS) Stat(path string) (Info, error)         { return Info{}, PathError("stat", path, errNoFS) }
func (noFS) OpenDir(dir string) (Dir, error)        { return nil, PathError("open", dir, errNoFS) }
func (noFS) Lock(path string) (io.Closer, error)    { return nil, PathError("lock", path, errNoFS) }
