// Package vfs is the engine's only door to files: a small interface with three
// implementations. [OS] is the operating system. [Mem] is a disk in memory that
// knows which writes were synced and yields every image that a power cut may
// leave. [Fault] wraps either and makes the n-th call fail.
//
// # What a disk promises
//
// The engine relies on these rules and no others, and Mem breaks everything
// that they do not promise:
//
//   - File.Sync makes the file's bytes and size durable, as fdatasync does. It
//     says nothing about the directory entry.
//   - FS.SyncDir makes the creations, renames and removals in that directory
//     durable. Until then a power cut may undo each of them, alone.
//   - A power cut keeps any subset of the un-synced 512-byte sectors, in any
//     order, and may tear any of them at any byte. Size changes persist
//     independently of the bytes.
//   - Synced sectors that no write touched since keep their bytes.
//   - A failed Sync leaves the written bytes readable but not durable, and a
//     later Sync does not make them so: only writing them again does.
package vfs

import (
	"errors"
	"fmt"
	"io"
)

// FS opens and names files. Paths are slash-separated and relative names are
// the caller's affair. All methods are safe for concurrent use. Errors carry
// the system's cause: test them with errors.Is against io/fs and syscall.
type FS interface {
	// Open opens a file. With Create it must not exist yet.
	Open(path string, mode Mode) (File, error)
	// Mkdir makes a directory with mode 0700, parents excluded.
	Mkdir(path string) error
	// Rename gives a file another name, replacing what has it, atomically.
	Rename(oldPath, newPath string) error
	// Remove takes a file's name away. Open files stay usable.
	Remove(path string) error
	// List returns what a directory holds, in ascending order of names.
	List(dir string) ([]Info, error)
	// Stat describes one path.
	Stat(path string) (Info, error)
	// SyncDir makes the directory's entries durable.
	SyncDir(dir string) error
	// Lock makes the file at path this process's, creating it if need be, and
	// returns a *LockedError at once if another holds it. Closing gives it back;
	// so does the end of the process.
	Lock(path string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Truncate sets the length; new bytes are zero.
	Truncate(size int64) error
	// Allocate makes sure that writes to [off, off+n) find room on the disk, and
	// extends the file to off+n if it is shorter. It returns an error that
	// matches ErrNoSpace, and no half measures, if there is no room.
	Allocate(off, n int64) error
	// Sync makes bytes and size durable. After an error nothing is known about
	// the bytes written since the last Sync that succeeded.
	Sync() error
	// Map maps the first n bytes for reading. They may lie beyond the end of the
	// file: reading there is an error until the file has grown. The mapping
	// outlives the File.
	Map(n int64) (Mapping, error)
}

// Mapping is a view of a file that follows its writes. ReadAt copies bytes out;
// a page that cannot be read is an error that matches ErrFault, not the end of
// the process. ReadAt is safe for concurrent use; Close must not run beside it.
type Mapping interface {
	io.ReaderAt
	io.Closer
}

// Mode says how a file is opened.
type Mode uint8

// The modes.
const (
	ReadOnly  Mode = iota + 1
	ReadWrite      // the file exists
	Create         // for reading and writing; the file must not exist; mode 0600
)

// Info describes a directory entry.
type Info struct {
	Name string // last element
	Size int64  // bytes
	Dir  bool
}

// Errors that callers branch on, whatever the implementation.
var (
	ErrNoSpace = errors.New("no space left on device") // matches ENOSPC and EDQUOT
	ErrFault   = errors.New("page fault")
)

// LockedError says that another process holds a lock.
type LockedError struct {
	Path string
	PID  int // 0 if unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Path, e.PID)
}
