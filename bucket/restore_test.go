package bucket

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"kvd/bucket/cut"
	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// toRestore returns a harness without a store, with a cut to restore and what a store of it shows.
func toRestore(t *testing.T) (*harness, *keptCut, map[string]map[string][]string) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b", withHistory(2))
	mustPut(t, b, "k", "v")
	h.checkpoint()
	mustPut(t, b, "k", largeText("w"))
	h.bucket("memory", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
	k := &keptCut{}
	h.backup(k)
	want := content(t, h.s)
	h.close()
	h.insert(simdisk.New())
	return h, k, want
}

// checkRestored opens what a restore has left: a store that has everything, a directory that is refused,
// or nothing. It reports which.
func (h *harness) checkRestored(what string, want map[string]map[string][]string) (whole bool) {
	h.t.Helper()
	entries, err := h.disk.List(restoredDir)
	if err != nil || len(entries) == 0 {
		return false
	}
	s, err := Open(restoredDir, h.opts)
	if err != nil {
		if !errors.Is(err, kv.ErrNotStore) {
			h.t.Errorf("%s: open: %v", what, err)
		}
		return false
	}
	defer s.Close()
	if got := content(h.t, s); !reflect.DeepEqual(got, want) {
		h.t.Errorf("%s: the store has %v, want %v", what, got, want)
	}
	return true
}

func TestPowerCutAtEveryCallOfARestore(t *testing.T) {
	h, k, want := toRestore(t)
	before := h.fs.Calls()
	if err := h.tryRestore(k, cut.Options{}); err != nil {
		t.Fatal(err)
	}
	calls := h.fs.Calls() - before
	for n := int64(1); n <= calls+1; n++ {
		h.insert(simdisk.New())
		h.fs.Inject(simdisk.StopAt(n))
		err := h.tryRestore(k, cut.Options{})
		disk := h.disk
		for _, c := range []struct {
			name string
			keep simdisk.Choice
		}{{"none", simdisk.KeepNone()}, {"all", simdisk.KeepAll()}, {"some", simdisk.Random(uint64(n))}, {"others", simdisk.Random(uint64(n + calls))}} {
			h.insert(disk.Crash(c.keep))
			whole := h.checkRestored(fmt.Sprintf("call %d of %d, kept %s", n, calls, c.name), want)
			if err == nil && !whole {
				t.Errorf("call %d of %d, kept %s: the restore has succeeded, and there is no store", n, calls, c.name)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// A restore that fails says so, leaves nothing behind that opens, and can be repeated.
func TestEveryCallOfARestoreFails(t *testing.T) {
	h, k, want := toRestore(t)
	before := h.fs.Calls()
	if err := h.tryRestore(k, cut.Options{}); err != nil {
		t.Fatal(err)
	}
	calls := h.fs.Calls() - before
	for n := int64(1); n <= calls; n++ {
		for _, cause := range []error{vfs.ErrNoSpace, errors.New("injected")} {
			h.insert(simdisk.New())
			h.fs.Inject(simdisk.FailNth(n, cause))
			err := h.tryRestore(k, cut.Options{})
			h.fs.Inject(nil)
			if err == nil {
				t.Errorf("call %d of %d fails with %v, and the restore succeeds", n, calls, cause)
				continue
			}
			if h.checkRestored(fmt.Sprintf("call %d", n), want) {
				continue // all that failed was the last sync of the directory
			}
			if err := h.tryRestore(k, cut.Options{}); err != nil {
				t.Errorf("call %d of %d failed, and then another restore: %v", n, calls, err)
			}
		}
	}
}

// A restore is never into a directory with something in it, and a store never opens one of which the
// restore has not ended.
func TestARestoreIntoADirectoryInUse(t *testing.T) {
	h, k, want := toRestore(t)
	if err := h.tryRestore(k, cut.Options{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.tryRestore(k, cut.Options{}), cut.ErrNotEmpty, "manifest.1", "empty directory")
	if !h.checkRestored("after a refused restore", want) {
		t.Error("a refused restore has changed the directory")
	}
	if err := h.disk.WriteFile(restoredDir+"/"+manifest.RestoreFile, nil); err != nil {
		t.Fatal(err)
	}
	_, err := Open(restoredDir, h.opts)
	wantError(t, err, kv.ErrNotStore, "restore", "not finished")
}

func TestNamesOfARestore(t *testing.T) {
	h, k, _ := toRestore(t)
	for _, tt := range []struct {
		buckets map[string]string
		err     error
	}{
		{map[string]string{"b": "memory", "memory": "memory"}, kv.ErrBucketExists},
		{map[string]string{"b": "a name"}, kv.ErrInvalidBucketName},
		{map[string]string{"c": "c"}, kv.ErrBucketNotFound},
		{map[string]string{"b": "memory", "memory": "b"}, nil},
	} {
		if err := h.tryRestore(k, cut.Options{Buckets: tt.buckets}); !errors.Is(err, tt.err) {
			t.Errorf("restore %v: %v, want %v", tt.buckets, err, tt.err)
		}
	}
}

// The next revision is above all that the old store may have issued since.
func TestTheBumpOfARestore(t *testing.T) {
	h, k, _ := toRestore(t)
	for since, want := range map[time.Duration]kv.Revision{
		-time.Hour:      1_001_000_001,
		0:               1_001_000_001,
		time.Hour:       3_601_000_001, // 10^6 for each of 3,600 seconds
		240 * time.Hour: 864_001_000_001,
	} {
		o := environment.With(cut.Options{}, environment.Env{FS: h.fs, Now: func() time.Time { return k.content.Time.Add(since) }})
		plan, err := cut.NewPlan("cut", k.content, o)
		if err != nil {
			t.Fatal(err)
		}
		if b := plan.Buckets[0]; b.From != "b" || b.Revision != 2 || b.Next != want {
			t.Errorf("%v after the backup: %+v, want next revision %d", since, b, want)
		}
	}
}

// A bump that leads past the greatest revision is refused: it would skip nothing.
func TestABumpThatIsTooLarge(t *testing.T) {
	h, k, _ := toRestore(t)
	for bump, want := range map[uint64]error{1 << 62: nil, 1<<62 + 1: kv.ErrInvalidOption, 1<<64 - 1: kv.ErrInvalidOption} {
		h.insert(simdisk.New())
		if err := h.tryRestore(k, cut.Options{Bump: &bump}); !errors.Is(err, want) {
			t.Errorf("bump %d: %v, want %v", bump, err, want)
		}
	}
}

// A restore whose directory is named with a slash survives a power cut as every other one.
func TestARestoreIntoANameWithASlash(t *testing.T) {
	h, k, want := toRestore(t)
	if err := h.tryRestoreInto(restoredDir+"/", k, cut.Options{}); err != nil {
		t.Fatal(err)
	}
	h.insert(h.disk.Crash(simdisk.KeepNone()))
	if !h.checkRestored("after a power cut", want) {
		t.Error("there is no store")
	}
}

// A content that no store makes is refused before anything is written.
func TestAContentThatDoesNotFit(t *testing.T) {
	h, k, _ := toRestore(t)
	sound := *k.content
	file := func(change func(*cut.File)) cut.Content {
		c := sound
		c.Files = slices.Clone(sound.Files)
		change(&c.Files[len(c.Files)-1]) // a value file
		return c
	}
	for name, c := range map[string]cut.Content{
		"a manifest that is cut off": func() cut.Content { c := sound; c.Manifest = c.Manifest[:len(c.Manifest)-9]; return c }(),
		"a number of no file":        file(func(f *cut.File) { f.Number = 1 << 40 }),
		"a number of another file":   file(func(f *cut.File) { f.Number = sound.Files[0].Number }),
		"another size":               file(func(f *cut.File) { f.Size = 1 << 40 }),
		"another bucket":             file(func(f *cut.File) { f.Bucket = 77 }),
		"a segment of no bucket":     file(func(f *cut.File) { f.Value = false }),
	} {
		k.content = &c
		before := h.fs.Calls()
		err := h.tryRestore(k, cut.Options{})
		if !errors.Is(err, kv.ErrCorrupt) || h.fs.Calls() != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.content = &sound
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(slices.Clip(b), 0) },
	} {
		files := maps.Clone(k.files)
		for f := range files {
			k.files[f] = change(files[f])
		}
		if err := h.tryRestore(k, cut.Options{}); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("files of other sizes: %v", err)
		}
		k.files = files
	}
}
