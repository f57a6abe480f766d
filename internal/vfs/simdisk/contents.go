package simdisk

import (
	"errors"
	"io/fs"
	"path"
)

// Contents returns the content of each file in a directory and in the directories below it, by
// path. A directory that does not exist has none. Tests compare it before and after.
func (d *Disk) Contents(dir string) (map[string]string, error) {
	found := map[string]string{}
	return found, d.contents(dir, found)
}

func (d *Disk) contents(dir string, found map[string]string) error {
	entries, err := d.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			err = d.contents(name, found)
		} else {
			var b []byte
			b, err = d.ReadFile(name)
			found[name] = string(b)
		}
		if err != nil {
			return err
		}
	}
	return err
}
