package bucket

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/segment"
)

// recordSize is what a put of a value counts.
func recordSize(key string, value int) int64 {
	return int64(segment.RecordSize(len(key), 0, value, false, false))
}

func wantFull(t *testing.T, err error, got, limit int64) {
	t.Helper()
	wantError(t, err, kv.ErrBucketFull, `"b"`)
	var l *kv.LimitError
	if !errors.As(err, &l) || l.Got != got || l.Max != limit {
		t.Errorf("got %+v, want %d of %d bytes", l, got, limit)
	}
}

func TestMaxBytes(t *testing.T) {
	const size = 100
	one := recordSize("k0", size)
	value := strings.Repeat("v", size)
	// full returns a bucket at its limit: n keys of one record each.
	full := func(t *testing.T, n int, history int) (*harness, *Bucket) {
		h := newHarness(t)
		b := h.bucket("b", withMaxBytes(int64(n)*one), withHistory(history))
		for i := range n {
			mustPut(t, b, fmt.Sprintf("k%d", i), value)
		}
		return h, b
	}
	t.Run("a new key is refused at the limit", func(t *testing.T) {
		_, b := full(t, 3, 1)
		_, err := b.PutString(ctx, "k3", value)
		wantFull(t, err, 4*one, 3*one)
		_, err = b.PutString(ctx, "k3", "")
		wantFull(t, err, 3*one+recordSize("k3", 0), 3*one)
		wantShown(t, b, showing{"k0": revs{1}, "k1": revs{2}, "k2": revs{3}})
	})
	t.Run("an overwrite of equal size passes at the limit", func(t *testing.T) {
		_, b := full(t, 3, 1)
		for i := range 10 {
			mustPut(t, b, fmt.Sprintf("k%d", i%3), value)
		}
	})
	t.Run("a larger overwrite is refused, a smaller one passes", func(t *testing.T) {
		_, b := full(t, 3, 1)
		larger := recordSize("k1", size+8)
		_, err := b.PutString(ctx, "k1", value+"12345678")
		wantFull(t, err, 2*one+larger, 3*one)
		mustPut(t, b, "k1", "")
		mustPut(t, b, "k0", value+"12345678")
	})
	t.Run("an overwrite that keeps history adds to it", func(t *testing.T) {
		_, b := full(t, 3, 2)
		_, err := b.PutString(ctx, "k0", value)
		wantFull(t, err, 4*one, 3*one)
	})
	t.Run("deletes and purges are admitted past the limit", func(t *testing.T) {
		_, b := full(t, 3, 1)
		if _, err := b.Delete(ctx, "k0"); err != nil {
			t.Error(err)
		}
		for i := range 10 {
			if _, err := b.Delete(ctx, fmt.Sprintf("absent%d", i)); err != nil {
				t.Error(err)
			}
		}
		if _, err := b.Purge(ctx, "k1"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a purge makes room at once", func(t *testing.T) {
		_, b := full(t, 3, 1)
		if _, err := b.Purge(ctx, "k0"); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, "k0", value)
	})
	t.Run("room made within one Submit counts", func(t *testing.T) {
		h, b := full(t, 3, 1)
		put := func(key, v string) kv.Mutation {
			return kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key, Value: []byte(v)}
		}
		got := h.submit(
			put("k3", value), // refused
			put("k0", ""),    // makes room for less than a record
			put("k3", value), // refused
			kv.Mutation{Bucket: "b", Op: kv.MutatePurge, Key: "k1"},
			put("k1", value),
			put("k1", value),
			put("k0", value),
			put("k0", value+value), // refused
		)
		for i, full := range []bool{true, false, true, false, false, false, false, true} {
			if errors.Is(got[i].Err, kv.ErrBucketFull) != full || !full && got[i].Err != nil {
				t.Errorf("mutation %d: %v, want it refused: %v", i, got[i].Err, full)
			}
		}
		st, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Bytes != uint64(3*one) {
			t.Errorf("%d bytes, want %d", st.Bytes, 3*one)
		}
	})
	t.Run("other buckets of a group do not count", func(t *testing.T) {
		h, b := full(t, 2, 1)
		h.bucket("other")
		got := h.submit(
			kv.Mutation{Bucket: "other", Op: kv.MutatePut, Key: "k0", Value: make([]byte, 1000)},
			kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k0", Value: []byte(value)},
			kv.Mutation{Bucket: "other", Op: kv.MutatePurge, Key: "k1"},
			kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k1", Value: []byte(value)},
		)
		for i, m := range got {
			if m.Err != nil {
				t.Errorf("mutation %d: %v", i, m.Err)
			}
		}
		if n := len(shown(t, b)); n != 2 {
			t.Errorf("%d keys", n)
		}
	})
	t.Run("a trim of a group's own records counts", func(t *testing.T) {
		h := newHarness(t)
		h.bucket("b", withMaxBytes(2*one), withHistory(2))
		var mutations []kv.Mutation
		for range 20 {
			mutations = append(mutations, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k0", Value: []byte(value)})
		}
		for i, m := range h.submit(mutations...)[:2] {
			if m.Err != nil {
				t.Errorf("mutation %d: %v", i, m.Err)
			}
		}
		// With two kept a third does not fit before it has pushed the first out.
		for i, m := range mutations[2:] {
			if m.Err != nil {
				t.Errorf("mutation %d: %v", i+2, m.Err)
			}
		}
	})
	t.Run("the limit holds after a restart", func(t *testing.T) {
		h, _ := full(t, 3, 1)
		h.powerCut()
		h.open()
		b := h.find("b")
		_, err := b.PutString(ctx, "k3", value)
		wantFull(t, err, 4*one, 3*one)
		mustPut(t, b, "k0", value)
	})
	t.Run("a shorter history makes room at once", func(t *testing.T) {
		h, b := full(t, 2, 2)
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 2, MaxBytes: 4 * one}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, "k0", value)
		mustPut(t, b, "k1", value)
		_, err := b.PutString(ctx, "k2", value)
		wantFull(t, err, 5*one, 4*one)
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 1, MaxBytes: 4 * one}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, "k2", value)
		mustPut(t, b, "k3", value)
	})
	t.Run("forgotten markers make room at once", func(t *testing.T) {
		_, b := full(t, 3, 2)
		if _, err := b.Delete(ctx, "k0"); err != nil {
			t.Fatal(err)
		}
		if err := b.PurgeDeletes(ctx, -1); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, "k3", value)
	})
	t.Run("an edit of the limit counts at once", func(t *testing.T) {
		h, b := full(t, 3, 1)
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", MaxBytes: 4 * one}); err != nil {
			t.Fatal(err)
		}
		mustPut(t, b, "k3", value)
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", MaxBytes: one}); err != nil {
			t.Fatal(err)
		}
		_, err := b.PutString(ctx, "k0", value)
		wantFull(t, err, 4*one, one)
	})
}

// A bucket at its limit is not slow to write to. (When each mutation counted
// anew what the group freed, this one took 17 s of the commit path.)
func TestALargeGroupAtTheLimitReplacesItsLike(t *testing.T) {
	const keys = 20_000
	h := newHarness(t)
	one := recordSize("k00000", 0)
	b := h.bucket("b", withMaxBytes(keys*one))
	mutations := make([]kv.Mutation, keys)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("k%05d", i)}
	}
	h.submit(mutations...)
	before := h.s.log.Last()
	for i, m := range h.submit(mutations...) {
		if m.Err != nil {
			t.Fatalf("mutation %d: %v", i, m.Err)
		}
	}
	if n := h.s.log.Last() - before; n != 1 {
		t.Errorf("%d frames, want 1", n)
	}
	st, err := b.Status(ctx)
	if err != nil || st.Bytes != uint64(keys*one) || st.Keys != keys {
		t.Errorf("%+v, %v", st, err)
	}
}

// The same for a group on one key, whose mutations form a chain.
func TestALargeGroupOnOneKeyAtTheLimit(t *testing.T) {
	const writes, history = 20_000, 3
	h := newHarness(t)
	one := recordSize("k", 0)
	b := h.bucket("b", withMaxBytes(history*one), withHistory(history))
	mutations := make([]kv.Mutation, writes)
	for i := range mutations {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k"}
	}
	for i, m := range h.submit(mutations...) {
		if m.Err != nil {
			t.Fatalf("mutation %d: %v", i, m.Err)
		}
	}
	wantShown(t, b, showing{"k": revs{writes - 2, writes - 1, writes}})
}
