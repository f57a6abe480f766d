package kvtest

import (
	"fmt"
	"slices"

	"kvd/kv"
)

// listed are the keys of the listing facts, in ascending order of bytes.
var listed = []string{"A", "a", "a-b", "a.b", "a.b.c", "a.b.d", "a.c", "a/b", "a0", "b", "b.b", "b.b.b.b", "b.c", "z"}

// listedBucket makes a bucket with these keys, written in another order, and three
// markers.
func listedBucket(t *trial) kv.Bucket {
	t.Helper()
	b := t.bucket(2)
	t.put(b, "a.deleted", "v")
	for _, i := range []int{7, 2, 13, 0, 5, 9, 1, 12, 4, 10, 3, 11, 6, 8} {
		t.put(b, listed[i], "v")
	}
	t.put(b, "a", "again")
	t.delete(b, "a.deleted")
	t.purge(b, "b.purged")
	t.delete(b, "never.there")
	return b
}

// listings are patterns, with those of the listed keys that they select.
var listings = []struct {
	patterns []string
	want     []string
}{
	{nil, listed},
	{[]string{">"}, listed},
	{[]string{"a"}, []string{"a"}},
	{[]string{"nothing"}, nil},
	{[]string{"a.deleted"}, nil},
	{[]string{"*"}, []string{"A", "a", "a-b", "a/b", "a0", "b", "z"}},
	{[]string{"*.*"}, []string{"a.b", "a.c", "b.b", "b.c"}},
	{[]string{"a.*"}, []string{"a.b", "a.c"}},
	{[]string{"a.>"}, []string{"a.b", "a.b.c", "a.b.d", "a.c"}},
	{[]string{"*.b"}, []string{"a.b", "b.b"}},
	{[]string{"*.b.>"}, []string{"a.b.c", "a.b.d", "b.b.b.b"}},
	{[]string{"a.*.d"}, []string{"a.b.d"}},
	{[]string{"*.*.*.*"}, []string{"b.b.b.b"}},
	{[]string{"*.>"}, []string{"a.b", "a.b.c", "a.b.d", "a.c", "b.b", "b.b.b.b", "b.c"}},
	{[]string{"z", "a", "A"}, []string{"A", "a", "z"}},
	{[]string{"a", "a"}, []string{"a"}},
	{[]string{"a.>", "*.b"}, []string{"a.b", "a.b.c", "a.b.d", "a.c", "b.b"}},
	{[]string{"a.*", "*.b", "a.b"}, []string{"a.b", "a.c", "b.b"}},
	{[]string{">", "a"}, listed},
	{[]string{"nothing", "b.*"}, []string{"b.b", "b.c"}},
}

var badPatterns = []string{"", ".", "a.", ".a", "a..b", "a b", ">.a", "a.>.b", "*.a b", "a\x00", "a.\u0085", "*.\xff"}

// listingFacts are about Keys.
var listingFacts = []fact{
	{"a listing has every key that a pattern selects, once, in ascending order", func(t *trial) {
		b := listedBucket(t)
		for _, l := range listings {
			got := t.keys(b, l.patterns...)
			if !slices.Equal(got, l.want) {
				t.Fatalf("keys of %q are %q, want %q", l.patterns, got, l.want)
			}
		}
	}},
	{"the caller's patterns are left as they were", func(t *trial) {
		b := listedBucket(t)
		patterns := []string{"z", "a.>", "a.*", "z"}
		t.keys(b, patterns...)
		t.lists(patterns, "z", "a.>", "a.*", "z")
	}},
	{"an empty bucket lists nothing, without an error", func(t *trial) {
		b := t.bucket(1)
		t.lists(t.keys(b))
		t.lists(t.keys(b, "a.*", "b"))
	}},
	{"a bucket of markers lists nothing", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "a", "v")
		t.delete(b, "a")
		t.purge(b, "b")
		t.lists(t.keys(b))
	}},
	{"a key that came back is listed", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "a", "v")
		t.delete(b, "a")
		t.lists(t.keys(b))
		t.create(b, "a", "w")
		t.lists(t.keys(b), "a")
	}},
	{"a bad pattern is refused", func(t *trial) {
		b := listedBucket(t)
		for _, bad := range badPatterns {
			for _, patterns := range [][]string{{bad}, {"a", bad}} {
				keys, err := collect(b.Keys(t.ctx, patterns...))
				t.fails(err, kv.ErrInvalidPattern)
				t.lists(keys)
			}
		}
	}},
	{"many keys are listed completely", func(t *trial) {
		b := t.bucket(1)
		var want []string
		for i := range 1000 {
			key := fmt.Sprintf("many.%02d.%02d", i%100, i/100)
			t.put(b, key, "v")
			want = append(want, key)
		}
		slices.Sort(want)
		t.lists(t.keys(b), want...)
		equal(t, "number under one token", len(t.keys(b, "many.42.*")), 10)
	}},
	{"may be left early", func(t *trial) {
		b := listedBucket(t)
		for range b.Keys(t.ctx) {
			break
		}
		t.lists(t.keys(b), listed...)
		t.put(b, "zz", "v")
	}},
	{"may be walked twice", func(t *trial) {
		b := listedBucket(t)
		seq := b.Keys(t.ctx, "a.*")
		for range 2 {
			keys, err := collect(seq)
			t.ok(err)
			t.lists(keys, "a.b", "a.c")
		}
	}},
	{"allows other calls while it is walked", func(t *trial) {
		b := listedBucket(t)
		for key, err := range b.Keys(t.ctx, "a.>") {
			t.ok(err)
			t.delete(b, key)
		}
		t.lists(t.keys(b, "a.>"))
	}},
}
