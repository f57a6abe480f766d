package jetstream_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

// both opens one bucket through this package and through nats.go's own client.
func both(t *testing.T, name string) (kv.Bucket, js.KeyValue) {
	t.Helper()
	o := start(t, t.TempDir())
	ours, err := o.CreateBucket(t.Context(), kv.Config{Bucket: name, History: 10})
	if err != nil {
		t.Fatal(err)
	}
	stock, err := o.js.KeyValue(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ours, stock
}

// TestStockClientAgrees writes the same through this package and through
// nats.go's client, and reads both through both.
func TestStockClientAgrees(t *testing.T) {
	ctx := t.Context()
	ours, stock := both(t, "b")
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(ours.Put(ctx, "ours", []byte("1")))
	rev, err := ours.Update(ctx, "ours", []byte("2"), 1)
	ok(rev, err)
	ok(ours.Delete(ctx, "ours", kv.LastRevision(rev)))
	ok(ours.Create(ctx, "ours", []byte("3")))
	ok(ours.Purge(ctx, "ours.purged"))

	first, err := stock.Put(ctx, "stock", []byte("1"))
	ok(first, err)
	second, err := stock.Update(ctx, "stock", []byte("2"), first)
	ok(second, err)
	ok(nil, stock.Delete(ctx, "stock", js.LastRevision(second)))
	ok(stock.Create(ctx, "stock", []byte("3")))
	ok(nil, stock.Purge(ctx, "stock.purged"))

	want := []string{`PUT "1"`, `PUT "2"`, `DEL ""`, `PUT "3"`}
	for _, key := range []string{"ours", "stock"} {
		if got := oursHistory(t, ours, key); !slices.Equal(got, want) {
			t.Errorf("history of %q is %q, want %q", key, got, want)
		}
		if got := stockHistory(t, stock, key); !slices.Equal(got, want) {
			t.Errorf("stock history of %q is %q, want %q", key, got, want)
		}
		want := []string{`PURGE ""`}
		if got := oursHistory(t, ours, key+".purged"); !slices.Equal(got, want) {
			t.Errorf("history of %q is %q, want %q", key+".purged", got, want)
		}
		if got := stockHistory(t, stock, key+".purged"); !slices.Equal(got, want) {
			t.Errorf("stock history of %q is %q, want %q", key+".purged", got, want)
		}
	}
	if _, err := stock.Create(ctx, "ours", nil); !errors.Is(err, js.ErrKeyExists) {
		t.Errorf("stock create over our value: %v", err)
	}
	if _, err := ours.Create(ctx, "stock", nil); !errors.Is(err, kv.ErrKeyExists) {
		t.Errorf("create over the stock client's value: %v", err)
	}
}

func oursHistory(t *testing.T, b kv.Bucket, key string) (all []string) {
	t.Helper()
	for e, err := range b.History(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%v %q", e.Operation, e.Value))
	}
	return all
}

func stockHistory(t *testing.T, b js.KeyValue, key string) (all []string) {
	t.Helper()
	entries, err := b.History(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	names := map[js.KeyValueOp]string{js.KeyValuePut: "PUT", js.KeyValueDelete: "DEL", js.KeyValuePurge: "PURGE"}
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%s %q", names[e.Operation()], e.Value()))
	}
	return all
}

// TestNameRulesAgree compares the rules of package kv with nats.go's for every byte in
// every place of a key and a bucket's name. nats.go takes fewer keys than servers do.
func TestNameRulesAgree(t *testing.T) {
	ctx := t.Context()
	o := start(t, t.TempDir())
	if _, err := o.CreateBucket(ctx, kv.Config{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	stock, err := o.js.KeyValue(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"", ".", "..", "a..b", "a.b.", ".a.b", "a.b..c", "a...b"}
	for i := range 256 {
		c := string([]byte{byte(i)})
		names = append(names, c, "a"+c, c+"a", "a"+c+"a", "a."+c, c+".a", "a."+c+".a")
	}
	for _, name := range names {
		_, err := stock.Get(ctx, name)
		if refused := kv.CheckKey(name); refused != nil && !errors.Is(err, js.ErrInvalidKey) {
			t.Errorf("key %q: nats.go takes it; %v", name, refused)
		}
		_, err = o.js.KeyValue(ctx, name)
		if got, want := kv.CheckBucketName(name) != nil, errors.Is(err, js.ErrInvalidBucketName); got != want {
			t.Errorf("bucket name %q: refused is %v, by nats.go %v", name, got, want)
		}
	}
}
