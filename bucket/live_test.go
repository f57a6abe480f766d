package bucket

import (
	"reflect"
	"testing"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
)

// The helpers below word records shortly; the key is one letter.

func put(key string, rev, floor kv.Revision) segment.Record {
	return segment.Record{Key: []byte(key), Revision: rev, Floor: floor, Op: segment.Put, Value: []byte("v")}
}

func del(key string, rev, floor kv.Revision) segment.Record {
	return segment.Record{Key: []byte(key), Revision: rev, Floor: floor, Op: segment.Delete, Reason: kv.ReasonClient}
}

func purge(key string, rev kv.Revision, deadline int64) segment.Record {
	return segment.Record{Key: []byte(key), Revision: rev, Floor: rev, Op: segment.Purge, Reason: kv.ReasonClient, Deadline: deadline}
}

// erase carries the revision of the record before it: it takes none of its own.
func erase(key string, at, floor kv.Revision) segment.Record {
	return segment.Record{Key: []byte(key), Revision: at, Floor: floor, Op: segment.Erase}
}

func withDeadline(r segment.Record, deadline int64) segment.Record {
	r.Deadline = deadline
	return r
}

type (
	segments [][]segment.Record
	revs     []kv.Revision
	showing  map[string][]kv.Revision
)

// TestLiveness holds each rule of what is live against what a store shows: one
// that finds the rule in its manifest, one that gets it while it is open, and
// the latter after a crash and after a clean close.
func TestLiveness(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments segments
		ops      []journal.Operation // that make the rules; none: they are in the records
		live     manifest.Liveness   // what the operations come to
		want     showing
	}{
		{
			name:     "records at or above the floor of the newest stay",
			segments: segments{{put("a", 1, 1), put("b", 2, 2), put("a", 3, 1), put("a", 4, 3)}},
			want:     showing{"a": revs{3, 4}, "b": revs{2}},
		},
		{
			name:     "a floor reaches into older segments",
			segments: segments{{put("a", 1, 1), put("a", 2, 1)}, {put("b", 3, 3)}, {put("a", 4, 2)}},
			want:     showing{"a": revs{2, 4}, "b": revs{3}},
		},
		{
			name:     "the floor of a purge is its own revision",
			segments: segments{{put("a", 1, 1), put("a", 2, 1)}, {purge("a", 3, 0)}},
			want:     showing{"a": revs{3}},
		},
		{
			name:     "a delete keeps the history",
			segments: segments{{put("a", 1, 1), del("a", 2, 1)}},
			want:     showing{"a": revs{1, 2}},
		},
		{
			name:     "an erase hides what is below it and is not shown",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("b", 3, 3), erase("a", 3, 2)}},
			want:     showing{"a": revs{2}, "b": revs{3}},
		},
		{
			name:     "an erase above all records hides the key",
			segments: segments{{put("a", 1, 1), put("b", 2, 2)}, {erase("a", 2, 3)}},
			want:     showing{"b": revs{2}},
		},
		{
			name:     "a record behind an erase is shown",
			segments: segments{{put("a", 1, 1)}, {erase("a", 1, 2), put("a", 2, 2)}},
			want:     showing{"a": revs{2}},
		},
		{
			name:     "records up to the expired revision are dead",
			segments: segments{{put("a", 1, 1), put("b", 2, 2), put("a", 3, 1), del("c", 4, 4)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 2}},
			live:     manifest.Liveness{ExpiredUpTo: 2},
			want:     showing{"a": revs{3}, "c": revs{4}},
		},
		{
			name:     "the expired revision does not fall",
			segments: segments{{put("a", 1, 1), put("b", 2, 2), put("c", 3, 3)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 2}, &journal.Expire{Bucket: writtenID, ExpiredUpTo: 1}},
			live:     manifest.Liveness{ExpiredUpTo: 2},
			want:     showing{"c": revs{3}},
		},
		{
			name:     "a cut leaves the newest few below it",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("a", 3, 1), put("a", 4, 1), put("b", 5, 5)}},
			ops:      []journal.Operation{cutTo(5, 2)},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 5, Keep: 2}}},
			want:     showing{"a": revs{3, 4}, "b": revs{5}},
		},
		{
			name:     "a cut does not count what came after it",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("a", 3, 1)}, {put("a", 4, 1), put("a", 5, 1)}},
			ops:      []journal.Operation{cutTo(3, 1)},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 3, Keep: 1}}},
			want:     showing{"a": revs{3, 4, 5}},
		},
		{
			name:     "a later, looser cut leaves the earlier one standing",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("a", 3, 1), put("a", 4, 1), put("a", 5, 1), put("a", 6, 1)}},
			ops:      []journal.Operation{cutTo(3, 1), cutTo(6, 3)},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 3, Keep: 1}, {UpTo: 6, Keep: 3}}},
			want:     showing{"a": revs{4, 5, 6}},
		},
		{
			name:     "a later, tighter cut swallows the earlier one",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("a", 3, 1), put("a", 4, 1)}},
			ops:      []journal.Operation{cutTo(2, 2), cutTo(4, 1)},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 4, Keep: 1}}},
			want:     showing{"a": revs{4}},
		},
		{
			name:     "a cut counts markers",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), del("a", 3, 1)}},
			ops:      []journal.Operation{cutTo(3, 2)},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 3, Keep: 2}}},
			want:     showing{"a": revs{2, 3}},
		},
		{
			name:     "purge-deletes drops what is behind a marker",
			segments: segments{{put("a", 1, 1), del("a", 2, 1), put("b", 3, 3)}},
			ops:      []journal.Operation{purgeDeletes(3, 0)},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 0}},
			want:     showing{"a": revs{2}, "b": revs{3}},
		},
		{
			name:     "purge-deletes drops the markers up to the one it names",
			segments: segments{{put("a", 1, 1), del("a", 2, 1), del("b", 3, 3)}},
			ops:      []journal.Operation{purgeDeletes(3, 2)},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 2}},
			want:     showing{"b": revs{3}},
		},
		{
			name:     "purge-deletes does not touch a key whose newest is a value",
			segments: segments{{put("a", 1, 1), del("a", 2, 1), put("a", 3, 1)}},
			ops:      []journal.Operation{purgeDeletes(3, 3)},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 3}},
			want:     showing{"a": revs{1, 2, 3}},
		},
		{
			name:     "purge-deletes does not touch a key whose newest is a later marker",
			segments: segments{{put("a", 1, 1), put("b", 2, 2)}, {del("a", 3, 1)}},
			ops:      []journal.Operation{purgeDeletes(2, 2)},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 2, MarkersUpTo: 2}},
			want:     showing{"a": revs{1, 3}, "b": revs{2}},
		},
		{
			name:     "of two purge-deletes the larger revisions count",
			segments: segments{{put("a", 1, 1), del("a", 2, 1), put("b", 3, 3), del("b", 4, 3)}},
			ops:      []journal.Operation{purgeDeletes(3, 2), purgeDeletes(4, 1)},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 4, MarkersUpTo: 2}},
			want:     showing{"b": revs{4}},
		},
		{
			name:     "purge markers lapse at their deadline and not before",
			segments: segments{{purge("a", 1, 10), purge("b", 2, 11), purge("c", 3, 0)}},
			ops:      []journal.Operation{&journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{MarkersExpiredUpTo: 10},
			want:     showing{"b": revs{2}, "c": revs{3}},
		},
		{
			name:     "only purge markers lapse",
			segments: segments{{withDeadline(put("a", 1, 1), 5), withDeadline(del("b", 2, 2), 5)}},
			ops:      []journal.Operation{&journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{MarkersExpiredUpTo: 10},
			want:     showing{"a": revs{1}, "b": revs{2}},
		},
		{
			name:     "a newest marker with a deadline does not expire with the rest",
			segments: segments{{put("a", 1, 1), purge("a", 2, 10), purge("b", 3, 0), del("c", 4, 4), withDeadline(put("d", 5, 5), 99)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 5}},
			live:     manifest.Liveness{ExpiredUpTo: 5},
			want:     showing{"a": revs{2}},
		},
		{
			name:     "a marker with a deadline expires once it is not the newest",
			segments: segments{{purge("a", 1, 10), del("b", 2, 2), put("a", 3, 1)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 2}},
			live:     manifest.Liveness{ExpiredUpTo: 2},
			want:     showing{"a": revs{3}},
		},
		{
			name:     "a marker that outlived the TTL leaves at its deadline, and brings nothing back",
			segments: segments{{put("a", 1, 1), purge("a", 2, 10)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 2}, &journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{ExpiredUpTo: 2, MarkersExpiredUpTo: 10},
			want:     showing{},
		},
		{
			name:     "a lapsed marker revives nothing",
			segments: segments{{put("a", 1, 1), put("a", 2, 1)}, {purge("a", 3, 10)}},
			ops:      []journal.Operation{&journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{MarkersExpiredUpTo: 10},
			want:     showing{},
		},
		{
			name:     "behind a lapsed marker that was forgotten nothing is left",
			segments: segments{{put("a", 1, 1)}, {withDeadline(segment.Record{Key: []byte("a"), Revision: 2, Floor: 1, Op: segment.Purge, Reason: kv.ReasonExpiry}, 10)}},
			ops:      []journal.Operation{purgeDeletes(2, 0), &journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 2, MarkersUpTo: 0}, MarkersExpiredUpTo: 10},
			want:     showing{},
		},
		{
			name:     "all rules together",
			segments: segments{{put("a", 1, 1), put("b", 2, 2), put("c", 3, 3), put("c", 4, 3), put("c", 5, 3)}, {del("b", 6, 2), purge("d", 7, 10), put("e", 8, 8), put("e", 9, 8)}},
			ops:      []journal.Operation{&journal.Expire{Bucket: writtenID, ExpiredUpTo: 3}, cutTo(9, 1), purgeDeletes(9, 0), &journal.ExpireMarkers{Bucket: writtenID, MarkersExpiredUpTo: 10}},
			live:     manifest.Liveness{ExpiredUpTo: 3, Cuts: []manifest.Cut{{UpTo: 9, Keep: 1}}, PurgedDeletes: manifest.PurgeDeletes{UpTo: 9, MarkersUpTo: 0}, MarkersExpiredUpTo: 10},
			want:     showing{"b": revs{6}, "c": revs{5}, "e": revs{9}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Run("in the manifest", func(t *testing.T) {
				w := written{live: c.live, segments: c.segments}
				wantShown(t, w.harness(t).find("b"), c.want)
			})
			t.Run("while open", func(t *testing.T) {
				w := written{segments: c.segments}
				h := w.harness(t)
				h.operate(c.ops)
				wantShown(t, h.find("b"), c.want)
				if got := h.find("b").mu.live; !reflect.DeepEqual(got, c.live) {
					t.Errorf("the rules are %+v, want %+v", got, c.live)
				}
				h.powerCut()
				h.open()
				wantShown(t, h.find("b"), c.want)
				h.reopen()
				wantShown(t, h.find("b"), c.want)
			})
		})
	}
}

// cutTo cuts the histories of the bucket "b".
func cutTo(upTo kv.Revision, keep int) journal.Operation {
	config := kv.Config{Bucket: "b", History: writtenHistory}.WithDefaults()
	return &journal.Edit{Bucket: writtenID, Config: config, Cut: manifest.Cut{UpTo: upTo, Keep: keep}}
}

// purgeDeletes is a purge-deletes of the bucket "b".
func purgeDeletes(upTo, markers kv.Revision) journal.Operation {
	return &journal.PurgeDeletes{Bucket: writtenID, Rule: manifest.PurgeDeletes{UpTo: upTo, MarkersUpTo: markers}}
}

// operate carries operations on the bucket "b" through the log, and takes what they
// make dead out of the index.
func (h *harness) operate(ops []journal.Operation) {
	h.t.Helper()
	for _, op := range ops {
		if err := h.s.operate(ctx, func() (journal.Operation, error) { return op, nil }); err != nil {
			h.t.Fatal(err)
		}
		if b := h.find("b"); b.mu.rulesPending > 0 {
			b.finishRules()
		} else {
			b.applyRules()
		}
	}
}

// What is live decides what is counted, too.
func TestCountsFollowLiveness(t *testing.T) {
	w := written{
		live: manifest.Liveness{ExpiredUpTo: 1, PurgedDeletes: manifest.PurgeDeletes{UpTo: 9, MarkersUpTo: 4}},
		segments: segments{{
			put("a", 1, 1), put("b", 2, 2), put("c", 3, 3), del("c", 4, 3), put("d", 5, 5), del("d", 6, 5), put("b", 7, 2),
		}},
	}
	b := w.harness(t).find("b")
	wantShown(t, b, showing{"b": revs{2, 7}, "d": revs{6}})
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Keys != 1 || st.Values != 3 || st.Revision != 7 {
		t.Errorf("status counts %d keys and %d values up to revision %d, want 1, 3 and 7", st.Keys, st.Values, st.Revision)
	}
	if got := mustPut(t, b, "new", ""); got != 8 {
		t.Errorf("the next revision is %d, want 8", got)
	}
}

// A history that shrank and grew again keeps what came after it shrank.
func TestAnEditCutsWhatWasThere(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	for range 3 {
		mustPut(t, b, "k", "v")
	}
	for _, history := range []int{1, 5} {
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: history}); err != nil {
			t.Fatal(err)
		}
		wantShown(t, b, showing{"k": revs{3}})
	}
	mustPut(t, b, "k", "v")
	mustPut(t, b, "k", "v")
	for range 2 {
		wantShown(t, h.find("b"), showing{"k": revs{3, 4, 5}})
		h.reopen()
	}
}

// Markers as old as PurgeDeletes asks for go, younger ones lose their history.
func TestPurgeDeletesGoesByTheMarkersAge(t *testing.T) {
	for _, c := range []struct {
		olderThan time.Duration
		want      showing
	}{
		{0, showing{"b": revs{4}, "c": revs{6}, "put": revs{7}}}, // 30 minutes
		{20 * time.Minute, showing{"c": revs{6}, "put": revs{7}}},
		{20*time.Minute + 1, showing{"b": revs{4}, "c": revs{6}, "put": revs{7}}},
		{time.Hour, showing{"a": revs{2}, "b": revs{4}, "c": revs{6}, "put": revs{7}}},
		{-1, showing{"put": revs{7}}},
	} {
		t.Run(c.olderThan.String(), func(t *testing.T) {
			clock := &testClock{now: time.Unix(1_000_000, 0)}
			h := newHarness(t, func(o *Options) { o.env.Now = clock.Now })
			b := h.bucket("b", withHistory(3))
			for _, key := range []string{"a", "b", "c"} {
				mustPut(t, b, key, "v")
				if _, err := b.Delete(ctx, key); err != nil {
					t.Fatal(err)
				}
				clock.advance(20 * time.Minute)
			}
			clock.advance(-20 * time.Minute) // a is 40 minutes old, b 20, c new
			mustPut(t, b, "put", "v")
			if err := b.PurgeDeletes(ctx, c.olderThan); err != nil {
				t.Fatal(err)
			}
			wantShown(t, b, c.want)
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), c.want)
		})
	}
}
