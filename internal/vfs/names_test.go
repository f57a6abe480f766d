//go:build linux || darwin

package vfs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// The errors of a file that was renamed while it was open name a file that exists.
func TestErrorsNameRenamedFiles(t *testing.T) {
	fsys, dir := OS(), t.TempDir()
	open := func(name string, mode Mode) File {
		t.Helper()
		f, err := fsys.Open(filepath.Join(dir, name), mode)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	rename := func(from, to string) {
		t.Helper()
		if err := fsys.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	named := func(f File, want string) {
		t.Helper()
		_, write := f.WriteAt(nil, -1)
		for call, err := range map[string]error{"write": write, "truncate": f.Truncate(-1), "allocate": f.Allocate(-1, 1)} {
			var at *fs.PathError
			if !errors.As(err, &at) || at.Path != filepath.Join(dir, want) {
				t.Errorf("the error of %s is %v, want one that names %s", call, err, want)
			}
		}
	}
	f, second := open("a.tmp", Create), open("a.tmp", ReadWrite)
	named(f, "a.tmp")
	rename("a.tmp", "a")
	rename("a", "a")
	named(f, "a")
	named(second, "a")
	other := open("a.tmp", Create)
	named(other, "a.tmp")
	rename("a", "b")
	rename("a.tmp", "a") // a path that was in use before
	for file, want := range map[File]string{f: "b", second: "b", other: "a"} {
		named(file, want)
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := f.Sync(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
	before := len(openNames())
	if f = open("c", Create); len(openNames()) != before+1 {
		t.Error("an open file is not among the names")
	}
	if err := f.Close(); err != nil || len(openNames()) != before {
		t.Errorf("a closed file is among the names, %v", err)
	}
}

// openNames returns the paths of the open files.
func openNames() (paths []string) {
	named.mu.Lock()
	defer named.mu.Unlock()
	for path := range named.files {
		paths = append(paths, path)
	}
	return paths
}
