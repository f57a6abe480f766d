package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"kvd/bucket"
	"kvd/kv"
)

func openForWatch(t testing.TB) (*bucket.Store, kv.Bucket) {
	t.Helper()
	s, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Error(err)
		}
	})
	b, err := s.CreateBucket(context.Background(), kv.Config{Bucket: "b", History: 5})
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestWatch(t *testing.T) {
	_, b := openForWatch(t)
	ctx := t.Context()
	for i := range 3 {
		if _, err := b.PutString(ctx, fmt.Sprintf("k.%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Watch(ctx, []string{"k.*"})
	if err != nil {
		t.Fatal(err)
	}
	for want := kv.Revision(1); want <= 3; want++ {
		u := <-w.Updates()
		if u.Entry == nil || u.Entry.Revision != want || u.Entry.Delta != uint64(3-want) {
			t.Fatalf("got %+v", u.Entry)
		}
	}
	if u := <-w.Updates(); u.Entry != nil {
		t.Fatalf("got %+v", u.Entry)
	}
	for want := kv.Revision(4); want < 2000; want++ {
		if _, err := b.PutString(ctx, "k.9", "w"); err != nil {
			t.Fatal(err)
		}
		u := <-w.Updates()
		if u.Entry == nil || u.Entry.Revision != want || string(u.Entry.Value) != "w" {
			t.Fatalf("got %+v", u.Entry)
		}
	}
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	for range w.Updates() {
	}
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
}
