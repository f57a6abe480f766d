package kvtest

import (
	"context"
	"errors"
	"time"

	"kvd/kv"
)

// contextFacts are about calls whose context has ended before the call.
var contextFacts = []fact{
	{"a cancelled one ends every method of a bucket, and nothing is written", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		t.put(b, "gone", "v")
		last := t.delete(b, "gone")
		cancelled, cancel := context.WithCancel(t.ctx)
		cancel()
		for _, c := range bucketCalls() {
			if err := c.call(cancelled, b); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, context.Canceled)
			}
		}
		equal(t, "revision", t.status(b).Revision, last)
		equal(t, "values", t.status(b).Values, 3)
		equal(t, "revision of the key", t.get(b, "k").Revision, rev)
	}},
	{"a cancelled one ends every method of the store, and nothing changes", func(t *trial) {
		b := t.bucket(5)
		before := t.status(b)
		cancelled, cancel := context.WithCancel(t.ctx)
		cancel()
		for _, name := range []string{b.Name(), t.freshName()} {
			for _, c := range storeCalls {
				if err := c.call(cancelled, t.Store, name); !errors.Is(err, context.Canceled) {
					t.Fatalf("%s: error is %v, want %q", c.name, err, context.Canceled)
				}
			}
			_, err := t.Store.Bucket(t.ctx, name)
			if name != b.Name() {
				t.fails(err, kv.ErrBucketNotFound)
			} else {
				t.ok(err)
			}
		}
		for _, c := range listCalls {
			if err := c.call(cancelled, t.Store); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, context.Canceled)
			}
		}
		equal(t, "sameness of the configuration", t.status(b).Config.Equal(before.Config), true)
	}},
	{"one past its deadline ends a call with that error", func(t *trial) {
		b := t.bucket(1)
		late, cancel := context.WithDeadline(t.ctx, time.Unix(0, 0))
		defer cancel()
		_, err := b.Put(late, "k", nil)
		t.fails(err, context.DeadlineExceeded)
		_, err = b.Get(late, "k")
		t.fails(err, context.DeadlineExceeded)
		t.absent(b, "k")
	}},
}
