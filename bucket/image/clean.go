package image

import (
	"errors"
	"io/fs"
	"path"

	"kvd/internal/vfs"
)

// Clean removes the files in dir except those of the buckets for which keep returns true. A
// directory that does not exist has none.
func Clean(fsys vfs.FS, dir string, keep func(bucket uint64) bool) error {
	entries, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if bucket, ok := ParseFileName(e.Name); ok && keep(bucket) {
			continue
		}
		err = errors.Join(err, fsys.Remove(path.Join(dir, e.Name)))
	}
	return err
}
