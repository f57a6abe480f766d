package kvtest

import (
	"time"

	"kvd/kv"
)

// optionFacts are about options that are given to writes which do not have them.
var optionFacts = []fact{
	{"one that does not apply is refused and nothing is written", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		last, keyTTL, purgeTTL := kv.LastRevision(rev), kv.KeyTTL(time.Hour), kv.PurgeTTL(time.Hour)
		refused := func(_ kv.Revision, err error) {
			t.Helper()
			t.fails(err, kv.ErrInvalidOption)
		}
		refused(b.Put(t.ctx, "k", nil, last))
		refused(b.PutString(t.ctx, "k", "", purgeTTL))
		refused(b.Create(t.ctx, "new", nil, last))
		refused(b.Update(t.ctx, "k", nil, rev, last))
		refused(b.Touch(t.ctx, "k", purgeTTL))
		refused(b.Delete(t.ctx, "k", keyTTL))
		refused(b.Delete(t.ctx, "k", purgeTTL))
		refused(b.Purge(t.ctx, "k", keyTTL))
		t.holds(b, "k", "v")
		equal(t, "revision", t.status(b).Revision, rev)
	}},
	{"the zero option is refused", func(t *trial) {
		b := t.bucket(1)
		_, err := b.Put(t.ctx, "k", nil, kv.WriteOption{})
		t.fails(err, kv.ErrInvalidOption)
		t.absent(b, "k")
	}},
	{"a TTL of nothing or less is refused", func(t *trial) {
		b := t.bucket(1)
		for _, ttl := range []time.Duration{0, -time.Second} {
			_, err := b.Put(t.ctx, "k", nil, kv.KeyTTL(ttl))
			t.fails(err, kv.ErrInvalidOption)
			_, err = b.Purge(t.ctx, "k", kv.PurgeTTL(ttl))
			t.fails(err, kv.ErrInvalidOption)
		}
		t.noHistory(b, "k")
	}},
	{"of two of one kind the later counts", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "v")
		_, err := b.Delete(t.ctx, "k", kv.LastRevision(rev+7), kv.LastRevision(rev))
		t.ok(err)
		t.absent(b, "k")
	}},
}
