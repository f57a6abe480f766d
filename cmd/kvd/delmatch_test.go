package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

// TestDeletionLeavesLaterKeys writes between the count and the deletion: what was written then stays.
func TestDeletionLeavesLaterKeys(t *testing.T) {
	s, b := deletionStore(t, "a", "b", "c")
	d, keys, err := (&matcher{patterns: []string{">"}}).begin(t.Context(), s, b)
	if err != nil || keys != 3 {
		t.Fatalf("%d keys, %v", keys, err)
	}
	putKeys(t, b, "b", "d")
	if err := d.run(t.Context(), []string{">"}); err != nil || d.deleted != 2 {
		t.Fatalf("%d deleted, %v", d.deleted, err)
	}
	checkKeys(t, b, "b", "d")
}

// TestDeletionCountsBesideARefusal has the store refuse one delete: the others of the page are done and counted.
func TestDeletionCountsBesideARefusal(t *testing.T) {
	s, b := deletionStore(t, "a", "b", "c")
	d, _, err := (&matcher{patterns: []string{">"}}).begin(t.Context(), refusing{s, "b"}, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.run(t.Context(), []string{">"}); !errors.Is(err, kv.ErrBucketFull) || d.deleted != 2 {
		t.Fatalf("%d deleted, %v", d.deleted, err)
	}
	checkKeys(t, b, "b")
}

// refusing is a store that refuses the writes of a key.
type refusing struct {
	store
	key string
}

func (s refusing) Submit(ctx context.Context, all []kv.Mutation) error {
	for i := range all {
		if all[i].Key == s.key {
			all[i].Err = kv.ErrBucketFull
			continue
		}
		if err := s.store.Submit(ctx, all[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// deletionStore returns a store in memory and a bucket with these keys.
func deletionStore(t *testing.T, keys ...string) (store, kv.Bucket) {
	s, err := bucket.Open("db", environment.With(bucket.Options{ReserveSize: -1}, environment.Env{FS: vfs.NewRAM(), Manual: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	putKeys(t, b, keys...)
	return s, b
}

func putKeys(t *testing.T, b kv.Bucket, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := b.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func checkKeys(t *testing.T, b kv.Bucket, want ...string) {
	t.Helper()
	var got []string
	for key, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the bucket has %v, want %v", got, want)
	}
}
