package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/watch"
)

// twins are two stores that get the same calls. The one applies its rules to the index at
// once, the other when the test wants it. Reads and writes must have the same results.
type twins struct {
	t     *testing.T
	rng   *rand.Rand
	done  []string // for the report
	eager *harness
	late  *harness
}

const (
	twinKeys    = 5
	twinRuns    = 150
	twinSteps   = 60
	twinHistory = 4
)

func TestAnIndexThatFollowsLaterTellsNobody(t *testing.T) {
	for seed := range uint64(twinRuns / slowness) {
		w := &twins{t: t, rng: rand.New(rand.NewPCG(seed, 1)), eager: newHarness(t, smallSegments), late: newHarness(t, smallSegments)}
		for _, h := range []*harness{w.eager, w.late} {
			h.bucket("b", withHistory(twinHistory))
		}
		for range twinSteps {
			w.step()
			if w.compare(); t.Failed() {
				t.Fatalf("seed %d: %q", seed, w.done)
			}
		}
		for _, h := range []*harness{w.eager, w.late} {
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (w *twins) step() {
	key := w.key()
	switch x := w.rng.IntN(100); {
	case x < 50:
		w.write(1 + w.rng.IntN(3))
	case x < 55:
		keep, below := uint64(w.rng.IntN(3)), kv.Revision(w.rng.IntN(30))
		pattern := []string{">", key}[w.rng.IntN(2)]
		w.both(fmt.Sprint("erase ", pattern, below, keep), func(b *Bucket) (any, error) { return b.Erase(ctx, pattern, below, keep) })
	case x < 65:
		age := []time.Duration{-1, time.Hour}[w.rng.IntN(2)]
		w.decide(fmt.Sprint("purge deletes ", age), func(b *Bucket) error {
			_, err := b.purgeDeletes(ctx, age)
			return err
		}, func(b *Bucket) error { return b.PurgeDeletes(ctx, age) })
	case x < 75:
		config := kv.Config{Bucket: "b", History: 1 + w.rng.IntN(twinHistory)}
		w.decide(fmt.Sprint("history ", config.History), func(b *Bucket) error {
			err := b.store.operate(ctx, func() (journal.Operation, error) { return b.decideEdit(config.WithDefaults()) })
			if errors.Is(err, errUnchanged) {
				return nil
			}
			return err
		}, func(b *Bucket) error {
			_, err := b.store.UpdateBucket(ctx, config)
			return err
		})
	case x < 83:
		w.done = append(w.done, "settle "+key)
		b := w.late.find("b")
		b.mu.Lock()
		b.applyRulesToKeyLocked(index.Hash(key), key)
		b.mu.Unlock()
	case x < 88:
		w.settle()
	case x < 92:
		w.both("checkpoint", func(b *Bucket) (any, error) { return nil, b.store.Checkpoint(ctx) })
	case x < 96:
		w.done = append(w.done, "reclaim")
		w.eager.reclaim()
		w.late.reclaim()
	default:
		w.done = append(w.done, "power cut")
		for _, h := range []*harness{w.eager, w.late} {
			h.powerCut()
			h.open()
		}
	}
}

func (w *twins) key() string { return string(rune('a' + w.rng.IntN(twinKeys))) }

// write makes one or several mutations, which are judged together.
func (w *twins) write(count int) {
	var list []kv.Mutation
	what := "write"
	for range count {
		m := w.mutation(w.key())
		list = append(list, m)
		what += fmt.Sprint(" ", m.Op, " ", m.Key, " ", m.Last)
	}
	w.both(what, func(b *Bucket) (any, error) {
		muts := slices.Clone(list)
		if err := b.store.Submit(ctx, muts); err != nil {
			return nil, err
		}
		var answers string
		for _, m := range muts {
			answers += fmt.Sprint(m.Revision, m.Err, " ")
		}
		return answers, nil
	})
}

// mutation returns a mutation of a key, on a condition or without.
func (w *twins) mutation(key string) kv.Mutation {
	last := kv.Revision(w.rng.IntN(30))
	if e, err := w.eager.find("b").Last(ctx, key); err == nil && w.rng.IntN(2) == 0 {
		last = e.Revision
	}
	ops := []kv.Mutation{
		{Op: kv.MutatePut}, {Op: kv.MutatePut}, {Op: kv.MutateDelete}, {Op: kv.MutateDelete}, {Op: kv.MutatePurge},
		{Op: kv.MutateCreate}, {Op: kv.MutateUpdate, Last: last},
	}
	m := ops[w.rng.IntN(len(ops))]
	m.Bucket, m.Key, m.Value = "b", key, []byte("v")
	if m.Op == kv.MutateDelete || m.Op == kv.MutatePurge {
		m.Value = nil
	}
	return m
}

// both makes a call on both stores, and checks that the results are the same.
func (w *twins) both(what string, do func(*Bucket) (any, error)) {
	w.done = append(w.done, what)
	want, wantErr := do(w.eager.find("b"))
	got, err := do(w.late.find("b"))
	if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		w.t.Errorf("%s: %v, %v; want %v, %v", what, got, err, want, wantErr)
	}
}

// decide carries out a decision. In one of the two stores the rules stay pending.
func (w *twins) decide(what string, late, eager func(*Bucket) error) {
	w.done = append(w.done, what)
	if err := errors.Join(late(w.late.find("b")), eager(w.eager.find("b"))); err != nil {
		w.t.Error(err)
	}
}

// settle applies the pending rules.
func (w *twins) settle() {
	w.done = append(w.done, "settle")
	b := w.late.find("b")
	for b.mu.rulesPending > 0 {
		b.finishRules()
	}
	want, err := w.eager.find("b").Status(ctx)
	got, lateErr := b.Status(ctx)
	if errors.Join(err, lateErr) != nil || got.Values != want.Values || got.Bytes != want.Bytes || got.Keys != want.Keys {
		w.t.Errorf("status %+v, want %+v", got, want)
	}
}

// compare reads everything from both stores.
func (w *twins) compare() {
	want, got := w.see(w.eager.find("b")), w.see(w.late.find("b"))
	if !slices.Equal(got, want) {
		w.t.Errorf("shown:\n%q\nwant:\n%q", got, want)
	}
}

func (w *twins) see(b *Bucket) (seen []string) {
	note := func(what string, e kv.Entry, err error) {
		seen = append(seen, fmt.Sprint(what, e.Key, e.Revision, e.Operation, e.Delta, err))
	}
	for n := range twinKeys {
		key := string(rune('a' + n))
		for e, err := range b.History(ctx, key) {
			note("history ", e, err)
		}
		e, err := b.Last(ctx, key)
		note("last "+key, e, err)
		e, err = b.Get(ctx, key)
		note("get "+key, e, err)
		for rev := range b.mu.revision {
			if e, err := b.GetRevision(ctx, key, rev+1); err == nil {
				note("at ", e, nil)
			}
		}
	}
	seen = append(seen, fmt.Sprint("keys ", collect(w.t, b)))
	for _, patterns := range [][]string{{"a"}, {"*"}} {
		for _, q := range []watch.Query{{Begin: watch.BeginLast}, {Begin: watch.BeginHistory}, {Begin: watch.BeginFrom, From: max(1, b.mu.revision/2), PassForgotten: true}} {
			q.Patterns = patterns
			found, err := watchLog{b}.Select(ctx, &q, 0, 0, 1<<20)
			what := fmt.Sprint("watch ", q.Begin, patterns, err)
			for _, r := range found.Refs {
				what += fmt.Sprint(" ", r.Revision)
			}
			seen = append(seen, what)
		}
	}
	return seen
}

// PurgeDeletes visits every key while writers go on. It does not affect the records that
// are written meanwhile.
func TestPurgeDeletesConcernsTheMarkersOfItsBeginning(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(5))
	for _, key := range []string{"again", "alive", "gone", "kept"} {
		mustPut(t, b, key, "1")
	}
	for _, key := range []string{"again", "gone"} {
		if _, err := b.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	survey := survey{upTo: b.next - 1, cutoff: 1<<63 - 1}
	for n := 0; survey.part(b, n); n++ {
	}
	mustPut(t, b, "again", "2")
	if _, err := b.Delete(ctx, "kept"); err != nil {
		t.Fatal(err)
	}
	op := &journal.PurgeDeletes{Bucket: b.id, Rule: manifest.PurgeDeletes{UpTo: survey.upTo, MarkersUpTo: survey.markers}}
	if err := h.s.operate(ctx, func() (journal.Operation, error) { return op, nil }); err != nil {
		t.Fatal(err)
	}
	want := showing{"again": revs{1, 5, 7}, "alive": revs{2}, "kept": revs{4, 8}}
	wantShown(t, b, want)
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), want)
}

// If PurgeDeletes has nothing to remove, it logs nothing, and no watcher gets
// ErrCompacted.
func TestPurgeDeletesOfNothing(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(5))
	mustPut(t, b, "k", "1")
	mustPut(t, b, "k", "2")
	before := h.s.log.Last()
	if err := b.PurgeDeletes(ctx, -1); err != nil {
		t.Fatal(err)
	}
	if got := h.s.log.Last(); got != before {
		t.Errorf("the log is at %d, and was at %d", got, before)
	}
}
