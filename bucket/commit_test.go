package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// newRequestOf returns a request of the bucket's, ready for the commit path.
func newRequestOf(t *testing.T, b *Bucket, mutations ...mutation) *request {
	t.Helper()
	r := b.store.commit.newRequest()
	r.mutations = mutations
	for i := range mutations {
		if err := b.prepare(&mutations[i]); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// A leader answers itself by returning: a message to its own channel would be
// taken for an answer to the request that gets the memory next.
func TestALeaderNeverWaitsForItself(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.MaxValueSize = 4 << 20 })
	mustPut(t, b, "there", "v")
	large := bytes.Repeat([]byte("x"), 3<<20)
	for _, c := range []struct {
		name      string
		mutations []mutation
	}{
		{"that writes", []mutation{{kind: writeValue, key: "k"}}},
		{"whose condition fails", []mutation{{kind: writeValue, expect: expectAbsent, key: "there"}}},
		{"of several groups", []mutation{{kind: writeValue, key: "k1", value: large}, {kind: writeValue, key: "k2", value: large}}},
		{"of which some fail", []mutation{{kind: writeValue, expect: expectAbsent, key: "there"}, {kind: writeValue, key: "k"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequestOf(t, b, c.mutations...)
			if err := h.s.commit.do(ctx, r); err != nil {
				t.Fatal(err)
			}
			if !r.done || len(r.wake) != 0 {
				t.Errorf("answered: %v; messages to itself: %d", r.done, len(r.wake))
			}
			if h.s.commit.leading || h.s.commit.queued.Load() != 0 {
				t.Errorf("the path is not idle: leading %v, %d queued", h.s.commit.leading, h.s.commit.queued.Load())
			}
		})
	}
}

// All that gather while a sync is under way share the next one.
func TestWritersThatGatherDuringASyncShareTheNext(t *testing.T) {
	const writers = 32
	h := newHarness(t)
	b := h.bucket("b")
	g, open := h.gateLog()
	defer open()
	before := h.s.log.Last()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	var done []<-chan outcome
	for i := range writers {
		done = append(done, goPut(ctx, b, fmt.Sprintf("k%d", i), "v"))
	}
	h.waitQueued(writers)
	g.pass <- struct{}{}
	if o := <-first; o.err != nil || o.revision != 1 {
		t.Errorf("the first writer got %+v", o)
	}
	<-g.reached
	if n := h.s.commit.queued.Load(); n != 0 {
		t.Errorf("%d writers are not in the second group", n)
	}
	for i, d := range done {
		if len(d) > 0 {
			t.Errorf("writer %d was answered before its sync returned", i)
		}
	}
	if got := shown(t, b); len(got) != 1 {
		t.Errorf("%d keys can be read before their sync returned", len(got)-1)
	}
	open()
	seen := map[kv.Revision]bool{}
	for i, d := range done {
		o := <-d
		if o.err != nil || seen[o.revision] || o.revision < 2 || o.revision > writers+1 {
			t.Errorf("writer %d got %+v", i, o)
		}
		seen[o.revision] = true
	}
	if n := h.s.log.Last() - before; n != 2 {
		t.Errorf("%d frames for %d writers, want 2", n, writers+1)
	}
}

func TestConditionsSeeEarlierMutationsOfTheirGroup(t *testing.T) {
	put := func(key string) kv.Mutation { return kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key} }
	create := func(key string) kv.Mutation { return kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: key} }
	update := func(key string, last kv.Revision) kv.Mutation {
		return kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: key, Last: last}
	}
	del := func(key string) kv.Mutation { return kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: key} }
	delLast := func(key string, last kv.Revision) kv.Mutation {
		return kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: key, IfLast: true, Last: last}
	}
	ok := func(rev kv.Revision) outcome { return outcome{revision: rev} }
	exists := func(got kv.Revision) outcome {
		return outcome{err: &kv.RevisionMismatchError{Bucket: "b", Key: "k", Got: got, Create: true}}
	}
	mismatch := func(want, got kv.Revision) outcome {
		return outcome{err: &kv.RevisionMismatchError{Bucket: "b", Key: "k", Want: want, Got: got}}
	}
	newest := func(m kv.Mutation, rev kv.Revision) kv.Mutation {
		m.IfNewest, m.Newest = true, rev
		return m
	}
	moved := func(want, got kv.Revision) outcome {
		return outcome{err: &kv.RevisionMismatchError{Bucket: "b", Want: want, Got: got}}
	}
	for _, c := range []struct {
		name      string
		mutations []kv.Mutation
		want      []outcome
		frames    int
	}{
		{"a key is created once", []kv.Mutation{create("k"), create("k"), create("k")}, []outcome{ok(1), exists(1), exists(1)}, 1},
		{"updates follow each other", []kv.Mutation{update("k", 0), update("k", 1), update("k", 2)}, []outcome{ok(1), ok(2), ok(3)}, 1},
		{"an update of what the group replaced fails", []kv.Mutation{put("k"), put("k"), update("k", 1)}, []outcome{ok(1), ok(2), mismatch(1, 2)}, 1},
		{"a key is created again behind a delete", []kv.Mutation{create("k"), del("k"), create("k"), create("k")}, []outcome{ok(1), ok(2), ok(3), exists(3)}, 1},
		{"an update counts a marker", []kv.Mutation{put("k"), del("k"), update("k", 1), update("k", 2)}, []outcome{ok(1), ok(2), mismatch(1, 2), ok(3)}, 1},
		{"a delete checks its revision", []kv.Mutation{put("k"), delLast("k", 0), delLast("k", 1), delLast("k", 1)}, []outcome{ok(1), mismatch(0, 1), ok(2), mismatch(1, 2)}, 1},
		{"other keys do not count", []kv.Mutation{put("other"), create("k"), put("other"), update("k", 2)}, []outcome{ok(1), ok(2), ok(3), ok(4)}, 1},
		{"a failed one takes no revision", []kv.Mutation{update("k", 7), create("k"), update("k", 9), put("k")}, []outcome{mismatch(7, 0), ok(1), mismatch(9, 1), ok(2)}, 1},
		{"other keys count for the bucket", []kv.Mutation{newest(put("k"), 0), newest(put("other"), 0), newest(del("other"), 1), newest(put("k"), 2)}, []outcome{ok(1), moved(0, 1), ok(2), ok(3)}, 1},
		{"the key's condition comes before the bucket's", []kv.Mutation{put("k"), put("other"), newest(update("k", 2), 1), newest(create("k"), 1), newest(update("k", 1), 1)}, []outcome{ok(1), ok(2), mismatch(2, 1), exists(1), moved(1, 2)}, 1},
		{"where all fail nothing is logged", []kv.Mutation{update("k", 7), update("k", 8)}, []outcome{mismatch(7, 0), mismatch(8, 0)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			h.bucket("b", withHistory(5))
			before := h.s.log.Last()
			for i, m := range h.submit(c.mutations...) {
				want := c.want[i]
				if m.Revision != want.revision || fmt.Sprint(m.Err) != fmt.Sprint(want.err) {
					t.Errorf("mutation %d: revision %d, error %v; want %d, %v", i, m.Revision, m.Err, want.revision, want.err)
				}
			}
			if n := int(h.s.log.Last() - before); n != c.frames {
				t.Errorf("%d frames were logged, want %d", n, c.frames)
			}
		})
	}
}

// A condition that fails because of its own group is answered after the sync:
// nobody may learn of a write that may yet be lost.
func TestAConditionThatFailsInItsGroupIsAnsweredAfterTheSync(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	quiet := h.bucket("quiet")
	mustPut(t, b, "old", "v")
	mustPut(t, quiet, "k", "v")
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	create := func(key string) <-chan outcome {
		done := make(chan outcome, 1)
		go func() {
			rev, err := b.Create(ctx, key, nil)
			done <- outcome{rev, err}
		}()
		return done
	}
	expect := func(bucket, key string) <-chan outcome {
		done := make(chan outcome, 1)
		go func() {
			m := []kv.Mutation{{Bucket: bucket, Op: kv.MutatePut, Key: key, IfNewest: true, Newest: 9}}
			_ = h.s.Submit(ctx, m) // the mutation has the error
			done <- outcome{m[0].Revision, m[0].Err}
		}()
		return done
	}
	winner := create("k")
	h.waitQueued(1)
	loser, early := create("k"), create("old")
	behind, elsewhere := expect("b", "free"), expect("quiet", "free")
	h.waitQueued(5)
	g.pass <- struct{}{}
	<-first
	// Of the second group two need no sync: they are answered while that is held up.
	wantError(t, (<-early).err, kv.ErrKeyExists)
	wantError(t, (<-elsewhere).err, kv.ErrKeyRevisionMismatch, "revision 1")
	<-g.reached
	if len(loser) > 0 || len(behind) > 0 {
		t.Error("answered before the sync")
	}
	open()
	if o := <-winner; o.err != nil {
		t.Errorf("the first create: %+v", o)
	}
	wantError(t, (<-loser).err, kv.ErrKeyExists)
	wantError(t, (<-behind).err, kv.ErrKeyRevisionMismatch, "revision 3")
}

// Of a group that was lost nobody learns at which revision it would have been.
func TestAConditionThatFailsInAGroupThatIsLostHasNoOutcome(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	h.bucket("quiet")
	h.fail(simdisk.OpSync, manifest.LogDir, syscall.EIO)
	expect := func(bucket, key string) kv.Mutation {
		return kv.Mutation{Bucket: bucket, Op: kv.MutatePut, Key: key, IfNewest: true, Newest: 9}
	}
	got := h.submit(
		expect("b", "before"), // it cannot be told from one behind the put
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"},
		expect("b", "behind"),
		expect("quiet", "k"),
	)
	for i, want := range []error{kv.ErrOutcomeUnknown, kv.ErrOutcomeUnknown, kv.ErrOutcomeUnknown, kv.ErrKeyRevisionMismatch} {
		if wantError(t, got[i].Err, want); got[i].Revision != 0 {
			t.Errorf("mutation %d has revision %d", i, got[i].Revision)
		}
	}
}

func TestAFailingConditionCostsNoSync(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	rev := mustPut(t, b, "k", "v")
	syncs, writes := h.count(simdisk.OpSync, ""), 0
	for range 10 {
		if _, err := b.Create(ctx, "k", nil); !errors.Is(err, kv.ErrKeyExists) {
			t.Error(err)
		}
		if _, err := b.Update(ctx, "k", nil, rev+1); !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			t.Error(err)
		}
		if _, err := b.Delete(ctx, "k", kv.LastRevision(rev+1)); !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			t.Error(err)
		}
	}
	if n := syncs(); n != 0 {
		t.Errorf("%d syncs", n)
	}
	count := h.count(simdisk.OpWriteAt, "")
	h.submit(kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k"})
	if writes = count(); writes != 0 {
		t.Errorf("%d writes", writes)
	}
	if got := mustPut(t, b, "k", "w"); got != rev+1 {
		t.Errorf("the next revision is %d, want %d", got, rev+1)
	}
}

// One put, one sync: that is what acknowledged means.
func TestEachPutOfALoneWriterCostsOneSync(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v") // makes the segment
	syncs := h.count(simdisk.OpSync, "")
	for range 10 {
		mustPut(t, b, "k", "v")
	}
	if n := syncs(); n != 10 {
		t.Errorf("%d syncs for 10 puts", n)
	}
}

func TestAContextThatEndsInTheQueueWithdrawsTheWrite(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	cancelled, cancel := context.WithCancelCause(ctx)
	second := goPut(cancelled, b, "second", "v")
	h.waitQueued(1)
	third := goPut(ctx, b, "third", "v")
	h.waitQueued(2)
	cancel(errors.New("enough"))
	if o := <-second; !errors.Is(o.err, context.Canceled) || o.revision != 0 {
		t.Errorf("the withdrawn put got %+v", o)
	}
	h.waitQueued(1)
	open()
	for _, d := range []<-chan outcome{first, third} {
		if o := <-d; o.err != nil {
			t.Error(o.err)
		}
	}
	wantShown(t, b, showing{"first": revs{1}, "third": revs{2}})
}

func TestAContextThatEndedBeforeWritesNothing(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.PutString(ended, "k", "v"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	mutations := []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "k"}, {Bucket: "b", Op: kv.MutateTouch, Key: "k"}}
	if err := h.s.Submit(ended, mutations); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for i, m := range mutations {
		if !errors.Is(m.Err, context.Canceled) {
			t.Errorf("mutation %d: %v", i, m.Err)
		}
	}
	wantShown(t, b, showing{})
}

// Once a write is taken, its context no longer counts.
func TestAContextThatEndsInTheCommitDoesNotCount(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	g, open := h.gateLog()
	defer open()
	cancelled, cancel := context.WithCancel(ctx)
	leader := goPut(cancelled, b, "leader", "v")
	<-g.reached
	second := goPut(ctx, b, "second", "v")
	h.waitQueued(1)
	follower := goPut(cancelled, b, "follower", "v")
	h.waitQueued(2)
	g.pass <- struct{}{}
	<-g.reached // the second group, follower included, is in its sync
	cancel()
	open()
	for name, d := range map[string]<-chan outcome{"leader": leader, "second": second, "follower": follower} {
		if o := <-d; o.err != nil || o.revision == 0 {
			t.Errorf("%s got %+v", name, o)
		}
		mustGet(t, b, name, "v")
	}
}

// What the first part of a Submit wrote stays; the rest carries the context's
// error.
func TestASubmitIsCutOffBetweenItsGroups(t *testing.T) {
	h := newHarness(t, withoutLargeValues)
	b := h.bucket("b", func(c *kv.Config) { c.MaxValueSize = 4 << 20 })
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	value := bytes.Repeat([]byte("x"), 3<<20)
	mutations := make([]kv.Mutation, 3)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("k%d", i), Value: value}
	}
	leader := goPut(ctx, b, "leader", "v") // leads, so that the Submit is a follower
	h.waitQueued(1)
	cancelled, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- h.s.Submit(cancelled, mutations) }()
	h.waitQueued(2)
	g.pass <- struct{}{}
	<-first
	<-g.reached // the group of leader and k0
	cancel()
	waitFor(func() bool {
		h.s.commit.mu.Lock()
		defer h.s.commit.mu.Unlock()
		return len(h.s.commit.queue) == 1 && h.s.commit.queue[0].cancelled != nil
	})
	open()
	<-leader
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Submit returned %v", err)
	}
	if m := mutations[0]; m.Err != nil || m.Revision == 0 {
		t.Errorf("the first mutation: revision %d, error %v", m.Revision, m.Err)
	}
	for i, m := range mutations[1:] {
		if !errors.Is(m.Err, context.Canceled) || m.Revision != 0 {
			t.Errorf("mutation %d: revision %d, error %v", i+1, m.Revision, m.Err)
		}
	}
	mustGet(t, b, "k0", string(value))
	if len(shown(t, b)) != 3 {
		t.Errorf("the bucket shows %v", shown(t, b))
	}
}

func TestALeadPassesOnWhenWhoShouldLeadWithdraws(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	c := &h.s.commit
	var queue []*request
	if !c.enqueue(c.newRequest()) { // leads, and is answered
		t.Fatal("the path was not idle")
	}
	for range 3 {
		r := newRequestOf(t, b, mutation{kind: writeValue, key: "k"})
		if c.enqueue(r) {
			t.Fatal("a second leader")
		}
		queue = append(queue, r)
	}
	c.queue, c.leading = c.queue[1:], true
	c.queued.Store(3)
	c.passOnLocked()
	for i, r := range queue {
		if len(r.wake) != 1 || !r.leads {
			t.Fatalf("request %d was not told to lead", i)
		}
		if !c.withdraw(r, context.Canceled) {
			t.Fatalf("request %d was not withdrawn", i)
		}
		if len(r.wake) != 0 {
			t.Errorf("request %d has a message left", i)
		}
	}
	if c.leading || len(c.queue) != 0 || c.queued.Load() != 0 {
		t.Errorf("the path is not idle: leading %v, %d queued, counted %d", c.leading, len(c.queue), c.queued.Load())
	}
	mustPut(t, b, "k", "v")
}

// Many writers whose contexts end at any moment: every one is answered, and
// what is there is what was acknowledged.
func TestWithdrawnWritesLeaveNothingBehind(t *testing.T) {
	const writers, rounds = 16, 50
	h := newHarness(t)
	b := h.bucket("b")
	var wg sync.WaitGroup
	results := make([][rounds]outcome, writers)
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range rounds {
				cancelled, cancel := context.WithCancel(ctx)
				if rng.IntN(3) > 0 {
					go cancel()
				}
				rev, err := b.PutString(cancelled, fmt.Sprintf("k%d.%d", w, i), "v")
				results[w][i] = outcome{rev, err}
				cancel()
			}
		})
	}
	wg.Wait()
	want := showing{}
	for w := range results {
		for i, o := range results[w] {
			if o.err == nil {
				want[fmt.Sprintf("k%d.%d", w, i)] = revs{o.revision}
			} else if !errors.Is(o.err, context.Canceled) {
				t.Error(o.err)
			}
		}
	}
	wantShown(t, b, want)
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if int(st.Revision) != len(want) {
		t.Errorf("%d revisions for %d writes", st.Revision, len(want))
	}
}

func TestALargeSubmitTravelsInSeveralFramesInOrder(t *testing.T) {
	h := newHarness(t, withoutLargeValues)
	b := h.bucket("b")
	value := bytes.Repeat([]byte("x"), 1<<20)
	mutations := make([]kv.Mutation, 10)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("k%d", i), Value: value}
	}
	before := h.s.log.Last()
	for i, m := range h.submit(mutations...) {
		if m.Err != nil || m.Revision != kv.Revision(i+1) {
			t.Errorf("mutation %d: revision %d, error %v", i, m.Revision, m.Err)
		}
	}
	if n := h.s.log.Last() - before; n != 4 { // three of 1 MiB fit a frame
		t.Errorf("%d frames, want 4", n)
	}
	want := shown(t, b)
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), want)
}

func TestAHugeValueTravelsAlone(t *testing.T) {
	h := newHarness(t, withoutLargeValues)
	b := h.bucket("b", func(c *kv.Config) { c.MaxValueSize = kv.MaxValueSizeLimit })
	huge := bytes.Repeat([]byte("0123456789abcdef"), kv.MaxValueSizeLimit/16)
	before := h.s.log.Last()
	for i, m := range h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "before", Value: []byte("v")},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "huge", Value: huge},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "after", Value: []byte("v")},
	) {
		if m.Err != nil || m.Revision != kv.Revision(i+1) {
			t.Errorf("mutation %d: revision %d, error %v", i, m.Revision, m.Err)
		}
	}
	if n := h.s.log.Last() - before; n != 3 {
		t.Errorf("%d frames, want 3", n)
	}
	if c := cap(h.s.commit.group.frame); c > 2*framePayloadMax {
		t.Errorf("the group keeps a frame of %d bytes", c)
	}
	_, err := b.Put(ctx, "more", make([]byte, kv.MaxValueSizeLimit+1))
	wantError(t, err, kv.ErrValueTooLarge, `"more"`)
	h.reopen()
	b = h.find("b")
	e, err := b.Get(ctx, "huge")
	if err != nil || !bytes.Equal(e.Value, huge) {
		t.Errorf("%d bytes came back, %v", len(e.Value), err)
	}
	mustGet(t, b, "before", "v")
	mustGet(t, b, "after", "v")
}

// A group's records land in the segments of their buckets, in order.
func TestAGroupOfSeveralBucketsLandsInTheRightSegments(t *testing.T) {
	const buckets, each = 3, 5
	h := newHarness(t)
	var mutations []kv.Mutation
	for i := range buckets {
		h.bucket(fmt.Sprintf("b%d", i), withHistory(each))
	}
	for i := range buckets * each {
		mutations = append(mutations, kv.Mutation{Bucket: fmt.Sprintf("b%d", i%buckets), Op: kv.MutatePut, Key: "k", Value: fmt.Appendf(nil, "v%d", i)})
	}
	before := h.s.log.Last()
	h.submit(mutations...)
	if n := h.s.log.Last() - before; n != 1 {
		t.Errorf("%d frames, want 1", n)
	}
	check := func(t *testing.T) {
		for i := range buckets {
			b := h.find(fmt.Sprintf("b%d", i))
			n := 0
			for e, err := range b.History(ctx, "k") {
				if want := fmt.Sprintf("v%d", n*buckets+i); err != nil || string(e.Value) != want || e.Revision != kv.Revision(n+1) || e.Delta != uint64(each-1-n) {
					t.Errorf("bucket %d: %+v, %v; want %s", i, e, err, want)
				}
				n++
			}
			if n != each {
				t.Errorf("bucket %d has %d entries", i, n)
			}
		}
	}
	check(t)
	for i := range buckets {
		b := h.find(fmt.Sprintf("b%d", i))
		err := b.active.Walk(0, b.active.Size(), func(_ int64, r *segment.Record, _ int, _ bool) error {
			if r.BucketID != b.id {
				t.Errorf("a record of bucket %d stands in a segment of %d", r.BucketID, b.id)
			}
			return nil
		}, func(c *kv.CorruptError) { t.Error(c) })
		if err != nil {
			t.Fatal(err)
		}
	}
	h.powerCut()
	h.open()
	check(t)
}

// The floor of each record counts the records before it in its group.
func TestFloorsOfSeveralWritesOfAKeyInOneGroup(t *testing.T) {
	const history = 3
	op := func(o kv.MutationOp) kv.Mutation { return kv.Mutation{Bucket: "b", Op: o, Key: "k"} }
	put, del, purge := op(kv.MutatePut), op(kv.MutateDelete), op(kv.MutatePurge)
	for _, c := range []struct {
		name      string
		mutations []kv.Mutation // after two puts, of revisions 1 and 2
		floors    revs          // of the mutations
		want      revs
	}{
		{"within the history", []kv.Mutation{put}, revs{1}, revs{1, 2, 3}},
		{"past the history", []kv.Mutation{put, put, put, put}, revs{1, 2, 3, 4}, revs{4, 5, 6}},
		{"deletes count", []kv.Mutation{del, put, del}, revs{1, 2, 3}, revs{3, 4, 5}},
		{"a purge starts afresh", []kv.Mutation{put, purge}, revs{1, 4}, revs{4}},
		{"behind a purge", []kv.Mutation{purge, put, put}, revs{3, 3, 3}, revs{3, 4, 5}},
		{"far behind a purge", []kv.Mutation{purge, put, put, put}, revs{3, 3, 3, 4}, revs{4, 5, 6}},
		{"two purges", []kv.Mutation{purge, put, purge, put}, revs{3, 3, 5, 5}, revs{5, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b", withHistory(history))
			mustPut(t, b, "k", "v")
			mustPut(t, b, "k", "v")
			before := h.s.log.Last()
			h.submit(c.mutations...)
			if n := h.s.log.Last() - before; n != 1 {
				t.Fatalf("%d frames, want 1", n)
			}
			var floors revs
			for _, r := range recordFloors(t, b)["k"][2:] {
				floors = append(floors, r[1])
			}
			if fmt.Sprint(floors) != fmt.Sprint(c.floors) {
				t.Errorf("floors are %v, want %v", floors, c.floors)
			}
			wantShown(t, b, showing{"k": c.want})
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), showing{"k": c.want})
			h.reopen()
			wantShown(t, h.find("b"), showing{"k": c.want})
		})
	}
}

// A writer that finds the log full runs the checkpoint that makes room.
func TestAFullLogIsCheckpointedByWhoNeedsRoom(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.LogMaxSize = 2 * o.LogFileSize })
	b := h.bucket("b")
	value := strings.Repeat("x", 1000)
	for i := range 300 {
		mustPut(t, b, fmt.Sprintf("k%d", i), value)
		if used := h.s.log.Used(); used > h.opts.LogMaxSize {
			t.Fatalf("the log uses %d bytes of %d", used, h.opts.LogMaxSize)
		}
	}
	h.powerCut()
	h.open()
	if got := len(shown(t, h.find("b"))); got != 300 {
		t.Errorf("%d keys, want 300", got)
	}
}

// Operations on buckets meet a full log, too.
func TestAnOperationOnAFullLogRunsTheCheckpoint(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.LogFileSize, o.LogMaxSize = 16<<10, 32<<10 })
	for i := range 50 {
		h.bucket(fmt.Sprintf("b%d", i))
	}
	h.powerCut()
	h.open()
	if got := h.s.Report().Buckets; got != 50 {
		t.Errorf("%d buckets, want 50", got)
	}
}

// The memory of a request is used again: nothing of its past may show.
func TestARequestThatIsUsedAgainIsEmpty(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	r := newRequestOf(t, b, mutation{kind: writeValue, expect: expectLast, key: "k", last: 3})
	r.taken, r.done, r.leads, r.cancelled = 1, true, true, context.Canceled
	r.single[0] = mutation{key: "k", err: kv.ErrKeyExists}
	h.s.commit.free(r)
	for range 10 { // the pool may give another
		r := h.s.commit.newRequest()
		if len(r.mutations) != 1 || r.mutations[0].key != "" || r.mutations[0].err != nil || r.taken != 0 || r.done || r.leads || r.cancelled != nil || len(r.wake) != 0 {
			t.Errorf("a used request: %+v", r)
		}
	}
}

func TestWhatASubmitRefusesItRefusesAlone(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.MaxValueSize = 10 })
	got := h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k1", Err: errors.New("stale"), Revision: 99},
		kv.Mutation{Bucket: "none", Op: kv.MutatePut, Key: "k"},
		kv.Mutation{Bucket: "a b", Op: kv.MutatePut, Key: "k"},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: ".k"},
		kv.Mutation{Bucket: "b", Op: 0, Key: "k"},
		kv.Mutation{Bucket: "b", Op: msglog.Append + 1, Key: "k"},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", Value: make([]byte, 11)},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", TTL: -1},
		kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "k", TTL: 1},
		kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "none"},
		kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k1", IfNewest: true, Newest: 1},
		kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k1"},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k2"},
	)
	want := []error{
		nil, kv.ErrBucketNotFound, kv.ErrInvalidBucketName, kv.ErrInvalidKey, kv.ErrInvalidOption, kv.ErrInvalidOption,
		kv.ErrValueTooLarge, kv.ErrInvalidOption, kv.ErrInvalidOption, kv.ErrKeyNotFound, kv.ErrInvalidOption, nil, nil,
	}
	rev := kv.Revision(0)
	for i, m := range got {
		if !errors.Is(m.Err, want[i]) {
			t.Errorf("mutation %d: %v, want %v", i, m.Err, want[i])
		}
		if m.Err == nil {
			rev++
			if m.Revision != rev {
				t.Errorf("mutation %d has revision %d, want %d", i, m.Revision, rev)
			}
		} else if m.Revision != 0 {
			t.Errorf("mutation %d has revision %d and error %v", i, m.Revision, m.Err)
		}
	}
	wantShown(t, b, showing{"k1": revs{2}, "k2": revs{3}})
	if err := h.s.Submit(ctx, nil); err != nil {
		t.Errorf("an empty Submit: %v", err)
	}
}
