package bucket

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// aging is a store whose clock is set by the test.
type aging struct {
	*harness
	clock *testClock
}

func newAging(t testing.TB, change ...func(*Options)) *aging {
	a := &aging{clock: &testClock{now: time.Unix(1_000_000_000, 0)}}
	a.harness = newHarness(t, append([]func(*Options){func(o *Options) { o.env.Now = a.clock.Now }}, change...)...)
	return a
}

func withTTL(ttl time.Duration) func(*kv.Config) { return func(c *kv.Config) { c.TTL = ttl } }

func (a *aging) sweep() {
	a.t.Helper()
	if err := a.s.Sweep(ctx); err != nil {
		a.t.Fatal(err)
	}
}

func putTTL(t testing.TB, b *Bucket, key, value string, ttl time.Duration) kv.Revision {
	t.Helper()
	rev, err := b.Put(ctx, key, []byte(value), kv.KeyTTL(ttl))
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// entries formats the history of a key; "" for none.
func entries(t testing.TB, b *Bucket, key string) string {
	t.Helper()
	var s []string
	for e, err := range b.History(ctx, key) {
		if err != nil {
			break // there is no history; missing checks that
		}
		word := fmt.Sprintf("%v@%d", e.Operation, e.Revision)
		if e.Reason == kv.ReasonExpiry {
			word = fmt.Sprintf("EXPIRE@%d", e.Revision)
		}
		s = append(s, word)
	}
	return strings.Join(s, " ")
}

func wantEntries(t testing.TB, b *Bucket, key, want string) {
	t.Helper()
	if got := entries(t, b, key); got != want {
		t.Fatalf("the history of %q is %q, want %q", key, got, want)
	}
}

// wantGone checks that no read finds a key.
func wantGone(t testing.TB, b *Bucket, key string, revisions ...kv.Revision) {
	t.Helper()
	_, err := b.Get(ctx, key)
	wantError(t, err, kv.ErrKeyNotFound)
	for _, rev := range revisions {
		_, err := b.GetRevision(ctx, key, rev)
		wantError(t, err, kv.ErrKeyNotFound)
	}
	for _, k := range collect(t, b) {
		if k == key {
			t.Fatalf("%q is listed", key)
		}
	}
}

// justExpired returns a bucket with a key k. Its newest value, v, was put by put and has
// expired after a minute.
func justExpired(t *testing.T, swept bool, put func(*Bucket), change ...func(*kv.Config)) (*aging, *Bucket) {
	t.Helper()
	a := newAging(t)
	b := a.bucket("b", change...)
	mustPut(t, b, "k", "old")
	put(b)
	a.clock.advance(time.Minute - 1)
	mustGet(t, b, "k", "v")
	a.clock.advance(1)
	if swept {
		a.sweep()
	}
	return a, b
}

// Every test below runs with a sweep before the check and without: the results must be the
// same.
func TestExpiryDoesNotWaitForTheSweep(t *testing.T) {
	for _, swept := range []bool{false, true} {
		t.Run(fmt.Sprintf("swept=%t", swept), func(t *testing.T) {
			begin := func(t *testing.T, change ...func(*kv.Config)) (*aging, *Bucket) {
				put := func(b *Bucket) { putTTL(t, b, "k", "v", time.Minute) }
				return justExpired(t, swept, put, append([]func(*kv.Config){withHistory(5)}, change...)...)
			}
			t.Run("the key is gone with its history", func(t *testing.T) {
				_, b := begin(t)
				wantGone(t, b, "k", 1, 2)
			})
			t.Run("create succeeds behind the marker", func(t *testing.T) {
				_, b := begin(t)
				if rev, err := b.Create(ctx, "k", []byte("new")); rev != 4 || err != nil {
					t.Fatalf("revision %d, error %v", rev, err)
				}
				wantEntries(t, b, "k", "EXPIRE@3 PUT@4")
			})
			t.Run("update of the expired revision fails and names the marker", func(t *testing.T) {
				_, b := begin(t)
				_, err := b.Update(ctx, "k", nil, 2)
				wantError(t, err, kv.ErrKeyRevisionMismatch, "3")
				wantEntries(t, b, "k", "EXPIRE@3")
				if rev, err := b.Update(ctx, "k", []byte("new"), 3); rev != 4 || err != nil {
					t.Fatalf("revision %d, error %v", rev, err)
				}
			})
			t.Run("update of nothing fails", func(t *testing.T) {
				_, b := begin(t)
				_, err := b.Update(ctx, "k", nil, 0)
				wantError(t, err, kv.ErrKeyRevisionMismatch)
			})
			t.Run("touch finds nothing", func(t *testing.T) {
				_, b := begin(t)
				_, err := b.Touch(ctx, "k")
				wantError(t, err, kv.ErrKeyNotFound)
			})
			t.Run("conditional delete and purge fail", func(t *testing.T) {
				_, b := begin(t)
				_, err := b.Delete(ctx, "k", kv.LastRevision(2))
				wantError(t, err, kv.ErrKeyRevisionMismatch)
				_, err = b.Purge(ctx, "k", kv.LastRevision(2))
				wantError(t, err, kv.ErrKeyRevisionMismatch)
			})
			t.Run("put and delete go on behind the marker", func(t *testing.T) {
				_, b := begin(t)
				mustPut(t, b, "k", "new")
				wantEntries(t, b, "k", "EXPIRE@3 PUT@4")
				if rev, err := b.Delete(ctx, "k"); rev != 5 || err != nil {
					t.Fatalf("revision %d, error %v", rev, err)
				}
			})
			t.Run("purge-deletes drops the key", func(t *testing.T) {
				_, b := begin(t)
				if err := b.PurgeDeletes(ctx, -1); err != nil {
					t.Fatal(err)
				}
				wantEntries(t, b, "k", "")
				if rev := mustPut(t, b, "k", "new"); rev != 4 {
					t.Fatalf("revision %d, want 4", rev)
				}
			})
			t.Run("a write in the same group comes behind the marker", func(t *testing.T) {
				a, b := begin(t)
				got := a.submit(
					kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: "k", Last: 2},
					kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k"},
					kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k"},
				)
				wantError(t, got[0].Err, kv.ErrKeyRevisionMismatch)
				if got[1].Revision != 4 || got[1].Err != nil {
					t.Fatalf("revision %d, error %v", got[1].Revision, got[1].Err)
				}
				wantError(t, got[2].Err, kv.ErrKeyExists)
				wantEntries(t, b, "k", "EXPIRE@3 PUT@4")
			})
			t.Run("a condition on the bucket sees the marker", func(t *testing.T) {
				a, b := begin(t)
				got := a.submit(
					kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", IfNewest: true, Newest: 2},
					kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", IfNewest: true, Newest: 3},
				)
				wantError(t, got[0].Err, kv.ErrKeyRevisionMismatch, "revision 3")
				if got[1].Revision != 4 || got[1].Err != nil {
					t.Fatalf("revision %d, error %v", got[1].Revision, got[1].Err)
				}
				wantEntries(t, b, "k", "EXPIRE@3 PUT@4")
			})
			t.Run("it is gone after a crash, and after the clock was set back", func(t *testing.T) {
				a, b := begin(t)
				mustPut(t, b, "other", "v") // the time is in the log
				a.powerCut()
				a.clock.advance(-48 * time.Hour)
				a.open()
				wantGone(t, a.find("b"), "k", 1, 2)
			})
		})
	}
}

func TestBucketTTL(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withHistory(3), withTTL(time.Minute))
	mustPut(t, b, "k", "1")
	mustPut(t, b, "gone", "1")
	if _, err := b.Delete(ctx, "deleted"); err != nil {
		t.Fatal(err)
	}
	putTTL(t, b, "soon", "v", time.Second)
	putTTL(t, b, "late", "v", time.Hour)
	a.clock.advance(30 * time.Second)
	wantGone(t, b, "soon")
	mustPut(t, b, "k", "2")
	a.clock.advance(30 * time.Second)
	wantGone(t, b, "gone", 2)
	wantGone(t, b, "late")
	wantEntries(t, b, "k", "PUT@6")
	wantEntries(t, b, "deleted", "")
	a.sweep()
	wantEntries(t, b, "gone", "EXPIRE@7")
	wantEntries(t, b, "soon", "EXPIRE@8")
	wantEntries(t, b, "late", "EXPIRE@9")
	mustGet(t, b, "k", "2")
	if st, err := b.Status(ctx); err != nil || st.Keys != 1 || st.Values != 4 || st.Revision != 9 {
		t.Fatalf("status %+v, error %v", st, err)
	}
	a.powerCut()
	a.open()
	b = a.find("b")
	wantEntries(t, b, "gone", "EXPIRE@7")
	wantEntries(t, b, "k", "PUT@6")
	a.clock.advance(kv.MarkerTTLDefault)
	wantEntries(t, b, "gone", "")
	a.sweep()
	if st, err := b.Status(ctx); err != nil || st.Keys != 0 || st.Values != 1 || st.Revision != 10 {
		t.Fatalf("status %+v, error %v", st, err)
	}
}

func TestAMarkerLeavesAtItsTime(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", func(c *kv.Config) { c.MarkerTTL = time.Minute })
	if _, err := b.Purge(ctx, "purged", kv.PurgeTTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	putTTL(t, b, "k", "v", time.Second)
	a.clock.advance(time.Second)
	a.sweep()
	wantEntries(t, b, "k", "EXPIRE@3")
	e, err := b.Last(ctx, "k")
	if err != nil || e.Deadline.Sub(e.Created) != time.Minute {
		t.Fatalf("the marker is %+v, error %v", e, err)
	}
	a.clock.advance(time.Minute)
	wantEntries(t, b, "k", "")
	// A create finds no record, whether or not the marker was removed.
	if rev, err := b.Update(ctx, "k", []byte("w"), 0); rev != 4 || err != nil {
		t.Fatalf("revision %d, error %v", rev, err)
	}
	wantEntries(t, b, "k", "PUT@4")
	a.sweep()
	wantEntries(t, b, "purged", "PURGE@1")
	a.clock.advance(time.Hour)
	a.sweep()
	wantEntries(t, b, "purged", "")
	for range 2 {
		wantShown(t, b, showing{"k": revs{4}})
		a.powerCut()
		a.open()
		b = a.find("b")
	}
}

// A deadline belongs to the key: a newer record lifts it, also for the older records.
func TestANewerRecordLiftsADeadline(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withHistory(3))
	putTTL(t, b, "k", "1", time.Second)
	if _, err := b.Touch(ctx, "k", kv.KeyTTL(time.Minute)); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "k", "3")
	a.clock.advance(time.Hour)
	a.sweep()
	wantEntries(t, b, "k", "PUT@1 PUT@2 PUT@3")
	if n := b.mu.index.Deadlines(); n != 0 {
		t.Errorf("the index still has %d deadlines", n)
	}
}

func TestTouchRenews(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b")
	putTTL(t, b, "k", "v", time.Minute)
	for range 5 {
		a.clock.advance(59 * time.Second)
		if _, err := b.Touch(ctx, "k", kv.KeyTTL(time.Minute)); err != nil {
			t.Fatal(err)
		}
		a.sweep()
	}
	mustGet(t, b, "k", "v")
	a.clock.advance(time.Minute)
	wantGone(t, b, "k")
}

// No edit brings back what has expired, and none waits for the sweep.
func TestEditsOfATTL(t *testing.T) {
	for _, swept := range []bool{false, true} {
		for _, c := range []struct {
			name     string
			from, to time.Duration
			want     []string // of keys put 90 and 30 seconds before the edit
		}{
			{"longer", time.Minute, time.Hour, []string{"new"}},
			{"none", time.Minute, 0, []string{"new"}},
			{"shorter", time.Hour, time.Minute, []string{"new"}},
			{"much shorter", time.Hour, time.Second, nil},
			{"first", 0, time.Minute, []string{"new"}},
			{"long", 0, time.Hour, []string{"new", "old"}},
		} {
			t.Run(fmt.Sprintf("%s/swept=%t", c.name, swept), func(t *testing.T) {
				a := newAging(t)
				b := a.bucket("b", withTTL(c.from))
				mustPut(t, b, "old", "v")
				a.clock.advance(time.Minute)
				mustPut(t, b, "new", "v")
				a.clock.advance(30 * time.Second)
				if swept {
					a.sweep()
				}
				config, _ := b.config()
				config.TTL = c.to
				if _, err := a.s.UpdateBucket(ctx, config); err != nil {
					t.Fatal(err)
				}
				wantKeys(t, collect(t, b), c.want...)
				a.sweep()
				wantKeys(t, collect(t, b), c.want...)
				a.powerCut()
				a.open()
				wantKeys(t, collect(t, a.find("b")), c.want...)
			})
		}
	}
}

// Setting the wall clock while the store is open changes nothing: the store uses the
// monotonic clock.
func TestTheWallClockExpiresNothing(t *testing.T) {
	for _, bug := range []bool{false, true} { // the check can fail
		wall, elapsed := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Duration(0)
		h := newHarness(t, func(o *Options) {
			o.env.Now = func() time.Time { return wall }
			if o.env.Elapsed = func() time.Duration { return elapsed }; bug {
				o.env.Elapsed = func() time.Duration { return time.Duration(wall.UnixNano()) }
			}
		})
		b := h.bucket("b", withTTL(time.Hour))
		putTTL(t, b, "k", "v", time.Minute)
		mustPut(t, b, "aged", "v")
		for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, 73 * 365 * clockLeap, -130 * 365 * clockLeap} {
			wall = wall.Add(jump)
			if err := h.s.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if keys := collect(t, b); (len(keys) == 2) == bug {
				t.Fatalf("by the wall clock: %t; after a jump of %v there is %q", bug, jump, keys)
			}
		}
		if bug {
			return
		}
		elapsed += time.Minute
		wantGone(t, b, "k")
		mustGet(t, b, "aged", "v")
		elapsed += time.Hour
		wantGone(t, b, "aged")
	}
}

func TestALeapOfTheClockIsReported(t *testing.T) {
	for _, c := range []struct {
		name   string
		leap   time.Duration
		ttl    time.Duration
		accept bool
		rests  bool
	}{
		{"a day", clockLeap, time.Minute, false, false},
		{"more than a day", clockLeap + time.Minute, time.Minute, false, true},
		{"accepted", clockLeap + time.Minute, time.Minute, true, false},
		{"nothing can expire", clockLeap + time.Minute, 0, false, false},
		{"back", -clockLeap, time.Minute, false, false},
		{"back an hour", -time.Hour, time.Minute, false, false},
		{"an hour", time.Hour, time.Minute, false, false},
		{"to 2099", 90 * 365 * clockLeap, time.Minute, false, true},
		{"to 1970", math.MinInt64, time.Minute, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAging(t)
			b := a.bucket("b", withTTL(c.ttl))
			mustPut(t, b, "k", "v")
			a.powerCut()
			a.clock.advance(c.leap)
			if c.leap == math.MinInt64 {
				a.clock.now = time.Unix(0, 0)
			}
			a.opts.AcceptClock = c.accept
			a.open()
			a.sweep()
			if notes := a.s.Report().Notes; (len(notes) > 0) != c.rests {
				t.Fatalf("Open notes %q", notes)
			}
			b = a.find("b")
			want := "PUT@1"
			switch {
			case c.rests:
				want = "" // readers do not see it, but it is kept
				if n := b.mu.index.Count(); n != 1 {
					t.Errorf("%d records, want 1", n)
				}
			case c.leap > 0 && c.ttl != 0:
				want = "EXPIRE@2"
			}
			wantEntries(t, b, "k", want)
			if !c.rests {
				return
			}
			// After the clock is set right, nothing has expired.
			if err := a.s.Close(); err != nil {
				t.Fatal(err)
			}
			a.clock.advance(-c.leap)
			a.open()
			wantEntries(t, a.find("b"), "k", "PUT@1")
		})
	}
}

func TestExpiredKeysFreeWhatTheyHeld(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withMaxBytes(200))
	putTTL(t, b, "k", strings.Repeat("v", 100), time.Second)
	_, err := b.Put(ctx, "other", make([]byte, 100))
	wantError(t, err, kv.ErrBucketFull)
	a.clock.advance(time.Second)
	if _, err := b.Put(ctx, "k", make([]byte, 50)); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndOfTimeIsNotPassed(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withTTL(math.MaxInt64), func(c *kv.Config) { c.MarkerTTL = math.MaxInt64 })
	putTTL(t, b, "k", "v", math.MaxInt64)
	putTTL(t, b, "short", "v", 1)
	a.clock.advance(100 * 365 * 24 * time.Hour)
	a.sweep()
	mustGet(t, b, "k", "v")
	wantEntries(t, b, "short", "EXPIRE@3")
}

func TestDiesAt(t *testing.T) {
	const marker, value = kv.Purge, kv.Put
	for _, c := range []struct {
		op       kv.Operation
		deadline int64
		ttl      time.Duration
		newest   bool
		want     int64
	}{
		{value, 0, 0, true, 0},
		{value, 50, 0, true, 50},
		{value, 50, 0, false, 0},
		{value, 0, 5, true, 105},
		{value, 0, 5, false, 105},
		{value, 101, 5, true, 101},
		{value, 101, 5, false, 105},
		{value, 110, 5, true, 105},
		{marker, 0, 5, true, 105},
		{marker, 110, 5, true, 110},
		{marker, 110, 5, false, 105},
		{marker, 101, 5, false, 101},
		{marker, 50, 0, false, 50},
		{value, 0, math.MaxInt64, true, math.MaxInt64},
	} {
		v := index.Version{Op: c.op, Created: 100, Deadline: c.deadline}
		if got := expiresAt(&v, c.ttl, c.newest); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestManyKeysExpireAtOnce(t *testing.T) {
	const keys = 5*sweepBatch + 7
	for _, ttl := range []time.Duration{0, time.Minute} {
		a := newAging(t, func(o *Options) { o.Observer = new(commits) })
		b := a.bucket("b", withTTL(ttl), withHistory(2))
		for i := range keys {
			key := fmt.Sprint("k", i)
			mustPut(t, b, key, "v")
			if ttl == 0 {
				putTTL(t, b, key, "v", time.Minute)
			}
		}
		a.clock.advance(time.Minute - 1)
		mustPut(t, b, "stays", "v")
		a.clock.advance(1)
		a.sweep()
		expired := 0
		for _, c := range *a.opts.Observer.(*commits) {
			expired += c.Expired
		}
		if expired != keys {
			t.Errorf("TTL %v: the observer learned of %d expired keys, want %d", ttl, expired, keys)
		}
		wantKeys(t, collect(t, b), "stays")
		if n := b.mu.index.Count(); n != keys+1 {
			t.Errorf("TTL %v: %d records are kept, want a marker for each key and one value", ttl, n)
		}
		a.powerCut()
		a.open()
		wantKeys(t, collect(t, a.find("b")), "stays")
		a.clock.advance(kv.MarkerTTLDefault - time.Nanosecond)
		a.sweep()
		a.clock.advance(time.Nanosecond)
		a.sweep()
		if n := a.find("b").mu.index.Count(); n > 2 {
			t.Errorf("TTL %v: %d records are kept after the markers' time", ttl, n)
		}
	}
}

// The background sweeps expired records by itself.
func TestTheSweepRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t)
		b := h.bucket("b")
		pass(time.Hour) // the background sleeps
		putTTL(t, b, "k", "v", time.Minute)
		pass(time.Minute + 2*sweepInterval)
		wantEntries(t, b, "k", "EXPIRE@2")
		pass(kv.MarkerTTLDefault + sweepInterval)
		if n := b.mu.index.Len(); n != 0 {
			t.Fatalf("%d keys are kept", n)
		}
		pass(sweepInterval)
		if b.expires.Load() {
			t.Fatal("the sweep does not sleep")
		}
	})
}

func TestASweepOfADeletedBucketEnds(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withTTL(time.Second))
	mustPut(t, b, "k", "v")
	a.clock.advance(time.Second)
	if err := a.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := b.sweepOnce(ctx); err != nil {
		wantError(t, err, kv.ErrBucketNotFound)
	}
	a.sweep()
}

// The initial entries of a watch have no expired keys. The watch gets a marker for each key
// that expires. It cannot resume below a marker that was removed.
func TestWatchesSeeKeysExpire(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withTTL(time.Hour))
	putTTL(t, b, "before", "v", time.Second)
	a.clock.advance(time.Second)
	putTTL(t, b, "k", "v", time.Minute)
	w, err := b.Watch(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	wantUpdate := func(want string) {
		t.Helper()
		u := <-w.Updates()
		got := "end of the initial entries"
		if u.Entry != nil {
			got = fmt.Sprintf("%s %v@%d %v", u.Entry.Key, u.Entry.Operation, u.Entry.Revision, u.Entry.Reason)
		}
		if got != want {
			t.Fatalf("update is %s, want %s", got, want)
		}
	}
	wantUpdate("k PUT@2 none")
	wantUpdate("end of the initial entries")
	a.clock.advance(time.Minute)
	a.sweep()
	wantUpdate("before PURGE@3 expiry")
	wantUpdate("k PURGE@4 expiry")
	mustPut(t, b, "last", "v")
	wantUpdate("last PUT@5 none")
	for _, c := range []struct {
		from kv.Revision
		err  error
	}{{1, kv.ErrCompacted}, {4, kv.ErrCompacted}, {5, nil}} {
		if c.from == 1 {
			a.clock.advance(kv.MarkerTTLDefault)
			a.sweep()
		}
		w, err := b.Watch(ctx, nil, kv.ResumeFromRevision(c.from))
		if err == nil {
			if u, ok := <-w.Updates(); ok && c.err != nil {
				t.Fatalf("a watch from %d on begins with %+v", c.from, u.Entry)
			}
			err = w.Err()
			_ = w.Stop()
		}
		if c.err != nil {
			wantError(t, err, c.err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	over, err := b.Watch(ctx, nil, kv.ResumeFromRevision(1), msglog.PassForgotten())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Stop()
	if u := <-over.Updates(); u.Entry == nil || u.Entry.Revision != 5 {
		t.Fatalf("a watch that passes forgotten ends over begins with %+v", u.Entry)
	}
}

// A marker that expires by the bucket's TTL is removed without another marker. A watch that
// resumes at or below it gets ErrCompacted, also after a crash.
func TestAMarkerThatAgesIsAForgottenEnd(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withTTL(time.Minute), withHistory(2))
	mustPut(t, b, "k", "v")
	if _, err := b.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	a.clock.advance(time.Second)
	mustPut(t, b, "other", "v")
	a.clock.advance(time.Minute - 1)
	a.sweep()
	for range 2 {
		wantEntries(t, a.find("b"), "k", "")
		if got := a.find("b").mu.live.SilentEndUpTo(); got != 2 {
			t.Fatalf("the newest end forgotten is %d, want 2", got)
		}
		a.powerCut()
		a.open()
	}
}

// A record that is committed while the sweep runs may be older than the end of the sweep.
// The sweep must not take its own time for the time of the next record.
func TestTheSweepDoesNotOverlookWhatIsOnItsWay(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withTTL(time.Minute))
	gate, open := a.gateLog()
	put := goPut(ctx, b, "k", "v") // judged now
	<-gate.reached
	a.clock.advance(time.Second)
	swept := make(chan error, 1)
	go func() { swept <- b.sweepOnce(ctx) }() // waits, or finds nothing yet
	for range 1000 {
		runtime.Gosched()
	}
	open()
	if o := <-put; o.err != nil {
		t.Fatal(o.err)
	}
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	a.clock.advance(time.Minute - time.Second)
	config, _ := b.config()
	config.TTL = 0
	if _, err := a.s.UpdateBucket(ctx, config); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, collect(t, b))
}

// Whichever call of the file system fails during a sweep, no expired record returns and no
// other is lost. The next open and sweep complete the work.
func TestAFaultDuringASweep(t *testing.T) {
	for call := 1; ; call++ {
		a := newAging(t)
		b := a.bucket("b", withTTL(time.Hour), withHistory(2))
		for i := range 5 {
			key := fmt.Sprint("k", i)
			mustPut(t, b, key, "old")
			putTTL(t, b, key, "v", time.Duration(1+i%2)*time.Hour)
		}
		if _, err := b.Purge(ctx, "p", kv.PurgeTTL(time.Minute)); err != nil {
			t.Fatal(err)
		}
		a.clock.advance(time.Hour)
		mustPut(t, b, "stays", "v")
		calls := 0
		a.fs.Inject(func(simdisk.Op) simdisk.Action {
			if calls++; calls == call {
				return simdisk.Action{Err: errors.New("injected")}
			}
			return simdisk.Action{}
		})
		err := a.s.Sweep(ctx)
		a.fs.Inject(nil)
		if calls < call {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		a.powerCut()
		a.open()
		b = a.find("b")
		wantKeys(t, collect(t, b), "stays")
		a.sweep()
		for i := range 5 {
			key := fmt.Sprint("k", i)
			wantGone(t, b, key)
			if got := entries(t, b, key); !strings.HasPrefix(got, "EXPIRE@") || strings.Contains(got, " ") {
				t.Fatalf("call %d fails: the history of %q is %q", call, key, got)
			}
		}
		wantEntries(t, b, "p", "")
		if n := b.mu.index.Count(); n != 6 {
			t.Fatalf("call %d fails: %d records, want five markers and a value", call, n)
		}
		a.close()
	}
}

// between is a context that calls a function at the first call of its methods.
type between struct {
	context.Context
	once *sync.Once
	do   func()
}

func (b between) Err() error {
	b.once.Do(b.do)
	return b.Context.Err()
}

// An edit applies to the bucket that exists when it is decided, not when it was called. A
// bucket that was made in between is swept before its TTL is removed.
func TestAnEditOfABucketMadeMeanwhileSweepsIt(t *testing.T) {
	a := newAging(t)
	made := between{ctx, &sync.Once{}, func() {
		mustPut(t, a.bucket("b", withTTL(time.Minute)), "k", "v")
		a.clock.advance(time.Minute)
	}}
	b, err := a.s.CreateOrUpdateBucket(made, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, collect(t, b.(*Bucket)))
}

// The same holds for a bucket that another edit gave a TTL, and for one that was deleted
// and made anew while the edit waited for the sweep.
func TestAnEditOfABucketEditedMeanwhileSweepsIt(t *testing.T) {
	for name, do := range map[string]func(*aging) error{
		"edited": func(a *aging) error {
			_, err := a.s.UpdateBucket(ctx, kv.Config{Bucket: "b", TTL: time.Minute})
			return err
		},
		"made anew": func(a *aging) error {
			if err := a.s.DeleteBucket(ctx, "b"); err != nil {
				return err
			}
			_, err := a.s.CreateBucket(ctx, kv.Config{Bucket: "b", TTL: time.Minute})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAging(t)
			a.bucket("b")
			made := between{ctx, &sync.Once{}, func() {
				if err := do(a); err != nil {
					t.Error(err)
				}
				mustPut(t, a.find("b"), "k", "v")
				a.clock.advance(time.Minute)
			}}
			b, err := a.s.UpdateBucket(made, kv.Config{Bucket: "b"})
			if err != nil {
				t.Fatal(err)
			}
			wantKeys(t, collect(t, b.(*Bucket)))
		})
	}
}

// If the disk fails to read a record, the sweep still writes its marker, since the index
// has key and time. Sweeps once skipped such records for good: they got no marker, and
// returned when the bucket's TTL was lifted.
func TestTheSweepNeedsNoReadableRecord(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(a *aging, files []string) (heal func())
	}{
		{"unreadable for now", func(a *aging, _ []string) func() {
			a.fail(simdisk.OpReadAt, ".seg", errors.New("injected"))
			return func() { a.fs.Inject(nil) }
		}},
		{"damaged for good", func(a *aging, files []string) func() {
			for _, f := range files {
				a.flip(f, segment.HeaderSize+8, 3)
			}
			return func() {}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAging(t, func(o *Options) { o.SegmentSize = 4096 })
			b := a.bucket("b", withTTL(time.Minute))
			for i := range 20 { // they fill several segments
				mustPut(t, b, fmt.Sprint("k", i), strings.Repeat("v", 500))
			}
			a.checkpoint()
			a.clock.advance(time.Minute)
			heal := c.damage(a, a.segmentFiles())
			a.sweep()
			heal()
			config, _ := b.config()
			config.TTL = 0
			if _, err := a.s.UpdateBucket(ctx, config); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				b = a.find("b")
				for i := range 20 {
					wantEntries(t, b, fmt.Sprint("k", i), fmt.Sprint("EXPIRE@", 21+i))
				}
				wantKeys(t, collect(t, b))
				a.powerCut()
				a.open()
			}
			a.close()
		})
	}
}

// A key that is written again after the sweep has found it is not expired.
func TestASweepLeavesWhatIsWrittenMeanwhile(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"key's": 0, "bucket's": time.Minute} {
		t.Run(name, func(t *testing.T) {
			a := newAging(t)
			b := a.bucket("b", withTTL(ttl), withHistory(3))
			putTTL(t, b, "k", "old", time.Minute)
			a.clock.advance(time.Minute)
			if err := b.lockSweep(ctx); err != nil {
				t.Fatal(err)
			}
			more, err := b.findExpired(a.s.clock.now())
			if err != nil || !more {
				t.Fatalf("found nothing; error %v", err)
			}
			mustPut(t, b, "k", "new")
			for _, step := range []error{b.writeMarkers(ctx), b.logExpired(ctx), b.logExpiredMarkers(ctx, a.s.clock.now())} {
				if step != nil {
					t.Fatal(step)
				}
			}
			b.unlockSweep()
			for range 2 {
				b = a.find("b")
				mustGet(t, b, "k", "new")
				wantEntries(t, b, "k", "EXPIRE@2 PUT@3")
				a.powerCut()
				a.open()
			}
		})
	}
}

// A touch does not restore a key that expires while the touch reads its value.
func TestATouchComesTooLate(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withHistory(3))
	putTTL(t, b, "k", "v", time.Minute)
	reads := 0
	a.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpReadMapping {
			if reads++; reads == 1 {
				a.clock.advance(time.Minute)
			}
		}
		return simdisk.Action{}
	})
	_, err := b.Touch(ctx, "k", kv.KeyTTL(time.Hour))
	wantError(t, err, kv.ErrKeyNotFound)
	if reads == 0 {
		t.Fatal("the touch read nothing: the test is void")
	}
	wantEntries(t, b, "k", "EXPIRE@2")
	wantGone(t, b, "k", 1)
}

// Every put to an expired key also writes a marker, which may be larger than the put.
func TestMarkersThatWritesBringCountInAFrame(t *testing.T) {
	var seen commits
	a := newAging(t, func(o *Options) { o.Observer = &seen })
	b := a.bucket("b")
	stem := strings.Repeat("x", kv.MaxKeySize-8)
	const keys = 4500
	put := func(ttl time.Duration) {
		mutations := make([]kv.Mutation, keys)
		for i := range mutations {
			mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint(stem, i), TTL: ttl}
		}
		for i, m := range a.submit(mutations...) {
			if m.Err != nil {
				t.Fatalf("mutation %d: %v", i, m.Err)
			}
		}
	}
	put(time.Minute)
	a.clock.advance(time.Minute)
	put(0)
	expired := 0
	for _, c := range seen {
		if expired += c.Expired; c.Bytes > framePayloadMax+2*journal.HeadSize {
			t.Errorf("a frame of %d bytes", c.Bytes)
		}
	}
	if expired != keys {
		t.Errorf("%d markers", expired)
	}
	for range 2 {
		if n := len(collect(t, b)); n != keys {
			t.Errorf("%d keys", n)
		}
		a.powerCut()
		a.open()
		b = a.find("b")
	}
}
