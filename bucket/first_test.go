package bucket

import (
	"maps"
	"slices"
	"testing"

	"kvd/kv"
	"kvd/segment"
)

// firsts returns the revisions of the bucket's records that are first of their keys, as the
// records have them and as the index blocks have them.
func firsts(t testing.TB, b *Bucket) (records, entries []kv.Revision) {
	t.Helper()
	for _, sl := range b.mu.order {
		err := sl.Walk(0, sl.Size(), func(_ int64, r *segment.Record, _ int, _ bool) error {
			if r.First {
				records = append(records, r.Revision)
			}
			return nil
		}, func(c *kv.CorruptError) { t.Error(c) })
		if err == nil {
			err = sl.Entries(func(e *segment.Entry) error {
				if e.First {
					entries = append(entries, e.Revision)
				}
				return nil
			}, func(c *kv.CorruptError) { t.Error(c) }, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return records, entries
}

func wantFirsts(t testing.TB, b *Bucket, want ...kv.Revision) {
	t.Helper()
	records, entries := firsts(t, b)
	if !slices.Equal(records, want) || !slices.Equal(entries, want) {
		t.Errorf("first of their keys are the records %d, entries %d; want %d", records, entries, want)
	}
}

// A record is first of its key if the key has none, neither in the index nor earlier in the same
// group. An end that was forgotten makes the next record the first again; a marker does not.
func TestTheFirstRecordOfAKeyIsMarked(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(2))
	put := func(key string) kv.Mutation { return kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key} }
	h.submit(put("a"), put("a"), put("b"), put("a"))                                      // 1 and 3
	h.submit(kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "c"}, put("b"), put("d")) // 5 and 7
	if _, err := b.Delete(ctx, "a"); err != nil {                                         // 8
		t.Fatal(err)
	}
	mustPut(t, b, "a", "after its marker")       // 9
	if _, err := b.Purge(ctx, "b"); err != nil { // 10
		t.Fatal(err)
	}
	h.checkpoint()
	wantFirsts(t, b, 1, 3, 5, 7)
	if err := b.PurgeDeletes(ctx, -1); err != nil { // forgets b and c
		t.Fatal(err)
	}
	mustPut(t, b, "a", "2")       // 11
	mustPut(t, b, "b", "is anew") // 12
	mustPut(t, b, "c", "is anew") // 13
	h.checkpoint()
	wantFirsts(t, b, 1, 3, 5, 7, 12, 13)
	mustPut(t, b, "e", "only in the log") // 14
	h.kill()
	h.open()
	b = h.find("b")
	wantFirsts(t, b, 1, 3, 5, 7, 12, 13, 14)
	h.reclaim() // which copies what is kept
	wantFirsts(t, b, 7, 12, 13, 14)
}

// A key that is gone for readers has records still, until it is forgotten: the next record is not
// its first. That of an erased key is, also in the same group.
func TestTheFirstRecordAfterAnEnd(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	for _, key := range []string{"x", "y"} {
		mustPut(t, b, key, "1")
	}
	if n, err := b.Erase(ctx, "x", 0, 0); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	mustPut(t, b, "x", "2") // 3
	mustPut(t, b, "y", "2") // 4
	h.checkpoint()
	wantFirsts(t, b, 1, 2, 3)
}

// What a segment's description says of its records is what they are, after writes, a crash and
// compaction.
func TestDescriptionsCountTheRecords(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b", withHistory(3))
	check := func(when string) {
		t.Helper()
		h.checkpoint()
		b := h.find("b")
		state := h.s.checkpoint.state.Buckets[b.id]
		if len(state.Segments) != len(b.mu.order) {
			t.Fatalf("%s: the manifest has %d segments, memory %d", when, len(state.Segments), len(b.mu.order))
		}
		for i, sl := range b.mu.order {
			d := state.Segments[i].Desc
			got := segment.Desc{Number: d.Number, BucketID: d.BucketID, Size: d.Size, LastIndex: d.LastIndex, Limit: d.Limit, Sealed: d.Sealed}
			err := sl.Walk(0, d.Size, func(offset int64, r *segment.Record, size int, _ bool) error {
				sl.Pin()
				defer sl.Unpin()
				_, encoded, err := sl.ReadStored(nil, offset, uint32(size), "", r.Revision)
				got.Records++
				got.Sum += segment.HeadSum(encoded)
				if r.Op != segment.Erase {
					if got.First == 0 {
						got.First = r.Revision
					}
					got.Last = r.Revision
				}
				return err
			}, func(c *kv.CorruptError) { t.Error(c) })
			if err != nil || got != d {
				t.Errorf("%s: segment %d is described as %+v, is %+v, %v", when, i, d, got, err)
			}
		}
	}
	churn(t, b, 50, 5)
	check("written")
	if _, err := b.Erase(ctx, "key-001", 0, 0); err != nil {
		t.Fatal(err)
	}
	churn(t, b, 20, 1)
	h.kill()
	h.open()
	check("replayed")
	h.reclaim()
	check("compacted")
	h.reopen()
	churn(t, h.find("b"), 20, 1)
	check("appended to")
	if keys := slices.Sorted(maps.Keys(shown(t, h.find("b")))); len(keys) != 50 {
		t.Errorf("%d keys", len(keys))
	}
}

// Where records may be missing, no key is known to have none, also if its owner accepts stale
// reads. A decision ends that.
func TestNoRecordIsFirstInDoubt(t *testing.T) {
	for _, stale := range []bool{false, true} {
		h, b := doubted(t, func(o *Options) {
			if stale {
				o.ServeStale = []string{ServeStaleAll}
			}
		})
		known, _ := firsts(t, b)
		mustPut(t, b, "a-new-key", "1")
		if got, _ := firsts(t, b); !slices.Equal(got, known) {
			t.Errorf("in doubt, stale reads accepted %v: first are %d, before %d", stale, got, known)
		}
		if _, err := b.AcceptLoss(ctx); err != nil {
			t.Fatal(err)
		}
		rev := mustPut(t, b, "another-new-key", "1")
		h.checkpoint()
		wantFirsts(t, b, append(known, rev)...)
	}
}
