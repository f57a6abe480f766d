package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// copied is what a test knows of a snapshot: the entries that the store had at its moment.
type copied struct {
	snapshot kv.Snapshot
	entries  map[string]map[string]kv.Entry // by bucket and key
}

// copyNow takes a snapshot and reads all buckets in the ordinary way.
func (h *harness) copyNow(buckets ...string) copied {
	h.t.Helper()
	x, err := h.s.Snapshot(ctx, buckets...)
	if err != nil {
		h.t.Fatal(err)
	}
	c := copied{x, map[string]map[string]kv.Entry{}}
	for _, name := range x.Buckets() {
		c.entries[name] = map[string]kv.Entry{}
		for e, err := range h.find(name).All(ctx) {
			if err != nil {
				h.t.Fatal(err)
			}
			c.entries[name][e.Key] = e
		}
	}
	return c
}

// check compares every key that may exist, and ranges of them.
func (c copied) check(t *testing.T, rng *rand.Rand, keys []string) {
	t.Helper()
	for name, entries := range c.entries {
		r, err := c.snapshot.Bucket(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for e, err := range r.GetMany(ctx, keys) {
			want, exists := entries[keys[n]]
			if exists != (err == nil) || exists && !sameEntry(e, want) || !exists && (e.Key != keys[n] || !errors.Is(err, kv.ErrKeyNotFound)) {
				t.Fatalf("%q in %q is %+v, %v, want %+v", keys[n], name, e, err, want)
			}
			n++
		}
		if n != len(keys) {
			t.Fatalf("%d entries of %d keys", n, len(keys))
		}
		for range 4 {
			checkRange(t, r, entries, randomRange(rng, keys))
		}
		checkChildrenOf(t, r, entries, []string{"", "", "a.", "a/", "a"}[rng.IntN(5)], []string{".", "/", "./"}[rng.IntN(3)])
	}
}

func sameEntry(a, b kv.Entry) bool {
	return a.Key == b.Key && a.Revision == b.Revision && string(a.Value) == string(b.Value) &&
		a.Created.Equal(b.Created) && a.Operation == b.Operation && a.Deadline.Equal(b.Deadline)
}

func randomRange(rng *rand.Rand, keys []string) kv.RangeOptions {
	one := func() string {
		if rng.IntN(2) == 0 {
			return ""
		}
		return keys[rng.IntN(len(keys))] + []string{"", "-", "/"}[rng.IntN(3)]
	}
	o := kv.RangeOptions{From: one(), To: one(), After: one(), Reverse: rng.IntN(2) == 0, KeysOnly: rng.IntN(4) == 0}
	for range rng.IntN(3) {
		o.Patterns = append(o.Patterns, []string{">", "a.>", "*", "*.b", "b", "a.*.c"}[rng.IntN(6)])
	}
	if rng.IntN(3) == 0 {
		o.Limit = 1 + rng.IntN(5)
	}
	if rng.IntN(3) == 0 {
		o.MaxBytes = int64(1 + rng.IntN(60))
	}
	if rng.IntN(3) == 0 {
		o.ChangedAfter = kv.Revision(rng.IntN(100))
	}
	return o
}

// checkRange compares a range with one that is made from the copy key by key.
func checkRange(t *testing.T, r kv.Reader, entries map[string]kv.Entry, o kv.RangeOptions) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(entries))
	if o.Reverse {
		slices.Reverse(keys)
	}
	var want []kv.Entry
	size := int64(0)
	for _, key := range keys {
		e := entries[key]
		behind := o.After == "" || key > o.After && !o.Reverse || key < o.After && o.Reverse
		if key < o.From || o.To != "" && key >= o.To || !behind || e.Revision <= o.ChangedAfter || !kv.MatchAny(o.Patterns, key) {
			continue
		}
		if o.KeysOnly {
			e.Value = nil
		}
		if size += int64(len(key) + len(e.Value)); o.MaxBytes > 0 && len(want) > 0 && size > o.MaxBytes {
			break
		}
		if want = append(want, e); len(want) == o.Limit {
			break
		}
	}
	var got []kv.Entry
	for e, err := range r.Range(ctx, o) {
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		got = append(got, e)
	}
	if !slices.EqualFunc(got, want, sameEntry) {
		t.Fatalf("%+v is %+v, want %+v", o, got, want)
	}
	if n, err := r.Count(ctx, o.Patterns...); err != nil || n != matching(entries, o.Patterns) {
		t.Fatalf("%q: %d keys, %v, want %d", o.Patterns, n, err, matching(entries, o.Patterns))
	}
}

func matching(entries map[string]kv.Entry, patterns []string) (n uint64) {
	for key := range entries {
		if kv.MatchAny(patterns, key) {
			n++
		}
	}
	return n
}

// checkChildrenOf compares a level of the tree with one that is made from the copy.
func checkChildrenOf(t *testing.T, r kv.Reader, entries map[string]kv.Entry, prefix, separators string) {
	t.Helper()
	var want []kv.Child
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		at := strings.IndexAny(rest, separators)
		name := rest
		if at >= 0 {
			name = rest[:at]
		}
		i := slices.IndexFunc(want, func(c kv.Child) bool { return c.Name == name })
		if i < 0 {
			i, want = len(want), append(want, kv.Child{Name: name})
		}
		if at < 0 {
			want[i].Key = true
		} else {
			want[i].Keys++
		}
	}
	var got []kv.Child
	for c, err := range r.Children(ctx, prefix, separators, 0) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("children of %q by %q are %+v, want %+v", prefix, separators, got, want)
	}
}

// TestSnapshotsKeepTheirMoment compares snapshots of random moments, key by key, with copies, while
// keys are written, deleted and expire, compaction rewrites the segments, and a bucket is deleted.
func TestSnapshotsKeepTheirMoment(t *testing.T) {
	for _, storage := range []kv.Storage{kv.FileStorage, kv.MemoryStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			for seed := range uint64(8) {
				snapshotProgram(t, storage, seed)
			}
		})
	}
}

func snapshotProgram(t *testing.T, storage kv.Storage, seed uint64) {
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	a := newAging(t)
	defer a.close()
	var keys []string
	for _, token := range []string{"a", "b", "a.b", "a.b.c", "a.b/c", "a-b", "a/b", "a/", "a//b", "a.c", "b.c", "c/d.e", "c.d", "c"} {
		keys = append(keys, token, token+"1", token+".x")
	}
	makeBoth := func() {
		for _, name := range []string{"one", "two"} {
			a.bucket(name, withHistory(1+int(seed)%3), func(c *kv.Config) { c.Storage = storage })
		}
	}
	makeBoth()
	var open []copied
	for range 120 {
		b := a.find([]string{"one", "two"}[rng.IntN(2)])
		key := keys[rng.IntN(len(keys))]
		switch n := rng.IntN(20); {
		case n < 10:
			mustPut(t, b, key, strings.Repeat(fmt.Sprint(rng.IntN(10)), 1+rng.IntN(300)))
		case n < 12:
			putTTL(t, b, key, "short", time.Duration(1+rng.IntN(5))*time.Second)
		case n < 14:
			a.submit(kv.Mutation{Bucket: b.name, Op: []kv.MutationOp{kv.MutateDelete, kv.MutatePurge}[rng.IntN(2)], Key: key})
		case n == 14:
			a.clock.advance(time.Duration(rng.IntN(3)) * time.Second)
			a.sweep()
		case n == 15:
			a.reclaim()
		case n == 16:
			if err := b.PurgeDeletes(ctx, -1); err != nil {
				t.Fatal(err)
			}
		case n == 17 && rng.IntN(4) == 0:
			for _, name := range []string{"one", "two"} {
				if err := a.s.DeleteBucket(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			makeBoth()
		case n == 18 && len(open) > 0:
			i := rng.IntN(len(open))
			open[i].check(t, rng, keys)
			open[i].snapshot.Release()
			open = slices.Delete(open, i, i+1)
		default:
			open = append(open, a.copyNow())
		}
	}
	a.clock.advance(time.Hour)
	a.sweep()
	a.reclaim()
	for _, c := range open {
		c.check(t, rng, keys)
		c.snapshot.Release()
		c.snapshot.Release()
		r, _ := c.snapshot.Bucket("one")
		if _, err := r.Get(ctx, "a"); !errors.Is(err, kv.ErrSnapshotExpired) {
			t.Fatalf("after Release: %v", err)
		}
	}
	a.wantNothingHeld()
	for _, name := range []string{"one", "two"} {
		b := a.find(name)
		checkRange(t, b, a.copyNow(name).entries[name], kv.RangeOptions{})
	}
}

// wantNothingHeld expects that no snapshot has left a pin: every replaced file is gone.
func (h *harness) wantNothingHeld() {
	h.t.Helper()
	if n := len(h.s.held.open); n != 0 {
		h.t.Errorf("%d snapshots are open", n)
	}
	if n := len(h.s.snapshots) + len(h.s.readings); n != 0 {
		h.t.Errorf("%d listings and calls hold a snapshot", n)
	}
	h.s.removeRetired(func() {})
	if n := len(h.s.retired.segments); n != 0 {
		h.t.Errorf("%d replaced files are held", n)
	}
	for _, b := range h.s.list() {
		if n := len(b.mu.held); n != 0 {
			h.t.Errorf("bucket %q is held by %d snapshots", b.name, n)
		}
	}
}

// TestSnapshotOfTwoBucketsIsOneMoment has a writer put one number to a bucket, and once that is
// visible to another: no snapshot has the second without the first, or more than one of it behind.
func TestSnapshotOfTwoBucketsIsOneMoment(t *testing.T) {
	h := newHarness(t)
	first, second := h.bucket("z"), h.bucket("a") // the order of ids is not that of names
	mustPut(t, first, "n", "0")
	mustPut(t, second, "n", "0")
	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			mustPut(t, first, "n", fmt.Sprint(i))
			mustPut(t, second, "n", fmt.Sprint(i))
		}
	})
	for range 300 {
		x, err := h.s.Snapshot(ctx, "a", "z", "a")
		if err != nil {
			t.Fatal(err)
		}
		read := func(name string) (n int) {
			r, err := x.Bucket(name)
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.Get(ctx, "n")
			if err != nil {
				t.Fatal(err)
			}
			if e.Revision != x.Revision(name) {
				t.Fatalf("the entry has revision %d, the snapshot %d", e.Revision, x.Revision(name))
			}
			_, _ = fmt.Sscan(string(e.Value), &n)
			return n
		}
		if ahead := read("z") - read("a"); ahead != 0 && ahead != 1 {
			t.Errorf("the first bucket is %d ahead of the second", ahead)
		}
		x.Release()
	}
	close(stop)
	writer.Wait()
	h.wantNothingHeld()
}

// TestSnapshotRefusals has names that are unknown, too many snapshots, and bad options.
func TestSnapshotRefusals(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	_, err := h.s.Snapshot(ctx, "b", "none")
	wantError(t, err, kv.ErrBucketNotFound, `"none"`)
	for range snapshotsHeld {
		if _, err := h.s.Snapshot(ctx, "b"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.s.Snapshot(ctx, "b")
	wantError(t, err, kv.ErrTooManySnapshots, "1024")
	_, err = oneOf(b.GetMany(ctx, make([]string, kv.GetManyMax+1)))
	wantError(t, err, kv.ErrInvalidOption, "4097")
	_, err = oneOf(b.Range(ctx, kv.RangeOptions{Limit: -1}))
	wantError(t, err, kv.ErrInvalidOption, "limit")
	_, err = oneOf(b.Range(ctx, kv.RangeOptions{Patterns: []string{"a..b"}}))
	wantError(t, err, kv.ErrInvalidPattern, "a..b")
	_, err = oneOf(b.Children(ctx, "", "", 0))
	wantError(t, err, kv.ErrInvalidOption, "separators")
	e, err := oneOf(b.GetMany(ctx, []string{"a b"}))
	wantError(t, err, kv.ErrInvalidKey, "a b")
	if e.Key != "a b" {
		t.Errorf("the entry is %+v", e)
	}
}

// oneOf returns the first of a sequence.
func oneOf[T any](all iter.Seq2[T, error]) (first T, err error) {
	for first, err = range all {
		break
	}
	return first, err
}

// TestSnapshotBesideTheEnd has a snapshot be released, and the store closed, by the consumer of a
// range: the range ends with the reason, and what was held is freed.
func TestSnapshotBesideTheEnd(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(h *harness, x kv.Snapshot)
		want error
	}{
		"release": {func(_ *harness, x kv.Snapshot) { x.Release() }, kv.ErrSnapshotExpired},
		"close":   {func(h *harness, _ kv.Snapshot) { h.close() }, kv.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			for i := range 10 {
				mustPut(t, b, fmt.Sprint("k", i), "v")
			}
			x, err := h.s.Snapshot(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r, _ := x.Bucket("b")
			n := 0
			var last error
			for _, last = range r.Range(ctx, kv.RangeOptions{}) {
				if n++; n == 3 {
					end.do(h, x)
				}
			}
			if n != 4 || !errors.Is(last, end.want) {
				t.Errorf("%d results, the last with %v", n, last)
			}
			if _, err := r.Get(ctx, "k1"); !errors.Is(err, end.want) {
				t.Errorf("get: %v", err)
			}
			h.wantNothingHeld()
		})
	}
}

// TestSnapshotBesideClose has Close come while a snapshot waits for one of its buckets.
func TestSnapshotBesideClose(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	b.ready = make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := h.s.Snapshot(ctx, "b")
		done <- err
	}()
	for added := false; !added; runtime.Gosched() {
		h.s.held.Lock()
		added = len(h.s.held.open) == 1
		h.s.held.Unlock()
	}
	h.s.held.close()
	close(b.ready)
	wantError(t, <-done, kv.ErrClosed)
	h.wantNothingHeld()
}

// TestSlowRangesDelayNoListing has more ranges wait for their consumers than there may be listings.
func TestSlowRangesDelayNoListing(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	limited, cancel := context.WithTimeout(ctx, 10*time.Second) // a test that fails ends
	defer cancel()
	for range snapshotsOpen + 1 {
		next, stop := iter.Pull2(b.Range(limited, kv.RangeOptions{}))
		defer stop()
		if _, err, _ := next(); err != nil {
			t.Fatal(err)
		}
	}
	if key, err := oneOf(b.Keys(limited)); key != "k" || err != nil {
		t.Errorf("%q, %v", key, err)
	}
}

// TestSnapshotOfAllInDoubt has damage take changes of the set of buckets.
func TestSnapshotOfAllInDoubt(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	h.s.lostOperations.Store(1)
	_, err := h.s.Snapshot(ctx)
	wantError(t, err, kv.ErrCorrupt, "changes of buckets are missing")
	for ctx, names := range map[context.Context][]string{ctx: {"b"}, kv.WithStale(ctx): nil} {
		x, err := h.s.Snapshot(ctx, names...)
		if err != nil {
			t.Fatal(err)
		}
		x.Release()
	}
	h.wantNothingHeld()
}

// TestAReaderOfABucketThatHadManySegments has a bucket whose segments were rewritten a million times: a
// call of a reader takes no time and memory for those that are gone.
func TestAReaderOfABucketThatHadManySegments(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
	mustPut(t, b, "k", "in the first segment")
	b.mu.segments = append(b.mu.segments, make([]*openSegment, 1<<20)...)
	b.active = nil
	mustPut(t, b, "l", "in the newest")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for e, err := range b.GetMany(ctx, []string{"k", "l"}) {
		if err != nil || len(e.Value) == 0 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("two records took %d bytes", n)
	}
	h.wantNothingHeld()
}

// TestSnapshotPassesDamage has a damaged record cost its own entry alone.
func TestSnapshotPassesDamage(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for _, key := range []string{"a", "b", "c"} {
		mustPut(t, b, key, "value of "+key)
	}
	file, offset := h.locate(manifest.SegmentDir, "value of b")
	h.flip(file, offset, 0)
	for what, entries := range map[string]iter.Seq2[kv.Entry, error]{
		"Range":   b.Range(ctx, kv.RangeOptions{}),
		"GetMany": b.GetMany(ctx, []string{"a", "b", "c"}),
	} {
		var got []string
		for e, err := range entries {
			if e.Key == "b" {
				wantError(t, err, kv.ErrCorrupt, `"b" in bucket "b"`)
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Key)
		}
		if fmt.Sprint(got) != "[a b c]" {
			t.Errorf("%s: keys are %q", what, got)
		}
	}
}

// TestRangeOfMarkers has a range show markers, and none that a purge-deletes removed.
func TestRangeOfMarkers(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for _, key := range []string{"a", "b", "c"} {
		mustPut(t, b, key, "v")
	}
	if _, err := b.Delete(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a PUT b DEL c PUT ", "a PUT c PUT "} {
		got := ""
		for e, err := range b.Range(ctx, kv.RangeOptions{Markers: true}) {
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(e.Key, " ", e.Operation, " ")
		}
		if got != want {
			t.Errorf("the range is %q, want %q", got, want)
		}
		if err := b.PurgeDeletes(ctx, -1); err != nil {
			t.Fatal(err)
		}
	}
}

// TestChildrenEndWithTheContext has a pass over keys without values be cancelled on its way.
func TestChildrenEndWithTheContext(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	mutations := make([]kv.Mutation, 2*contextCheck)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: fmt.Sprint("k", i)}
	}
	h.submit(mutations...)
	x, err := h.s.Snapshot(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer x.Release()
	r, _ := x.Bucket("b")
	_, err = oneOf(r.Children(&endingContext{ctx, 2}, "", ".", 0))
	wantError(t, err, context.Canceled)
}

// endingContext ends once Err was called some times.
type endingContext struct {
	context.Context
	calls int
}

func (c *endingContext) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

// TestChildrenAreCapped has a child with more keys than are counted.
func TestChildrenAreCapped(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mutations := make([]kv.Mutation, 0, kv.ChildKeysMax+2)
	for i := range kv.ChildKeysMax + 1 {
		mutations = append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint("many.", i)})
	}
	h.submit(append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "one"})...)
	var got []kv.Child
	for c, err := range b.Children(ctx, "", ".", 2) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	want := []kv.Child{{Name: "many", Keys: kv.ChildKeysMax, More: true}, {Name: "one", Key: true}}
	if !slices.Equal(got, want) {
		t.Errorf("children are %+v, want %+v", got, want)
	}
}
