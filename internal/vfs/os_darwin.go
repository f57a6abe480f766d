package vfs

import "golang.org/x/sys/unix"

// datasync makes bytes and size durable. Darwin's fsync leaves them in the
// drive's cache; only F_FULLFSYNC empties it.
func datasync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}

// allocate is not offered: F_PREALLOCATE only reserves beyond the end of the
// file, so the caller writes zeros, which comes to the same.
func allocate(int, int64, int64) error { return unix.EOPNOTSUPP }
