package bucket

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// wantGap checks for a *kv.CompactedError with the first revision from which no end of a
// key is missing.
func wantGap(t *testing.T, err error, first kv.Revision) {
	t.Helper()
	var gone *kv.CompactedError
	if !errors.As(err, &gone) || gone.First != first {
		t.Errorf("error is %v, want one that nothing is missing from revision %d on", err, first)
	}
}

// purgeDeletesAndReclaim purges all markers of a bucket, and removes their records.
func (h *harness) purgeDeletesAndReclaim(b *Bucket) {
	h.t.Helper()
	if err := b.PurgeDeletes(ctx, -1); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.s.Reclaim(ctx, nil); err != nil {
		h.t.Fatal(err)
	}
}

// A resumed watch gets ErrCompacted if the end of a key is forgotten after the call began
// and before the watch has read the bucket, by the index or by revision.
func TestAResumeMeetsAForgottenEnd(t *testing.T) {
	for name, scans := range map[string]bool{"by the index": false, "by revision": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				b := h.bucket("b")
				mustPut(t, b, "k", "v")
				marker, err := b.Delete(ctx, "k")
				if err != nil {
					t.Fatal(err)
				}
				for i := range 20 {
					if key := "k0"; scans { // as many keys as revisions: reading by revision is cheaper
						mustPut(t, b, fmt.Sprint(key, i), "v")
					} else {
						mustPut(t, b, key, "v")
					}
				}
				free := h.holdUp(scans)
				result := make(chan error)
				go func() {
					w, err := b.Watch(ctx, nil, kv.ResumeFromRevision(marker), kv.Notify(func() {}))
					if err == nil {
						_ = w.Stop()
					}
					result <- err
				}()
				synctest.Wait()
				h.purgeDeletesAndReclaim(b)
				free()
				wantGap(t, <-result, marker+1)
			})
		})
	}
}

// holdUp takes all scanners of the store, or all snapshots of indexes, until free is
// called. Calls that need one wait.
func (h *harness) holdUp(scans bool) (free func()) {
	s := h.s
	if !scans {
		for range snapshotsOpen {
			s.snapshots <- struct{}{}
		}
		return func() {
			for range snapshotsOpen {
				<-s.snapshots
			}
		}
	}
	for range scannersMax {
		scanner := <-s.scanners
		free = func(next func()) func() {
			return func() {
				if next != nil {
					next()
				}
				s.scanners <- scanner
			}
		}(free)
	}
	return free
}

// A watcher that reads records gets ErrCompacted if compaction removes the end of a key
// meanwhile.
func TestALaggardMeetsAForgottenEnd(t *testing.T) {
	for _, storage := range []func(*kv.Config){func(*kv.Config) {}, inMemory} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b", storage)
			mustPut(t, b, "k", "v")
			w := mustWatch(t, b, nil, kv.UpdatesOnly())
			mustPut(t, b, "other", "v")
			marker, err := b.Delete(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			mustPut(t, b, "other", "w")
			free := h.holdUp(true)
			result := make(chan error)
			go func() {
				for {
					more, err := w.(kv.Poller).Poll(func(kv.Update) bool { return true })
					if !more {
						result <- err
						return
					}
				}
			}()
			synctest.Wait()
			if err := b.PurgeDeletes(ctx, -1); err != nil {
				t.Fatal(err)
			}
			for i := range 6000 { // so much that a memory bucket rewrites its segments, too
				mustPut(t, b, "other", fmt.Sprintf("%01000d", i))
			}
			if _, err := h.s.Reclaim(ctx, nil); err != nil {
				t.Fatal(err)
			}
			free()
			var gone *kv.CompactedError
			if err := <-result; !errors.As(err, &gone) || gone.First <= marker {
				t.Errorf("the watcher that was behind: %v, want a gap beyond revision %d", err, marker)
			}
		})
	}
}

// A watch of all histories has sent an old value of a key, and the key's marker is
// forgotten before the watch reads it.
func TestAHistoryLosesItsEnd(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(5))
	mustPut(t, b, "k", "v")
	for i := range 200 {
		mustPut(t, b, fmt.Sprint(i), "v")
		if _, err := b.Purge(ctx, fmt.Sprint("gone.", i)); err != nil { // so that compaction pays
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	newest := mustPut(t, b, "last", "v")
	w := mustWatch(t, b, nil, kv.IncludeHistory())
	first := ""
	poll := func(fn func(kv.Update) bool) error {
		_, err := w.(kv.Poller).Poll(fn)
		return err
	}
	if err := poll(func(u kv.Update) bool { first = u.Entry.Key; return false }); err != nil || first != "k" {
		t.Fatalf("the first event is of %q, error %v", first, err)
	}
	h.purgeDeletesAndReclaim(b)
	var err error
	for signal := false; err == nil && !signal; {
		err = poll(func(u kv.Update) bool { signal = u.Entry == nil; return !signal })
	}
	wantGap(t, err, newest+1)
}

// If no marker will be written, the end of a key is forgotten from the instant that the
// key expires, also before the sweep.
func TestAResumeMeetsAMarkerThatExpired(t *testing.T) {
	for _, swept := range []bool{false, true} {
		for name, change := range map[string]func(*kv.Config){
			"by the age of the bucket": withTTL(time.Minute),
			"by its own age":           func(*kv.Config) {},
		} {
			t.Run(fmt.Sprintf("%s/swept=%t", name, swept), func(t *testing.T) {
				a := newAging(t)
				b := a.bucket("b", change)
				mustPut(t, b, "k", "v")
				marker, err := b.Purge(ctx, "k", kv.PurgeTTL(time.Minute))
				if err != nil {
					t.Fatal(err)
				}
				a.clock.advance(time.Minute)
				if swept {
					a.sweep()
				}
				_, err = b.Watch(ctx, nil, kv.ResumeFromRevision(marker))
				wantGap(t, err, marker+1)
				_, err = b.Watch(ctx, []string{"k"}, kv.ResumeFromRevision(marker))
				wantGap(t, err, marker+1)
			})
		}
	}
}

// An erasure of all records of a key writes no marker. A watch that resumes at or below it
// gets ErrCompacted, also after a restart.
func TestAResumeMeetsAnErasedKey(t *testing.T) {
	for name, again := range map[string]func(*harness){
		"at once":            func(*harness) {},
		"after a replay":     func(h *harness) { h.kill(); h.open() },
		"after a checkpoint": func(h *harness) { h.checkpoint(); h.reopen() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b", withHistory(2))
			mustPut(t, b, "k", "v")
			mustPut(t, b, "other", "v")
			last := mustPut(t, b, "k", "w")
			newest := mustPut(t, b, "other", "w")
			for pattern, n := range map[string]uint64{"k": 2, "other": 1} {
				if got, err := b.Erase(ctx, pattern, newest, 0); got != n || err != nil {
					t.Fatalf("%d records of %q erased, error %v", got, pattern, err)
				}
			}
			again(h)
			b = h.find("b")
			_, err := b.Watch(ctx, nil, kv.ResumeFromRevision(last))
			wantGap(t, err, last+1)
			if got := drain(t, mustWatch(t, b, nil, kv.ResumeFromRevision(last+1))); len(got) != 2 || got[0].Entry.Key != "other" {
				t.Errorf("behind it there are %d events", len(got))
			}
			if got := drain(t, mustWatch(t, b, nil, kv.ResumeFromRevision(1), msglog.PassForgotten())); len(got) != 2 {
				t.Errorf("a watch that is to pass over it has %d events", len(got))
			}
		})
	}
}
