package bucket

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"kvd/index"
	"kvd/kv"
)

// newLowPriority returns a request of low priority: the expiry markers of n keys.
func newLowPriority(b *Bucket, keys int) *request {
	r := b.store.commit.newRequest()
	r.lowPriority, r.mutations = true, make([]mutation, keys)
	for i := range r.mutations {
		key := fmt.Sprintf("k%d", i)
		r.mutations[i] = mutation{bucket: b, kind: writeExpiry, key: key, hash: index.Hash(key), size: expiryMarkerSize(key)}
	}
	return r
}

// Requests of low priority get a share of the writers' groups: neither delays the other
// for long.
func TestAPatientRequestRidesAlong(t *testing.T) {
	a := newAging(t, func(o *Options) { o.LogFileSize = 16 << 20 }) // a rotation has syncs of its own
	b := a.bucket("b")
	const keys = 3*shareLeast + 5
	for i := range keys {
		putTTL(t, b, fmt.Sprintf("k%d", i), "v", time.Second)
	}
	a.clock.advance(time.Second)
	g, open := a.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	r := newLowPriority(b, keys)
	patient := make(chan error, 1)
	go func() { patient <- a.s.commit.do(ctx, r) }()
	waitFor(func() bool {
		a.s.commit.mu.Lock()
		defer a.s.commit.mu.Unlock()
		return len(a.s.commit.lowPriority) == 1
	})
	second, third := goPut(ctx, b, "second", "v"), goPut(ctx, b, "third", "v")
	a.waitQueued(2) // both were queued later, and are committed first
	g.pass <- struct{}{}
	<-first
	<-g.reached
	g.pass <- struct{}{}
	revisions := []kv.Revision{(<-second).revision, (<-third).revision}
	if n := max(revisions[0], revisions[1]); n != keys+3 {
		t.Errorf("the writers' revisions are %v: they did not go first", revisions)
	}
	<-g.reached // the next share
	b.mu.RLock()
	revision := b.mu.revision
	b.mu.RUnlock()
	if want := kv.Revision(keys + 3 + shareLeast); revision != want {
		t.Errorf("the writers' group ended at revision %d, want %d", revision, want)
	}
	if len(patient) != 0 {
		t.Error("the patient request was answered")
	}
	open()
	if err := <-patient; err != nil {
		t.Fatal(err)
	}
	for i := range r.mutations {
		if r.mutations[i].err != nil {
			t.Fatal(r.mutations[i].err)
		}
	}
	wantKeys(t, collect(t, b), "first", "second", "third")
	if a.s.commit.leading || a.s.commit.queued.Load() != 0 || len(a.s.commit.lowPriority) != 0 {
		t.Error("the path is not idle")
	}
}

func TestWritersThatFillEveryFrameLeaveRoomForAShare(t *testing.T) {
	h := newHarness(t, withoutLargeValues)
	b := h.bucket("b", func(c *kv.Config) { c.MaxValueSize = kv.MaxValueSizeLimit })
	value := make([]byte, 1<<20)
	many := make([]mutation, 12)
	for i := range many {
		many[i] = mutation{kind: writeValue, key: fmt.Sprintf("full%d", i), value: value}
	}
	huge := mutation{kind: writeValue, key: "huge", value: make([]byte, 8<<20)}
	c := &h.s.commit
	c.queue = []*request{newRequestOf(t, b, many...), newRequestOf(t, b, huge)}
	c.lowPriority = []*request{newLowPriority(b, 3*shareLeast)}
	var shared []int
	for len(c.queue) > 0 {
		c.take(&c.group)
		if n := len(c.group.mutations); c.group.size > framePayloadMax && n > 1 {
			t.Errorf("a group of %d mutations, %d bytes", n, c.group.size)
		}
		shared = append(shared, c.group.lowPriority)
		c.group.reset()
	}
	if got, want := fmt.Sprint(shared), fmt.Sprint([]int{shareLeast, shareLeast, shareLeast, 0, 0}); got != want {
		t.Errorf("the groups' shares are %s, want %s: three values fit beside a share, and a huge one is alone", got, want)
	}
}

func TestAPatientRequestIsWithdrawn(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	g, open := h.gateLog()
	defer open()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	ending, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- h.s.commit.do(ending, newLowPriority(b, 1)) }()
	waitFor(func() bool {
		h.s.commit.mu.Lock()
		defer h.s.commit.mu.Unlock()
		return len(h.s.commit.lowPriority) == 1
	})
	end()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	open()
	if o := <-first; o.err != nil {
		t.Error(o.err)
	}
	mustPut(t, b, "second", "v")
	if n := len(h.s.commit.lowPriority); n != 0 || h.s.commit.leading {
		t.Errorf("%d patient requests; leading: %t", n, h.s.commit.leading)
	}
}

func TestAShareTakesAboutAsLongAsTheSync(t *testing.T) {
	const group, each = 50 * time.Microsecond, 2 * time.Microsecond // what one costs without, and with every mutation
	for _, c := range []struct {
		sync time.Duration
		want int
	}{
		{0, shareLeast},
		{200 * time.Microsecond, 75},
		{2 * time.Millisecond, 975},
		{time.Second, shareMost},
	} {
		var s share
		if s.mutations() != shareLeast {
			t.Errorf("it begins with %d", s.mutations())
		}
		for range 100 {
			s.adapt(group+each*time.Duration(s.mutations()), c.sync)
		}
		if got := s.mutations(); got < c.want*9/10 || got > c.want*11/10 {
			t.Errorf("a sync of %v: %d mutations, want about %d", c.sync, got, c.want)
		}
		before := s.mutations()
		if s.adapt(time.Second, c.sync); s.mutations() < before*8/10 {
			t.Errorf("a sync of %v: one slow group made %d of %d", c.sync, s.mutations(), before)
		}
	}
}
