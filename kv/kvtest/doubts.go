package kvtest

import "kvd/kv"

// staleFacts are about readers that accept stale answers. The buckets of a suite are
// sound, so these readers get what all others get.
var staleFacts = []fact{
	{"of a sound bucket reads what every other reader reads", func(t *trial) {
		b := t.bucket(2)
		for _, value := range []string{"1", "2", "3"} {
			t.put(b, "k", value)
		}
		t.delete(b, "gone")
		stale := kv.WithStale(t.ctx)
		e, err := b.Get(stale, "k")
		t.ok(err)
		t.entry(e, t.get(b, "k"))
		_, err = b.Get(stale, "gone")
		t.fails(err, kv.ErrKeyNotFound)
		entries, err := collect(b.History(stale, "k"))
		t.ok(err)
		equal(t, "length of the history", len(entries), 2)
		keys, err := collect(b.Keys(stale))
		t.ok(err)
		t.lists(keys, "k")
	}},
	{"cannot make a condition judge another state", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "1")
		newest := t.put(b, "k", "2")
		_, err := b.Update(kv.WithStale(t.ctx), "k", nil, newest-1)
		t.fails(err, kv.ErrKeyRevisionMismatch)
		_, err = b.Create(kv.WithStale(t.ctx), "k", nil)
		t.fails(err, kv.ErrKeyExists)
	}},
}

// doubtFacts are about [kv.Doubtful].
var doubtFacts = []fact{
	{"a sound bucket has none, and nothing to accept", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		doubtful, ok := kv.As[kv.Doubtful](b)
		equal(t, "that the bucket tells of doubt", ok, true)
		d, err := doubtful.Doubt(t.ctx)
		t.ok(err)
		t.noDoubt(&d)
		d, err = doubtful.AcceptLoss(t.ctx)
		t.ok(err)
		t.noDoubt(&d)
		equal(t, "doubt in the status", t.status(b).Doubt, 0)
		t.holds(b, "k", "v")
	}},
	{"a deleted bucket tells of none", func(t *trial) {
		b := t.bucket(1)
		doubtful, _ := kv.As[kv.Doubtful](b)
		t.ok(t.Store.DeleteBucket(t.ctx, b.Name()))
		_, err := doubtful.AcceptLoss(t.ctx)
		t.fails(err, kv.ErrBucketNotFound)
	}},
}

// noDoubt ends the test if anything is in doubt or lost.
func (t *trial) noDoubt(d *kv.Doubt) {
	t.Helper()
	if d.Bound != 0 || d.Unknown || len(d.Missing) > 0 || len(d.Lost) > 0 {
		t.Fatalf("the doubt is %+v, want none", *d)
	}
}

// doubts reports whether buckets tell of doubt.
func doubts(b kv.Bucket) bool { _, ok := kv.As[kv.Doubtful](b); return ok }
