package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
)

// CheckUnlocked returns an error matching kv.ErrLocked, with the pid, if another process has
// the store in dir open. It creates nothing. Other errors are left to Open.
func CheckUnlocked(dir string) error {
	name := path.Join(dir, manifest.LockFile)
	files := vfs.OS()
	if _, err := files.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := files.Lock(name)
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return fmt.Errorf("open store %s: %w: %w", dir, kv.ErrLocked, err)
	case err != nil:
		return nil //nolint:nilerr // Open meets it again
	}
	return lock.Close()
}
