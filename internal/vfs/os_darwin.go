package vfs

import "golang.org/x/sys/unix"

// datasync makes bytes and size durable. Darwin's fsync leaves them in the
// drive's cache; only F_FULLFSYNC empties it.
func datasync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}

// allocate is not offered: F_PREALLOCATE reserves space only beyond the end of the
// file. So the caller writes zeros, with the same result.
func allocate(int, int64, int64) error { return unix.EOPNOTSUPP }

// writeBack does nothing: Darwin has no such call.
func writeBack(int, int64, int64, bool) error { return nil }

// forget does nothing: Darwin has no such call.
func forget(int, int64, int64) error { return nil }
