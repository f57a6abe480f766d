package bucket

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

func TestErase(t *testing.T) {
	// Revisions: a.x 1, 4, 7; a.y 2, 5; b 3, 6 (a delete).
	for _, c := range []struct {
		name    string
		pattern string
		below   kv.Revision
		keep    uint64
		erased  uint64
		want    showing
	}{
		{"one key", "a.x", 0, 0, 3, showing{"a.y": revs{2, 5}, "b": revs{3, 6}}},
		{"a pattern", "a.*", 0, 0, 5, showing{"b": revs{3, 6}}},
		{"everything", ">", 0, 0, 7, showing{}},
		{"below a revision", ">", 5, 0, 4, showing{"a.x": revs{7}, "a.y": revs{5}, "b": revs{6}}},
		{"below the first", ">", 1, 0, 0, showing{"a.x": revs{1, 4, 7}, "a.y": revs{2, 5}, "b": revs{3, 6}}},
		{"below what is not there yet", "a.x", 99, 0, 3, showing{"a.y": revs{2, 5}, "b": revs{3, 6}}},
		{"but the newest", "a.x", 0, 1, 2, showing{"a.x": revs{7}, "a.y": revs{2, 5}, "b": revs{3, 6}}},
		{"but the newest of all that match", "a.*", 0, 2, 3, showing{"a.x": revs{7}, "a.y": revs{5}, "b": revs{3, 6}}},
		{"but the newest below a revision", ">", 6, 2, 3, showing{"a.x": revs{4, 7}, "a.y": revs{5}, "b": revs{6}}},
		{"but as many as there are", "a.x", 0, 3, 0, showing{"a.x": revs{1, 4, 7}, "a.y": revs{2, 5}, "b": revs{3, 6}}},
		{"what is not there", "c.>", 0, 0, 0, showing{"a.x": revs{1, 4, 7}, "a.y": revs{2, 5}, "b": revs{3, 6}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b", withHistory(3))
			for _, key := range []string{"a.x", "a.y", "b", "a.x", "a.y"} {
				mustPut(t, b, key, "v")
			}
			if _, err := b.Delete(ctx, "b"); err != nil {
				t.Fatal(err)
			}
			mustPut(t, b, "a.x", "v")
			n, err := b.Erase(ctx, c.pattern, c.below, c.keep)
			if n != c.erased || err != nil {
				t.Fatalf("%d records erased, want %d; error %v", n, c.erased, err)
			}
			for _, end := range []func(){func() {}, h.powerCut, h.kill, h.powerCut} {
				if end(); h.s.closed.Load() {
					h.open()
				}
				wantShown(t, h.find("b"), c.want)
			}
			if rev := mustPut(t, h.find("b"), "a.x", "v"); rev != 8 {
				t.Fatalf("the next revision is %d, want 8", rev)
			}
			h.reopen()
			got := shown(t, h.find("b"))["a.x"]
			if want := append(c.want["a.x"], 8); !slices.Equal(got, want[max(0, len(want)-3):]) {
				t.Fatalf("a.x shows %v, want the newest of %v", got, want)
			}
		})
	}
}

func TestEraseRefuses(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	_, err := b.Erase(ctx, "a b", 0, 0)
	wantError(t, err, kv.ErrInvalidPattern)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Erase(ctx, ">", 0, 0)
	wantError(t, err, kv.ErrBucketNotFound)
}

// Erasures and other writes of the same keys in one group have the same results as one by
// one.
func TestErasuresInAGroup(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		together, alone := newHarness(t), newHarness(t)
		limit := func(c *kv.Config) { c.MaxBytes = int64(400 + rng.IntN(2)*10_000) }
		history := withHistory(1 + int(seed%4))
		a, b := together.bucket("b", history, limit), alone.bucket("b", history)
		config, _ := a.config()
		if _, err := alone.s.UpdateBucket(ctx, config); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			var group, one []mutation
			for range 1 + rng.IntN(10) {
				m := mutation{key: string(rune('a' + rng.IntN(2)))}
				switch rng.IntN(6) {
				case 0:
					m.kind, m.floor = eraseRecords, a.next+kv.Revision(rng.IntN(6))-min(a.next, 3)
				case 1:
					m.kind = writeDelete
				case 2:
					m.kind, m.expect = writeValue, expectAbsent
				case 3:
					m.kind, m.rollup = writeValue, true
				default:
					m.kind = writeValue
				}
				m.value = make([]byte, rng.IntN(40))
				one, group = append(one, prepared(t, b, m)), append(group, prepared(t, a, m))
			}
			got := commitAll(t, together.s, group)
			for i := range one {
				want := commitAll(t, alone.s, one[i:i+1])[0]
				if got[i].revision != want.revision || got[i].erased != want.erased || (got[i].err == nil) != (want.err == nil) {
					t.Fatalf("seed %d, mutation %d: %+v, alone %+v", seed, i, got[i], want)
				}
			}
			wantShown(t, a, shown(t, b))
			if a.mu.index.Bytes() != b.mu.index.Bytes() {
				t.Fatalf("seed %d: %d bytes, alone %d", seed, a.mu.index.Bytes(), b.mu.index.Bytes())
			}
		}
		want := shown(t, a)
		together.powerCut()
		together.open()
		wantShown(t, together.find("b"), want)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		together.close()
		alone.close()
	}
}

func prepared(t *testing.T, b *Bucket, m mutation) mutation {
	t.Helper()
	if m.kind == eraseRecords {
		m.value = nil
	}
	if err := b.prepare(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// commitAll commits mutations as one request.
func commitAll(t *testing.T, s *Store, ms []mutation) []mutation {
	t.Helper()
	r := s.commit.newRequest()
	r.mutations = slices.Clone(ms)
	if err := s.commit.do(ctx, r); err != nil {
		t.Fatal(err)
	}
	done := slices.Clone(r.mutations)
	s.commit.free(r)
	return done
}

// After a crash at any call each key is unchanged or erased. Acknowledged erasures are
// durable.
func TestACrashDuringErase(t *testing.T) {
	const keys = 2*eraseBatch + 3
	for call := 1; ; call++ {
		h := newHarness(t)
		b := h.bucket("b", withHistory(2))
		for i := range keys {
			h.submit(
				kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint("k", i)},
				kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint("k", i)},
			)
		}
		var image *simdisk.Disk
		calls := 0
		h.fs.Inject(func(op simdisk.Op) simdisk.Action {
			if calls++; calls == call {
				image = h.disk.Crash(simdisk.KeepNone())
			}
			return simdisk.Action{}
		})
		n, err := b.Erase(ctx, ">", 0, 0)
		if n != 2*keys || err != nil {
			t.Fatalf("%d records erased, error %v", n, err)
		}
		h.fs.Inject(nil)
		if image == nil {
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), showing{})
			return
		}
		h.close()
		h.insert(image)
		h.open()
		for key, revisions := range shown(t, h.find("b")) {
			if len(revisions) != 2 {
				t.Fatalf("crash before call %d: %q shows %v", call, key, revisions)
			}
		}
		h.close()
	}
}

func TestHeadersAreKept(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		h := newHarness(t)
		b := h.bucket("b", withHistory(4), func(c *kv.Config) { c.Compression = compressed })
		value := strings.Repeat("value ", 100)
		w, err := b.Watch(ctx, nil, kv.UpdatesOnly())
		if err != nil {
			t.Fatal(err)
		}
		meta := func() {
			t.Helper()
			w, err := b.Watch(ctx, nil, kv.MetaOnly())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			for _, header := range []string{"", "marker"} {
				if u := <-w.Updates(); string(u.Entry.Headers) != header || u.Entry.Value != nil {
					t.Fatalf("without its value an entry has headers %q, want %q", u.Entry.Headers, header)
				}
			}
		}
		h.submit(
			kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", Value: []byte(value), Headers: []byte("first")},
			kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k", TTL: time.Hour},
			kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"},
			kv.Mutation{Bucket: "b", Op: kv.MutatePurge, Key: "p", Headers: []byte("marker")},
		)
		want := []string{"first", "first", "", "marker"}
		for _, header := range want {
			if u := <-w.Updates(); string(u.Entry.Headers) != header {
				t.Fatalf("the watch has headers %q, want %q", u.Entry.Headers, header)
			}
		}
		_ = w.Stop()
		for range 2 {
			meta()
			i := 0
			for e, err := range b.History(ctx, "k") {
				if err != nil || string(e.Headers) != want[i] || (want[i] == "") != (e.Headers == nil) {
					t.Fatalf("entry %d has headers %q, want %q; error %v", i, e.Headers, want[i], err)
				}
				i++
			}
			e, err := b.GetRevision(ctx, "k", 2)
			if err != nil || string(e.Headers) != "first" || string(e.Value) != value || e.Deadline.IsZero() {
				t.Fatalf("%+v, error %v", e, err)
			}
			if e, err := b.Last(ctx, "p"); err != nil || string(e.Headers) != "marker" || e.Operation != kv.Purge {
				t.Fatalf("%+v, error %v", e, err)
			}
			h.powerCut()
			h.open()
			b = h.find("b")
		}
	}
}

func TestHeadersCountInABucketsSize(t *testing.T) {
	h := newHarness(t)
	h.bucket("b", withMaxBytes(200))
	got := h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", Headers: make([]byte, 100)},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "l", Headers: make([]byte, 100)},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", Headers: make([]byte, kv.MaxHeadersSize+1)},
		kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k", Headers: make([]byte, 1)},
		kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k", Rollup: true},
		kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "k", Rollup: true},
	)
	for i, want := range []error{nil, kv.ErrBucketFull, kv.ErrValueTooLarge, kv.ErrInvalidOption, kv.ErrInvalidOption, kv.ErrInvalidOption} {
		if want == nil && got[i].Err != nil {
			t.Fatal(got[i].Err)
		} else if want != nil {
			wantError(t, got[i].Err, want)
		}
	}
}

func TestARollupEndsTheHistory(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(5))
	got := h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"},
		kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: "k", Last: 2, Rollup: true},
		kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "l", Rollup: true},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"},
	)
	for _, m := range got {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
	}
	for range 2 {
		wantShown(t, b, showing{"k": revs{3, 5}, "l": revs{4}})
		h.powerCut()
		h.open()
		b = h.find("b")
	}
}
