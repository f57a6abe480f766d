package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
)

// fill puts keys k0000, k0001, ... in groups.
func fill(h *harness, n int) (keys []string) {
	h.t.Helper()
	mutations := make([]kv.Mutation, n)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("k%04d", i)}
		keys = append(keys, mutations[i].Key)
	}
	h.submit(mutations...)
	return keys
}

// wantReleased fails the test if a listing still holds a snapshot.
func wantReleased(t testing.TB, s *Store) {
	t.Helper()
	if n := len(s.snapshots); n != 0 {
		t.Errorf("%d snapshots are still open", n)
	}
}

// A listing shows the bucket at one revision. Keys are put in a random order, so the
// listing must yield a prefix of that order.
func TestAListingBesideAWriterShowsOneRevision(t *testing.T) {
	const keys = 3000
	h := newHarness(t)
	b := h.bucket("b")
	order := rand.New(rand.NewPCG(1, 1)).Perm(keys)
	place := make(map[string]int, keys)
	for i, k := range order {
		place[fmt.Sprintf("k%04d", k)] = i
	}
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < keys; i += 10 {
			var mutations []kv.Mutation
			for _, k := range order[i : i+10] {
				mutations = append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("k%04d", k)})
			}
			if err := h.s.Submit(ctx, mutations); err != nil {
				t.Error(err)
			}
			written.Store(int64(i + 10))
		}
	}()
	for n := 0; n < keys; {
		least := int(written.Load())
		n = 0
		last, highest := "", -1
		for key, err := range b.Keys(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if key <= last {
				t.Fatalf("%q comes behind %q", key, last)
			}
			last, highest = key, max(highest, place[key])
			n++
		}
		if highest != n-1 {
			t.Fatalf("%d keys, and among them the %dth that was written", n, highest+1)
		}
		if n < least {
			t.Fatalf("%d keys, %d were there before", n, least)
		}
	}
	<-done
	wantReleased(t, h.s)
}

// A listing yields keys that are deleted after it began.
func TestAListingDoesNotSeeWhatComesAfterIt(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	want := fill(h, 500)
	var got []string
	for key, err := range b.Keys(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			for _, key := range want {
				if _, err := b.Purge(ctx, key); err != nil {
					t.Fatal(err)
				}
			}
			mustPut(t, b, "k0000x", "new")
		}
		got = append(got, key)
	}
	wantKeys(t, got, want...)
	wantKeys(t, collect(t, b), "k0000x")
}

// A slow consumer does not keep the index's snapshot open: it gets a copy of the keys.
func TestASlowConsumerDoesNotHoldTheSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		b := h.bucket("b")
		want := fill(h, 200)
		for _, slowAt := range []int{0, 1, 100, 198} {
			var got []string
			for key, err := range b.Keys(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				switch n := len(got); {
				case n <= slowAt && len(h.s.snapshots) != 1:
					t.Errorf("at key %d the snapshot is closed", n)
				case n > slowAt && len(h.s.snapshots) != 0:
					t.Errorf("at key %d the snapshot is open, %v after the first", n, 2*snapshotMax)
				}
				if len(got) == slowAt {
					<-time.After(2 * snapshotMax)
				}
				got = append(got, key)
			}
			wantKeys(t, got, want...)
			wantReleased(t, h.s)
		}
	})
}

func TestAListingThatIsLeftReleasesItsSnapshot(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	want := fill(h, 1000)
	for _, stop := range []int{0, 1, 300, 999} {
		n := 0
		for key, err := range b.Keys(ctx) {
			if err != nil || key != want[n] {
				t.Fatalf("%q, %v; want %q", key, err, want[n])
			}
			if n == stop {
				break
			}
			n++
		}
		wantReleased(t, h.s)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the consumer's panic was swallowed")
			}
		}()
		for range b.Keys(ctx) {
			panic("of the consumer")
		}
	}()
	wantReleased(t, h.s)
	if b.Keys(ctx) == nil {
		t.Error("no listing")
	}
	wantReleased(t, h.s) // a listing that was not begun takes no snapshot
	if b.mu.TryLock() {
		b.mu.Unlock()
	} else {
		t.Error("the bucket is still locked")
	}
}

func TestAListingThatIsLeftLateReleasesNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		b := h.bucket("b")
		fill(h, 100)
		n := 0
		for range b.Keys(ctx) {
			if n++; n == 1 {
				<-time.After(2 * snapshotMax)
			}
			if n == 50 {
				break
			}
		}
		if n != 50 {
			t.Errorf("%d keys", n)
		}
		wantReleased(t, h.s)
	})
}

func TestAListingEndsWithItsContext(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	fill(h, 2000)
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	var last error
	for _, err := range b.Keys(cancelled) {
		if last = err; err != nil {
			break
		}
		if n++; n == 10 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) || n >= 10+2*contextCheck {
		t.Errorf("%d keys, then %v", n, last)
	}
	wantReleased(t, h.s)
}

func TestPatternsSelectEachKeyOnceInOrder(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	rng := rand.New(rand.NewPCG(1, 2))
	tokens := []string{"a", "b", "ab", "a-", "a_", "Z", "0", "a=b"}
	name := func(of []string) string {
		s := of[rng.IntN(len(of))]
		for range rng.IntN(3) {
			s += "." + of[rng.IntN(len(of))]
		}
		return s
	}
	var mutations []kv.Mutation
	var all []string
	for range 400 {
		key := name(tokens)
		mutations = append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key})
		all = append(all, key)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for i, key := range all {
		if i%5 == 0 {
			mutations = append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: key})
		}
	}
	h.submit(mutations...)
	for round := range 2 {
		for range 300 {
			var patterns []string
			for range rng.IntN(5) {
				p := name(append([]string{"*"}, tokens...))
				if rng.IntN(3) == 0 {
					p += ".>"
				}
				patterns = append(patterns, p)
			}
			if rng.IntN(20) == 0 {
				patterns = append(patterns, ">")
			}
			var want []string
			for i, key := range all {
				if i%5 != 0 && kv.MatchAny(patterns, key) {
					want = append(want, key)
				}
			}
			if got := collect(t, b, patterns...); !slices.Equal(got, want) {
				t.Fatalf("round %d, %q: %q, want %q", round, patterns, got, want)
			}
		}
		h.reopen()
		b = h.find("b")
	}
	for _, err := range b.Keys(ctx, "a", "b..c") {
		wantError(t, err, kv.ErrInvalidPattern)
	}
}

// If there are more listings than snapshots, listings wait for each other, without a
// deadlock. A listing whose context ends stops waiting.
func TestMoreListingsThanSnapshotsTakeTurns(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	want := fill(h, 20)
	begun, resume := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range snapshotsOpen + 1 {
		wg.Go(func() {
			var got []string
			for key, err := range b.Keys(ctx) {
				if err != nil {
					t.Error(err)
					return
				}
				if len(got) == 0 {
					begun <- struct{}{}
					<-resume
				}
				got = append(got, key)
			}
			wantKeys(t, got, want...)
		})
	}
	for range snapshotsOpen {
		<-begun
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range b.Keys(cancelled) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a listing whose context ended: %v", err)
		}
	}
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	ended := make(chan error, 1)
	go func() {
		for _, err := range b.Keys(waiting) {
			ended <- err
			return
		}
	}()
	stopWaiting()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a listing that waits for its turn: %v", err)
	}
	mustPut(t, b, "k0000", "writers do not wait for listings")
	mustGet(t, b, "k0000", "writers do not wait for listings")
	resume <- struct{}{}
	<-begun // the last one's turn has come
	close(resume)
	wg.Wait()
	wantReleased(t, h.s)
}

// A store serves reads and writes while the trees of its buckets are built. A listing
// waits for the tree of its bucket.
func TestAListingWaitsForTheTree(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	want := fill(h, 5000)
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.opts.env.Manual = false
	h.open()
	b := h.find("b")
	mustPut(t, b, "a", "first")
	wantKeys(t, collect(t, b), append([]string{"a"}, want...)...)
}

func TestBucketsAreListedInOrder(t *testing.T) {
	h := newHarness(t)
	var want []string
	for _, name := range []string{"b", "a-1", "Z", "_", "a", "0"} {
		h.bucket(name)
		want = append(want, name)
	}
	slices.Sort(want)
	var names, statuses []string
	for name, err := range h.s.BucketNames(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for st, err := range h.s.Buckets(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if len(statuses) == 0 { // one deleted meanwhile is left out
			if err := h.s.DeleteBucket(ctx, "b"); err != nil {
				t.Fatal(err)
			}
		}
		statuses = append(statuses, st.Config.Bucket)
	}
	wantKeys(t, names, want...)
	wantKeys(t, statuses, slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "b" })...)
	for range h.s.Buckets(ctx) {
		break
	}
	for range h.s.BucketNames(ctx) {
		break
	}
}

// A revision that a shorter history has removed is not found.
func TestGetRevisionFindsWhatTheHistoryKeeps(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(2))
	for i := range 4 {
		mustPut(t, b, "k", fmt.Sprint(i))
	}
	marker, err := b.Delete(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	for rev := kv.Revision(0); rev < 8; rev++ {
		e, err := b.GetRevision(ctx, "k", rev)
		if rev == 3 || rev == 4 {
			if err != nil || e.Revision != rev || string(e.Value) != fmt.Sprint(rev-1) {
				t.Errorf("revision %d: %+v, %v", rev, e, err)
			}
			continue
		}
		wantError(t, err, kv.ErrKeyNotFound)
	}
	_, err = b.GetRevision(ctx, "other", marker)
	wantError(t, err, kv.ErrKeyNotFound)
}
