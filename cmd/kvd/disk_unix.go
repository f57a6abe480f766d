//go:build linux || darwin || freebsd

package main

import "golang.org/x/sys/unix"

// diskSpace returns the bytes that are free for this user on the file system of a directory, and
// its size; zeros if the system does not tell.
func diskSpace(dir string) (free, total uint64) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0
	}
	size := uint64(st.Bsize)
	return uint64(max(int64(st.Bavail), 0)) * size, uint64(st.Blocks) * size //nolint:unconvert // the types differ between systems
}
