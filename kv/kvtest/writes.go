package kvtest

import "kvd/kv"

// putFacts are about Put and the Get that follows.
var putFacts = []fact{
	{"a get finds what was put, with all its fields", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "other", "o")
		rev := t.put(b, "k", "v")
		t.entry(t.get(b, "k"), kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("v"), Revision: rev, Operation: kv.Put})
	}},
	{"a get finds the newest", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		rev := t.put(b, "k", "2")
		t.holds(b, "k", "2")
		equal(t, "revision", t.get(b, "k").Revision, rev)
		equal(t, "delta", t.get(b, "k").Delta, 0)
	}},
	{"a key that was never written is not found", func(t *trial) {
		t.absent(t.bucket(1), "k")
	}},
	{"the same value again is another record", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "v")
		second := t.put(b, "k", "v")
		equal(t, "that the revision rose", second > first, true)
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"a put brings a deleted key back", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.delete(b, "k")
		t.put(b, "k", "2")
		t.holds(b, "k", "2")
		t.purge(b, "k")
		t.put(b, "k", "3")
		t.holds(b, "k", "3")
	}},
	{"a handle sees what another wrote", func(t *trial) {
		one := t.bucket(1)
		other, err := t.Store.Bucket(t.ctx, one.Name())
		t.ok(err)
		t.put(one, "k", "v")
		t.holds(other, "k", "v")
		t.delete(other, "k")
		t.absent(one, "k")
	}},
}

// createFacts are about Create: write if the key is absent.
var createFacts = []fact{
	{"over no record succeeds", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "other", "o")
		rev := t.create(b, "k", "v")
		t.entry(t.get(b, "k"), kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("v"), Revision: rev, Operation: kv.Put})
	}},
	{"over a value is refused, says which, and changes nothing", func(t *trial) {
		b := t.bucket(3)
		t.put(b, "k", "1")
		rev := t.put(b, "k", "2")
		t.put(b, "other", "o")
		_, err := b.Create(t.ctx, "k", []byte("3"))
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Got: rev, Create: true})
		t.holds(b, "k", "2")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"over an empty value is refused", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "")
		_, err := b.Create(t.ctx, "k", []byte("v"))
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Got: rev, Create: true})
	}},
	{"over a delete marker succeeds and keeps the history", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		marker := t.delete(b, "k")
		rev := t.create(b, "k", "2")
		equal(t, "that the revision rose", rev > marker, true)
		t.holds(b, "k", "2")
		equal(t, "number of entries", len(t.history(b, "k")), 3)
	}},
	{"over a purge marker succeeds", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.purge(b, "k")
		t.create(b, "k", "2")
		t.holds(b, "k", "2")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"over the marker of a key that never had a value succeeds", func(t *trial) {
		b := t.bucket(1)
		t.delete(b, "k")
		t.create(b, "k", "v")
		t.holds(b, "k", "v")
	}},
	{"succeeds after the marker itself was dropped", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "1")
		t.delete(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		t.create(b, "k", "2")
		t.holds(b, "k", "2")
	}},
	{"a second time is refused", func(t *trial) {
		b := t.bucket(1)
		t.delete(b, "k")
		rev := t.create(b, "k", "v")
		_, err := b.Create(t.ctx, "k", []byte("w"))
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Got: rev, Create: true})
	}},
}

// updateFacts are about Update: write if the newest record is the one expected.
var updateFacts = []fact{
	{"of the newest revision succeeds", func(t *trial) {
		b := t.bucket(1)
		first := t.put(b, "k", "1")
		t.put(b, "other", "o")
		rev := t.update(b, "k", "2", first)
		t.entry(t.get(b, "k"), kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("2"), Revision: rev, Operation: kv.Put})
		t.update(b, "k", "3", rev)
		t.holds(b, "k", "3")
	}},
	{"of an older revision is refused, says which is newest, and changes nothing", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "1")
		second := t.put(b, "k", "2")
		t.put(b, "other", "o")
		_, err := b.Update(t.ctx, "k", []byte("3"), first)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: first, Got: second})
		t.holds(b, "k", "2")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"of a revision to come is refused", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "1")
		_, err := b.Update(t.ctx, "k", []byte("2"), rev+1)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: rev + 1, Got: rev})
	}},
	{"of another key's revision is refused", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "1")
		other := t.put(b, "other", "o")
		_, err := b.Update(t.ctx, "k", []byte("2"), other)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: other, Got: rev})
	}},
	{"of a key without a record is refused", func(t *trial) {
		b := t.bucket(1)
		_, err := b.Update(t.ctx, "k", []byte("v"), 5)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: 5, Got: 0})
		t.absent(b, "k")
	}},
	{"with 0 succeeds if the key has no record", func(t *trial) {
		b := t.bucket(1)
		t.update(b, "k", "v", 0)
		t.holds(b, "k", "v")
	}},
	{"with 0 is refused over a value", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "v")
		_, err := b.Update(t.ctx, "k", []byte("w"), 0)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: 0, Got: rev})
		t.holds(b, "k", "v")
	}},
	{"with 0 is refused over a marker", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		marker := t.delete(b, "k")
		_, err := b.Update(t.ctx, "k", []byte("w"), 0)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: 0, Got: marker})
		t.absent(b, "k")
	}},
	{"of a marker's revision succeeds", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.update(b, "k", "2", t.delete(b, "k"))
		t.holds(b, "k", "2")
		t.update(b, "k", "3", t.purge(b, "k"))
		t.holds(b, "k", "3")
		t.update(b, "l", "4", t.delete(b, "l"))
		t.holds(b, "l", "4")
	}},
	{"of the value under a marker is refused", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "1")
		marker := t.delete(b, "k")
		_, err := b.Update(t.ctx, "k", []byte("2"), rev)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: rev, Got: marker})
	}},
	{"with 0 succeeds after the marker was dropped, and with its revision no more", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "1")
		marker := t.delete(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		_, err := b.Update(t.ctx, "k", []byte("2"), marker)
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: marker, Got: 0})
		t.update(b, "k", "2", 0)
	}},
}

// touchFacts are about Touch: the newest value once more.
var touchFacts = []fact{
	{"writes the newest value again, with a new revision", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "v")
		rev, err := b.Touch(t.ctx, "k")
		t.ok(err)
		equal(t, "that the revision rose", rev > first, true)
		t.entry(t.get(b, "k"), kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("v"), Revision: rev, Operation: kv.Put})
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"keeps an empty value empty", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "")
		_, err := b.Touch(t.ctx, "k")
		t.ok(err)
		t.holds(b, "k", "")
	}},
	{"of an absent key is refused and writes nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "deleted", "v")
		t.delete(b, "deleted")
		t.put(b, "purged", "v")
		last := t.purge(b, "purged")
		for _, key := range []string{"never.there", "deleted", "purged"} {
			_, err := b.Touch(t.ctx, key)
			t.fails(err, kv.ErrKeyNotFound)
		}
		equal(t, "revision", t.status(b).Revision, last)
	}},
}
