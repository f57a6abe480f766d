package fuzz

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
)

// unit is a part of a file that is damaged as a whole.
type unit struct {
	file         string
	offset, size int64
}

func (u unit) String() string {
	return fmt.Sprintf("%s at %d, %d bytes", path.Base(u.file), u.offset, u.size)
}

// units returns the parts of a size of all files that hold something.
func (m *matrixStore) units(t *testing.T, size int64) (units []unit) {
	t.Helper()
	dirs := []string{"store", "store/wal", "store/seg"}
	if m.imageKeys > 0 {
		dirs = append(dirs, "store/index")
	}
	for _, dir := range dirs {
		files, err := m.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name := dir + "/" + f.Name
			if f.Dir || f.Name == "LOCK" || f.Name == "reserve" {
				continue
			}
			content, err := m.disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < int64(len(content)); at += size {
				part := content[at:min(at+size, int64(len(content)))]
				if slices.ContainsFunc(part, func(b byte) bool { return b != 0 }) {
					units = append(units, unit{file: name, offset: at, size: int64(len(part))})
				}
			}
		}
	}
	return units
}

// damages are the ways to damage a unit. They report whether anything changed.
var damages = []struct {
	name string
	f    func(m *matrixStore, u unit, b []byte, r *rand.Rand) bool
}{
	{"zero", func(_ *matrixStore, _ unit, b []byte, _ *rand.Rand) bool { clear(b); return true }},
	{"noise", func(_ *matrixStore, _ unit, b []byte, r *rand.Rand) bool {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return true
	}},
	{"older content", func(m *matrixStore, u unit, b []byte, _ *rand.Rand) bool {
		old, err := m.older.ReadFile(u.file)
		if err != nil || u.offset+u.size > int64(len(old)) {
			return false
		}
		return copyOver(b, old[u.offset:])
	}},
	{"another part of the file", func(m *matrixStore, u unit, b []byte, r *rand.Rand) bool {
		content, err := m.disk.ReadFile(u.file)
		n := int64(len(content)) / u.size
		if err != nil || n < 2 {
			return false
		}
		return copyOver(b, content[r.Int64N(n)*u.size:])
	}},
}

func copyOver(b, from []byte) bool {
	before := slices.Clone(b)
	copy(b, from)
	return !slices.Equal(before, b)
}
