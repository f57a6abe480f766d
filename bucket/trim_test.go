package bucket

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
)

func mustTrim(t testing.TB, b *Bucket, below kv.Revision, records uint64, bytes int64, want uint64) {
	t.Helper()
	if n, err := b.Trim(ctx, below, records, bytes); n != want || err != nil {
		t.Fatalf("trim below %d to %d records of %d bytes: %d removed, want %d; error %v", below, records, bytes, n, want, err)
	}
}

func TestTrim(t *testing.T) {
	// Revisions: a 1, 4, 7; b 2, 5; c 3, 6 (a delete). A record has 64 bytes.
	all := showing{"a": revs{1, 4, 7}, "b": revs{2, 5}, "c": revs{3, 6}}
	for _, c := range []struct {
		name    string
		below   kv.Revision
		records uint64
		bytes   int64
		trimmed uint64
		want    showing
	}{
		{"to any number", 0, 0, 0, 0, all},
		{"to as many as there are", 0, 7, 7 * 64, 0, all},
		{"to any number of any size", 0, 0, -1, 0, all},
		{"to one less", 0, 6, 0, 1, showing{"a": revs{4, 7}, "b": revs{2, 5}, "c": revs{3, 6}}},
		{"to two", 0, 2, 0, 5, showing{"a": revs{7}, "c": revs{6}}},
		{"to one", 0, 1, 0, 6, showing{"a": revs{7}}},
		{"to bytes of four", 0, 0, 4 * 64, 3, showing{"a": revs{4, 7}, "b": revs{5}, "c": revs{6}}},
		{"to a byte less than four", 0, 0, 4*64 - 1, 4, showing{"a": revs{7}, "b": revs{5}, "c": revs{6}}},
		{"to a byte", 0, 0, 1, 7, showing{}},
		{"to records and more bytes", 0, 3, 6 * 64, 4, showing{"a": revs{7}, "b": revs{5}, "c": revs{6}}},
		{"to bytes and more records", 0, 6, 3 * 64, 4, showing{"a": revs{7}, "b": revs{5}, "c": revs{6}}},
		{"below a revision", 5, 6, 1, 4, showing{"a": revs{7}, "b": revs{5}, "c": revs{6}}},
		{"below the first", 1, 1, 1, 0, all},
		{"below what is not there yet", 99, 0, 0, 7, showing{}},
	} {
		for storage, change := range map[string]func(*kv.Config){"file": func(*kv.Config) {}, "memory": inMemory} {
			t.Run(c.name+"/"+storage, func(t *testing.T) {
				h := newHarness(t)
				b := h.bucket("b", messageLog, withHistory(3), change)
				for _, key := range []string{"a", "b", "c", "a", "b"} {
					mustPut(t, b, key, "v")
				}
				if _, err := b.Delete(ctx, "c"); err != nil {
					t.Fatal(err)
				}
				mustPut(t, b, "a", "v")
				mustTrim(t, b, c.below, c.records, c.bytes, c.trimmed)
				wantShown(t, b, c.want)
				mustTrim(t, b, c.below, c.records, c.bytes, 0)
				if storage == "memory" {
					return
				}
				for _, end := range []func(){h.powerCut, h.kill, h.powerCut} {
					end()
					h.open()
					wantShown(t, h.find("b"), c.want)
				}
				if rev := mustPut(t, h.find("b"), "a", "v"); rev != 8 {
					t.Fatalf("the next revision is %d, want 8", rev)
				}
			})
		}
	}
}

func TestTrimRefuses(t *testing.T) {
	h := newHarness(t)
	_, err := h.bucket("loud").Trim(ctx, 0, 1, 0)
	wantError(t, err, kv.ErrNotSupported)
	b := h.bucket("b", messageLog)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Trim(ctx, 0, 1, 0)
	wantError(t, err, kv.ErrBucketNotFound)
}

func TestATrimOfNothingWritesNothing(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	mustTrim(t, b, 0, 1, 1, 0)
	mustTrim(t, b, 9, 0, 0, 0)
	mustAppend(t, b, "k", "v")
	mustAppend(t, b, "k", "v")
	last, syncs := h.s.log.Last(), h.count(simdisk.OpSync, "")
	mustTrim(t, b, 0, 2, 0, 0)
	mustTrim(t, b, 1, 0, 0, 0)
	if h.s.log.Last() != last || syncs() != 0 {
		t.Errorf("the log went from LSN %d to %d, with %d syncs", last, h.s.log.Last(), syncs())
	}
}

// Trims remove records one after the other, across segments, index blocks and compacted
// segments. A trim does not read again the records that earlier trims removed.
func TestTrimGoesOnWhereItWas(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.SegmentSize = 4 << 10 })
	b := h.bucket("b", messageLog)
	left, next := 0, kv.Revision(1) // the newest record removed
	for round := range 30 {
		for range 20 {
			mustAppend(t, b, "k", strings.Repeat("v", 100))
			left++
		}
		switch round % 5 {
		case 1:
			h.checkpoint()
		case 3:
			if _, err := b.Reclaim(ctx, nil); err != nil {
				t.Fatal(err)
			}
		case 4:
			h.reopen()
			b = h.find("b")
		}
		for ; left > 10; left-- {
			mustTrim(t, b, 0, uint64(left-1), 0, 1)
			next++
			if p := b.sweeping.oldest.Revision; p != next-2 {
				t.Fatalf("round %d: the search began behind revision %d, want %d", round, p, next-2)
			}
		}
	}
	want := showing{}
	for r := next; r < next+10; r++ {
		want[appended("k", r)] = revs{r}
	}
	wantShown(t, b, want)
}

// A large trim works in rounds. Each removes the oldest records only.
func TestATrimOfMany(t *testing.T) {
	for _, n := range []int{trimAtOnce, trimAtOnce + 1, trimRound, trimRound + 1, 3*trimRound + 100} {
		h := newHarness(t)
		b := h.bucket("b", messageLog)
		batch := make([]kv.Mutation, n+10)
		for i := range batch {
			batch[i] = appendTo(b, "k", "v")
		}
		h.submit(batch...)
		mustTrim(t, b, 0, 10, 0, uint64(n))
		for range 2 {
			if keys := collect(t, h.find("b")); len(keys) != 10 || keys[9] != appended("k", kv.Revision(n+1)) {
				t.Fatalf("of %d keys %d are kept: %q", n+10, len(keys), keys)
			}
			h.powerCut()
			h.open()
		}
	}
}

// A trim does not count records that have expired by the bucket's TTL, nor those that are
// dead by a pending rule.
func TestTrimDoesNotCountTheDead(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", messageLog, withHistory(2), withTTL(time.Minute))
	for range 3 {
		mustAppend(t, b, "old", "v")
	}
	a.clock.advance(time.Minute)
	for i := range 4 {
		mustPut(t, b, fmt.Sprint("k", i%2), "v")
	}
	mustTrim(t, b, 0, 4, 0, 0)
	a.s.path.Lock()
	b.beginRules(func(l *manifest.Liveness) { l.AddCut(manifest.Cut{UpTo: 7, Keep: 1}) })
	a.s.path.Unlock()
	mustTrim(t, b, 0, 2, 0, 0)
	b.finishRules()
	wantShown(t, b, showing{"k0": revs{6}, "k1": revs{7}})
}

// A record that the search found may have been removed before the trim is decided. Then
// another one is kept in its place.
func TestATrimIsDecidedByWhatIsLeft(t *testing.T) {
	for _, c := range []struct {
		name  string
		amid  func(h *harness, b *Bucket)
		going int
		want  showing
	}{
		{"as it was", func(*harness, *Bucket) {}, 2, showing{"c": revs{3}, "d": revs{4}}},
		{"one was written again", func(_ *harness, b *Bucket) { mustPut(t, b, "a", "v") }, 1, showing{"a": revs{5}, "c": revs{3}, "d": revs{4}}},
		{"one was erased", func(_ *harness, b *Bucket) { _, _ = b.Erase(ctx, "d", 0, 0) }, 1, showing{"b": revs{2}, "c": revs{3}}},
		{"all that is too many was", func(_ *harness, b *Bucket) { _, _ = b.Erase(ctx, ">", 3, 0) }, 0, showing{"c": revs{3}, "d": revs{4}}},
		{"the log is full", func(h *harness, _ *Bucket) {
			other := h.bucket("other")
			for h.s.log.Reserve(8<<10) == nil {
				mustPut(t, other, "k", strings.Repeat("v", 3000))
			}
		}, 2, showing{"c": revs{3}, "d": revs{4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.LogFileSize, o.LogMaxSize = 16<<10, 32<<10 })
			b := h.bucket("b", messageLog)
			for _, key := range []string{"a", "b", "c", "d"} {
				mustPut(t, b, key, "v")
			}
			if err := b.lockSweep(ctx); err != nil {
				t.Fatal(err)
			}
			trim := trim{bucket: b, records: 2}
			if err := trim.find(ctx); err != nil || len(trim.found) != 2 {
				t.Fatalf("%d records found, error %v", len(trim.found), err)
			}
			c.amid(h, b)
			if err := trim.remove(ctx); err != nil || trim.removed != c.going {
				t.Errorf("%d records are removed, want %d; error %v", trim.removed, c.going, err)
			}
			b.unlockSweep()
			wantShown(t, b, c.want)
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), c.want)
		})
	}
}

// If the clock may be wrong, a trim does not sweep. It counts the records that have
// expired by that clock.
func TestATrimAfterALeapOfTheClockSweepsNothing(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", messageLog, withTTL(time.Minute))
	for i := range 5 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	a.powerCut()
	a.clock.advance(clockLeap + time.Hour)
	a.open()
	mustTrim(t, a.find("b"), 0, 5, 0, 0)
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	a.clock.advance(-clockLeap - time.Hour)
	a.open() // the clock is right again: nothing has expired
	wantShown(t, a.find("b"), showing{"0": revs{1}, "1": revs{2}, "2": revs{3}, "3": revs{4}, "4": revs{5}})
	a.powerCut()
	a.clock.advance(clockLeap + time.Hour)
	a.open()
	mustTrim(t, a.find("b"), 0, 3, 0, 2)
	if n := a.find("b").mu.index.Count(); n != 3 {
		t.Errorf("%d records are kept, want 3", n)
	}
}

// A watch that resumes at or below a forgotten end of a key gets ErrCompacted. A watch that
// has seen the end, or that passes forgotten ends, does not.
func TestAWatchBehindATrimIsTold(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	live := mustWatch(t, b, nil)
	for _, key := range []string{"a", "b", "a", "c"} {
		mustPut(t, b, key, "v")
	}
	drain(t, live)
	mustTrim(t, b, 0, 1, 0, 2)
	if got := drain(t, live); len(got) != 0 {
		t.Errorf("a watcher gets %d entries", len(got))
	}
	_, err := b.Watch(ctx, nil, kv.ResumeFromRevision(3))
	wantError(t, err, kv.ErrCompacted)
	h.powerCut()
	h.open()
	b = h.find("b")
	_, err = b.Watch(ctx, nil, kv.ResumeFromRevision(3))
	wantError(t, err, kv.ErrCompacted)
	for _, opts := range [][]kv.WatchOption{{kv.ResumeFromRevision(4)}, {kv.ResumeFromRevision(1), msglog.PassForgotten()}} {
		if got := drain(t, mustWatch(t, b, nil, opts...)); len(got) != 2 || got[0].Entry.Revision != 4 {
			t.Errorf("%d events, want one and the signal", len(got))
		}
	}
}

// Damage hides records from readers of the segments. A trim finds them in the index.
func TestTrimPassesDamage(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	for i := range 6 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	h.checkpoint()
	b.mu.RLock()
	v, _ := b.mu.index.Newest(index.Hash("2"), "2")
	b.mu.RUnlock()
	h.flip(h.segmentFiles()[0], v.Offset+40, 1)
	mustTrim(t, b, 0, 2, 0, 4)
	wantShown(t, b, showing{"4": revs{5}, "5": revs{6}})
}

// Writers replace and append while others trim. In the end the newest records are kept.
func TestTrimBesideWriters(t *testing.T) {
	const seed, writers, each, limit = 1, 3, 300, 20
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for range each {
				m := []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint("k", rng.IntN(10))}}
				if rng.IntN(2) == 0 {
					m[0].Op = msglog.Append
				}
				if err := b.store.Submit(ctx, m); err != nil || m[0].Err != nil {
					t.Error(err, m[0].Err)
				}
				if rng.IntN(4) == 0 {
					if _, err := b.Trim(ctx, 0, limit, 0); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if _, err := b.Trim(ctx, 0, limit, 0); err != nil {
		t.Fatal(err)
	}
	before := shown(t, b)
	if len(before) > limit {
		t.Errorf("%d keys are kept, want at most %d", len(before), limit)
	}
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), before)
}

// A resumed watch that passes forgotten ends counts exactly the entries that it will send,
// also if some keys were erased meanwhile.
func TestAResumedWatchDoesNotAwaitWhatWasErased(t *testing.T) {
	b := newHarness(t).bucket("b", messageLog)
	for i := range 8 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	for _, key := range []string{"3", "5"} {
		if _, err := b.Erase(ctx, key, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	w := mustWatch(t, b, nil, kv.ResumeFromRevision(4), msglog.PassForgotten(), kv.Notify(func() {}))
	if n := w.(kv.Poller).Pending(); n != 3 {
		t.Errorf("%d entries are to come, want 3", n)
	}
	var got []uint64
	for more := true; more; {
		var err error
		if more, err = w.(kv.Poller).Poll(func(u kv.Update) bool {
			if u.Entry != nil {
				got = append(got, uint64(u.Entry.Revision), u.Entry.Delta)
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != "[5 2 7 1 8 0]" {
		t.Errorf("revisions and deltas are %d", got)
	}
}

// A trim works on a full disk, and is durable there.
func TestATrimOnAFullDisk(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.ReserveSize = 8 << 20 })
	b := h.bucket("b", messageLog)
	h.disk.SetCapacity(h.disk.Used() + 2<<20)
	n := fillDisk(t, b, "k")
	for left := n - 1; left > 0; left-- { // each is an operation of its own
		mustTrim(t, b, 0, uint64(left), 0, 1)
	}
	h.powerCut()
	h.open()
	b = h.find("b")
	if keys := collect(t, b); len(keys) != 1 {
		t.Errorf("%d keys are kept, want 1", len(keys))
	}
	h.disk.SetCapacity(-1)
	mustPut(t, b, "more", "v")
}
