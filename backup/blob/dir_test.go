package blob_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kvd/backup/blob"
	"kvd/backup/blob/blobtest"
)

func openDir(t *testing.T, name string) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDir(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return openDir(t, filepath.Join(t.TempDir(), "repo")) })
}

// Files and directories have their modes under any umask.
func TestModesIgnoreTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		old := syscall.Umask(umask)
		name := filepath.Join(t.TempDir(), "repo")
		d, err := blob.OpenDir(name)
		if err == nil {
			err = d.Put(t.Context(), "a/b/object", []byte("one"))
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %o: %v", umask, err)
		}
		d.Close()
		seen := 0
		err = filepath.WalkDir(name, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = 0o700
			}
			if seen++; info.Mode().Perm() != want {
				t.Errorf("umask %o: %s has mode %o, want %o", umask, path, info.Mode().Perm(), want)
			}
			return err
		})
		if err != nil || seen != 5 { // repo, .tmp, a, b, object
			t.Errorf("umask %o: %d files and directories, %v", umask, seen, err)
		}
	}
}

// A symbolic link leads nowhere.
func TestLinksDoNotLeadOut(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := t.TempDir()
	for link, target := range map[string]string{"dir": outside, "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(target, filepath.Join(name, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, name)
	if data, err := d.GetRange(t.Context(), "dir/secret", 0, 6); err == nil {
		t.Errorf("it read %q", data)
	}
	if data, err := d.GetRange(t.Context(), "file", 0, 6); err == nil {
		t.Errorf("it read %q", data)
	}
	if err := d.Put(t.Context(), "dir/new", []byte("one")); err == nil {
		t.Error("it wrote outside")
	}
	if err := d.Delete(t.Context(), "dir/secret"); err == nil {
		t.Error("it deleted outside")
	}
	if infos, err := d.List(t.Context(), ""); err != nil || len(infos) > 0 {
		t.Errorf("it lists %v, %v", infos, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error(err)
	}
}

// What is no regular file is no object, and a FIFO does not block.
func TestOtherFilesAreNoObjects(t *testing.T) {
	name := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(name, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, name)
	if _, err := d.Stat(t.Context(), "fifo"); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
	if infos, err := d.List(t.Context(), ""); err != nil || len(infos) > 0 {
		t.Errorf("it lists %v, %v", infos, err)
	}
}

// What an ended process has left is removed after a day, and what a running one writes is not.
func TestOldScratchIsRemoved(t *testing.T) {
	name := t.TempDir()
	if err := os.Mkdir(filepath.Join(name, ".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for file, age := range map[string]time.Duration{"old": 25 * time.Hour, "new": time.Hour} {
		path := filepath.Join(name, ".tmp", file)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, name)
	left, err := os.ReadDir(filepath.Join(name, ".tmp"))
	if err != nil || len(left) != 1 || left[0].Name() != "new" {
		t.Errorf("%v are left, %v", left, err)
	}
	if err := d.Put(t.Context(), "object", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if left, _ = os.ReadDir(filepath.Join(name, ".tmp")); len(left) != 1 {
		t.Errorf("a put left %v", left)
	}
}
