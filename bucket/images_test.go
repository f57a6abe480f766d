package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvd/bucket/image"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

func status(t testing.TB, b *Bucket) kv.Status {
	t.Helper()
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func withImages(o *Options) { o.ImageKeys = 10 }

// imageFiles returns the names of the files in the directory of images.
func (h *harness) imageFiles() (names []string) {
	h.t.Helper()
	entries, err := h.disk.List(path.Join(testDir, image.Dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

func (h *harness) wantImages(read, files int) {
	h.t.Helper()
	if got := h.s.Report().Images; got != read {
		h.t.Errorf("%d images were read, want %d", got, read)
	}
	if got := h.imageFiles(); len(got) != files {
		h.t.Errorf("the images are %v, want %d", got, files)
	}
}

// varied fills a bucket with something of everything.
func varied(t testing.TB, b *Bucket) {
	t.Helper()
	for i := range 120 {
		mustPut(t, b, fmt.Sprintf("key-%02d", i%40), strings.Repeat("v", i))
	}
	for i := range 5 {
		if _, err := b.Delete(ctx, fmt.Sprintf("key-%02d", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Create(ctx, fmt.Sprintf("short-%d", i), nil, kv.KeyTTL(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStoreOpensByItsImages(t *testing.T) {
	h := newHarness(t, smallSegments, withImages)
	b := h.bucket("b", withHistory(3))
	h.bucket("small")
	varied(t, b)
	before, st := shown(t, b), status(t, b)
	h.reopen()
	h.wantImages(1, 1)
	b = h.find("b")
	wantShown(t, b, before)
	if got := status(t, b); got.Values != st.Values || got.Bytes != st.Bytes || got.Keys != st.Keys || got.Revision != st.Revision {
		t.Errorf("status is %+v, was %+v", got, st)
	}
	h.wantFiles(b)
	h.reopen()
	h.wantImages(1, 1)

	// It takes writes, checkpoints and compactions, and the next image has them.
	b = h.find("b")
	overwrite := func() {
		for i := range 40 {
			mustPut(t, b, fmt.Sprintf("key-%02d", i), "new")
		}
	}
	overwrite()
	h.checkpoint()
	h.reclaim()
	overwrite()
	before = shown(t, b)
	h.reopen()
	h.wantImages(1, 1)
	wantShown(t, h.find("b"), before)
	h.wantFiles(h.find("b"))
	h.expectKeys("b", before)
}

// expectKeys compares a listing, which needs the tree, with what a bucket shows.
func (h *harness) expectKeys(name string, shown map[string][]kv.Revision) {
	h.t.Helper()
	n := 0
	for key, err := range h.find(name).Keys(ctx) {
		if err != nil {
			h.t.Fatal(err)
		}
		if len(shown[key]) == 0 {
			h.t.Errorf("%q is listed", key)
		}
		n++
	}
	if st := status(h.t, h.find(name)); n != int(st.Keys) || n == 0 {
		h.t.Errorf("%d keys are listed, there are %d", n, st.Keys)
	}
}

// After a crash the manifest may name what the image has, or more.
func TestAnImageOfAnotherStateIsNotRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *harness)
		read   int
	}{
		{"nothing was written", func(*harness) {}, 1},
		{"the log alone has what was written", func(h *harness) { mustPut(h.t, h.find("b"), "more", "v") }, 1},
		{"a checkpoint has it", func(h *harness) { mustPut(h.t, h.find("b"), "more", "v"); h.checkpoint() }, 0},
		{"a compaction moved it", func(h *harness) { h.find("b").sealGarbage(); h.checkpoint(); h.reclaim() }, 0},
		{"the rules have changed", func(h *harness) {
			if err := h.find("b").PurgeDeletes(ctx, 0); err != nil {
				h.t.Fatal(err)
			}
			h.checkpoint()
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, smallSegments, withImages)
			varied(t, h.bucket("b", withHistory(3)))
			h.reopen()
			c.change(h)
			before := shown(t, h.find("b"))
			disk := h.disk.Crash(simdisk.KeepAll())
			h.close()
			h.insert(disk)
			h.open()
			h.wantImages(c.read, 1)
			wantShown(t, h.find("b"), before)
			h.reopen()
			h.wantImages(1, 1)
			wantShown(t, h.find("b"), before)
		})
	}
}

// Whatever befalls an image, the segments have everything.
func TestWithoutAnImageTheSegmentsAreRead(t *testing.T) {
	var logged bytes.Buffer
	h := newHarness(t, smallSegments, withImages, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&logged, nil)) })
	varied(t, h.bucket("b", withHistory(3)))
	before := shown(t, h.find("b"))
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	name := path.Join(testDir, image.Dir, h.imageFiles()[0])
	whole, closed := mustRead(t, h.disk, name), h.disk
	for at := int64(0); at < int64(len(whole)); at += 1 + at/8 {
		h.insert(closed.Clone())
		if err := h.disk.Corrupt(name, at, 1, func(b []byte) { b[0] ^= 0x10 }); err != nil {
			t.Fatal(err)
		}
		logged.Reset()
		h.open()
		stale := at >= 0 && at < 48 // the header's key
		if silent := logged.Len() == 0; silent != stale {
			t.Errorf("byte %d of the image: the log says %q", at, logged.String())
		}
		h.wantImages(0, 1)
		wantShown(t, h.find("b"), before)
		h.reopen()
		h.wantImages(1, 1)
		h.close()
	}
	for _, damage := range []func(disk *simdisk.Disk, segments []string) error{
		func(disk *simdisk.Disk, segments []string) error { return disk.Remove(segments[0]) },
		func(disk *simdisk.Disk, segments []string) error { // its header
			return disk.Corrupt(segments[0], 0, 8, func(b []byte) { clear(b) })
		},
		func(disk *simdisk.Disk, segments []string) error { // of the last one: an index page
			last := segments[len(segments)-1]
			return disk.Corrupt(last, int64(len(mustRead(t, disk, last)))-pageSize, 64, func(b []byte) { b[9] ^= 1 })
		},
	} {
		h.insert(closed.Clone())
		var segments []string
		for _, e := range mustList(t, h.disk, path.Join(testDir, "seg")) {
			segments = append(segments, path.Join(testDir, "seg", e.Name))
		}
		if err := damage(h.disk, segments); err != nil {
			t.Fatal(err)
		}
		h.open()
		if len(h.s.report.Damages) == 0 || h.s.Report().Images != 0 {
			t.Errorf("a damaged segment: %v, %d images", h.s.report, h.s.report.Images)
		}
		h.close()
	}
}

func mustRead(t testing.TB, disk *simdisk.Disk, name string) []byte {
	t.Helper()
	b, err := disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustList(t testing.TB, disk *simdisk.Disk, dir string) []vfs.Info {
	t.Helper()
	list, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A bucket that is deleted, has become small or is in doubt loses its image at the next close.
func TestImagesThatAreNotNeededAreRemoved(t *testing.T) {
	h := newHarness(t, smallSegments, withImages)
	varied(t, h.bucket("b"))
	varied(t, h.bucket("c"))
	h.reopen()
	h.wantImages(2, 2)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.opts.ImageKeys = 1000
	h.open()
	h.wantImages(1, 1) // it is there
	h.reopen()
	h.wantImages(0, 0)
	h.opts.ImageKeys = -1
	h.reopen()
	h.reopen()
	h.wantImages(0, 0)
}

// A disk that has no room for an image, or fails, costs the image alone; and a write that finds
// the disk full gets the room of the images.
func TestImagesYieldTheirRoom(t *testing.T) {
	h := newHarness(t, smallSegments, withImages)
	varied(t, h.bucket("b"))
	before := shown(t, h.find("b"))
	for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
		for _, kind := range []simdisk.OpKind{simdisk.OpMkdir, simdisk.OpOpen, simdisk.OpWriteAt, simdisk.OpSync, simdisk.OpRename, simdisk.OpRemove} {
			met := false
			h.fs.Inject(func(op simdisk.Op) simdisk.Action {
				if op.Kind == kind && strings.Contains(op.Path, image.Dir) {
					met = true
					return simdisk.Action{Err: cause}
				}
				return simdisk.Action{}
			})
			mustPut(t, h.find("b"), "key-00", kind.String())
			err := h.s.Close()
			h.fs.Inject(nil)
			if err != nil {
				t.Errorf("%v at %v: %v", cause, kind, err)
			}
			if !met && kind != simdisk.OpMkdir {
				t.Errorf("no call of %v", kind)
			}
			h.open()
			if h.s.Report().Images != 0 && kind != simdisk.OpMkdir && kind != simdisk.OpRemove {
				t.Errorf("%v at %v: the image was read", cause, kind)
			}
		}
	}
	h.reopen()
	h.wantImages(1, 1)
	h.disk.SetCapacity(h.disk.Used())
	mustPut(t, h.find("b"), "key-00", strings.Repeat("v", 5000))
	h.wantImages(1, 0)
	before["key-00"] = shown(t, h.find("b"))["key-00"]
	wantShown(t, h.find("b"), before)
}
