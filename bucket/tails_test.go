package bucket

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// withTails holds the records of groups that touch so many buckets, in a store without background.
func withTails(buckets int) func(*Options) {
	return func(o *Options) { o.env.TailBuckets = buckets }
}

// putAll puts a value in each of the buckets, in one group.
func (h *harness) putAll(buckets []*Bucket, key, value string) {
	h.t.Helper()
	mutations := make([]kv.Mutation, len(buckets))
	for i, b := range buckets {
		mutations[i] = kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key, Value: []byte(value)}
	}
	for _, m := range h.submit(mutations...) {
		if m.Err != nil {
			h.t.Fatal(m.Err)
		}
	}
}

// A group that touches more than eight buckets is answered before the segments' files have its
// records. Reads find them, and the files have them within 100 ms.
func TestManyBucketsAreWrittenBehind(t *testing.T) {
	for buckets, held := range map[int]bool{tailBuckets - 1: false, tailBuckets: true} {
		t.Run(fmt.Sprint(buckets), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := background(t)
				all := h.manyBuckets(buckets)
				writes := h.count(simdisk.OpWriteAt, "/seg/")
				h.putAll(all, "k", "1")
				headers := buckets // of new segments
				want := headers
				if !held {
					want += buckets
				}
				if n := writes(); n != want {
					t.Errorf("%d writes before the answer, want %d", n, want)
				}
				h.putAll(all, "k", "2")
				for _, b := range all {
					mustGet(t, b, "k", "2")
				}
				pass(100 * time.Millisecond)
				if n := writes(); held && n != headers+buckets {
					t.Errorf("%d writes, want one a bucket behind the headers", n)
				}
				if n := h.s.tails.bytes.Load(); n != 0 || len(h.s.tails.segments) != 0 {
					t.Errorf("%d bytes of %d segments are held", n, len(h.s.tails.segments))
				}
				for _, b := range all {
					mustGet(t, b, "k", "2")
				}
			})
		})
	}
}

// Reads of all kinds find what is held, and a crash loses none of it.
func TestHeldTailsAreRead(t *testing.T) {
	h := newHarness(t, withTails(1))
	b := h.bucket("b", withHistory(5))
	for i := range 3 {
		mustPut(t, b, "k", fmt.Sprint("value ", i))
	}
	h.checkpoint()
	for i := range 3 {
		mustPut(t, b, "k", fmt.Sprint("value ", i+3))
	}
	check := func(what string) {
		t.Helper()
		mustGet(t, b, "k", "value 5")
		if got := shown(t, b)["k"]; !slices.Equal(got, revs{2, 3, 4, 5, 6}) {
			t.Errorf("%s: the history is %v", what, got)
		}
		for i := range 5 {
			e, err := b.GetRevision(ctx, "k", kv.Revision(i+2))
			if err != nil || string(e.Value) != fmt.Sprint("value ", i+1) {
				t.Errorf("%s: %q at revision %d, %v", what, e.Value, i+2, err)
			}
		}
		got := drain(t, mustWatch(t, b, nil, kv.ResumeFromRevision(3)))
		for i, u := range got[:min(4, len(got))] {
			if want := kv.Revision(3 + i); u.Entry.Revision != want || string(u.Entry.Value) != fmt.Sprint("value ", want-1) {
				t.Errorf("%s: the watch got %+v, want revision %d", what, u.Entry, want)
			}
		}
		if len(got) < 4 {
			t.Errorf("%s: the watch got %d events", what, len(got))
		}
	}
	if !b.active.Holds() {
		t.Fatal("nothing is held")
	}
	check("held")
	h.kill()
	h.open()
	b = h.find("b")
	check("after a kill")
	mustPut(t, b, "other", "v")
	h.powerCut()
	h.open()
	b = h.find("b")
	check("after a power cut")
	mustGet(t, b, "other", "v")
}

// A listing of a bucket goes on when the bucket is deleted, also over what is held.
func TestAHeldTailOfADeletedBucket(t *testing.T) {
	h := newHarness(t, withTails(1))
	b := h.bucket("b", withHistory(3))
	for i := range 3 {
		mustPut(t, b, "k", fmt.Sprint(i))
	}
	n := 0
	for e, err := range b.History(ctx, "k") {
		if n == 0 {
			if err := h.s.DeleteBucket(ctx, "b"); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil || string(e.Value) != fmt.Sprint(n) {
			t.Errorf("entry %d: %q, %v", n, e.Value, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d entries", n)
	}
	h.checkpoint()
	if files := h.names(manifest.SegmentDir); len(files) != 0 {
		t.Errorf("files %q stay", files)
	}
	if held := h.s.tails.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

// The end of a bucket on a full disk leaves nothing in the account of what is held, and no file.
func TestAHeldTailOfADeletedBucketOnAFullDisk(t *testing.T) {
	h := newHarness(t, withTails(1))
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	h.fail(simdisk.OpWriteAt, "/seg/", syscall.ENOSPC)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if n := h.s.tails.bytes.Load(); n != 0 || len(h.s.tails.segments) != 0 {
		t.Errorf("%d bytes of %d segments are held", n, len(h.s.tails.segments))
	}
	h.fs.Inject(nil)
	h.checkpoint()
	if files := h.names(manifest.SegmentDir); len(files) != 0 {
		t.Errorf("files %q stay", files)
	}
}

// A segment ends only once its file has all of it. Otherwise a crash would leave a file with later
// records and none of what was held, and a damaged frame between them would go unnoticed.
func TestASegmentEndsWithItsTailInTheFile(t *testing.T) {
	h := newHarness(t, withTails(2), func(o *Options) { o.SegmentSize = 4096 })
	a, b := h.bucket("a"), h.bucket("b")
	mustPut(t, b, "first", "v")
	h.putAll([]*Bucket{a, b}, "held", "needle in the log")
	mustPut(t, b, "next-segment", strings.Repeat("v", 8192))
	h.kill()
	file, offset := h.locate(manifest.LogDir, "needle in the log")
	h.flip(file, offset, 3)
	h.open()
	b = h.find("b")
	for key, value := range map[string]string{"first": "v", "held": "needle in the log", "next-segment": "v"} {
		if e, err := b.Get(ctx, key); err != nil || !strings.HasPrefix(string(e.Value), value) {
			t.Errorf("%s: %.20q, %v", key, e.Value, err)
		}
	}
	if _, err := h.find("a").Get(ctx, "held"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("what only the damaged frame had: %v", err)
	}
}

// After a write of a tail that fails the store takes no writes, and what is held is read. The next
// open has all of it from the log.
func TestAFailedWriteOfATailPoisons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		all := h.manyBuckets(tailBuckets)
		h.putAll(all, "k", "1")
		pass(time.Second)
		h.fail(simdisk.OpWriteAt, "/seg/", syscall.EIO)
		h.putAll(all, "k", "2")
		pass(100 * time.Millisecond)
		h.fs.Inject(nil)
		_, err := all[0].PutString(ctx, "k", "3")
		wantError(t, err, kv.ErrReadOnly)
		wantError(t, err, syscall.EIO)
		for _, b := range all {
			mustGet(t, b, "k", "2")
		}
		if err := h.s.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("close: %v", err)
		}
		h.open()
		for _, b := range h.findAll(all) {
			mustGet(t, b, "k", "2")
			mustPut(t, b, "k", "3")
		}
	})
}

// A file system that copies what is overwritten may have no room for a tail, though room was
// reserved: then the reserve is spent.
func TestATailOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, func(o *Options) { o.ReserveSize = 1 << 20 })
		all := h.manyBuckets(tailBuckets)
		h.putAll(all, "k", "1")
		pass(time.Second)
		refused := 0
		h.fs.Inject(func(op simdisk.Op) simdisk.Action {
			if op.Kind == simdisk.OpWriteAt && strings.Contains(op.Path, "/seg/") && refused < 3 {
				refused++
				return simdisk.Action{Err: syscall.ENOSPC}
			}
			return simdisk.Action{}
		})
		h.putAll(all, "k", "2")
		pass(100 * time.Millisecond)
		if n := h.s.tails.bytes.Load(); n != 0 || refused != 3 {
			t.Errorf("%d bytes are held, %d writes were refused", n, refused)
		}
		h.s.path.Lock()
		spent := h.s.path.reserve.spent
		h.s.path.Unlock()
		if !spent {
			t.Error("the reserve is whole")
		}
		h.putAll(all, "k", "3")
		h.reopen()
		for _, b := range h.findAll(all) {
			mustGet(t, b, "k", "3")
		}
	})
}

// A file whose tail finds the disk full stays open, and the write that needed its descriptor is
// refused as on any full disk. Deletes use the reserve.
func TestAColdFileWithATailOnAFullDisk(t *testing.T) {
	h := newHarness(t, withTails(1), withMaxFiles(filesMin), func(o *Options) { o.ReserveSize = 1 << 20 })
	all := h.manyBuckets(warmMin + 1)
	for _, b := range all {
		mustPut(t, b, "k", "1")
	}
	h.checkpoint()
	for _, b := range all[:warmMin] {
		mustPut(t, b, "k", "2")
	}
	last := all[warmMin]
	h.fail(simdisk.OpWriteAt, "/seg/", syscall.ENOSPC)
	_, err := last.PutString(ctx, "k", "2")
	wantError(t, err, kv.ErrNoSpace)
	h.wantFilesWithin()
	h.fs.Inject(nil)
	for range 2 {
		for _, b := range all {
			mustPut(t, b, "k", "3")
			h.wantFilesWithin()
		}
		h.reopen()
		all = h.findAll(all)
		for _, b := range all {
			mustGet(t, b, "k", "3")
		}
	}
}

// At most 16 MiB are held.
func TestTailsAreBounded(t *testing.T) {
	h := newHarness(t, withTails(1), func(o *Options) { o.LogFileSize, o.LogMaxSize, o.SegmentSize = 16<<20, 128<<20, 64<<20 })
	b := h.bucket("b")
	value := strings.Repeat("v", 700<<10)
	most := int64(0)
	for i := range 40 {
		mustPut(t, b, fmt.Sprint(i), value)
		most = max(most, h.s.tails.bytes.Load())
	}
	if most > tailsMax || most < tailsMax/2 {
		t.Errorf("%d bytes were held", most)
	}
	for i := range 40 {
		mustGet(t, b, fmt.Sprint(i), value)
	}
}

// Readers, writers of many buckets and of few, checkpoints and deletions run beside the goroutine
// that writes tails.
func TestReadsBesideTails(t *testing.T) {
	rounds := 60
	if underRace {
		rounds = 20
	}
	h := newHarness(t, func(o *Options) { o.env.Manual, o.SegmentSize = false, 16<<10 })
	all := h.manyBuckets(2 * tailBuckets)
	for _, b := range all {
		mustPut(t, b, "k", "0")
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() {
			seen := make([]kv.Revision, len(all))
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				n := i % len(all)
				e, err := all[n].Get(ctx, "k")
				if err != nil || e.Revision < seen[n] {
					t.Errorf("bucket %d: revision %d after %d, %v", n, e.Revision, seen[n], err)
					return
				}
				seen[n] = e.Revision
			}
		})
	}
	readers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			name := fmt.Sprint("short-lived-", i)
			if _, err := h.s.CreateBucket(ctx, kv.Config{Bucket: name}); err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(h.s.Checkpoint(ctx), h.s.DeleteBucket(ctx, name)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range rounds {
		h.putAll(all, "k", strings.Repeat(fmt.Sprint(i%10), 900))
		mustPut(t, all[i%len(all)], "one", fmt.Sprint(i))
	}
	close(done)
	readers.Wait()
	h.reopen()
	for _, b := range h.findAll(all) {
		mustGet(t, b, "k", strings.Repeat(fmt.Sprint((rounds-1)%10), 900))
	}
}
