package bucket

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/wal"
)

// background opens a store with its background, under the bubble's clock.
func background(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	return newHarness(t, append([]func(*Options){func(o *Options) { o.env.Manual = false }}, change...)...)
}

// pass lets time go by, and whatever is due in it happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestAnIdleLogIsVouchedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		for range 3 {
			mustPut(t, b, "k", "v")
			last := h.s.log.Last()
			pass(vouchAfter - time.Millisecond)
			if got := h.s.log.Last(); got != last {
				t.Fatalf("vouched after less than %v", vouchAfter)
			}
			pass(vouchAfter + 2*time.Millisecond)
			if got := h.s.log.Last(); got != last+1 {
				t.Fatalf("after %v of idleness the log went from LSN %d to %d", 2*vouchAfter, last, got)
			}
			pass(checkpointAfter)
			calls := h.fs.Calls()
			pass(time.Hour)
			if got := h.s.log.Last(); got != last+1 {
				t.Errorf("an idle hour took the log from LSN %d to %d", last+1, got)
			}
			if n := h.fs.Calls() - calls; n != 0 {
				t.Errorf("%d calls of the file system in an idle hour", n)
			}
		}
		// What was vouched for is not taken for a torn tail when it is damaged.
		mustPut(t, b, "k", "needle")
		pass(3 * vouchAfter)
		h.kill()
		file, offset := h.locate(manifest.LogDir, "needle")
		h.flip(file, offset, 0)
		h.open()
		if d := h.s.Report().Damages; len(d) != 1 || d[0].File != file {
			t.Errorf("damages: %v", d)
		}
		mustGet(t, h.find("b"), "k", "needle")
	})
}

// A store that has rested for a while has nothing to replay after a crash.
func TestAStoreAtRestWritesACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		for round := range 2 {
			mustPut(t, b, "k", "v")
			pass(vouchAfter + checkpointAfter - 10*time.Millisecond)
			h.s.path.Lock()
			dirty := b.dirty
			h.s.path.Unlock()
			if !dirty {
				t.Fatalf("round %d: a checkpoint before its time", round)
			}
			pass(2 * vouchAfter)
		}
		h.powerCut()
		h.open()
		if r := h.s.Report(); r.Records != 0 || r.Keys != 1 {
			t.Errorf("%v; want a key and no replay", r)
		}
	})
}

func TestABusyLogIsNotVouchedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		synctest.Wait()
		last := h.s.log.Last()
		for i := range wal.LSN(50) {
			mustPut(t, b, "k", "v")
			if got := h.s.log.Last(); got != last+i+1 {
				t.Fatalf("put %d went to LSN %d, want %d", i, got, last+i+1)
			}
			pass(vouchAfter / 3)
		}
	})
}

// A checkpoint runs when much of the log is needed, not before, and makes it
// free.
func TestACheckpointRunsWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, func(o *Options) { o.LogFileSize, o.LogMaxSize = 64<<10, 1<<20 })
		b := h.bucket("b")
		pass(2 * checkpointAfter) // the checkpoint of the bucket's creation is made
		due := h.opts.LogMaxSize/4 + h.opts.LogFileSize
		covered := func() wal.LSN {
			h.s.checkpoint.Lock()
			defer h.s.checkpoint.Unlock()
			return h.s.checkpoint.state.LogLow
		}
		before := covered()
		const page = 4096 // a put alone takes one of the log
		n := 0
		for ; covered() == before; n++ {
			mustPut(t, b, fmt.Sprint(n), strings.Repeat("x", 3000))
			if n > 1000 {
				t.Fatalf("no checkpoint, though %d of %d bytes are needed", h.s.log.Used(), due)
			}
		}
		if least := int((due - 2*h.opts.LogFileSize) / page); n < least {
			t.Errorf("a checkpoint ran after %d puts of a page, not before %d are due", n, least)
		}
		pass(time.Minute)
		if used := h.s.log.Used(); used > due {
			t.Errorf("after the checkpoint %d bytes are still needed", used)
		}
		h.powerCut()
		h.open()
		if r := h.s.Report(); r.Keys != n || r.Records > n/2 {
			t.Errorf("%v; want %d keys, most of them without a replay", r, n)
		}
	})
}

// A rotation finds its file ready.
func TestALogFileIsKeptReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		synctest.Wait()
		for i := range 200 {
			if h.s.log.NeedsSpare() {
				t.Fatalf("before put %d there is no file to rotate to", i)
			}
			mustPut(t, b, "k", strings.Repeat("x", 3000))
			synctest.Wait()
		}
	})
}

// The system begins to write segments while they grow: those of writers, and those that a
// compaction makes.
func TestSegmentsAreWrittenWhileTheyGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, asUsers)
		b := h.bucket("b")
		const size, n = 100_000, 100
		for i := range n {
			mustPut(t, b, fmt.Sprint(i), strings.Repeat("x", size))
			pass(time.Millisecond)
		}
		appended := h.gates.started.Load()
		if appended < size*n*8/10 || appended > size*n*11/10 {
			t.Errorf("the system began to write %d bytes of %d", appended, size*n)
		}
		for i := 0; i < n; i += 2 {
			mustPut(t, b, fmt.Sprint(i), "y")
		}
		if _, err := h.s.Reclaim(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if copied := h.gates.started.Load() - appended; copied < size*n/2*6/10 { // the rest of each output is left to its sync
			t.Errorf("the system began to write %d bytes of the compaction's %d", copied, size*n/2)
		}
	})
}

func TestAManualStoreDoesNothingByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		mustPut(t, h.bucket("b"), "k", "v")
		calls, last := h.fs.Calls(), h.s.log.Last()
		pass(24 * time.Hour)
		if n := h.fs.Calls() - calls; n != 0 || h.s.log.Last() != last {
			t.Errorf("%d calls of the file system in a day", n)
		}
	})
}

// What fails in the background fails the writers that come after it, with the
// cause; nothing is tried again.
func TestAFaultInTheBackgroundIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		mustPut(t, b, "k", "v")
		synctest.Wait()
		var syncs atomic.Int64
		h.fs.Inject(func(op simdisk.Op) simdisk.Action {
			if op.Kind == simdisk.OpSync && strings.Contains(op.Path, manifest.LogDir) {
				syncs.Add(1)
				return simdisk.Action{Err: syscall.EIO}
			}
			return simdisk.Action{}
		})
		pass(3 * vouchAfter)
		_, err := b.PutString(ctx, "k", "w")
		wantError(t, err, kv.ErrReadOnly, "sync", manifest.LogDir)
		wantError(t, err, syscall.EIO)
		pass(time.Hour)
		if n := syncs.Load(); n != 1 {
			t.Errorf("%d syncs were tried", n)
		}
		mustGet(t, b, "k", "v")
	})
}

// A file that could not be made ready is no fault: the rotation makes its own.
func TestASpareThatCannotBeMadeIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		h.fail(simdisk.OpOpen, ".wal.tmp", syscall.EMFILE)
		mustPut(t, b, "k", "v")
		pass(time.Minute)
		if err := h.s.checkFailure(); err != nil {
			t.Error(err)
		}
		h.fs.Inject(nil)
		for range 50 {
			mustPut(t, b, "k", strings.Repeat("x", 3000))
		}
	})
}

// Times never fall, whatever the clock says, nor over a restart.
func TestTimesNeverFall(t *testing.T) {
	clock := &testClock{now: time.Unix(1_000_000, 0)}
	h := newHarness(t, func(o *Options) { o.env.Now = clock.Now })
	b := h.bucket("b", withHistory(5))
	var last time.Time
	check := func() {
		t.Helper()
		mustPut(t, b, "k", "v")
		e, err := b.Get(ctx, "k")
		if err != nil || e.Created.Before(last) {
			t.Errorf("written at %v, after one at %v; %v", e.Created, last, err)
		}
		last = e.Created
	}
	check()
	clock.advance(time.Hour)
	check()
	if want := time.Unix(1_003_600, 0); !last.Equal(want) {
		t.Errorf("written at %v, want %v", last, want)
	}
	clock.advance(-48 * time.Hour)
	check()
	h.reopen()
	b = h.find("b")
	check()
	h.powerCut()
	h.open()
	b = h.find("b")
	check()
}
