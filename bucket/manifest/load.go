package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Names are the files of the two copies, in the order in which they are written.
var Names = [2]string{"manifest.1", "manifest.2"}

// The other names inside a store's directory.
const (
	LockFile    = "LOCK"      // held by the process that has the store open; its pid
	LogDir      = "wal"       // the log, of package wal
	SegmentDir  = "seg"       // the segments, of package segment
	LostDir     = "lost"      // files that were in seg and are not the store's
	ReserveFile = "reserve"   // disk set aside for deletes and checkpoints on a full disk
	RestoreFile = "restoring" // the directory is being restored from a snapshot: no store opens it
)

// Found is what [Load] found in the two copies.
type Found struct {
	Best    *Copy              // the copy that counts; nil if the directory has neither
	Damages []*kv.CorruptError // of both copies
	Notes   []string           // traces of a crash, a sentence each
}

// Load reads both copies in a store's directory. It writes nothing. Its error
// matches kv.ErrCorrupt if there are copies and none can be read, and kv.ErrVersion
// if a newer program wrote one; others are the system's. Missing copies are not an
// error.
func Load(fsys vfs.FS, dir string) (Found, error) {
	var m Found
	var copies [2]*Copy // nil: missing or unreadable
	var unreadable error
	for i, name := range Names {
		file := path.Join(dir, name)
		b, err := readFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var c Copy
		if err == nil {
			c, err = decodeCopy(file, b)
		}
		var damage *kv.CorruptError
		switch {
		case err == nil:
			copies[i] = &c
		case errors.As(err, &damage):
			m.Damages = append(m.Damages, damage)
			unreadable = errors.Join(unreadable, err)
		default:
			return m, err
		}
	}
	for i, c := range copies {
		if c == nil {
			continue
		}
		if m.Best == nil || c.Generation > m.Best.Generation ||
			c.Generation == m.Best.Generation && c.Records > m.Best.Records {
			m.Best = c
		}
		switch other := copies[1-i]; {
		case c.Damage == nil:
		case c.interrupted(i, other):
			m.Notes = append(m.Notes, fmt.Sprintf("%s ends with an unfinished record, as a crash leaves it", c.Damage.File))
		default:
			m.Damages = append(m.Damages, c.Damage)
		}
	}
	if m.Best == nil && unreadable != nil {
		return m, fmt.Errorf("both copies of the manifest are unreadable: %w", unreadable)
	}
	return m, nil
}

// interrupted reports whether a crash explains the damage to the i-th copy. An edit
// is written to the first, synced, and only then written to the second. The next
// Open replaces them in that order too, and a crash may come in between.
func (c *Copy) interrupted(i int, other *Copy) bool {
	if other == nil || other.Damage != nil {
		return false
	}
	if other.Generation != c.Generation {
		return i == 1 && other.Generation == c.Generation+1
	}
	return other.Records == c.Records+i
}

// readFile returns the content of a file.
func readFile(fsys vfs.FS, file string) ([]byte, error) {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > recordSizeMax {
		return nil, &kv.CorruptError{File: file, Offset: -1, Detail: fmt.Sprintf("%d bytes are more than a manifest may have", size)}
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return b, nil
}
