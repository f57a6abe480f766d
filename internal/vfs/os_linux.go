package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// datasync makes bytes and size durable. Unlike fsync, fdatasync does not write the
// times to the journal, which nothing here reads.
func datasync(fd int) error { return unix.Fdatasync(fd) }

// allocate reserves blocks for a range and extends the file to its end.
func allocate(fd int, off, n int64) error { return unix.Fallocate(fd, 0, off, n) }

// writeBack writes a range of the page cache. File systems that do not support it do nothing.
func writeBack(fd int, off, n int64, wait bool) error {
	flags := unix.SYNC_FILE_RANGE_WRITE
	if wait {
		flags |= unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	}
	err := unix.SyncFileRange(fd, off, n, flags)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) {
		return nil
	}
	return err
}

// forget drops clean pages of a range from the page cache.
func forget(fd int, off, n int64) error {
	_ = unix.Fadvise(fd, off, n, unix.FADV_DONTNEED) // a wish
	return nil
}
