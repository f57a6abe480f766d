package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

func withMaxFiles(n int) func(*Options) { return func(o *Options) { o.MaxFiles = n } }

// manyBuckets makes n buckets.
func (h *harness) manyBuckets(n int) (buckets []*Bucket) {
	h.t.Helper()
	for i := range n {
		buckets = append(buckets, h.bucket(fmt.Sprintf("b%d", i)))
	}
	return buckets
}

// findAll returns the buckets of the store that is open now.
func (h *harness) findAll(buckets []*Bucket) (found []*Bucket) {
	h.t.Helper()
	for _, b := range buckets {
		found = append(found, h.find(b.Name()))
	}
	return found
}

// wantFilesWithin fails the test if too many files are open. Of those that count as open, only
// the background work of a store may have some that it opens or closes right now.
func (h *harness) wantFilesWithin() {
	h.t.Helper()
	if open, limit := h.s.Files(); open > limit {
		h.t.Fatalf("%d files are open, at most %d may be", open, limit)
	}
	w := &h.s.warm
	w.mu.Lock()
	defer w.mu.Unlock()
	listed := w.files.Len()
	if w.open > w.max || w.open < listed || h.s.opts.env.Manual && w.open != listed {
		h.t.Fatalf("%d segments count as open, %d are listed, at most %d may be open", w.open, listed, w.max)
	}
}

// Where more buckets are written to than files may be open, the coldest is synced and closed,
// and opened again for its next write. That needs no checkpoint.
func TestColdFilesAreClosed(t *testing.T) {
	h := newHarness(t, withMaxFiles(filesMin))
	buckets := h.manyBuckets(5)
	checkpoints := h.count(simdisk.OpSync, "manifest")
	for round := range 4 {
		for i, b := range buckets {
			mustPut(t, b, fmt.Sprint("key", round), fmt.Sprint("value", i))
			h.wantFilesWithin()
		}
	}
	if n := checkpoints(); n > 0 {
		t.Errorf("%d syncs of the manifest", n)
	}
	syncs := h.count(simdisk.OpSync, ".seg")
	mustPut(t, buckets[0], "last", "v")
	if n := syncs(); n != 1 {
		t.Errorf("%d segments were synced to close one", n)
	}
	mustPut(t, buckets[0], "last", "v")
	if n := syncs(); n != 1 {
		t.Errorf("a write to a warm segment synced %d others", n-1)
	}
	h.fs.Inject(nil)
	for range 2 { // the log has all, then a checkpoint
		h.powerCut()
		h.open()
		buckets = h.findAll(buckets)
		for i, b := range buckets {
			for round := range 4 {
				mustGet(t, b, fmt.Sprint("key", round), fmt.Sprint("value", i))
			}
		}
		h.wantFilesWithin()
		for _, b := range buckets {
			mustPut(t, b, "again", "v")
		}
		h.checkpoint()
	}
}

// A file that was synced since its last write is closed without another sync.
func TestAColdFileIsSyncedOnce(t *testing.T) {
	h := newHarness(t, withMaxFiles(filesMin))
	buckets := h.manyBuckets(3)
	mustPut(t, buckets[0], "key", "v")
	h.checkpoint()
	syncs := h.count(simdisk.OpSync, ".seg")
	mustPut(t, buckets[1], "key", "v")
	mustPut(t, buckets[2], "key", "v")
	if n := syncs(); n != 0 {
		t.Errorf("a segment that a checkpoint had synced was synced %d times", n)
	}
}

// The mutations of a submission that concern more buckets than files may be open take several
// groups.
func TestAGroupWritesToNoMoreBucketsThanFilesMayBeOpen(t *testing.T) {
	h := newHarness(t, withMaxFiles(filesMin+3))
	buckets := h.manyBuckets(20)
	var mutations []kv.Mutation
	for round := range 3 {
		for _, b := range buckets {
			mutations = append(mutations, kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: fmt.Sprint("key", round), Value: []byte("v")})
		}
	}
	for _, m := range h.submit(mutations...) {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
	}
	h.wantFilesWithin()
	for _, b := range buckets {
		mustGet(t, b, "key2", "v")
	}
}

// A frame of the log may have records of more buckets than files may be open when it is
// replayed.
func TestReplayWithFewerFiles(t *testing.T) {
	h := newHarness(t)
	buckets := h.manyBuckets(20)
	var mutations []kv.Mutation
	for _, b := range buckets {
		mutations = append(mutations, kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "key", Value: []byte("v")})
	}
	frames := h.s.log.Last()
	h.submit(mutations...)
	if n := h.s.log.Last() - frames; n != 1 {
		t.Fatalf("%d frames, want one with all records", n)
	}
	h.kill()
	h.opts.MaxFiles = filesMin
	h.open()
	h.wantFilesWithin()
	for _, b := range h.findAll(buckets) {
		mustGet(t, b, "key", "v")
	}
}

// A file that cannot be synced before it is closed may lack what it was given. The write that
// needed its descriptor is refused, and the store takes no more of them.
func TestAFailedSyncOfAColdFile(t *testing.T) {
	h := newHarness(t, withMaxFiles(filesMin))
	buckets := h.manyBuckets(3)
	mustPut(t, buckets[0], "key", "v")
	mustPut(t, buckets[1], "key", "v")
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpSync && strings.HasSuffix(op.Path, ".seg") {
			return simdisk.Action{Err: syscall.EIO, DropSync: true}
		}
		return simdisk.Action{}
	})
	_, err := buckets[2].PutString(ctx, "key", "v")
	wantError(t, err, kv.ErrReadOnly, "sync", ".seg")
	if errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Errorf("nothing of the write was written: %v", err)
	}
	h.fs.Inject(nil)
	wantError(t, h.s.Checkpoint(ctx), kv.ErrReadOnly)
	mustGet(t, buckets[0], "key", "v")
	h.powerCut()
	h.open()
	for _, b := range h.findAll(buckets[:2]) {
		mustGet(t, b, "key", "v")
	}
	_, err = h.find("b2").Get(ctx, "key")
	wantError(t, err, kv.ErrKeyNotFound)
}

// The files of deleted buckets are closed at once, though they are removed later.
func TestDeletedBucketsHaveNoFileOpen(t *testing.T) {
	h := newHarness(t)
	before, _ := h.s.Files()
	for _, b := range h.manyBuckets(10) {
		mustPut(t, b, "key", "v")
		if err := h.s.DeleteBucket(ctx, b.Name()); err != nil {
			t.Fatal(err)
		}
	}
	if open, _ := h.s.Files(); open != before {
		t.Errorf("%d files are open, %d were before there was a bucket", open, before)
	}
}

// fewDescriptors makes opens fail for want of a descriptor: all from the n-th on.
func (h *harness) fewDescriptors(n int) {
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpOpen || op.Kind == simdisk.OpOpenDir {
			if n--; n < 0 {
				return simdisk.Action{Err: syscall.EMFILE}
			}
		}
		return simdisk.Action{}
	})
}

// Whatever file cannot be opened for want of a descriptor: the error says so, the call may be
// tried again, and the store is as sound as before.
func TestWithoutADescriptor(t *testing.T) {
	failures := map[string]int{}
	for n := 0; ; n++ {
		failed := 0
		h := newHarness(t, withMaxFiles(filesMin), func(o *Options) { o.LogFileSize, o.LogMaxSize, o.SegmentSize = 16<<10, 32<<10, 4096 })
		buckets := h.manyBuckets(4)
		mustPut(t, buckets[0], "key", "before")
		h.checkpoint()
		h.fewDescriptors(n)
		newest := map[string]string{"b0": "before"}
		try := func(what string, err error) bool {
			if err != nil {
				failed++
				failures[what]++
				wantError(t, err, kv.ErrTooManyFiles)
			}
			return err == nil
		}
		for round := range 3 {
			for i, b := range buckets {
				value := strings.Repeat(fmt.Sprint(round, i), 1000)
				if _, err := b.PutString(ctx, "key", value); try("put", err) {
					newest[b.Name()] = value
				}
				e, err := b.Get(ctx, "key")
				if newest[b.Name()] == "" && errors.Is(err, kv.ErrKeyNotFound) {
					continue
				}
				if try("get", err) && string(e.Value) != newest[b.Name()] {
					t.Fatalf("open %d fails: a read gave %.20q", n, e.Value)
				}
			}
			try("checkpoint", h.s.Checkpoint(ctx))
			_, err := h.s.Reclaim(ctx, nil)
			try("reclaim", err)
		}
		h.fs.Inject(nil)
		for _, then := range []func(){func() {}, h.checkpoint, h.kill, h.powerCut} {
			then()
			if h.s.closed.Load() {
				h.open()
			}
			for name, value := range newest {
				mustGet(t, h.find(name), "key", value)
			}
			mustPut(t, h.find("b3"), "other", "v")
		}
		h.close()
		if failed == 0 {
			break
		}
	}
	for _, what := range []string{"put", "get", "checkpoint", "reclaim"} {
		if failures[what] == 0 {
			t.Errorf("no %s lacked a descriptor", what)
		}
	}
}

// Many writers, a checkpoint and deletions share few files.
func TestFewFilesForMany(t *testing.T) {
	const writers, each = 16, 150
	h := newHarness(t, withMaxFiles(filesMin+6), func(o *Options) { o.env.Manual, o.LogMaxSize, o.SegmentSize = false, 256<<10, 8192 })
	buckets := h.manyBuckets(40)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range each {
				b := buckets[random.IntN(len(buckets))]
				if _, err := b.PutString(ctx, fmt.Sprintf("key-%d-%d", w, i), strings.Repeat("v", 100)); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				if _, err := b.Get(ctx, fmt.Sprintf("key-%d-%d", w, i)); err != nil {
					t.Errorf("get: %v", err)
				}
			}
		})
	}
	group.Go(func() {
		for i := range 20 {
			name := fmt.Sprint("gone", i)
			b, err := h.s.CreateBucket(ctx, kv.Config{Bucket: name})
			if err == nil {
				_, err = b.Put(ctx, "key", []byte("v"))
			}
			if err == nil {
				err = h.s.DeleteBucket(ctx, name)
			}
			if err == nil {
				err = h.s.Checkpoint(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	h.wantFilesWithin()
	h.reopen()
	n := 0
	for _, b := range h.findAll(buckets) {
		st, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += int(st.Keys)
	}
	if n != writers*each {
		t.Errorf("%d keys, want %d", n, writers*each)
	}
}
