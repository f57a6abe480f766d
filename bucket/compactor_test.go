package bucket

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/compaction"
	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// smallFiles makes segments of a few pages, and a log that no test fills: a writer
// that waits for a checkpoint would hold up the bubble's clock, on which that waits.
func smallFiles(o *Options) { o.LogFileSize, o.LogMaxSize, o.SegmentSize = 256<<10, 128<<20, 64<<10 }

// What overwriting leaves goes by itself, once nobody writes any more; then the
// compactor sleeps, and touches no file.
func TestTheBackgroundGivesBackTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles)
		b := h.bucket("b")
		churn(t, b, 400, 20)
		pass(10 * time.Second)
		live := b.mu.index.Bytes()
		if size := b.diskSize(); size > live*3/2+1<<20/8 {
			t.Errorf("%d bytes of files for %d live ones", size, live)
		}
		h.wantFiles(b)
		calls := h.fs.Calls()
		pass(time.Hour)
		if n := h.fs.Calls() - calls; n != 0 {
			t.Errorf("%d calls of the file system in an idle hour", n)
		}
		want := shown(t, b)
		h.powerCut()
		h.open()
		wantShown(t, h.find("b"), want)
	})
}

// So it does while there is a write now and then, in whatever bucket.
func TestTheBackgroundGivesBackTheDiskBesideLightWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles)
		b, other := h.bucket("b"), h.bucket("other")
		churn(t, b, 400, 8) // not so much that it goes while writers are busy
		for n := range 100 {
			mustPut(t, other, "k", "v")
			mustPut(t, b, fmt.Sprintf("key-%03d", n), "v")
			pass(100 * time.Millisecond)
		}
		live := b.mu.index.Bytes()
		if size := b.diskSize(); size > live*3/2+1<<20/8 {
			t.Errorf("%d bytes of files for %d live ones", size, live)
		}
	})
}

// While writers go on, the files of a bucket do not grow without bound.
func TestTheBackgroundKeepsUpWithWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles)
		b := h.bucket("b")
		most := int64(0)
		for range 60 {
			churn(t, b, 400, 1)
			pass(200 * time.Millisecond)
			most = max(most, b.diskSize())
		}
		// A factor of 2.5, the slack for small buckets, and what a round adds.
		if live := b.mu.index.Bytes(); most > 3*live+2<<20 {
			t.Errorf("up to %d bytes of files for %d live ones", most, live)
		}
	})
}

// Without background compaction nothing is rewritten until Reclaim is called.
func TestCompactionCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles, func(o *Options) { o.CompactionRate = -1 })
		b := h.bucket("b")
		churn(t, b, 400, 10)
		size := b.diskSize()
		pass(time.Minute)
		if got := b.diskSize(); got < size {
			t.Errorf("%d bytes of files became %d", size, got)
		}
		if r := h.reclaim(); r.Freed < size/2 {
			t.Errorf("%+v of %d", r, size)
		}
	})
}

// The files of a deleted bucket go by themselves in a store where nothing else
// happens, and a reader keeps its own.
func TestADeletedBucketsFilesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles)
		b := h.bucket("b")
		churn(t, b, 400, 5)
		pass(10 * time.Second)
		_, pinned, err := b.pinVersions(ctx, "key-007")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.s.DeleteBucket(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		if names := h.names(manifest.SegmentDir); len(names) != 1 {
			t.Errorf("files are %q, want the one that is read", names)
		}
		pass(time.Minute) // long asleep
		before := h.s.log.Last()
		pinned[0].Unpin()
		pass(10 * time.Second)
		if names := h.names(manifest.SegmentDir); len(names) != 0 {
			t.Errorf("files are %q after their last reader went", names)
		}
		if h.s.log.Last() != before {
			t.Error("something was written meanwhile")
		}
	})
}

// The same for a file that a compaction has replaced.
func TestACompactedFileGoesWithItsLastReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, smallFiles)
		b := h.bucket("b")
		churn(t, b, 400, 5)
		_, pinned, err := b.pinVersions(ctx, "key-007")
		if err != nil {
			t.Fatal(err)
		}
		h.reclaim()
		pass(time.Minute)
		if got, want := len(h.names(manifest.SegmentDir)), len(b.mu.order)+1; got != want {
			t.Errorf("%d files while one is read, want %d", got, want)
		}
		pinned[0].Unpin()
		pass(10 * time.Second)
		h.wantFiles(b)
	})
}

// A bucket may be deleted, and the store closed, in the middle of a compaction.
func TestCompactionEndsWithItsBucketAndStore(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(h *harness) error
		want error
	}{
		{"deleted", func(h *harness) error { return h.s.DeleteBucket(ctx, "b") }, kv.ErrBucketNotFound},
		{"deleted and forgotten", func(h *harness) error {
			if err := h.s.DeleteBucket(ctx, "b"); err != nil {
				return err
			}
			return h.s.Checkpoint(ctx)
		}, kv.ErrBucketNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, smallSegments)
			b := h.bucket("b")
			churn(t, b, 20, 5)
			b.sealGarbage()
			h.checkpoint()
			run, err := b.beginCompaction(0, 3, h.unpacedPacer())
			if err != nil {
				t.Fatal(err)
			}
			if err := run.write(); err != nil {
				t.Fatal(err)
			}
			if err := c.end(h); err != nil {
				t.Fatal(err)
			}
			err = run.replace()
			run.end(err)
			wantError(t, err, c.want)
			h.checkpoint()
			h.s.removeLater(nil)
			if names := h.names(manifest.SegmentDir); len(names) != 0 {
				t.Errorf("left are %q", names)
			}
			h.reopen()
		})
	}
}

// Several compactions of one bucket may be written before the first is put in place.
// What a sweep is about to mark is not copied meanwhile, unless the disk is full.
func TestABucketThatIsSweptIsNotCompacted(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 400, 20)
	b.sealGarbage()
	h.checkpoint()
	found := func(idle, full bool) bool {
		_, ok := b.victim(func(b *compaction.Usage) compaction.Policy { return b.Policy(idle, full) }, nil)
		return ok
	}
	if !found(true, false) {
		t.Fatal("there is nothing to compact")
	}
	if err := b.lockSweep(ctx); err != nil {
		t.Fatal(err)
	}
	if found(true, false) || !found(true, true) {
		t.Error("beside a sweep it is chosen, or on a full disk it is not")
	}
	b.unlockSweep()
	if !found(true, false) {
		t.Error("after the sweep it is not chosen")
	}
}

func TestCompactionsOfOneRound(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	for i := range 40 {
		mustPut(t, b, fmt.Sprintf("stays-%02d", i), strings.Repeat("s", 100))
		churn(t, b, 3, 2)
	}
	b.sealGarbage()
	h.checkpoint()
	v := victim{bucket: b, runs: []compaction.Run{{From: 3, To: 5}, {From: 0, To: 1}, {From: 1, To: 2}}}
	before, size := shown(t, b), b.diskSize()
	syncs := h.count(simdisk.OpSync, "manifest.1")
	if err := v.compact(h.unpacedPacer()); err != nil {
		t.Fatal(err)
	}
	if n := syncs(); n > len(v.runs)+1 {
		t.Errorf("%d edits of the manifest for %d runs", n, len(v.runs))
	}
	if got := b.diskSize(); got >= size {
		t.Errorf("%d bytes of files became %d", size, got)
	}
	wantShown(t, b, before)
	h.wantFiles(b)
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), before)
}
