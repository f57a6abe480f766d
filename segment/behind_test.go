package segment

import (
	"slices"
	"testing"

	"kvd/internal/vfs"
)

// startFS is a file system whose files count what they are to begin to write.
type startFS struct {
	vfs.FS
	ranges [][2]int64
}

type startFile struct {
	vfs.File
	fs *startFS
}

func (f *startFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	file, err := f.FS.Open(name, mode)
	return &startFile{file, f}, err
}

func (f *startFile) WriteBack(off, n int64, wait bool) error {
	f.fs.ranges = append(f.fs.ranges, [2]int64{off, off + n})
	return f.File.WriteBack(off, n, wait)
}

// Appended bytes are written behind once there are enough of them, each once.
func TestBehindIsWhatWasAppended(t *testing.T) {
	o := memOptions(t)
	started := &startFS{FS: o.FS}
	o.FS = started
	s, err := Create(o, 1, 7, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, 100<<10)
	for i := range 5 {
		if err := s.Reserve(int64(len(record)), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(record); err != nil {
			t.Fatal(err)
		}
		if b, ok := s.Behind(200 << 10); ok != (i%2 == 1) || ok && b.Start() != nil {
			t.Errorf("after append %d there is something to write: %v", i, ok)
		}
	}
	rest, ok := s.Behind(1)
	if _, more := s.Behind(1); !ok || rest.Start() != nil || more {
		t.Errorf("the rest is to be written: %v, and then more: %v", ok, more)
	}
	const header = HeaderSize
	if want := [][2]int64{{header, header + 200<<10}, {header + 200<<10, header + 400<<10}, {header + 400<<10, header + 500<<10}}; !slices.Equal(started.ranges, want) {
		t.Errorf("the system began to write %v, want %v", started.ranges, want)
	}
}
