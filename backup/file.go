package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"kvd/internal/vfs"
)

// File is a file that appears under its name once it is whole: an archive, or an export. It is for one
// goroutine.
type File struct {
	fs      vfs.FS
	file    vfs.File
	name    string
	at      int64
	started int64 // up to where the system was asked to write
}

// writeBackStep is how much of a file is handed to the disk at a time, so that the sync at the end
// does not have to write all of it, and the page cache is left to others.
const writeBackStep = 8 << 20

// Create begins a file, under the name FILE.partial and with mode 0600. The error matches fs.ErrExist if
// there is a file of either name: none is replaced. The caller calls Commit or Abort.
func Create(name string) (*File, error) { return create(vfs.OS(), name) }

func create(fsys vfs.FS, name string) (*File, error) {
	if _, err := fsys.Stat(name); err == nil {
		return nil, fmt.Errorf("%s: %w: name another file, or remove it first", name, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := fsys.Open(partial(name), vfs.Create)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: %w: another process writes it, or was interrupted: if none does, remove it", partial(name), fs.ErrExist)
	}
	if err != nil {
		return nil, err
	}
	return &File{fs: fsys, file: f, name: name}, nil
}

func partial(name string) string { return name + ".partial" }

// Write appends bytes.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.file.WriteAt(p, f.at)
	f.at += int64(n)
	if err == nil && f.at-f.started >= writeBackStep {
		err = f.file.WriteBack(f.started, f.at-f.started, true)
		vfs.Forget(f.file, f.started, f.at-f.started)
		f.started = f.at
	}
	return n, err
}

// Size returns how many bytes were written.
func (f *File) Size() int64 { return f.at }

// Commit makes the file durable under its name. After an error there is no file of that name, unless
// the sync of the directory failed.
func (f *File) Commit() error {
	err := f.file.Sync()
	if err = errors.Join(err, f.file.Close()); err != nil {
		_ = f.fs.Remove(partial(f.name)) // the first error is the cause
		return err
	}
	if err := f.fs.Rename(partial(f.name), f.name); err != nil {
		_ = f.fs.Remove(partial(f.name))
		return err
	}
	return vfs.SyncDir(f.fs, path.Dir(f.name))
}

// Abort removes the file.
func (f *File) Abort() {
	_ = f.file.Close()
	_ = f.fs.Remove(partial(f.name)) // what stays is not whole, and has another name
}
