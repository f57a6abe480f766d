package bucket

import (
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

// wantLost fails the test unless the bucket's doubt names these records, and nothing else.
func wantLost(t *testing.T, b *Bucket, want ...kv.LostRecord) {
	t.Helper()
	d, err := b.Doubt(ctx)
	if err != nil || d.Bound != 0 || d.Unknown || len(d.Missing) > 0 || !slices.Equal(d.Lost, want) {
		t.Errorf("doubt is %+v, %v, want only lost records %v", d, err, want)
	}
}

// indexed returns the revisions of every key that the index has.
func indexed(b *Bucket) map[string][]kv.Revision {
	b.mu.RLock()
	defer b.mu.RUnlock()
	got := map[string][]kv.Revision{}
	b.mu.index.All(func(key []byte, _ index.Version) bool {
		for _, v := range b.mu.index.Versions(nil, index.Hash(string(key)), string(key)) {
			got[string(key)] = append(got[string(key)], v.Revision)
		}
		return true
	})
	return got
}

// A damaged record costs its value alone: compaction copies the rest of it and everything else,
// and what was lost is known from then on.
func TestCompactionCopiesAroundDamage(t *testing.T) {
	for name, at := range map[string]int64{"value": -40, "head": 30} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, smallSegments)
			b := h.bucket("b", func(c *kv.Config) { c.History = 2 })
			churn(t, b, 20, 1)
			mustPut(t, b, "victim", strings.Repeat("older", 20))
			victim := mustPut(t, b, "victim", strings.Repeat("needle", 20))
			churn(t, b, 20, 5)
			h.checkpoint()
			h.damageRecord(b, "victim", at)
			b.mu.RLock()
			versions := b.mu.index.Versions(nil, index.Hash("victim"), "victim")
			file := path.Join(testDir, holeFile(b.mu.segments[versions[1].Segment].Number()))
			b.mu.RUnlock()
			want := indexed(b)
			h.reclaim()
			if slices.Contains(h.segmentFiles(), file) {
				t.Errorf("%s is still there", file)
			}
			for _, round := range []string{"compacted", "reopened", "killed", "compacted again"} {
				b = h.find("b")
				if got := indexed(b); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: revisions are %v, want %v", round, got, want)
				}
				_, err := b.Get(ctx, "victim")
				wantError(t, err, kv.ErrCorrupt, "victim")
				if e, err := b.GetRevision(ctx, "victim", victim-1); err != nil || string(e.Value) != strings.Repeat("older", 20) {
					t.Errorf("%s: the record before: %q, %v", round, e.Value, err)
				}
				wantLost(t, b, kv.LostRecord{Key: "victim", Revision: victim})
				if _, err := b.Update(ctx, "victim", nil, victim-1); err == nil {
					t.Errorf("%s: an update of an older revision is taken", round)
				}
				if got := collect(t, b); len(got) != 21 {
					t.Errorf("%s: %d keys", round, len(got))
				}
				switch round {
				case "compacted":
					h.reopen()
				case "reopened":
					h.kill()
					h.open()
				case "killed":
					churn(t, b, 20, 5)
					h.checkpoint()
					h.reclaim()
					want = indexed(b)
				}
			}
			if _, err := b.Update(ctx, "victim", []byte("new"), victim); err != nil {
				t.Errorf("an update of the lost revision: %v", err)
			}
			mustPut(t, b, "victim", "newer")
			wantLost(t, b)
			h.reopen()
			wantLost(t, h.find("b"))
			if lost := h.find("b").mu.doubt.Lost; len(lost) > 0 {
				t.Errorf("the manifest still names %v", lost)
			}
		})
	}
}

// A damaged record that a sound one supersedes is left out unread: it was lost already.
func TestCompactionLeavesOutDamagedDeadRecords(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 20, 1)
	mustPut(t, b, "victim", "needle")
	h.checkpoint()
	h.damageRecord(b, "victim", -8)
	mustPut(t, b, "victim", "sound")
	churn(t, b, 20, 5)
	h.checkpoint()
	h.reclaim()
	mustGet(t, b, "victim", "sound")
	wantLost(t, b)
	h.close()
	if err := h.verifyErr(); err != nil {
		t.Errorf("the damage is still there: %v", err)
	}
}

// What an index entry tells of a damaged erase is all of it: what it erased stays erased.
func TestCompactionCopiesADamagedErase(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b", func(c *kv.Config) { c.History = 3 })
	mustPut(t, b, "a", "1")
	mustPut(t, b, "a", "2")
	churn(t, b, 20, 4)
	if n, err := b.Erase(ctx, "a", 2, 0); err != nil || n != 1 {
		t.Fatalf("erased %d, %v", n, err)
	}
	churn(t, b, 20, 4)
	h.checkpoint()
	want := shown(t, b)
	at := slices.IndexFunc(b.mu.order, func(sl *openSegment) bool {
		return h.walk(sl, func(offset int64, r *segment.Record) {
			if r.Op == segment.Erase {
				h.flip(path.Join(testDir, holeFile(sl.Number())), offset+30, 0)
			}
		})[segment.Erase] > 0
	})
	if at < 1 {
		t.Fatalf("the erase is in segment %d", at)
	}
	c, err := b.compact(at, at+1, h.unpacedPacer())
	if err != nil {
		t.Fatal(err)
	}
	if n := h.walk(c.output, func(int64, *segment.Record) {}); n[segment.Erase] != 1 {
		t.Errorf("the output has %v", n)
	}
	wantLost(t, b)
	h.reopen()
	wantShown(t, h.find("b"), want)
}

// walk calls fn for the records of a segment, and counts their operations.
func (h *harness) walk(sl *openSegment, fn func(offset int64, r *segment.Record)) map[segment.Op]int {
	h.t.Helper()
	n := map[segment.Op]int{}
	err := sl.Walk(0, sl.Size(), func(offset int64, r *segment.Record, _ int, _ bool) error {
		n[r.Op]++
		fn(offset, r)
		return nil
	}, func(c *kv.CorruptError) { h.t.Errorf("walk: %v", c) })
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// A hole stays in the doubt when its segment is rewritten, and nothing changes for readers.
func TestCompactionKeepsDoubt(t *testing.T) {
	for _, found := range []string{"by an open", "by the compaction"} {
		t.Run(found, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			mustPut(t, b, "before", "1")
			h.checkpoint()
			first := b.active.Desc()
			mustPut(t, b, "hidden", "2")
			h.checkpoint()
			second := b.active.Desc()
			bound := mustPut(t, b, "behind", "3") - 1
			h.checkpoint()
			file := h.segmentFiles()[0]
			mustPut(t, b, "hidden", "4")
			churn(t, b, 20, 5)
			b.sealGarbage()
			h.checkpoint()
			hide := func() {
				if err := h.disk.Corrupt(file, first.Size, second.Size-first.Size, func(b []byte) { clear(b) }); err != nil {
					t.Fatal(err)
				}
			}
			if found == "by an open" {
				h.close()
				hide()
				h.open()
			} else {
				hide()
			}
			h.reclaim()
			if slices.Contains(h.segmentFiles(), file) {
				t.Fatalf("%s is still there", file)
			}
			for _, round := range []string{"compacted", "reopened", "killed"} {
				b = h.find("b")
				if d, err := b.Doubt(ctx); err != nil || d.Bound != bound || len(d.Missing) != 1 || d.Missing[0].Records != 1 {
					t.Errorf("%s: doubt is %+v, %v", round, d, err)
				}
				for _, key := range []string{"before", "absent"} {
					_, err := b.Get(ctx, key)
					wantError(t, err, kv.ErrCorrupt, path.Base(file))
				}
				mustGet(t, b, "behind", "3")
				mustGet(t, b, "hidden", "4")
				if round == "compacted" {
					h.reopen()
				} else {
					h.kill()
					h.open()
				}
			}
			if _, err := h.find("b").AcceptLoss(ctx); err != nil {
				t.Fatal(err)
			}
			h.reopen()
			wantLost(t, h.find("b"))
		})
	}
}

// What the system refuses to read may be read another time. So nothing of it is given up.
func TestCompactionLeavesWhatTheSystemRefusesToRead(t *testing.T) {
	h := newHarness(t, smallSegments)
	b := h.bucket("b")
	churn(t, b, 20, 1)
	mustPut(t, b, "victim", "needle")
	churn(t, b, 20, 5)
	h.checkpoint()
	file, offset := h.locate(manifest.SegmentDir, "needle")
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpReadMapping && op.Path == file && op.Offset <= offset && offset < op.Offset+int64(op.Len) {
			return simdisk.Action{Err: syscall.EIO}
		}
		return simdisk.Action{}
	})
	_, err := h.s.Reclaim(ctx, nil)
	wantError(t, err, kv.ErrCorrupt, file, "victim")
	wantLost(t, b)
	h.fs.Inject(nil)
	mustGet(t, b, "victim", "needle")
	h.reopen()
	h.reclaim()
	mustGet(t, h.find("b"), "victim", "needle")
	if slices.Contains(h.segmentFiles(), file) {
		t.Errorf("%s is still there", file)
	}
}
