package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

// A page that cannot be read costs itself alone, by a read and through a mapping.
func TestForgivingReadsAroundABadPage(t *testing.T) {
	disk := simdisk.New()
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*256+1) // three pages and a bit
	if err := disk.WriteFile("f", content); err != nil {
		t.Fatal(err)
	}
	fault := simdisk.NewFault(disk)
	bad := errors.New("bad sector")
	fault.Inject(func(op simdisk.Op) simdisk.Action {
		if (op.Kind == simdisk.OpReadAt || op.Kind == simdisk.OpReadMapping) && op.Offset < 8192 && op.Offset+int64(op.Len) > 4096 {
			return simdisk.Action{Err: bad}
		}
		return simdisk.Action{}
	})
	lost := 0
	fsys := vfs.Forgiving(fault, func(path string, from, to int64, err error) {
		if lost++; path != "f" || from < 4096 || to > 8192 || !errors.Is(err, bad) {
			t.Errorf("%s from %d to %d: %v", path, from, to, err)
		}
	})
	f, err := fsys.Open("f", vfs.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := f.Map(int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := bytes.Clone(content)
	copy(want[4096:8192], bytes.Repeat([]byte{0xff}, 4096))
	for _, r := range []io.ReaderAt{f, m} {
		got := make([]byte, len(content))
		if n, err := r.ReadAt(got, 0); n != len(got) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Errorf("%T: %d bytes, %v", r, n, err)
		}
		if n, err := r.ReadAt(got[:100], int64(len(content))-20); n != 20 || !errors.Is(err, io.EOF) {
			t.Errorf("%T: %d bytes at the end, %v", r, n, err)
		}
	}
	if lost == 0 {
		t.Error("nothing was lost")
	}
}
