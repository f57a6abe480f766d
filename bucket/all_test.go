package bucket

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
)

// TestAllPassesDamage has a damaged value cost its own entry alone.
func TestAllPassesDamage(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for _, key := range []string{"a", "b", "c"} {
		mustPut(t, b, key, "value of "+key)
	}
	file, offset := h.locate(manifest.SegmentDir, "value of b")
	h.flip(file, offset, 0)
	var got []string
	for e, err := range b.All(ctx) {
		switch {
		case e.Key == "b":
			wantError(t, err, kv.ErrCorrupt, `"b" in bucket "b"`)
			if e.Value != nil || e.Revision != 2 {
				t.Errorf("the damaged entry is %+v", e)
			}
		case err != nil:
			t.Fatal(err)
		}
		got = append(got, e.Key)
	}
	if fmt.Sprint(got) != "[a b c]" {
		t.Errorf("keys are %q", got)
	}
}

// TestAllOfASlowConsumer has the entries be those of one revision, also once the
// snapshot is given back and compaction has rewritten what it referred to.
func TestAllOfASlowConsumer(t *testing.T) {
	for _, storage := range []kv.Storage{kv.FileStorage, kv.MemoryStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // in which time goes by without a wait
				h := newHarness(t)
				b := h.bucket("b", func(c *kv.Config) { c.Storage = storage })
				for i := range 100 {
					mustPut(t, b, fmt.Sprintf("k.%02d", i), "old")
				}
				n := 0
				for e, err := range b.All(ctx) {
					if err != nil || string(e.Value) != "old" {
						t.Fatalf("%q holds %q, %v", e.Key, e.Value, err)
					}
					if n++; n > 1 {
						continue
					}
					for i := range 100 {
						mustPut(t, b, fmt.Sprintf("k.%02d", i), "new")
					}
					pass(snapshotMax + snapshotMax/5)
					h.reclaim()
				}
				if n != 100 {
					t.Errorf("%d entries", n)
				}
			})
		})
	}
}

// TestAllBesideTheEnd has a store be closed, and a bucket deleted, by the consumer.
func TestAllBesideTheEnd(t *testing.T) {
	for name, end := range map[string]func(h *harness) error{
		"delete": func(h *harness) error { return h.s.DeleteBucket(ctx, "b") },
		"close":  func(h *harness) error { return h.s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			mustPut(t, b, "a", "v")
			mustPut(t, b, "b", "v")
			for e, err := range b.All(ctx) {
				switch {
				case err == nil && e.Key == "a":
					if err := end(h); err != nil {
						t.Fatal(err)
					}
				case err != nil && !errors.Is(err, kv.ErrClosed) && !errors.Is(err, kv.ErrBucketNotFound):
					t.Fatal(err)
				}
			}
		})
	}
}

// TestAllBesideACompaction has the records be moved to a segment that is newer than the listing, twice,
// while it goes on.
func TestAllBesideACompaction(t *testing.T) {
	for _, storage := range []kv.Storage{kv.FileStorage, kv.MemoryStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			const keys = 300
			h := newHarness(t)
			b := h.bucket("b", func(c *kv.Config) { c.Storage = storage })
			for range 2 { // the first half of the segment is dead
				for i := range keys {
					mustPut(t, b, fmt.Sprintf("k.%03d", i), fmt.Sprint("value", i))
				}
			}
			n := 0
			for e, err := range b.All(ctx) {
				if err != nil || string(e.Value) != fmt.Sprint("value", n) {
					t.Fatalf("%q holds %q, %v", e.Key, e.Value, err)
				}
				if n++; n == 1 || n == keys/2 {
					from := b.newestPlace("k.299")
					if storage == kv.FileStorage {
						mustPut(t, b, "other", strings.Repeat("x", 1<<10)) // so that there is something to compact
						mustPut(t, b, "other", "x")
						h.reclaim()
					} else if err := b.rewriteNow(from.Segment); err != nil {
						t.Fatal(err)
					}
					if to := b.newestPlace("k.299"); to == from {
						t.Fatalf("entry %d: the last record was not moved", n)
					}
				}
			}
			if n != keys {
				t.Errorf("%d entries", n)
			}
		})
	}
}

// rewriteNow compacts a segment in memory.
func (b *Bucket) rewriteNow(number uint32) error {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.active = nil
	return b.rewriteMemory(b.mu.segments[number])
}

// newestPlace returns where the newest record of a key is.
func (b *Bucket) newestPlace(key string) index.Place {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, _ := b.mu.index.Newest(index.Hash(key), key)
	return v.Place()
}
