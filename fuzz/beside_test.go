package fuzz

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// Here a second call is made in the middle of a first one, at one of its calls of the file
// system, in the same goroutine. So the order of both is the same in each run.

// besides is a store and what is done in the middle of a call.
type besides struct {
	vfs.FS
	disk  *simdisk.Disk
	store *bucket.Store
	at    func(path string) bool // decides at each write, sync and read of a mapping
	call  func()                 // made once, before the call that at accepts; nil: none
}

func (b *besides) before(path string) {
	if call := b.call; call != nil && b.at(path) {
		b.call = nil
		call()
	}
}

func (b *besides) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := b.FS.Open(path, mode)
	return besideFile{f, b, path}, err
}

type besideFile struct {
	vfs.File
	besides *besides
	path    string
}

func (f besideFile) WriteAt(p []byte, off int64) (int, error) {
	f.besides.before(f.path)
	return f.File.WriteAt(p, off)
}

func (f besideFile) Sync() error {
	f.besides.before(f.path)
	return f.File.Sync()
}

func (f besideFile) Map(n int64) (vfs.Mapping, error) {
	m, err := f.File.Map(n)
	return besideMapping{m, f}, err
}

type besideMapping struct {
	vfs.Mapping
	file besideFile
}

func (m besideMapping) ReadAt(p []byte, off int64) (int, error) {
	m.file.besides.before(m.file.path)
	return m.Mapping.ReadAt(p, off)
}

// open opens the store of a disk.
func (b *besides) open(t *testing.T, disk *simdisk.Disk) {
	t.Helper()
	b.FS, b.disk = disk, disk
	s, err := bucket.Open(storeDir, environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1}, environment.Env{
		FS: b, Manual: true, Now: func() time.Time { return time.Unix(0, epoch) },
	}))
	if err != nil {
		t.Fatal(err)
	}
	b.store = s
	t.Cleanup(func() { _ = s.Close() }) // the test may have closed it
}

func (b *besides) put(t *testing.T, name, key, value string) {
	t.Helper()
	made, err := b.store.CreateBucket(t.Context(), kv.Config{Bucket: name, History: 3})
	if err == nil {
		_, err = made.Put(t.Context(), key, []byte(value))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadsPinWhatTheyRead deletes a bucket while one of its records is being read. The read
// gets the record that it found: its file is unmapped only afterwards.
func TestReadsPinWhatTheyRead(t *testing.T) {
	one := func(e kv.Entry, err error) (string, error) { return string(e.Value), err }
	for name, read := range map[string]func(kv.Bucket) (string, error){
		"get":         func(b kv.Bucket) (string, error) { return one(b.Get(context.Background(), "k")) },
		"revision":    func(b kv.Bucket) (string, error) { return one(b.GetRevision(context.Background(), "k", 1)) },
		"history":     func(b kv.Bucket) (string, error) { return firstValue(b.History(context.Background(), "k")) },
		"watch":       func(b kv.Bucket) (string, error) { return firstValue(initial(b)) },
		"all entries": func(b kv.Bucket) (string, error) { return firstValue(b.All(context.Background())) },
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			b := &besides{}
			b.open(t, simdisk.New())
			b.put(t, "b", "k", "value")
			from, err := b.store.Bucket(t.Context(), "b")
			if err == nil {
				_, err = from.Get(t.Context(), "k") // maps the file
			}
			if err != nil {
				t.Fatal(err)
			}
			deleted := false
			b.at = func(path string) bool { return strings.HasSuffix(path, ".seg") }
			b.call = func() {
				deleted = true
				if err := b.store.DeleteBucket(t.Context(), "b"); err != nil {
					t.Error(err)
				}
				if err := b.store.Checkpoint(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if value, err := read(from); value != "value" || err != nil || !deleted {
				t.Errorf("read %q, %v; deleted meanwhile: %t", value, err, deleted)
			}
		})
	}
}

// firstValue returns the value of the first entry.
func firstValue(seq func(func(kv.Entry, error) bool)) (string, error) {
	for e, err := range seq {
		return string(e.Value), err
	}
	return "", kv.ErrKeyNotFound
}

// TestWritesBesideACheckpointAreReplayed writes at each call of a checkpoint that is made
// between two groups, to a bucket that the checkpoint covers and to one that it does not.
// After a power cut both writes are there: the position from which the log is replayed is
// older than what the checkpoint has of any bucket.
func TestWritesBesideACheckpointAreReplayed(t *testing.T) {
	for n := 0; ; n++ {
		b := &besides{}
		b.open(t, simdisk.New())
		b.put(t, "idle", "k", "first")
		if err := b.store.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.put(t, "busy", "k", "first")
		passed := 0
		b.at = func(path string) bool {
			outside := strings.HasSuffix(path, ".seg") || strings.Contains(path, "manifest")
			if outside {
				passed++
			}
			return outside && passed > n
		}
		wrote := false
		b.call = func() {
			wrote = true
			b.put(t, "idle", "k", "second")
			b.put(t, "busy", "k", "second")
		}
		if err := b.store.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.call = nil
		if !wrote {
			if n < 4 {
				t.Errorf("the checkpoint made %d calls", n)
			}
			return
		}
		after := &besides{}
		after.open(t, b.disk.Crash(simdisk.KeepNone()))
		for _, name := range []string{"idle", "busy"} {
			if err := wantValue(after.store, name, "second"); err != nil {
				t.Errorf("written at call %d of the checkpoint: %v", n, err)
			}
		}
	}
}

// wantValue returns an error unless key k of a bucket has that value.
func wantValue(s *bucket.Store, name, value string) error {
	b, err := s.Bucket(context.Background(), name)
	if err != nil {
		return err
	}
	if e, err := b.Get(context.Background(), "k"); err != nil || string(e.Value) != value {
		return fmt.Errorf("bucket %q has %q, %w; want %q", name, e.Value, err, value)
	}
	return nil
}
