package client

import (
	"context"
	"errors"
	"iter"
	"sync"

	"kvd/kv"
)

// How many keys All reads at once: so many that their values together have about
// allBytes, by the mean of those read before.
const (
	allBytes = 1 << 20
	allFirst = 8
	allMax   = 256
)

// All yields the newest entries of the keys that match any of the patterns, ascending.
// It lists the keys, and reads their values in pipelined runs: a key that is deleted or
// expires in between is left out, and one that is written comes with its newer value.
func (b *Bucket) All(ctx context.Context, patterns ...string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		var keys []string
		run := allFirst
		for key, err := range b.Keys(ctx, patterns...) {
			if err != nil {
				if b.yieldAll(ctx, keys, &run, yield) {
					yield(kv.Entry{}, err)
				}
				return
			}
			if keys = append(keys, key); len(keys) < run {
				continue
			}
			if !b.yieldAll(ctx, keys, &run, yield) {
				return
			}
			keys = keys[:0]
		}
		b.yieldAll(ctx, keys, &run, yield)
	}
}

// yieldAll reads the keys, all at once, and yields their entries. It reports whether to
// go on, and sets how many keys the next run should have.
func (b *Bucket) yieldAll(ctx context.Context, keys []string, run *int, yield func(kv.Entry, error) bool) bool {
	entries, errs := make([]kv.Entry, len(keys)), make([]error, len(keys))
	var reads sync.WaitGroup
	for i, key := range keys {
		reads.Go(func() { entries[i], errs[i] = b.Get(ctx, key) })
	}
	reads.Wait()
	size := 0
	for i, e := range entries {
		size += len(e.Value)
		err := errs[i]
		switch {
		case errors.Is(err, kv.ErrKeyNotFound):
			continue
		case errors.Is(err, kv.ErrCorrupt):
			e = kv.Entry{Bucket: b.name, Key: keys[i], Operation: kv.Put}
		case err != nil:
			yield(kv.Entry{}, err)
			return false
		}
		if !yield(e, err) {
			return false
		}
	}
	*run = min(max(allBytes*len(keys)/max(size, 1), 1), 2*max(len(keys), 1), allMax)
	return true
}
