package bucket

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

// onDisk returns the records that a bucket's segments hold of each key, dead or
// alive: erases as negative numbers.
func onDisk(t testing.TB, b *Bucket) map[string][]int {
	t.Helper()
	got := map[string][]int{}
	for sl := range b.files() {
		err := sl.Walk(0, sl.Size(), func(_ int64, r *segment.Record, _ int, _ bool) error {
			n := int(r.Revision)
			if r.Op == segment.Erase {
				n = -n
			}
			got[string(r.Key)] = append(got[string(r.Key)], n)
			return nil
		}, func(c *kv.CorruptError) { t.Errorf("walk: %v", c) })
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// unpacedPacer is one that spares nobody.
func (h *harness) unpacedPacer() *pacer { return &pacer{store: h.s, ctx: ctx} }

func TestWhatCompactionDrops(t *testing.T) {
	for _, c := range []struct {
		name     string
		segments segments
		live     manifest.Liveness
		from, to int // the segments that are compacted
		want     map[string][]int
		ended    kv.Revision
	}{
		{
			name:     "what a newer record replaces",
			segments: segments{{put("a", 1, 1), put("b", 2, 2)}, {put("a", 3, 3)}, {put("c", 4, 4)}},
			to:       1,
			want:     map[string][]int{"a": {3}, "b": {2}, "c": {4}},
		},
		{
			name:     "nothing of a history that is kept",
			segments: segments{{put("a", 1, 1), put("a", 2, 1)}, {put("a", 3, 1)}},
			to:       1,
			want:     map[string][]int{"a": {1, 2, 3}},
		},
		{
			name:     "two neighbours at once",
			segments: segments{{put("a", 1, 1)}, {put("a", 2, 2), put("b", 3, 3)}, {put("b", 4, 4)}},
			to:       2,
			want:     map[string][]int{"a": {2}, "b": {4}},
		},
		{
			name:     "all of a segment",
			segments: segments{{put("a", 1, 1)}, {put("a", 2, 2)}},
			to:       1,
			want:     map[string][]int{"a": {2}},
		},
		{
			name:     "a forgotten tombstone that is the last of its key",
			segments: segments{{put("a", 1, 1), del("a", 2, 2)}, {put("b", 3, 3)}},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 3}},
			to:       1,
			want:     map[string][]int{"b": {3}},
			ended:    2,
		},
		{
			name:     "no tombstone that an older record lies below",
			segments: segments{{put("a", 1, 1)}, {del("a", 2, 2)}, {put("b", 3, 3)}},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 3}},
			from:     1, to: 2,
			want: map[string][]int{"a": {1, 2}, "b": {3}},
		},
		{
			name:     "a tombstone with nothing but other keys below",
			segments: segments{{put("b", 1, 1)}, {del("a", 2, 2)}, {put("b", 3, 1)}},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 3, MarkersUpTo: 3}},
			from:     1, to: 2,
			want:  map[string][]int{"b": {1, 3}},
			ended: 2,
		},
		{
			name:     "what lies before a tombstone, but not the tombstone",
			segments: segments{{put("a", 1, 1)}, {put("a", 2, 1), del("a", 3, 1)}, {put("b", 4, 4)}},
			live:     manifest.Liveness{PurgedDeletes: manifest.PurgeDeletes{UpTo: 4, MarkersUpTo: 4}},
			from:     1, to: 2,
			want: map[string][]int{"a": {1, 3}, "b": {4}},
		},
		{
			name:     "no tombstone that is shown",
			segments: segments{{put("a", 1, 1), del("a", 2, 2)}, {put("b", 3, 3)}},
			to:       1,
			want:     map[string][]int{"a": {2}, "b": {3}},
		},
		{
			name:     "a lapsed marker",
			segments: segments{{purge("a", 1, 5), purge("b", 2, 50)}, {put("c", 3, 3)}},
			live:     manifest.Liveness{MarkersExpiredUpTo: 10},
			to:       1,
			want:     map[string][]int{"b": {2}, "c": {3}},
			ended:    1,
		},
		{
			name:     "expired records",
			segments: segments{{put("a", 1, 1), put("b", 2, 2)}, {put("c", 3, 3)}, {put("a", 4, 1)}},
			live:     manifest.Liveness{ExpiredUpTo: 3},
			to:       2,
			want:     map[string][]int{"a": {4}},
			ended:    3,
		},
		{
			name:     "what a cut left out",
			segments: segments{{put("a", 1, 1), put("a", 2, 1), put("a", 3, 1)}, {put("b", 4, 4)}},
			live:     manifest.Liveness{Cuts: []manifest.Cut{{UpTo: 3, Keep: 2}}},
			to:       1,
			want:     map[string][]int{"a": {2, 3}, "b": {4}},
		},
		{
			name:     "an erase that nothing is left to hide for",
			segments: segments{{put("a", 1, 1), erase("a", 1, 2)}, {put("b", 2, 2)}},
			to:       1,
			want:     map[string][]int{"b": {2}},
			ended:    1,
		},
		{
			name:     "no erase that hides what lies below",
			segments: segments{{put("a", 1, 1), put("a", 2, 1)}, {erase("a", 2, 2)}, {put("b", 3, 3)}},
			from:     1, to: 2,
			want: map[string][]int{"a": {1, 2, -2}, "b": {3}},
		},
		{
			name:     "an erase before a newer record",
			segments: segments{{put("a", 1, 1)}, {erase("a", 1, 2)}, {put("a", 2, 2)}},
			from:     1, to: 2,
			want: map[string][]int{"a": {1, 2}},
		},
		{
			name:     "no record for an erase that stands behind it alone",
			segments: segments{{put("a", 1, 1)}, {put("a", 2, 1), erase("a", 2, 3)}, {put("b", 3, 3)}},
			from:     1, to: 2,
			want: map[string][]int{"a": {1, 2, -2}, "b": {3}},
		},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			w := written{segments: c.segments, live: c.live}
			h := w.harness(t)
			b := h.find("b")
			before := shown(t, b)
			if _, err := b.compact(c.from, c.to, h.unpacedPacer()); err != nil {
				t.Fatal(err)
			}
			check := func() {
				t.Helper()
				if got := onDisk(t, b); !reflect.DeepEqual(got, c.want) {
					t.Errorf("on disk are %v, want %v", got, c.want)
				}
				if b.mu.compactedEndUpTo != c.ended {
					t.Errorf("keys ended up to revision %d, want %d", b.mu.compactedEndUpTo, c.ended)
				}
				wantShown(t, b, before)
				h.wantFiles(b)
			}
			check()
			h.powerCut()
			h.open()
			b = h.find("b")
			check()
		})
	}
}

// wantFiles checks that the directory of segments holds those of the bucket and
// no others.
func (h *harness) wantFiles(b *Bucket) {
	h.t.Helper()
	want := []string{}
	for sl := range b.files() {
		want = append(want, segment.FileName(sl.Number()))
	}
	for i, d := range h.s.checkpoint.state.Buckets[b.id].Segments {
		if sl := b.mu.order[i]; sl.Number() != d.Number || sl.removedUpTo != d.RemovedUpTo {
			h.t.Errorf("segment %d in memory is %d, with what was dropped up to %d; the manifest says %d, and %d", i, sl.Number(), sl.removedUpTo, d.Number, d.RemovedUpTo)
		}
	}
	got := h.names(manifest.SegmentDir)
	seen := map[string]bool{}
	for _, name := range got {
		seen[name] = true
	}
	for _, name := range want {
		if !seen[name] {
			h.t.Errorf("%s is missing", name)
		}
	}
	if len(got) != len(want) {
		h.t.Errorf("files are %q, want %q", got, want)
	}
}

// smallSegments makes segments of a page or two.
func smallSegments(o *Options) { o.SegmentSize = pageSize }

// churn writes the keys again and again.
func churn(t testing.TB, b *Bucket, keys, rounds int) {
	t.Helper()
	for round := range rounds {
		for i := range keys {
			mustPut(t, b, fmt.Sprintf("key-%03d", i), fmt.Sprintf("%d of %s", round, strings.Repeat("x", 200)))
		}
	}
}

func (h *harness) reclaim() kv.Reclaimed {
	h.t.Helper()
	r, err := h.s.Reclaim(ctx, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestReclaimGivesBackTheDisk(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 200, 10) // segments of a few pages waste half a page before each index block
	before, want := shown(t, b), b.diskSize()
	var last kv.Reclaimed
	r, err := h.s.Reclaim(ctx, func(r kv.Reclaimed) {
		if r.Done < last.Done || r.Done > r.Total || r.Total != want || r.Bucket != "b" {
			t.Errorf("progress is %+v after %+v", r, last)
		}
		last = r
	})
	if err != nil {
		t.Fatal(err)
	}
	live := int64(b.mu.index.Bytes())
	if size := b.diskSize(); size > live*3/2 || r.Freed < want-size || r.Done != r.Total {
		t.Errorf("%d bytes of files for %d live ones; %+v of %d", size, live, r, want)
	}
	wantShown(t, b, before)
	h.wantFiles(b)
	again := h.reclaim()
	if again.Freed != 0 {
		t.Errorf("another run gave back %d bytes", again.Freed)
	}
	h.kill()
	h.open()
	wantShown(t, h.find("b"), before)
	h.wantFiles(h.find("b"))
}

// A writer that never stops makes garbage before each step of Reclaim.
func TestReclaimEndsUnderWriters(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 50, 10)
	total := b.diskSize()
	steps := 0
	r, err := h.s.Reclaim(ctx, func(r kv.Reclaimed) {
		if steps++; steps > 500 {
			t.Fatalf("no end after %d steps: %+v", steps, r)
		}
		if r.Total != total || r.Done > r.Total {
			t.Errorf("progress is %+v, of %d bytes when it began", r, total)
		}
		churn(t, b, 50, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	if live := int64(b.mu.index.Bytes()); r.Freed < total-2*live {
		t.Errorf("%+v of %d bytes, %d are live", r, total, live)
	}
	again := h.reclaim()
	if size, live := b.diskSize(), int64(b.mu.index.Bytes()); size > live*5/2 { // a page of records has an index page
		t.Errorf("%d bytes of files for %d live ones after %+v", size, live, again)
	}
	h.wantFiles(b)
}

// The background removes replaced files too. Reclaim does not leave them to it.
func TestReclaimReturnsWhenTheDiskIsFree(t *testing.T) {
	h := newHarness(t, smallSegments, func(o *Options) { o.env.Manual = false; o.CompactionRate = -1 })
	b := h.bucket("b")
	churn(t, b, 50, 10)
	h.reclaim()
	h.wantFiles(b)
}

func TestReclaimDoesNotCountAFileThatIsHeld(t *testing.T) {
	other := newHarness(t, smallSegments)
	churn(t, other.bucket("b"), 50, 10)
	all := other.reclaim().Freed
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 50, 10)
	held := b.mu.order[0]
	held.Pin()
	if r := h.reclaim(); r.Freed != all-held.Size() {
		t.Errorf("%d bytes are reported as freed, want %d: %d are held", r.Freed, all-held.Size(), held.Size())
	}
	held.Unpin()
	h.reclaim()
	h.wantFiles(b)
}

func TestReclaimNamesWhatItCannotDo(t *testing.T) {
	h := newHarness(t)
	h.bucket("b")
	_, err := h.s.Reclaim(ctx, nil, "none")
	wantError(t, err, kv.ErrBucketNotFound, "none")
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = h.s.Reclaim(done, nil)
	wantError(t, err, context.Canceled)
	h.close()
	_, err = h.s.Reclaim(ctx, nil)
	wantError(t, err, kv.ErrClosed)
}

// Numbers go on where they were, also where the newest record is gone.
func TestCompactionDoesNotGiveRevisionsBack(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "v")
	if _, err := b.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := b.PurgeDeletes(ctx, -1); err != nil {
		t.Fatal(err)
	}
	h.reclaim()
	if got := onDisk(t, b); len(got) != 0 {
		t.Errorf("on disk are %v, want nothing", got)
	}
	if b.mu.compactedEndUpTo != 2 {
		t.Errorf("keys ended up to revision %d, want 2", b.mu.compactedEndUpTo)
	}
	h.wantFiles(b)
	h.powerCut()
	h.open()
	b = h.find("b")
	if rev := mustPut(t, b, "a", "again"); rev != 3 {
		t.Errorf("the next revision is %d, want 3", rev)
	}
	if b.mu.compactedEndUpTo != 2 {
		t.Errorf("after a crash keys ended up to revision %d, want 2", b.mu.compactedEndUpTo)
	}
}

// A record that a reader is at stays readable, and its file goes with the reader.
func TestACompactedSegmentWaitsForItsReaders(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "old")
	mustPut(t, b, "b", "stays")
	versions, pinned, err := b.pinVersions(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "a", "new")
	h.reclaim()
	if e, err := b.readVersion(pinned[0], "b", versions[0]); err != nil || string(e.Value) != "stays" {
		t.Errorf("%q and %v from where it was", e.Value, err)
	}
	if n := len(h.segmentFiles()); n != 2 {
		t.Errorf("%d files while a reader is at the old one, want 2", n)
	}
	mustGet(t, b, "b", "stays")
	pinned[0].Unpin()
	h.checkpoint()
	h.reclaim()
	h.s.removeLater(nil)
	h.wantFiles(b)
}

// Records are copied as they are stored, also compressed ones.
func TestCompactionCopiesByteForByte(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.Compression = true })
	large := strings.Repeat("compressible ", 1000)
	mustPut(t, b, "gone", large)
	mustPut(t, b, "a", large)
	mustPut(t, b, "gone", "")
	h.reclaim()
	h.reopen()
	b = h.find("b")
	mustGet(t, b, "a", large)
	if size := b.diskSize(); size > int64(len(large)) {
		t.Errorf("%d bytes of files for %d that compress well", size, len(large))
	}
}

// What goes wrong with an output costs the output.
func TestACompactionThatFailsChangesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		kind simdisk.OpKind
		err  error
	}{
		{"its sync fails", simdisk.OpSync, syscall.EIO},
		{"its sync finds no room", simdisk.OpSync, syscall.ENOSPC},
		{"a write fails", simdisk.OpWriteAt, syscall.EIO},
		{"it finds no room", simdisk.OpAllocate, syscall.ENOSPC},
		{"it cannot be made", simdisk.OpOpen, syscall.EMFILE},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			h := newHarness(t, smallSegments)
			b := h.bucket("b")
			churn(t, b, 20, 5)
			b.sealGarbage()
			h.checkpoint()
			before := shown(t, b)
			output := segment.FileName(h.s.numbers.end())
			h.fail(c.kind, output, c.err)
			_, err := h.s.Reclaim(ctx, nil)
			if !errors.Is(err, c.err) && !errors.Is(err, kv.ErrNoSpace) && !strings.Contains(err.Error(), c.err.Error()) {
				t.Errorf("error is %v, want %v", err, c.err)
			}
			h.fs.Inject(nil)
			wantShown(t, b, before)
			h.wantFiles(b)
			mustPut(t, b, "more", "v")
			if r := h.reclaim(); r.Freed == 0 {
				t.Error("the next run gives nothing back")
			}
			h.reopen()
			h.wantFiles(h.find("b"))
		})
	}
}

// Where the index cannot follow, because the output's own is not readable at that
// moment, it leads to the old segments until the next open. What it leads to counts
// for the next compaction, and not that it leads nowhere in the output.
func TestAnIndexThatCannotFollowLosesNothing(t *testing.T) {
	h := newHarness(t, smallSegments, withImages)
	b := h.bucket("b", withHistory(2))
	churn(t, b, 10, 3)
	b.sealGarbage()
	h.checkpoint()
	before := shown(t, b)
	output, opened := segment.FileName(h.s.numbers.end()), 0
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpOpen && strings.HasSuffix(op.Path, output) {
			if opened++; opened > 1 {
				return simdisk.Action{Err: syscall.EIO}
			}
		}
		return simdisk.Action{}
	})
	h.reclaim()
	h.fs.Inject(nil)
	if opened < 2 || len(b.mu.replaced) == 0 {
		t.Fatalf("the output was opened %d times, and %d segments are left", opened, len(b.mu.replaced))
	}
	h.reclaim()
	wantShown(t, b, before)
	h.reopen()
	wantShown(t, h.find("b"), before)
	h.wantFiles(h.find("b"))
}

// A full disk lends its reserve to a compaction, which gives room back.
func TestReclaimHelpsAFullDisk(t *testing.T) {
	h := newHarness(t, smallSegments, func(o *Options) { o.ReserveSize = 1 << 20 })
	b := h.bucket("b")
	churn(t, b, 50, 10)
	h.checkpoint()
	h.disk.SetCapacity(h.disk.Used())
	refused := false
	for i := 0; i < 1000 && !refused; i++ {
		_, err := b.PutString(ctx, fmt.Sprintf("key-%03d", i%50), strings.Repeat("y", 200))
		refused = errors.Is(err, kv.ErrNoSpace)
	}
	if !refused {
		t.Fatal("the disk does not become full")
	}
	if r := h.reclaim(); r.Freed == 0 {
		t.Fatalf("%+v", r)
	}
	h.s.removeLater(nil)
	mustPut(t, b, "more", "there is room again")
}

// A record that is dead by another which only the log holds does not go before the
// manifest knows that one: the log may be damaged, or not synced.
func TestCompactionWaitsForTheManifest(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "old")
	b.sealGarbage()
	h.checkpoint()
	mustPut(t, b, "a", "new")
	written := h.s.log.Last()
	if _, err := b.compact(0, 1, h.unpacedPacer()); err != nil {
		t.Fatal(err)
	}
	if got := h.s.checkpoint.state.Buckets[b.id].Position; got < written {
		t.Errorf("the manifest knows the bucket as of LSN %d, and its records were judged as of %d", got, written)
	}
	mustGet(t, b, "a", "new")
}
