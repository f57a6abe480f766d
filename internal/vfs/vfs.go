// Package vfs is the only way by which the engine reaches files: a small interface,
// [FS]. [OS] is the operating system. [NewRAM] keeps files in memory only. [Overlay] keeps in
// memory what is written, and shows the files of another file system below. The tests of
// the engine run on a third implementation, the simulated disk of package simdisk.
//
// # What a disk promises
//
// The engine relies on these rules and no others. The simulated disk breaks
// everything that they do not promise:
//
//   - File.Sync makes the file's bytes and size durable, as fdatasync does. It
//     says nothing about the directory entry.
//   - Dir.Sync makes the creations, renames and removals in that directory
//     durable. A rename between two directories is durable after both are synced.
//     Until then a power cut may undo each of these changes independently. A rename
//     is atomic: the file has its old name or the new one. If it has the old one, the
//     file that it replaced is back. If two changes of one name survive, the later
//     one counts. This can leave a file without any name, if its move away from the
//     name was undone.
//   - A power cut keeps any subset of the un-synced 512-byte sectors, in any
//     order, and may tear any of them at any byte. Size changes persist
//     independently of the bytes.
//   - Synced sectors that no write touched since keep their bytes.
//   - A failed Sync leaves the written bytes readable but not durable, and a
//     later Sync does not make them so: only writing them again does.
//   - The end of the process loses nothing that was written; locks end with it.
//   - A full disk fails Allocate and leaves the file as it was, or cuts a write
//     short. Bytes that were written or allocated before can be overwritten on a
//     full disk. A copy-on-write file system breaks this rule: there a write may find
//     the disk full where room was reserved. The engine then frees a part of its reserve
//     and writes again; see package bucket.
//
// # Why
//
// An interface this small, and not io/fs or a library: a store loses data in the
// calls that those leave out, which are syncing directories, allocating, mapping
// and locking. Each call added here must be modelled by simdisk.Disk, failed by
// simdisk.Fault and tested at every place that makes it.
//
// Sync is fdatasync, as nothing reads the times that fsync writes as well.
//
// Reads of a mapping copy. So no slice of a mapping can be held after its end, and
// a page that cannot be read (a bad sector, a file truncated by another process)
// is an error of that read; otherwise the kernel's SIGBUS would end the process.
// The guard costs 6.5 ns on 6.1 for 128 bytes, where pread takes 320
// (BenchmarkMappingReadAt). Writing through a mapping is not offered: there a
// full disk is a signal too, and a stray pointer damages the file.
//
// The simulated disk is a package of its own, so that go doc shows the interface alone
// and lint can verify that no program contains it.
package vfs

import (
	"errors"
	"fmt"
	"io"
)

// FS opens and names files. Paths are separated by slashes; the caller decides what
// relative names mean. All methods are safe for concurrent use. Errors wrap the
// system's error: test them with errors.Is against io/fs and syscall.
type FS interface {
	// Open opens a file. With Create it must not exist yet. Anything that is not
	// a regular file is an error.
	Open(path string, mode Mode) (File, error)
	// Mkdir makes a directory with mode 0700, parents excluded.
	Mkdir(path string) error
	// Rename gives a file or directory another name, atomically. A file replaces the
	// file that has the new name. If a directory has the new name, the error matches
	// fs.ErrExist.
	Rename(oldPath, newPath string) error
	// Remove removes the name of a file or an empty directory. Open files and mappings
	// stay usable.
	Remove(path string) error
	// List returns the entries of a directory, in ascending order of names.
	List(dir string) ([]Info, error)
	// Stat describes one path. A directory's size is 0.
	Stat(path string) (Info, error)
	// OpenDir opens a directory, so that its entries can be made durable.
	OpenDir(dir string) (Dir, error)
	// Lock locks the file at path for this process, and creates it if there is none. If
	// another process has the lock, it returns a *LockedError at once. Closing the
	// result releases the lock, and so does the end of the process.
	Lock(path string) (io.Closer, error)
}

// File is an open file. ReadAt, WriteAt, Size, IsAt, WriteBack and Sync are safe for concurrent
// use; Truncate and Allocate must not run beside a call that may change the size.
// ReadAt returns io.EOF with fewer bytes than asked for. WriteAt may have written
// some bytes when it fails. After Close every call returns an error that matches
// fs.ErrClosed. The operating system's files name in their errors the path that they have now,
// also after FS.Rename.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// IsAt reports whether the path names this file. It does not if the file or a
	// directory above it was removed or replaced.
	IsAt(path string) (bool, error)
	// Truncate sets the length; new bytes are zero.
	Truncate(size int64) error
	// Allocate reserves disk space for writes to [off, off+n), and extends the file to
	// off+n if it is shorter. If there is no room, it changes nothing and returns an
	// error that matches ErrNoSpace. An empty range is an error that matches
	// fs.ErrInvalid.
	Allocate(off, n int64) error
	// WriteBack begins to write a range to the disk, so that a later Sync has less to do, and with
	// wait returns once the range is written. It makes nothing durable, and may do nothing. After
	// an error Sync must not be relied on.
	WriteBack(off, n int64, wait bool) error
	// Sync makes bytes and size durable. After an error the state of the bytes written
	// since the last successful Sync is unknown.
	Sync() error
	// Map maps the first n bytes for reading. They may lie beyond the end of the file:
	// reading there is an error until the file has grown. The mapping stays valid after
	// the File is closed.
	Map(n int64) (Mapping, error)
}

// Dir is an open directory, also after it was renamed. A store keeps those that it has to sync
// open: a sync that first needs a descriptor could fail for want of one when it is too late to
// refuse. Sync makes the entries durable. It is safe for concurrent use; after Close it returns
// an error that matches fs.ErrClosed.
type Dir interface {
	Sync() error
	io.Closer
}

// SyncDir opens a directory, syncs it and closes it.
func SyncDir(fsys FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Mapping is a view of a file that follows its writes. ReadAt copies bytes out. A page
// that cannot be read is an error that matches ErrFault; it does not end the process.
// At the end of the mapping ReadAt returns io.EOF. A mapping does not know the end of
// the file: between that and the end of its page a system shows zeros or older bytes.
// So callers must bound reads by the bytes that they wrote, and verify them. ReadAt is
// safe for concurrent use; Close must not run beside it.
type Mapping interface {
	io.ReaderAt
	io.Closer
}

// A Prefetcher is a Mapping that can prefetch: ask the processor to bring up to 256 bytes from off on
// into its cache. Prefetch does not wait, neither for memory nor for the disk. The offset may be any.
type Prefetcher interface {
	Prefetch(off int64)
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

// Errors that callers branch on. Every implementation returns them.
var (
	ErrNoSpace      = errors.New("no space left on device") // matches ENOSPC and EDQUOT
	ErrTooManyFiles = errors.New("too many open files")     // matches EMFILE and ENFILE
	ErrFault        = errors.New("page fault")
)

// LockedError reports that another process has a lock.
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
