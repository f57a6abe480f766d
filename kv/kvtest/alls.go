package kvtest

import (
	"fmt"
	"slices"

	"kvd/kv"
)

// allFacts are about All.
var allFacts = []fact{
	{"yields the newest entry of every key that a pattern selects, in ascending order", func(t *trial) {
		b := listedBucket(t)
		for _, l := range listings {
			entries, err := collect(b.All(t.ctx, l.patterns...))
			t.ok(err)
			var keys []string
			for _, e := range entries {
				keys = append(keys, e.Key)
				t.entry(e, t.get(b, e.Key))
			}
			if !slices.Equal(keys, l.want) {
				t.Fatalf("keys of All of %q are %q, want %q", l.patterns, keys, l.want)
			}
		}
	}},
	{"of an empty bucket and of a bucket of markers yields nothing", func(t *trial) {
		b := t.bucket(2)
		equal(t, "number of entries", len(t.all(b)), 0)
		t.put(b, "k", "v")
		t.delete(b, "k")
		t.purge(b, "l")
		equal(t, "number of entries", len(t.all(b)), 0)
	}},
	{"has values of all sizes, and more keys than are read at once", func(t *trial) {
		b := t.bucket(1)
		const keys = 700
		value := func(i int) string { return string(make([]byte, i*i%5000)) + fmt.Sprint(i) }
		for i := range keys {
			t.put(b, fmt.Sprintf("k.%03d", i), value(i))
		}
		t.put(b, "k.350", string(make([]byte, kv.MaxValueSizeDefault)))
		entries := t.all(b)
		equal(t, "number of entries", len(entries), keys)
		for i, e := range entries {
			equal(t, "key", e.Key, fmt.Sprintf("k.%03d", i))
			if i != 350 && string(e.Value) != value(i) {
				t.Fatalf("%q holds %s", e.Key, abbreviate(e.Value))
			}
		}
		equal(t, "length of the longest value", len(entries[350].Value), kv.MaxValueSizeDefault)
	}},
	{"the caller may stop, and change a value it was given", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "a", "value")
		t.put(b, "b", "value")
		for e, err := range b.All(t.ctx) {
			t.ok(err)
			equal(t, "key", e.Key, "a")
			clear(e.Value)
			break
		}
		t.holds(b, "a", "value")
	}},
	{"the caller may write meanwhile", func(t *trial) {
		b := t.bucket(1)
		for i := range 50 {
			t.put(b, fmt.Sprintf("k.%02d", i), "old")
		}
		n := 0
		for e, err := range b.All(t.ctx) {
			t.ok(err)
			t.put(b, e.Key, "new")
			t.put(b, "later."+e.Key, "new")
			n++
		}
		equal(t, "number of entries", n, 50)
	}},
	{"is the state of one revision", func(t *trial) {
		b := t.bucket(1)
		for i := range 300 {
			t.put(b, fmt.Sprintf("k.%03d", i), "old")
		}
		var keys, values []string
		for e, err := range b.All(t.ctx) {
			t.ok(err)
			if len(keys) == 0 {
				for i := range 300 {
					t.put(b, fmt.Sprintf("k.%03d", i), "new")
				}
				t.purge(b, "k.299")
				t.ok(b.PurgeDeletes(t.ctx, -1))
			}
			keys, values = append(keys, e.Key), append(values, string(e.Value))
		}
		if t.differs(EntriesDrift) {
			if n := len(keys); n < 299 || !slices.IsSorted(keys) || values[0] != "old" {
				t.Fatalf("%d keys, want 299 or 300 in ascending order", n)
			}
			return
		}
		equal(t, "number of keys", len(keys), 300)
		if i := slices.IndexFunc(values, func(v string) bool { return v != "old" }); i >= 0 {
			t.Fatalf("%q has the value %q, which was written later", keys[i], values[i])
		}
	}},
	{"a bad pattern is refused", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		for _, p := range badPatterns {
			entries, err := collect(b.All(t.ctx, "k", p))
			t.fails(err, kv.ErrInvalidPattern)
			equal(t, "number of entries before the error", len(entries), 0)
		}
	}},
}

// all returns the newest entries of the patterns.
func (t *trial) all(b kv.Bucket, patterns ...string) []kv.Entry {
	t.Helper()
	entries, err := collect(b.All(t.ctx, patterns...))
	t.ok(err)
	return entries
}
