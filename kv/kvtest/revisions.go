package kvtest

import (
	"fmt"
	"time"

	"kvd/kv"
)

// revisionFacts are about the numbers and times of records.
var revisionFacts = []fact{
	{"the first is 1", func(t *trial) {
		equal(t, "revision", t.put(t.bucket(1), "k", "v"), 1)
	}},
	{"they rise with every record, over all keys of the bucket", func(t *trial) {
		b := t.bucket(3)
		var last kv.Revision
		rises := func(rev kv.Revision, err error) {
			t.Helper()
			t.ok(err)
			if rev <= last {
				t.Fatalf("revision %d after %d", rev, last)
			}
			last = rev
			equal(t, "revision of the bucket", t.status(b).Revision, rev)
		}
		for range 3 {
			rises(b.Put(t.ctx, "a", []byte("v")))
			rises(b.PutString(t.ctx, "b", "v"))
			rises(b.Touch(t.ctx, "a"))
			rises(b.Update(t.ctx, "a", []byte("w"), last))
			rises(b.Delete(t.ctx, "a"))
			rises(b.Delete(t.ctx, "a"))
			rises(b.Delete(t.ctx, "never.there"))
			rises(b.Create(t.ctx, "a", []byte("v")))
			rises(b.Purge(t.ctx, "a"))
			rises(b.Purge(t.ctx, "b"))
		}
	}},
	{"an entry carries the revision that its write returned", func(t *trial) {
		b := t.bucket(10)
		revs := []kv.Revision{t.put(b, "k", "1"), t.put(b, "k", "2"), t.delete(b, "k"), t.create(b, "k", "3")}
		for i, e := range t.history(b, "k") {
			equal(t, "revision", e.Revision, revs[i])
		}
		equal(t, "revision of the newest", t.get(b, "k").Revision, revs[3])
	}},
	{"none is used again when everything was dropped", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		last := t.purge(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "values", t.status(b).Values, 0)
		if rev := t.put(b, "k", "v"); rev <= last {
			t.Fatalf("revision %d after %d", rev, last)
		}
	}},
	{"creation times never fall as revisions rise", func(t *trial) {
		b := t.bucket(64)
		var last time.Time
		for i := range 50 {
			key := fmt.Sprint("k", i%3)
			if i%7 == 6 {
				t.delete(b, key)
			}
			t.put(b, key, "v")
			created := t.get(b, key).Created
			if created.Before(last) {
				t.Fatalf("created at %v, after a record of %v", created, last)
			}
			last = created
		}
		for i := range 3 {
			last = time.Time{}
			for _, e := range t.history(b, fmt.Sprint("k", i)) {
				if e.Created.Before(last) {
					t.Fatalf("revision %d created at %v, after a record of %v", e.Revision, e.Created, last)
				}
				last = e.Created
			}
		}
	}},
	{"an entry's creation time stays the same", func(t *trial) {
		b := t.bucket(2)
		rev := t.put(b, "k", "v")
		created := t.get(b, "k").Created
		t.put(b, "k", "w")
		e, err := b.GetRevision(t.ctx, "k", rev)
		t.ok(err)
		equal(t, "creation time", e.Created.UnixNano(), created.UnixNano())
		equal(t, "creation time in the history", t.history(b, "k")[0].Created.UnixNano(), created.UnixNano())
	}},
}
