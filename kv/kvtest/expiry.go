package kvtest

import (
	"errors"
	"time"

	"kvd/kv"
)

// shortestTTLDefault is the shortest TTL of NATS.
const shortestTTLDefault = time.Second

// pollInterval is the time between two checks of a fact that waits for an expiry.
const pollInterval = 5 * time.Millisecond

// ttl returns a short TTL.
func (t *trial) ttl() time.Duration {
	if d := t.harness.ShortestTTL; d != 0 {
		return d
	}
	return shortestTTLDefault
}

// until waits until done returns true.
func (t *trial) until(what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come within %v that %s", patience, what)
		}
		<-time.After(pollInterval)
	}
}

// expires waits until key is absent.
func (t *trial) expires(b kv.Bucket, key string) {
	t.Helper()
	t.until(key+" has expired", func() bool {
		_, err := b.Get(t.ctx, key)
		if !errors.Is(err, kv.ErrKeyNotFound) {
			t.ok(err)
		}
		return err != nil
	})
}

// removed waits until key has no record.
func (t *trial) removed(b kv.Bucket, key string) {
	t.Helper()
	t.until("the marker of "+key+" has left", func() bool {
		_, err := collect(b.History(t.ctx, key))
		if !errors.Is(err, kv.ErrKeyNotFound) {
			t.ok(err)
		}
		return err != nil
	})
}

// putTTL puts a value that expires soon.
func (t *trial) putTTL(b kv.Bucket, key, value string) kv.Revision {
	t.Helper()
	rev, err := b.Put(t.ctx, key, []byte(value), kv.KeyTTL(t.ttl()))
	t.ok(err)
	return rev
}

// later puts a key with the facts' TTL, and returns when it has expired. Every key with
// that TTL that was put earlier has expired then too.
func (t *trial) later() {
	t.Helper()
	b := t.bucket(1)
	t.putTTL(b, "later", "v")
	t.expires(b, "later")
}

// expiryMarker waits for the expiry marker of key, and returns it.
func (t *trial) expiryMarker(b kv.Bucket, key string) (marker kv.Entry) {
	t.Helper()
	t.until("the expiry marker of "+key+" is there", func() bool {
		entries, err := collect(b.History(t.ctx, key))
		if len(entries) > 0 && err == nil {
			marker = entries[len(entries)-1]
		}
		return marker.Operation.IsMarker()
	})
	return marker
}

// expiryReason returns the reason that an expiry marker has.
func (t *trial) expiryReason() kv.MarkerReason {
	if t.differs(ReasonsHidden) {
		return kv.ReasonClient
	}
	return kv.ReasonExpiry
}

// expiryFacts are about times to live.
var expiryFacts = []fact{
	{"a value with a TTL goes, from every read", func(t *trial) {
		b := t.bucket(1)
		rev := t.putTTL(b, "k", "v")
		t.put(b, "stays", "v")
		t.expires(b, "k")
		_, err := b.GetRevision(t.ctx, "k", rev)
		t.fails(err, kv.ErrKeyNotFound)
		_, _, err = b.GetAppend(t.ctx, nil, "k")
		t.fails(err, kv.ErrKeyNotFound)
		t.lists(t.keys(b), "stays")
		t.until("the status does not count it", func() bool { return t.status(b).Keys == 1 })
	}},
	{"create and update take a TTL too", func(t *trial) {
		b := t.bucket(1)
		_, err := b.Create(t.ctx, "created", []byte("v"), kv.KeyTTL(t.ttl()))
		t.ok(err)
		rev := t.put(b, "updated", "v")
		_, err = b.Update(t.ctx, "updated", []byte("w"), rev, kv.KeyTTL(t.ttl()))
		t.ok(err)
		t.expires(b, "created")
		t.expires(b, "updated")
	}},
	{"with the newest value goes the key: no older value shows again", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "old")
		rev := t.putTTL(b, "k", "v")
		if t.differs(HistoryRaisesTTLs) {
			t.later()
			t.holds(b, "k", "v")
			return
		}
		t.expires(b, "k")
		for range 2 { // the first time maybe before the marker is written, the second time after it
			_, err := b.GetRevision(t.ctx, "k", rev-1)
			t.fails(err, kv.ErrKeyNotFound)
			t.absent(b, "k")
			t.expiryMarker(b, "k")
		}
		equal(t, "number of entries", len(t.history(b, "k")), 1)
	}},
	{"an expired key leaves a marker with a revision of its own", func(t *trial) {
		b := t.bucket(1)
		rev := t.putTTL(b, "k", "v")
		marker := t.expiryMarker(b, "k")
		equal(t, "operation", marker.Operation, kv.Purge)
		equal(t, "reason", marker.Reason, t.expiryReason())
		equal(t, "length of the value", len(marker.Value), 0)
		equal(t, "that its revision is higher", marker.Revision > rev, true)
	}},
	{"create over an expired key succeeds", func(t *trial) {
		b := t.bucket(1)
		rev := t.putTTL(b, "k", "v")
		t.expires(b, "k")
		equal(t, "that the revision is higher", t.create(b, "k", "new") > rev, true)
		t.holds(b, "k", "new")
	}},
	{"update of an expired revision is refused", func(t *trial) {
		b := t.bucket(1)
		rev := t.putTTL(b, "k", "v")
		t.expires(b, "k")
		_, err := b.Update(t.ctx, "k", []byte("new"), rev)
		t.fails(err, kv.ErrKeyRevisionMismatch)
		_, err = b.Delete(t.ctx, "k", kv.LastRevision(rev))
		t.fails(err, kv.ErrKeyRevisionMismatch)
		t.absent(b, "k")
	}},
	{"touch of an expired key finds nothing", func(t *trial) {
		b := t.bucket(1)
		t.putTTL(b, "k", "v")
		t.expires(b, "k")
		_, err := b.Touch(t.ctx, "k")
		t.fails(err, kv.ErrKeyNotFound)
	}},
	{"touch renews the TTL and keeps the value", func(t *trial) {
		b := t.bucket(1)
		var rev kv.Revision
		t.until("a touch comes in time", func() (touched bool) {
			t.putTTL(b, "k", "v")
			var err error
			if rev, err = b.Touch(t.ctx, "k", kv.KeyTTL(time.Hour)); !errors.Is(err, kv.ErrKeyNotFound) {
				t.ok(err)
			}
			return err == nil
		})
		t.later()
		e := t.get(b, "k")
		equal(t, "revision", e.Revision, rev)
		equal(t, "value", string(e.Value), "v")
		_, err := b.Touch(t.ctx, "k", kv.KeyTTL(t.ttl()))
		t.ok(err)
		t.expires(b, "k")
	}},
	{"a write without a TTL lifts it", func(t *trial) {
		b := t.bucket(1)
		t.putTTL(b, "k", "v")
		t.put(b, "k", "w")
		t.later()
		t.holds(b, "k", "w")
	}},
	{"a longer TTL counts from its own write", func(t *trial) {
		b := t.bucket(1)
		t.putTTL(b, "k", "v")
		_, err := b.Put(t.ctx, "k", []byte("w"), kv.KeyTTL(time.Hour))
		t.ok(err)
		t.later()
		t.holds(b, "k", "w")
	}},
	{"a bucket's TTL ends every value, also one with a longer TTL", func(t *trial) {
		b := t.makeBucket(kv.Config{History: 3, TTL: t.ttl()})
		t.put(b, "k", "v")
		t.put(b, "k", "w")
		_, err := b.Put(t.ctx, "long", []byte("v"), kv.KeyTTL(time.Hour))
		t.ok(err)
		t.expires(b, "k")
		t.expires(b, "long")
		equal(t, "operation", t.expiryMarker(b, "k").Operation, kv.Purge)
		t.lists(t.keys(b))
	}},
	{"the TTL of a purge ends its marker", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		rev, err := b.Purge(t.ctx, "k", kv.PurgeTTL(t.ttl()))
		t.ok(err)
		t.removed(b, "k")
		equal(t, "that the next revision is higher", t.create(b, "k", "new") > rev, true)
		equal(t, "number of entries", len(t.history(b, "k")), 1)
	}},
	{"an edit of the TTL brings nothing back", func(t *trial) {
		b := t.makeBucket(kv.Config{TTL: t.ttl()})
		t.put(b, "k", "v")
		t.expires(b, "k")
		t.edit(b, func(c *kv.Config) { c.TTL = 0 })
		t.absent(b, "k")
		t.put(b, "stays", "v")
		t.later()
		t.lists(t.keys(b), "stays")
	}},
	{"a watch is told that a key expired", func(t *trial) {
		b := t.bucket(1)
		w, err := b.Watch(t.ctx, nil, kv.UpdatesOnly())
		t.ok(err)
		t.Cleanup(func() { _ = w.Stop() })
		watch := &watching{Watcher: w, t: t}
		rev := t.putTTL(b, "k", "v")
		equal(t, "revision", watch.next().Entry.Revision, rev)
		marker := watch.next().Entry
		equal(t, "key", marker.Key, "k")
		equal(t, "operation", marker.Operation, kv.Purge)
		equal(t, "reason", marker.Reason, t.expiryReason())
		equal(t, "that its revision is higher", marker.Revision > rev, true)
		t.absent(b, "k")
	}},
}
