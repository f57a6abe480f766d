package kvtest

import (
	"context"
	"time"

	"kvd/kv"
)

// deleteFacts are about Delete: a marker, with the history kept.
var deleteFacts = []fact{
	{"makes the key absent", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		t.put(b, "other", "o")
		t.delete(b, "k")
		t.absent(b, "k")
		t.lists(t.keys(b), "other")
		t.holds(b, "other", "o")
	}},
	{"writes a marker and keeps the history", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		marker := t.delete(b, "k")
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 2)
		t.entry(entries[0], kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("v"), Revision: rev, Delta: 1, Operation: kv.Put})
		t.entry(entries[1], kv.Entry{Bucket: b.Name(), Key: "k", Revision: marker, Operation: kv.Delete, Reason: kv.ReasonClient})
		e, err := b.GetRevision(t.ctx, "k", rev)
		t.ok(err)
		equal(t, "value under the marker", string(e.Value), "v")
	}},
	{"of a key that does not exist writes a marker", func(t *trial) {
		b := t.bucket(5)
		before := t.put(b, "other", "o")
		marker := t.delete(b, "k")
		equal(t, "that the revision rose", marker > before, true)
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 1)
		t.entry(entries[0], kv.Entry{Bucket: b.Name(), Key: "k", Revision: marker, Operation: kv.Delete, Reason: kv.ReasonClient})
		t.absent(b, "k")
	}},
	{"of a deleted key writes another marker", func(t *trial) {
		b := t.bucket(5)
		first := t.delete(b, "k")
		second := t.delete(b, "k")
		equal(t, "that the revision rose", second > first, true)
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"counts as one of the history", func(t *trial) {
		b := t.bucket(2)
		t.put(b, "k", "1")
		t.put(b, "k", "2")
		t.delete(b, "k")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
		equal(t, "oldest value", string(t.history(b, "k")[0].Value), "2")
	}},
	{"with a history of 1 leaves the marker alone", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		t.delete(b, "k")
		equal(t, "number of entries", len(t.history(b, "k")), 1)
	}},
	{"honours an expected revision", func(t *trial) { honoursExpectation(t, kv.Bucket.Delete) }},
}

// purgeFacts are about Purge: a marker, with the history removed.
var purgeFacts = []fact{
	{"makes the key absent and drops its history", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "1")
		t.put(b, "other", "1")
		second := t.put(b, "k", "2")
		t.put(b, "other", "2")
		marker := t.purge(b, "k")
		t.absent(b, "k")
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 1)
		t.entry(entries[0], kv.Entry{Bucket: b.Name(), Key: "k", Revision: marker, Operation: kv.Purge, Reason: kv.ReasonClient})
		for _, rev := range []kv.Revision{first, second} {
			_, err := b.GetRevision(t.ctx, "k", rev)
			t.fails(err, kv.ErrKeyNotFound)
		}
		equal(t, "number of entries of another key", len(t.history(b, "other")), 2)
	}},
	{"of a key that does not exist writes a marker", func(t *trial) {
		b := t.bucket(5)
		marker := t.purge(b, "k")
		equal(t, "revision of the marker", t.history(b, "k")[0].Revision, marker)
		t.absent(b, "k")
	}},
	{"of a deleted key drops the delete marker too", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		t.delete(b, "k")
		t.purge(b, "k")
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 1)
		equal(t, "operation", entries[0].Operation, kv.Purge)
	}},
	{"a history grows anew after it", func(t *trial) {
		b := t.bucket(3)
		t.put(b, "k", "1")
		t.purge(b, "k")
		t.put(b, "k", "2")
		t.put(b, "k", "3")
		equal(t, "number of entries", len(t.history(b, "k")), 3)
		equal(t, "operation of the oldest", t.history(b, "k")[0].Operation, kv.Purge)
		t.put(b, "k", "4")
		equal(t, "operation of the oldest, later", t.history(b, "k")[0].Operation, kv.Put)
	}},
	{"does not touch keys that begin alike", func(t *trial) {
		b := t.bucket(1)
		for _, key := range []string{"a", "a.b", "a.b.c", "a.bc"} {
			t.put(b, key, key)
		}
		t.purge(b, "a.b")
		t.lists(t.keys(b), "a", "a.b.c", "a.bc")
	}},
	{"honours an expected revision", func(t *trial) { honoursExpectation(t, kv.Bucket.Purge) }},
}

// honoursExpectation checks LastRevision with a method that writes a marker.
func honoursExpectation(t *trial, remove func(kv.Bucket, context.Context, string, ...kv.WriteOption) (kv.Revision, error)) {
	t.Helper()
	b := t.bucket(5)
	first := t.put(b, "k", "1")
	second := t.put(b, "k", "2")

	for _, wrong := range []kv.Revision{0, first, second + 1} {
		_, err := remove(b, t.ctx, "k", kv.LastRevision(wrong))
		t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: wrong, Got: second})
		t.holds(b, "k", "2")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}

	marker, err := remove(b, t.ctx, "k", kv.LastRevision(second))
	t.ok(err)
	t.absent(b, "k")
	_, err = remove(b, t.ctx, "k", kv.LastRevision(second))
	t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: second, Got: marker})
	_, err = remove(b, t.ctx, "k", kv.LastRevision(0))
	t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: 0, Got: marker})
	_, err = remove(b, t.ctx, "k", kv.LastRevision(marker))
	t.ok(err)

	_, err = remove(b, t.ctx, "never.there", kv.LastRevision(7))
	t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "never.there", Want: 7, Got: 0})
	t.noHistory(b, "never.there")
	_, err = remove(b, t.ctx, "never.there", kv.LastRevision(0))
	t.ok(err)
	equal(t, "number of entries", len(t.history(b, "never.there")), 1)
}

// purgeDeletesFacts are about the removal of markers and of the records behind them.
var purgeDeletesFacts = []fact{
	{"with a negative threshold drops every marker and its history", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "deleted", "v")
		t.delete(b, "deleted")
		t.put(b, "purged", "v")
		t.purge(b, "purged")
		t.delete(b, "never.there")
		t.ok(b.PurgeDeletes(t.ctx, -time.Nanosecond))
		for _, key := range []string{"deleted", "purged", "never.there"} {
			t.noHistory(b, key)
		}
		_, err := b.GetRevision(t.ctx, "deleted", first)
		t.fails(err, kv.ErrKeyNotFound)
		equal(t, "values", t.status(b).Values, 0)
	}},
	{"leaves keys with a value alone, markers in their history included", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "plain", "1")
		t.put(b, "plain", "2")
		t.put(b, "back", "1")
		t.delete(b, "back")
		t.put(b, "back", "2")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "number of entries", len(t.history(b, "plain")), 2)
		entries := t.history(b, "back")
		equal(t, "number of entries of the key that came back", len(entries), 3)
		equal(t, "operation between", entries[1].Operation, kv.Delete)
		t.holds(b, "back", "2")
	}},
	{"with the default threshold keeps young markers and drops the history behind them", func(t *trial) {
		youngMarkersStay(t, 0)
	}},
	{"with a threshold of an hour keeps young markers and drops the history behind them", func(t *trial) {
		youngMarkersStay(t, time.Hour)
	}},
	{"with a threshold that every marker is past drops them", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		t.delete(b, "k")
		t.put(b, "later", "than the marker")
		t.ok(b.PurgeDeletes(t.ctx, time.Nanosecond))
		t.noHistory(b, "k")
		t.holds(b, "later", "than the marker")
	}},
	{"uses no revision", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		last := t.delete(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		equal(t, "revision", t.status(b).Revision, last)
	}},
	{"in an empty bucket does nothing", func(t *trial) {
		b := t.bucket(1)
		t.ok(b.PurgeDeletes(t.ctx, -1))
		t.ok(b.PurgeDeletes(t.ctx, 0))
		equal(t, "revision", t.status(b).Revision, 0)
	}},
	{"a second time does nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		t.delete(b, "k")
		t.put(b, "other", "o")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		t.ok(b.PurgeDeletes(t.ctx, -1))
		t.holds(b, "other", "o")
		equal(t, "values", t.status(b).Values, 1)
	}},
	{"a key whose marker was dropped starts anew", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.delete(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		t.put(b, "k", "2")
		t.put(b, "k", "3")
		equal(t, "number of entries", len(t.history(b, "k")), 2)
		t.holds(b, "k", "3")
	}},
}

// youngMarkersStay checks PurgeDeletes with a threshold that is longer than the age of
// every marker.
func youngMarkersStay(t *trial, olderThan time.Duration) {
	t.Helper()
	b := t.bucket(5)
	t.put(b, "deleted", "1")
	under := t.put(b, "deleted", "2")
	t.delete(b, "deleted")
	deleted := t.delete(b, "deleted")
	purged := t.purge(b, "purged")
	t.ok(b.PurgeDeletes(t.ctx, olderThan))

	entries := t.history(b, "deleted")
	equal(t, "number of entries", len(entries), 1)
	t.entry(entries[0], kv.Entry{Bucket: b.Name(), Key: "deleted", Revision: deleted, Operation: kv.Delete, Reason: kv.ReasonClient})
	_, err := b.GetRevision(t.ctx, "deleted", under)
	t.fails(err, kv.ErrKeyNotFound)
	equal(t, "revision of the purge marker", t.history(b, "purged")[0].Revision, purged)

	// The marker is still the key's newest record.
	_, err = b.Update(t.ctx, "deleted", []byte("3"), 0)
	t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "deleted", Want: 0, Got: deleted})
	t.update(b, "deleted", "3", deleted)
}
