package nats

import (
	"context"
	"fmt"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/streamconfig"
)

// The first record is found after older ones were removed, and after the bucket was deleted
// and created again.
func TestFirstRecord(t *testing.T) {
	ctx := t.Context()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var fs firstRecords
	for life := range 2 {
		b, err := store.CreateBucket(ctx, kv.Config{Bucket: "b", History: 2})
		if err != nil {
			t.Fatal(err)
		}
		first := func(want kv.Revision, what string) {
			t.Helper()
			st, err := b.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			e, _ := fs.of(ctx, &stream{bucket: b, records: b.(msglog.Log), name: "b", status: st}) // Of revision 0 where there is none
			if e.Revision != want {
				t.Errorf("life %d: %s the first is %d, want %d", life, what, e.Revision, want)
			}
		}
		first(0, "before all")
		for i, want := range []kv.Revision{1, 1, 2, 3, 4} {
			if _, err := b.PutString(ctx, "k", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			first(want, fmt.Sprint("behind put ", i+1))
		}
		if _, err := b.(msglog.Log).Erase(ctx, ">", 0, 0); err != nil {
			t.Fatal(err)
		}
		first(0, "where all is erased")
		if _, err := b.PutString(ctx, "l", ""); err != nil {
			t.Fatal(err)
		}
		first(6, "behind that")
		if err := store.DeleteBucket(ctx, "b"); err != nil {
			t.Fatal(err)
		}
	}
}

// The description of a stream is that of one moment, also if the stream was emptied and
// filled while it was made.
func TestAStreamThatChangesIsDescribed(t *testing.T) {
	ctx := context.Background()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := store.CreateBucket(ctx, kv.Config{Bucket: streamconfig.MessageStreamPrefix + "S", Kind: msglog.Kind})
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int) {
		t.Helper()
		for i := range n {
			if _, err := b.PutString(ctx, fmt.Sprint(i%2), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	trim := func(below kv.Revision) {
		t.Helper()
		if _, err := b.(msglog.Log).Trim(ctx, below, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	f, err := New(store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		meanwhile                   func()
		messages, first, last, gone uint64
	}{
		{func() {}, 2, 2, 3, 0},
		{func() { put(5) }, 2, 14, 15, 0},
		{func() { trim(99) }, 0, 23, 22, 0},
		{func() { trim(99); put(1) }, 1, 30, 30, 0},
		{func() { trim(37) }, 1, 37, 37, 0},
		{func() { put(2) }, 2, 45, 46, 0},
	} {
		put(3)
		s, err := f.stream(ctx, b.Name())
		if err != nil {
			t.Fatal(err)
		}
		c.meanwhile()
		if got := f.state(ctx, s); got.Messages != c.messages || got.FirstSeq != c.first || got.LastSeq != c.last || got.NumDeleted != c.gone {
			t.Errorf("the stream has %+v, want %d from %d to %d without %d", got, c.messages, c.first, c.last, c.gone)
		}
		put(4)
	}
}
