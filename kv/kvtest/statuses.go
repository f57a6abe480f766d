package kvtest

import (
	"fmt"

	"kvd/kv"
)

// statusFacts are about the numbers that describe a bucket.
var statusFacts = []fact{
	{"a new bucket is empty and has an id and a creation time", func(t *trial) {
		s := t.status(t.bucket(3))
		equal(t, "keys", s.Keys, 0)
		equal(t, "values", s.Values, 0)
		equal(t, "revision", s.Revision, 0)
		equal(t, "history", s.Config.History, 3)
		equal(t, "that it has an id", s.ID != 0, true)
		equal(t, "that it has a creation time", !s.Created.IsZero(), true)
		t.ok(s.ReadOnly)
	}},
	{"no two buckets have one id", func(t *trial) {
		one, other := t.status(t.bucket(1)).ID, t.status(t.bucket(1)).ID
		equal(t, "that the ids are equal", one == other, false)
	}},
	{"keys counts keys with a value", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "a", "1")
		t.put(b, "a", "2")
		t.put(b, "b", "1")
		t.put(b, "c", "")
		equal(t, "keys", t.status(b).Keys, 3)
		t.delete(b, "a")
		t.delete(b, "a")
		equal(t, "keys after a delete", t.status(b).Keys, 2)
		t.purge(b, "b")
		t.delete(b, "never.there")
		equal(t, "keys after a purge", t.status(b).Keys, 1)
		t.create(b, "a", "3")
		equal(t, "keys after a create", t.status(b).Keys, 2)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "keys after purging deletes", t.status(b).Keys, 2)
	}},
	{"values counts every record kept, history and markers included", func(t *trial) {
		b := t.bucket(3)
		for i := range 5 {
			t.put(b, "a", fmt.Sprint(i))
		}
		equal(t, "values", t.status(b).Values, 3)
		t.delete(b, "a")
		equal(t, "values after a delete", t.status(b).Values, 3)
		t.delete(b, "never.there")
		equal(t, "values after a delete of nothing", t.status(b).Values, 4)
		t.purge(b, "a")
		equal(t, "values after a purge", t.status(b).Values, 2)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "values after purging deletes", t.status(b).Values, 0)
	}},
	{"revision is that of the newest record", func(t *trial) {
		b := t.bucket(1)
		put := t.put(b, "a", "1")
		equal(t, "revision after a put", t.status(b).Revision, put)
		deleted := t.delete(b, "a")
		equal(t, "revision after a delete", t.status(b).Revision, deleted)
		last := t.purge(b, "b")
		equal(t, "revision after a purge", t.status(b).Revision, last)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "revision after purging deletes", t.status(b).Revision, last)
	}},
	{"named counts keys with any record, if the store tells", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "a", "1")
		t.put(b, "a", "2")
		if t.status(b).Named == 0 {
			return
		}
		t.put(b, "b", "1")
		t.delete(b, "b")
		t.purge(b, "c")
		equal(t, "named", t.status(b).Named, 3)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "named after purging deletes", t.status(b).Named, 1)
	}},
	{"written is when the newest record was, if the store tells", func(t *trial) {
		b := t.bucket(5)
		equal(t, "that there is a time before the first", t.status(b).Written.IsZero(), true)
		t.put(b, "a", "1")
		t.purge(b, "a")
		written := t.status(b).Written
		if written.IsZero() {
			return
		}
		equal(t, "written", written, t.history(b, "a")[0].Created)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "written, of what is gone", t.status(b).Written, written)
	}},
	{"a refused write leaves every number as it was", func(t *trial) {
		b := t.bucket(2)
		t.put(b, "a", "1")
		before := t.status(b)
		_, err := b.Create(t.ctx, "a", []byte("2"))
		t.fails(err, kv.ErrKeyExists)
		_, err = b.Update(t.ctx, "a", []byte("2"), 99)
		t.fails(err, kv.ErrKeyRevisionMismatch)
		_, err = b.Delete(t.ctx, "a", kv.LastRevision(99))
		t.fails(err, kv.ErrKeyRevisionMismatch)
		after := t.status(b)
		equal(t, "keys", after.Keys, before.Keys)
		equal(t, "values", after.Values, before.Values)
		equal(t, "bytes", after.Bytes, before.Bytes)
		equal(t, "revision", after.Revision, before.Revision)
	}},
	{"bytes counts the records kept", func(t *trial) {
		b := t.bucket(1)
		equal(t, "bytes of an empty bucket", t.status(b).Bytes, 0)
		const size = limitValueSize
		t.put(b, "a", limitValue)
		full := t.status(b).Bytes
		equal(t, "that the value counts", full >= size, true)
		t.put(b, "a", limitValue[1:]+"w")
		equal(t, "bytes after an overwrite", t.status(b).Bytes, full)
		t.purge(b, "a")
		equal(t, "that a purge frees the value", t.status(b).Bytes < size, true)
	}},
	{"the listing of buckets has the same numbers", func(t *trial) {
		b := t.bucket(4)
		t.put(b, "a", "1")
		t.put(b, "a", "2")
		t.delete(b, "b")
		want := t.status(b)
		statuses, err := collect(t.Store.Buckets(t.ctx))
		t.ok(err)
		found := false
		for _, got := range statuses {
			if got.Config.Bucket != b.Name() {
				continue
			}
			found = true
			equal(t, "id", got.ID, want.ID)
			equal(t, "keys", got.Keys, want.Keys)
			equal(t, "values", got.Values, want.Values)
			equal(t, "bytes", got.Bytes, want.Bytes)
			equal(t, "revision", got.Revision, want.Revision)
			equal(t, "sameness of the configuration", got.Config.Equal(want.Config), true)
		}
		equal(t, "that the bucket is listed", found, true)
	}},
}
