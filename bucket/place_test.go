package bucket

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvd/internal/environment"
	"kvd/kv"
	"kvd/wal"
)

// openFiles opens a store on real files.
func openFiles(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, environment.With(Options{LogFileSize: 64 << 10, ReserveSize: -1}, environment.Env{Manual: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.closed.Load() {
			_ = s.Close() // it is read-only
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A directory that is removed or replaced under the store takes no more writes. What is mapped
// can still be read.
func TestRemovedDirectory(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
	}{
		{"removed", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }},
		{"its parent moved", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".old"))
		}},
		{"replaced by another store", func(t *testing.T, dir string) {
			must(t, os.Rename(dir, dir+".old"))
			must(t, openFiles(t, dir).Close())
		}},
		{"replaced by a copy", func(t *testing.T, dir string) {
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.CopyFS(dir, os.DirFS(dir+".old")))
		}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "data")
			s := openFiles(t, dir)
			b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
			must(t, err)
			mustPut(t, b.(*Bucket), "k", "v")
			_, err = b.Get(ctx, "k") // the file is mapped from now on
			must(t, err)
			c.spoil(t, dir)
			mustPut(t, b.(*Bucket), "k", "within the second")
			after := contents(t, dir)
			s.path.placeChecked = time.Time{} // the second has passed
			_, err = b.PutString(ctx, "k", "lost")
			wantError(t, err, kv.ErrReadOnly, dir)
			wantError(t, err, wal.ErrMoved)
			_, err = s.CreateBucket(ctx, kv.Config{Bucket: "c"})
			wantError(t, err, kv.ErrReadOnly, dir)
			wantError(t, s.Checkpoint(ctx), kv.ErrReadOnly, dir)
			if e, err := b.Get(ctx, "k"); err != nil || string(e.Value) != "within the second" {
				t.Errorf("reads: %q, %v", e.Value, err)
			}
			wantError(t, s.Close(), kv.ErrReadOnly)
			if got := contents(t, dir); got != after {
				t.Errorf("the directory was written to: %s, before %s", got, after)
			}
		})
	}
}

// Whatever writes files by their names looks at once, and so does a rotation of the log.
func TestRemovedDirectoryIsNoticedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(s *Store, b kv.Bucket) error
	}{
		{"checkpoint", func(s *Store, _ kv.Bucket) error { return s.Checkpoint(ctx) }},
		{"close", func(s *Store, _ kv.Bucket) error { return s.Close() }},
		{"rotation", func(_ *Store, b kv.Bucket) error {
			for {
				if _, err := b.Put(ctx, "k", make([]byte, 8<<10)); err != nil {
					return err
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			s := openFiles(t, dir)
			b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
			must(t, err)
			mustPut(t, b.(*Bucket), "k", "v")
			must(t, os.Rename(dir, dir+".old"))
			s.path.placeChecked = time.Now().Add(time.Hour) // not by the time
			wantError(t, c.act(s, b), wal.ErrMoved, dir)
		})
	}
}

// contents describes the files below a directory, if it exists.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			b, _ := os.ReadFile(path)
			fmt.Fprintf(&text, "%s %d %x\n", path, len(b), crc32.ChecksumIEEE(b))
		}
		return nil
	})
	return text.String()
}
