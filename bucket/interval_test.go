package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// lax sets sync=interval in a configuration.
func lax(c *kv.Config) { c.Sync = kv.SyncInterval }

func mustSync(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestIntervalWritesAreVisibleBeforeTheSync(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", lax)
	syncs := h.count(simdisk.OpSync, manifest.LogDir)
	rev := mustPut(t, b, "k", "1")
	if _, err := b.Create(ctx, "k", nil); !errors.Is(err, kv.ErrKeyExists) {
		t.Errorf("create over it: %v", err)
	}
	if _, err := b.Update(ctx, "k", []byte("2"), rev); err != nil {
		t.Error(err)
	}
	mustGet(t, b, "k", "2")
	if n := syncs(); n != 0 {
		t.Errorf("%d syncs", n)
	}
	mustSync(t, h.s)
	mustSync(t, h.s)
	if n := syncs(); n != 1 {
		t.Errorf("%d syncs after Sync, want 1", n)
	}
	mustPut(t, b, "k", "lost")
	h.powerCut()
	h.open()
	mustGet(t, h.find("b"), "k", "2")
}

// Every sync of the log also makes the writes to interval buckets durable.
func TestWhatMakesIntervalWritesDurable(t *testing.T) {
	for name, do := range map[string]func(*harness) error{
		"Sync":            func(h *harness) error { return h.s.Sync(ctx) },
		"a durable write": func(h *harness) error { _, err := h.find("durable").PutString(ctx, "k", "v"); return err },
		"a mixed Submit":  func(h *harness) error { return h.s.Submit(ctx, mixed()) },
		"a new bucket":    func(h *harness) error { h.bucket("new"); return nil },
		"a purge of markers": func(h *harness) error {
			if _, err := h.find("b").Delete(ctx, "gone"); err != nil {
				return err
			}
			return h.find("b").PurgeDeletes(ctx, -1)
		},
		"a checkpoint": func(h *harness) error { return h.s.Checkpoint(ctx) },
		"a full log file": func(h *harness) error {
			for i := range 40 {
				mustPut(h.t, h.find("b"), "large", strings.Repeat(fmt.Sprint(i%10), 3000))
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.bucket("durable")
			b := h.bucket("b", lax)
			mustPut(t, b, "k", "v")
			if err := do(h); err != nil {
				t.Fatal(err)
			}
			h.powerCut()
			h.open()
			mustGet(t, h.find("b"), "k", "v")
		})
	}
}

func mixed() []kv.Mutation {
	return []kv.Mutation{
		{Bucket: "b", Op: kv.MutatePut, Key: "other", Value: []byte("v")},
		{Bucket: "durable", Op: kv.MutatePut, Key: "other", Value: []byte("v")},
	}
}

// A group is answered before its sync only if all its buckets have sync=interval.
func TestAMixedGroupIsSynced(t *testing.T) {
	h := newHarness(t)
	h.bucket("durable")
	b := h.bucket("b", lax)
	g, open := h.gateLog()
	defer open()
	done := make(chan error, 1)
	go func() { done <- h.s.Submit(ctx, mixed()) }()
	<-g.reached
	for _, b := range []*Bucket{b, h.find("durable")} {
		if _, err := b.Get(ctx, "other"); !errors.Is(err, kv.ErrKeyNotFound) {
			t.Errorf("bucket %q shows a record whose frame is not synced: %v", b.name, err)
		}
	}
	open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustGet(t, b, "other", "v")
}

func TestTheTimerSyncsWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, func(o *Options) { o.LogFileSize = 16 << 20 }) // no file has to be made ready
		b := h.bucket("b", lax)
		slow := h.bucket("slow", lax, func(c *kv.Config) { c.SyncInterval = 400 * time.Millisecond })
		durable := h.bucket("durable")
		pass(3 * vouchAfter)
		syncs := h.count(simdisk.OpSync, manifest.LogDir)
		step := func(what string, d time.Duration, want int) {
			t.Helper()
			pass(d)
			if n := syncs(); n != want {
				t.Fatalf("%s: %d syncs, want %d", what, n, want)
			}
		}
		mustPut(t, b, "k", "1")
		step("before the interval ends", 99*time.Millisecond, 0)
		mustPut(t, b, "k", "2")
		step("when it ends", 2*time.Millisecond, 1)
		step("later, with nothing to do", 300*time.Millisecond, 1)
		mustPut(t, slow, "k", "3")
		step("within a longer interval", 200*time.Millisecond, 1)
		mustPut(t, b, "k", "4")
		step("at the end of the shorter of two", 101*time.Millisecond, 2)
		mustPut(t, b, "k", "5")
		step("halfway", 50*time.Millisecond, 2)
		mustPut(t, durable, "k", "6")
		step("a durable write", 0, 3)
		mustPut(t, b, "k", "7")
		step("an interval after what is durable since", 60*time.Millisecond, 3)
		step("an interval after what is not", 41*time.Millisecond, 4)
		h.powerCut()
		h.open()
		mustGet(t, h.find("b"), "k", "7")
		mustGet(t, h.find("slow"), "k", "3")
	})
}

// After a power cut a prefix of the writes to all buckets is there, whichever unsynced
// frames the disk kept.
func TestACrashLeavesAPrefix(t *testing.T) {
	h := newHarness(t)
	names := []string{"x", "y"}
	for _, name := range names {
		h.bucket(name, lax, withHistory(64))
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for i := range 20 {
			mustPut(t, h.find(names[i%2]), fmt.Sprint(i), strings.Repeat("v", rng.IntN(3000)))
		}
		n := h.disk.Pending()
		image := h.disk.Crash(simdisk.Random(seed))
		h.close()
		h.insert(image)
		h.open()
		if r := h.s.Report(); len(r.Damages) > 0 {
			t.Fatalf("seed %d: %v", seed, r)
		}
		kept := 0
		for i := range 20 {
			_, err := h.find(names[i%2]).Get(ctx, fmt.Sprint(i))
			switch {
			case err == nil && kept == i:
				kept++
			case err == nil:
				t.Fatalf("seed %d: write %d of %d pending is there, and %d is not", seed, i, n, kept)
			}
		}
		for _, name := range names {
			if err := h.s.DeleteBucket(ctx, name); err != nil {
				t.Fatal(err)
			}
			h.bucket(name, lax, withHistory(64))
		}
	}
}

// A revision that was acknowledged is not issued again, however often the store crashes.
func TestLostRevisionsAreNotIssuedAgain(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", lax)
	durable := h.bucket("durable")
	mustPut(t, durable, "k", "v")
	mustPut(t, b, "k", "v")
	mustSync(t, h.s)
	var told kv.Revision
	for i := range 3 {
		for range 5 {
			rev := mustPut(t, h.find("b"), "k", "lost")
			if rev <= told {
				t.Fatalf("revision %d after crash %d, and %d was told before", rev, i, told)
			}
			told = rev
		}
		if i == 1 {
			h.kill()
		} else {
			h.powerCut()
		}
		h.open()
		if st, err := h.find("b").Status(ctx); err != nil || st.Revision < told {
			t.Errorf("revision %d, %v, and %d was told", st.Revision, err, told)
		}
	}
	h.reopen()
	after := mustPut(t, h.find("b"), "k", "v")
	h.reopen() // closed cleanly: nothing is skipped
	if rev := mustPut(t, h.find("b"), "k", "v"); rev != after+1 {
		t.Errorf("revision %d follows %d across a clean close", rev, after)
	}
	if rev := mustPut(t, h.find("durable"), "k", "v"); rev != 2 {
		t.Errorf("a durable bucket goes on at revision %d", rev)
	}
}

// At most as many revisions wait for a sync as are skipped after a crash.
func TestManyRevisionsDoNotWait(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", lax)
	syncs := h.count(simdisk.OpSync, manifest.LogDir)
	mustPut(t, b, "k", "v")
	h.s.path.Lock()
	b.next += unsyncedMax - 2 // as if so many had been written
	h.s.path.Unlock()
	if n := syncs(); n != 0 {
		t.Fatalf("%d syncs", n)
	}
	mustPut(t, b, "k", "v")
	if n := syncs(); n != 1 {
		t.Errorf("%d syncs when %d revisions wait", n, unsyncedMax)
	}
}

func TestSyncModeIsEdited(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	edit := func(mode kv.SyncMode) {
		t.Helper()
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", Sync: mode}); err != nil {
			t.Fatal(err)
		}
	}
	edit(kv.SyncInterval)
	syncs := h.count(simdisk.OpSync, manifest.LogDir)
	mustPut(t, b, "k", "1")
	if n := syncs(); n != 0 {
		t.Errorf("%d syncs of an interval bucket", n)
	}
	edit(kv.SyncAlways)
	if n := syncs(); n != 1 {
		t.Errorf("%d syncs of an edit", n)
	}
	mustPut(t, b, "k", "2")
	if n := syncs(); n != 2 {
		t.Errorf("%d syncs of a durable bucket", n)
	}
	h.powerCut()
	h.open()
	mustGet(t, h.find("b"), "k", "2")
	if rev := mustPut(t, h.find("b"), "k", "3"); rev != 3 {
		t.Errorf("a durable bucket goes on at revision %d", rev)
	}
}

// A failed sync poisons the store. The store's logger names the writes that may be lost.
func TestAFailedSyncReportsWhatMayBeLost(t *testing.T) {
	for name, do := range map[string]func(*harness) error{
		"Sync":            func(h *harness) error { return h.s.Sync(ctx) },
		"a durable write": func(h *harness) error { _, err := h.find("durable").PutString(ctx, "k", "v"); return err },
		"a new bucket":    func(h *harness) error { _, err := h.s.CreateBucket(ctx, kv.Config{Bucket: "new"}); return err },
		"a checkpoint":    func(h *harness) error { return h.s.Checkpoint(ctx) },
		"the timer": func(h *harness) error {
			pass(kv.SyncIntervalDefault + time.Millisecond)
			return h.s.Sync(ctx)
		},
		"a vouching frame": func(h *harness) error { return h.s.vouch() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				h := newHarness(t, func(o *Options) {
					o.env.Manual = name != "the timer"
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				})
				h.bucket("durable")
				b := h.bucket("b", lax)
				mustPut(t, b, "k", "1")
				mustSync(t, h.s)
				mustPut(t, b, "k", "2")
				mustPut(t, b, "k", "3")
				h.fail(simdisk.OpSync, manifest.LogDir, syscall.EIO)
				wantError(t, do(h), kv.ErrOutcomeUnknown, "input/output error")
				h.fs.Inject(nil)
				if _, err := b.PutString(ctx, "k", "4"); !errors.Is(err, kv.ErrReadOnly) {
					t.Errorf("a write afterwards: %v", err)
				}
				mustGet(t, b, "k", "3")
				if n := strings.Count(log.String(), "may be lost"); n != 1 {
					t.Errorf("%d reports:\n%s", n, log.String())
				}
				for _, want := range []string{"bucket=b", "first_revision=2", "last_revision=3"} {
					if !strings.Contains(log.String(), want) {
						t.Errorf("the log does not say %q:\n%s", want, log.String())
					}
				}
				h.powerCut()
				h.open()
				mustGet(t, h.find("b"), "k", "1")
			})
		})
	}
}

// A transaction with one bucket that is synced is synced as a whole: then nothing of the others waits.
func TestATransactionOfIntervalAndDurableBuckets(t *testing.T) {
	h := newHarness(t)
	h.bucket("a")
	b := h.bucket("b", lax)
	syncs := h.count(simdisk.OpSync, manifest.LogDir)
	mustTxn(t, h.s, &kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("b", "k", "1"), putOf("a", "k", "1"), putOf("b", "k", "2")}}})
	if n := syncs(); n != 1 || b.synced != 3 || b.syncPending {
		t.Errorf("%d syncs, all revisions below %d are durable, pending %v", n, b.synced, b.syncPending)
	}
	mustTxn(t, h.s, &kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putOf("b", "k", "3"), putOf("b", "l", "3")}}})
	if n := syncs(); n != 1 || b.synced != 3 || !b.syncPending {
		t.Errorf("of the interval alone: %d syncs, all revisions below %d are durable, pending %v", n, b.synced, b.syncPending)
	}
	h.powerCut()
	h.open()
	mustGet(t, h.find("a"), "k", "1")
	mustGet(t, h.find("b"), "k", "2")
	if _, err := h.find("b").Get(ctx, "l"); !errors.Is(err, kv.ErrKeyNotFound) {
		t.Errorf("half a transaction is there: %v", err)
	}
}

// After an error of another file the log is still synced within the interval.
func TestIntervalIsKeptInAReadOnlyStore(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", lax)
	mustPut(t, b, "k", "v")
	_ = h.s.poison(syscall.EIO)
	if _, err := b.PutString(ctx, "k", "w"); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("a write: %v", err)
	}
	mustSync(t, h.s)
	h.powerCut()
	h.open()
	mustGet(t, h.find("b"), "k", "v")
}

// Whichever call of the file system fails, writes before a successful Sync are there, and
// a prefix of the later ones.
func TestEveryCallOfIntervalWritesFails(t *testing.T) {
	for n := 1; ; n++ {
		h := newHarness(t)
		b := h.bucket("b", lax, withHistory(64))
		calls := 0
		h.fs.Inject(func(simdisk.Op) simdisk.Action {
			if calls++; calls == n {
				return simdisk.Action{Err: syscall.EIO}
			}
			return simdisk.Action{}
		})
		var put, synced int
		for put < 12 {
			if _, err := b.PutString(ctx, fmt.Sprint(put), "v"); err != nil {
				break
			}
			if put++; put%4 == 0 {
				if h.s.Sync(ctx) != nil {
					break
				}
				synced = put
			}
		}
		h.fs.Inject(nil)
		h.powerCut()
		h.open()
		kept := 0
		for i := range 12 {
			if _, err := h.find("b").Get(ctx, fmt.Sprint(i)); err == nil {
				if kept != i {
					t.Fatalf("call %d failed: %d is there, and %d is not", n, i, kept)
				}
				kept++
			}
		}
		if kept < synced {
			t.Fatalf("call %d failed: %d writes are there, %d were synced", n, kept, synced)
		}
		if calls < n {
			break
		}
	}
}

// After many crashes the oldest lost ranges are replaced by one bound.
func TestSkippedRangesAreBounded(t *testing.T) {
	b := &Bucket{}
	for n := range kv.Revision(2 * manifest.SkippedMax) {
		after := n * 2 * unsyncedMax
		b.recordSkipped(manifest.SkippedRange{After: after, UpTo: after + unsyncedMax/2})
		b.recordSkipped(manifest.SkippedRange{After: after + unsyncedMax/2, UpTo: after + unsyncedMax}) // nothing was written in between
	}
	first := kv.Revision(manifest.SkippedMax * 2 * unsyncedMax)
	if len(b.mu.skipped) != manifest.SkippedMax || b.mu.skipped[0] != (manifest.SkippedRange{After: first, UpTo: first + unsyncedMax}) || b.mu.compactedEndUpTo != first-unsyncedMax {
		t.Errorf("%d ranges from %+v on, and keys ended up to %d", len(b.mu.skipped), b.mu.skipped[0], b.mu.compactedEndUpTo)
	}
}

// A watch that was sent revisions which a crash lost cannot resume, not even after a later
// open. A watch that was sent durable revisions only can resume.
func TestAWatchOfLostRevisionsDoesNotResume(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", lax, withHistory(5))
	mustPut(t, b, "k", "durable") // 1
	mustSync(t, h.s)
	mustPut(t, b, "k", "lost") // 2
	h.powerCut()
	h.open()
	next := mustPut(t, h.find("b"), "k", "v")
	if next != 2+unsyncedMax {
		t.Fatalf("the bucket goes on at revision %d", next)
	}
	resume := func(from kv.Revision) error {
		w, err := h.find("b").Watch(ctx, nil, kv.ResumeFromRevision(from))
		if err != nil {
			return err
		}
		defer w.Stop()
		if u := <-w.Updates(); u.Entry == nil || u.Entry.Revision < from {
			return fmt.Errorf("began with %+v", u)
		}
		return nil
	}
	for _, again := range []func(){func() {}, h.reopen, func() { h.kill(); h.open() }, h.reopen} {
		again()
		if err := resume(2); err != nil { // above the durable revisions
			t.Fatalf("resumed behind what is durable: %v", err)
		}
		for _, from := range []kv.Revision{3, 100, unsyncedMax} {
			err := resume(from)
			wantError(t, err, kv.ErrCompacted)
			var gone *kv.CompactedError
			if !errors.As(err, &gone) || gone.First < next {
				t.Fatalf("resumed from %d: %v", from, err)
			}
		}
		if err := resume(next); err != nil {
			t.Fatalf("resumed behind the crash: %v", err)
		}
	}
}
