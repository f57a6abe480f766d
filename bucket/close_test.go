package bucket

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// A write that is on its way when the store closes reaches the disk, and until
// then nobody else gets the directory. One that waits behind it is refused.
func TestCloseWaitsForTheWriterUnderWay(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	second := goPut(ctx, b, "second", "v")
	h.waitQueued(1)
	closed := make(chan error, 1)
	go func() { closed <- h.s.Close() }()
	waitFor(h.s.closed.Load)
	_, err := Open(testDir, h.opts)
	wantError(t, err, kv.ErrLocked)
	open()
	if o := <-first; o.err != nil || o.revision != 1 {
		t.Errorf("the writer under way got %+v", o)
	}
	wantError(t, (<-second).err, kv.ErrClosed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	h.open()
	wantShown(t, h.find("b"), showing{"first": revs{1}})
}

// Whoever is at work when the store closes gets an answer or ErrClosed, and
// what was acknowledged is there afterwards.
func TestCloseBesideEverything(t *testing.T) {
	const workers = 4
	h := newHarness(t, func(o *Options) { o.env.Manual = false })
	b := h.bucket("b", withHistory(2))
	mustPut(t, b, "shared", "v")
	var wg sync.WaitGroup
	var acked [workers]atomic.Int64
	var writes atomic.Int64
	allowed := func(what string, err error) (closed bool) {
		if err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
		return err != nil
	}
	for w := range workers {
		wg.Go(func() { // a writer
			for i := int64(1); ; i++ {
				if _, err := b.PutString(ctx, fmt.Sprintf("k%d", w), fmt.Sprint(i)); allowed("put", err) {
					return
				}
				acked[w].Store(i)
				writes.Add(1)
			}
		})
		wg.Go(func() { // a reader
			for {
				if _, err := b.Get(ctx, "shared"); allowed("get", err) {
					return
				}
				for _, err := range b.Keys(ctx) {
					if allowed("keys", err) {
						return
					}
				}
				for _, err := range b.History(ctx, "shared") {
					if allowed("history", err) {
						return
					}
				}
			}
		})
	}
	wg.Go(func() {
		for !allowed("checkpoint", h.s.Checkpoint(ctx)) {
		}
	})
	wg.Go(func() {
		for i := 0; ; i++ {
			name := fmt.Sprintf("b%d", i)
			if _, err := h.s.CreateBucket(ctx, kv.Config{Bucket: name}); allowed("create bucket", err) {
				return
			}
			if allowed("delete bucket", h.s.DeleteBucket(ctx, name)) {
				return
			}
		}
	})
	waitFor(func() bool {
		for w := range workers { // none is to be without a key, however busy the machine is
			if acked[w].Load() == 0 {
				return false
			}
		}
		return writes.Load() > 50
	})
	if err := h.s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	h.open()
	if r := h.s.Report(); r.Frames != 0 || len(r.Damages) > 0 {
		t.Errorf("after Close there was something to recover: %v", r)
	}
	b = h.find("b")
	for w := range workers {
		mustGet(t, b, fmt.Sprintf("k%d", w), fmt.Sprint(acked[w].Load()))
	}
}

// storeGoroutines returns the stacks of goroutines that are in this package, but
// for the tests'.
func storeGoroutines() (stacks []string) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(stack, "kvd/bucket.(*") && !strings.Contains(stack, "testing.tRunner") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.env.Manual = false })
	b := h.bucket("b")
	for i := range 100 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	waitFor(func() bool { return len(storeGoroutines()) > 0 }) // or the test would look for the wrong thing
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := storeGoroutines(); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n\n"))
	}
	h.open()
	h.fs.Inject(simdisk.FailKind(simdisk.OpSync, syscall.EIO))
	if err := h.s.Close(); err == nil {
		t.Error("Close says nothing of the sync that failed")
	}
	if left := storeGoroutines(); len(left) > 0 {
		t.Errorf("left after a fault:\n%s", strings.Join(left, "\n\n"))
	}
	if err := h.tryOpen(); err == nil {
		t.Error("opened without syncs")
	}
	if left := storeGoroutines(); len(left) > 0 {
		t.Errorf("left after an Open that failed:\n%s", strings.Join(left, "\n\n"))
	}
}

// A reader that is in the middle of a record when the store closes gets it.
func TestCloseLeavesARunningHistoryItsFiles(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b", withHistory(3))
	for i := range 3 {
		mustPut(t, b, "k", fmt.Sprint(i))
	}
	n := 0
	for e, err := range b.History(ctx, "k") {
		if n == 0 {
			if err := h.s.Close(); err != nil {
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
}

func TestCloseSaysWhatTheFaultWas(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	h.fail(simdisk.OpSync, manifest.LogDir, syscall.EIO)
	if _, err := b.PutString(ctx, "k", "v"); !errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
	writes := h.count(simdisk.OpWriteAt, "")
	err := h.s.Close()
	wantError(t, err, syscall.EIO, testDir, "sync")
	if n := writes(); n != 0 {
		t.Errorf("%d writes after the fault", n)
	}
	h.open() // the lock was given back
}
