package kvtest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"kvd/kv"
)

const (
	limitBytes     = 32 << 10 // the size limit of the buckets below
	limitValueSize = 1000     // of the values that fill them
)

// limitValue is a value that compression does not make shorter.
var limitValue = func() string {
	b := make([]byte, limitValueSize)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}()

// fill puts keys k0, k1, … into a bucket until it is full. It returns the number of keys
// that the bucket took, and the error of the put that found no room.
func fill(t *trial, b kv.Bucket) (int, error) {
	t.Helper()
	value := []byte(limitValue)
	for i := range 2 * limitBytes / limitValueSize {
		if _, err := b.Put(t.ctx, fmt.Sprint("k", i), value); err != nil {
			return i, err
		}
	}
	t.Fatalf("a bucket with a limit of %d bytes took twice as much", limitBytes)
	return 0, nil
}

// sizeLimitFacts are about Config.MaxBytes.
var sizeLimitFacts = []fact{
	{"a put past it is refused, and what is there stays", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxBytes: limitBytes, History: 5})
		n, err := fill(t, b)
		t.fails(err, kv.ErrBucketFull)
		equal(t, "that half of it was usable", n*limitValueSize >= limitBytes/2, true)
		equal(t, "number of keys", len(t.keys(b)), n)
		t.absent(b, fmt.Sprint("k", n))
		equal(t, "length of the last value", len(t.get(b, fmt.Sprint("k", n-1)).Value), limitValueSize)
		_, err = b.Create(t.ctx, "new", []byte(limitValue))
		t.fails(err, kv.ErrBucketFull)
	}},
	{"deletes and purges are admitted past it", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxBytes: limitBytes, History: 5})
		n, err := fill(t, b)
		t.fails(err, kv.ErrBucketFull)
		if t.differs(DeletesNeedRoom) {
			refused := false
			for i := range n {
				_, err := b.Delete(t.ctx, fmt.Sprint("k", i))
				refused = refused || errors.Is(err, kv.ErrBucketFull)
			}
			equal(t, "that a delete was refused", refused, true)
			return
		}
		for i := range n {
			t.delete(b, fmt.Sprint("k", i))
		}
		for i := range n {
			t.purge(b, fmt.Sprint("k", i))
		}
		t.lists(t.keys(b))
		t.put(b, "k", limitValue)
	}},
	{"a larger one admits puts again", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxBytes: limitBytes, History: 5})
		n, err := fill(t, b)
		t.fails(err, kv.ErrBucketFull)
		t.edit(b, func(c *kv.Config) { c.MaxBytes = 2 * limitBytes })
		t.put(b, fmt.Sprint("k", n), limitValue)
		t.edit(b, func(c *kv.Config) { c.MaxBytes = -1 })
		for i := range n {
			t.put(b, fmt.Sprint("unlimited", i), limitValue)
		}
	}},
	{"a smaller one drops nothing and refuses puts from then on", func(t *trial) {
		b := t.bucket(5)
		for i := range 10 {
			t.put(b, fmt.Sprint("k", i), limitValue)
		}
		t.edit(b, func(c *kv.Config) { c.MaxBytes = 5 * limitValueSize })
		equal(t, "number of keys", len(t.keys(b)), 10)
		_, err := b.Put(t.ctx, "k10", []byte(limitValue))
		t.fails(err, kv.ErrBucketFull)
	}},
	{"overwriting with a history of 1 needs no room", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxBytes: limitBytes, History: 1})
		n, err := fill(t, b)
		t.fails(err, kv.ErrBucketFull)
		for i := range n {
			t.put(b, fmt.Sprint("k", i), limitValue[1:]+"w")
		}
	}},
}
