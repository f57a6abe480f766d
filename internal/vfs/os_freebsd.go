package vfs

import "golang.org/x/sys/unix"

// datasync makes bytes and size durable.
func datasync(fd int) error { return unix.Fsync(fd) }

// allocate is not offered: package unix has no posix_fallocate for FreeBSD, and ZFS refuses it. So
// the caller writes zeros, with the same result.
func allocate(int, int64, int64) error { return unix.EOPNOTSUPP }

// writeBack does nothing: FreeBSD has no such call.
func writeBack(int, int64, int64, bool) error { return nil }

// forget does nothing: its advice is about mappings alone.
func forget(int, int64, int64) error { return nil }
