package kvtest

import (
	"fmt"

	"kvd/kv"
)

// historyFacts are about the kept records of a key.
var historyFacts = []fact{
	{"yields what is kept, oldest first, with what is still to come", func(t *trial) {
		b := t.bucket(10)
		one := t.put(b, "k", "1")
		t.put(b, "other", "o")
		two := t.put(b, "k", "2")
		marker := t.delete(b, "k")
		three := t.create(b, "k", "3")
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 4)
		t.entry(entries[0], kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("1"), Revision: one, Delta: 3, Operation: kv.Put})
		t.entry(entries[1], kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("2"), Revision: two, Delta: 2, Operation: kv.Put})
		t.entry(entries[2], kv.Entry{Bucket: b.Name(), Key: "k", Revision: marker, Delta: 1, Operation: kv.Delete, Reason: kv.ReasonClient})
		t.entry(entries[3], kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("3"), Revision: three, Delta: 0, Operation: kv.Put})
	}},
	{"keeps the newest ones up to the bucket's history, per key", func(t *trial) {
		b := t.bucket(3)
		for i := range 10 {
			t.put(b, "often", fmt.Sprint(i))
			if i < 2 {
				t.put(b, "seldom", fmt.Sprint(i))
			}
		}
		var values []string
		for _, e := range t.history(b, "often") {
			values = append(values, string(e.Value))
		}
		t.lists(values, "7", "8", "9")
		equal(t, "number of entries", len(t.history(b, "seldom")), 2)
	}},
	{"is 1 unless the bucket says otherwise", func(t *trial) {
		b := t.makeBucket(kv.Config{})
		t.put(b, "k", "1")
		t.put(b, "k", "2")
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 1)
		equal(t, "value", string(entries[0].Value), "2")
	}},
	{"of a key without a record is an error", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k.longer", "v")
		t.noHistory(b, "k")
	}},
	{"takes no patterns", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "a", "v")
		t.fails(drain(b.History(t.ctx, "*")), kv.ErrInvalidKey)
		t.fails(drain(b.History(t.ctx, ">")), kv.ErrInvalidKey)
	}},
	{"may be left early", func(t *trial) {
		b := t.bucket(5)
		for range 3 {
			t.put(b, "k", "v")
		}
		for range b.History(t.ctx, "k") {
			break
		}
		equal(t, "number of entries", len(t.history(b, "k")), 3)
		t.put(b, "k", "v")
	}},
	{"may be walked twice", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.put(b, "k", "2")
		seq := b.History(t.ctx, "k")
		for range 2 {
			entries, err := collect(seq)
			t.ok(err)
			equal(t, "number of entries", len(entries), 2)
		}
	}},
	{"allows other calls while it is walked", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		t.put(b, "k", "2")
		for e, err := range b.History(t.ctx, "k") {
			t.ok(err)
			t.put(b, "copy", string(e.Value))
			t.holds(b, "k", "2")
		}
		t.holds(b, "copy", "2")
	}},
}

// getRevisionFacts are about reading one kept record.
var getRevisionFacts = []fact{
	{"finds every kept value", func(t *trial) {
		b := t.bucket(5)
		one := t.put(b, "k", "1")
		two := t.put(b, "k", "2")
		for rev, value := range map[kv.Revision]string{one: "1", two: "2"} {
			e, err := b.GetRevision(t.ctx, "k", rev)
			t.ok(err)
			t.entry(e, kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte(value), Revision: rev, Operation: kv.Put})
		}
	}},
	{"finds a value under a marker", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		t.delete(b, "k")
		e, err := b.GetRevision(t.ctx, "k", rev)
		t.ok(err)
		equal(t, "value", string(e.Value), "v")
	}},
	{"of another key's revision finds nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		other := t.put(b, "other", "o")
		_, err := b.GetRevision(t.ctx, "k", other)
		t.fails(err, kv.ErrKeyNotFound)
	}},
	{"of a marker's revision finds nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		deleted := t.delete(b, "k")
		_, err := b.GetRevision(t.ctx, "k", deleted)
		t.fails(err, kv.ErrKeyNotFound)
		purged := t.purge(b, "k")
		_, err = b.GetRevision(t.ctx, "k", purged)
		t.fails(err, kv.ErrKeyNotFound)
	}},
	{"of a trimmed revision finds nothing", func(t *trial) {
		b := t.bucket(2)
		first := t.put(b, "k", "1")
		second := t.put(b, "k", "2")
		t.put(b, "k", "3")
		_, err := b.GetRevision(t.ctx, "k", first)
		t.fails(err, kv.ErrKeyNotFound)
		_, err = b.GetRevision(t.ctx, "k", second)
		t.ok(err)
	}},
	{"of a revision to come finds nothing", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		for _, future := range []kv.Revision{rev + 1, 1 << 40, 1<<64 - 1} {
			_, err := b.GetRevision(t.ctx, "k", future)
			t.fails(err, kv.ErrKeyNotFound)
		}
	}},
	{"of revision 0 finds nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "v")
		_, err := b.GetRevision(t.ctx, "k", 0)
		t.fails(err, kv.ErrKeyNotFound)
	}},
}
