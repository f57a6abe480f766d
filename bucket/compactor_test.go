package bucket

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
	bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
	bubble(t, func(t *testing.T) {
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
			b.sealRotten()
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
			h.s.bury(nil)
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
	b.sealRotten()
	h.checkpoint()
	found := func(idle, full bool) bool {
		_, ok := b.victim(func(b *bloat) policy { return b.policy(idle, full) })
		return ok
	}
	if !found(true, false) {
		t.Fatal("there is nothing to compact")
	}
	if err := b.takeTurn(ctx); err != nil {
		t.Fatal(err)
	}
	if found(true, false) || !found(true, true) {
		t.Error("beside a sweep it is chosen, or on a full disk it is not")
	}
	b.giveTurn()
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
	b.sealRotten()
	h.checkpoint()
	v := victim{bucket: b, runs: []run{{from: 3, to: 5}, {from: 0, to: 1}, {from: 1, to: 2}}}
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

func TestWhatIsChosen(t *testing.T) {
	seg := func(size, garbage int64) candidate {
		return candidate{size: size << 10, need: (size - garbage) << 10, garbage: garbage << 10, fits: true}
	}
	unfit := seg(1000, 900)
	unfit.fits = false
	p := policy{share: 0.5, least: 100 << 10, merge: 3}
	for _, c := range []struct {
		name     string
		list     []candidate
		from, to int
		none     bool
	}{
		{name: "nothing of nothing", none: true},
		{name: "nothing that is mostly alive", list: []candidate{seg(1000, 400), seg(1000, 100)}, none: true},
		{name: "nothing that is not worth it", list: []candidate{seg(50, 49)}, none: true},
		{name: "nothing that does not fit", list: []candidate{unfit}, none: true},
		{name: "the deadest", list: []candidate{seg(1000, 600), seg(1000, 100), seg(1000, 900)}, from: 2, to: 3},
		{name: "the oldest of equals", list: []candidate{seg(1000, 600), seg(1000, 100), seg(1000, 600)}, from: 0, to: 1},
		{name: "neighbours as far as they fit one", list: []candidate{seg(1000, 700), seg(1000, 700), seg(1000, 700), seg(1000, 700)}, from: 0, to: 3},
		{name: "what is all dead, however much", list: []candidate{seg(1000, 1000), seg(1000, 1000), seg(1000, 1000)}, from: 0, to: 3},
		{name: "many small ones", list: []candidate{seg(900, 0), seg(10, 0), seg(10, 0), seg(10, 0)}, from: 1, to: 4},
		{name: "not a few small ones", list: []candidate{seg(900, 0), seg(10, 0), seg(10, 0)}, none: true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			r, ok := p.choose(c.list, 1000<<10)
			if ok == c.none || r.from != c.from || r.to != c.to {
				t.Errorf("%+v, %t", r, ok)
			}
		})
	}
}
