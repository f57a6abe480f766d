package manifest

import (
	"encoding/binary"
	"reflect"
	"testing"

	"kvd/internal/golden"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

func sampleBuckets() []*Bucket {
	return []*Bucket{
		{ID: 1, Life: LifeMax, Created: 5, Config: kv.Config{Bucket: "plain"}.WithDefaults(), Next: 1},
		{
			ID: 7, Life: 1, Created: 1_700_000_000_000_000_000, Config: everyField, Position: 300, Next: 1 << 40,
			Live: Liveness{ExpiredUpTo: 3, Cuts: []Cut{{5, 1}, {9, 4}}, PurgedDeletes: PurgeDeletes{20, 10}, MarkersExpiredUpTo: 99, UnmarkedUpTo: 2},
			Segments: []Segment{
				{Desc: segment.Desc{Number: 4, BucketID: 7, Size: 8192, LastIndex: 4096, Limit: 1 << 20, Sealed: true, Records: 40, Sum: 1<<64 - 1, First: 1, Last: 20}, RemovedUpTo: 17},
				{Desc: segment.Desc{Number: 6, BucketID: 7, Size: 64, Limit: 64 << 20}},
			},
			CompactedEndUpTo: 17,
			Doubt: Doubt{
				Accepted: []Hole{{After: 1, UpTo: 2, File: "seg/0000000000000002.seg", Offset: -1}},
				Bound:    90, Unknown: true,
				Holes: []Hole{{After: 3, UpTo: 9, Records: 2, File: "seg/0000000000000004.seg", Offset: 4096}, {After: 80, UpTo: 90, Offset: -1}},
				Lost:  []LostRecord{{Revision: 12, Key: "a"}, {Revision: 95, Key: "b.c"}},
			},
		},
	}
}

func sampleEdit() *Edit {
	return &Edit{
		LogLow: 299, Clock: 1_700_000_000_000_000_001, Numbers: 1 << 16, MaxBucketID: 9,
		Buckets: sampleBuckets(), Deleted: []uint64{2, 1<<64 - 1}, LostOperations: new(uint64(4)),
	}
}

// importEdit has what came after the golden file of sampleEdit.
func importEdit() *Edit {
	return &Edit{Buckets: []*Bucket{
		{ID: 3, Life: 4, Next: 1, Config: kv.Config{Bucket: "empty"}.WithDefaults(), Digest: &kv.Digest{}},
		{ID: 5, Life: 6, Next: 9, Config: kv.Config{Bucket: "hidden"}.WithDefaults(), Digest: &kv.Digest{High: 1<<64 - 1, Low: 7}, Hidden: true},
	}}
}

func TestAnEditComesBackAsItWas(t *testing.T) {
	for _, c := range []struct {
		name string
		e    *Edit
	}{
		{"empty", &Edit{}},
		{"log position alone", &Edit{LogLow: 1}},
		{"log position and words", &Edit{LogLow: 1, LogWords: wal.Words{Records: 1, Sum: 1<<64 - 1, Operations: 3, Before: 4, Recent: 1 << 63}}},
		{"deletions alone", &Edit{Deleted: []uint64{3}}},
		{"closed in good order", &Edit{Clean: true, Clock: 7}},
		{"skipped revisions", &Edit{Buckets: []*Bucket{{ID: 1, Life: 3, Next: 9, Config: kv.Config{Bucket: "b"}.WithDefaults(), CompactedEndUpTo: 2, Skipped: []SkippedRange{{1, 5}, {6, 1 << 40}}}}}},
		{"no operation is missing any more", &Edit{LostOperations: new(uint64)}},
		{"value files", &Edit{ValueFiles: true}},
		{"digests, and a bucket that is imported", importEdit()},
		{"everything", sampleEdit()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodeEdit(c.e.append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.e) {
				t.Errorf("got %+v, want %+v", got, c.e)
			}
		})
	}
	golden.Compare(t, "edit", sampleEdit().append(nil))
	golden.Compare(t, "import", importEdit().append(nil))
}

// A cut edit is an error or, between two parts, the parts before the cut: never
// anything that was not in the whole.
func TestACutEditHoldsNothingNew(t *testing.T) {
	whole := sampleEdit()
	b := whole.append(nil)
	for n := range b {
		got, err := decodeEdit(b[:n])
		if err != nil {
			continue
		}
		if got.LogLow != 0 && got.LogLow != whole.LogLow || got.Clock != 0 && got.Clock != whole.Clock ||
			got.Numbers != 0 && got.Numbers != whole.Numbers || got.MaxBucketID != 0 && got.MaxBucketID != whole.MaxBucketID ||
			len(got.Buckets) > 0 && !reflect.DeepEqual(got.Buckets, whole.Buckets[:len(got.Buckets)]) ||
			len(got.Deleted) > 0 && !reflect.DeepEqual(got.Deleted, whole.Deleted[:len(got.Deleted)]) {
			t.Errorf("cut at %d of %d: %+v", n, len(b), got)
		}
	}
}

func TestAnUnknownTagIsOfANewerVersion(t *testing.T) {
	for _, tag := range []uint64{0, tagHidden + 1, 1<<64 - 1} {
		_, err := decodeEdit(binary.AppendUvarint(sampleEdit().append(nil), tag))
		wantError(t, err, kv.ErrVersion, "tag")
	}
}

// Counts and lengths are bounded by the bytes that are left before anything is
// made for them.
func TestAnEditsLengthsAreBounded(t *testing.T) {
	head := func(cuts uint64) []byte {
		b := binary.AppendUvarint(nil, tagBucket)
		for range 11 {
			b = binary.AppendUvarint(b, 1)
		}
		return binary.AppendUvarint(b, cuts)
	}
	config := EncodeConfig(kv.Config{Bucket: "b"}.WithDefaults())
	withConfig := func(size, segments uint64) []byte {
		b := binary.AppendUvarint(head(0), size)
		b = append(b, config...)
		return binary.AppendUvarint(b, segments)
	}
	if _, err := decodeEdit(withConfig(uint64(len(config)), 0)); err != nil {
		t.Fatalf("the bucket that the cases below are made from does not decode: %v", err)
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"cuts", head(1 << 40)},
		{"cuts beyond an int", head(1<<64 - 1)},
		{"configuration", withConfig(1<<40, 0)},
		{"configuration beyond an int", withConfig(1<<64-1, 0)},
		{"segments", withConfig(uint64(len(config)), 1<<40)},
		{"a number of more than 64 bits", append([]byte{tagLogLow}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02)},
	} {
		t.Run(c.name, func(t *testing.T) {
			allocated := testing.AllocsPerRun(1, func() {
				if e, err := decodeEdit(c.b); err == nil {
					t.Errorf("decoded as %+v", e)
				}
			})
			if allocated > 100 {
				t.Errorf("%v allocations for %d bytes", allocated, len(c.b))
			}
		})
	}
}

// What no store ever decided is refused rather than acted upon.
func TestAnEditsValuesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Bucket)
	}{
		{"a cut that keeps nothing", func(b *Bucket) { b.Live.Cuts[0].Keep = 0 }},
		{"a cut that keeps more than any history", func(b *Bucket) { b.Live.Cuts[1].Keep = kv.MaxHistory + 1 }},
		{"a negative cut", func(b *Bucket) { b.Live.Cuts[0].Keep = -1 }},
		{"a history beyond the limit", func(b *Bucket) { b.Config.History = kv.MaxHistory + 1 }},
		{"a bad name", func(b *Bucket) { b.Config.Bucket = "a b" }},
		{"no id", func(b *Bucket) { b.ID = 0 }},
		{"no next revision", func(b *Bucket) { b.Next = 0 }},
		{"a segment of part of a page", func(b *Bucket) { b.Segments[0].Size += 8 }},
		{"a segment beyond its limit", func(b *Bucket) { b.Segments[0].Limit = 4096 }},
		{"records without an index", func(b *Bucket) { b.Segments[0].LastIndex = 0 }},
		{"an index without records", func(b *Bucket) { b.Segments[0].Records = 0 }},
		{"more records than fit into a segment", func(b *Bucket) { b.Segments[0].Records = 1 << 40 }},
		{"revisions that descend", func(b *Bucket) { b.Segments[0].First = 21 }},
		{"a revision that nobody was given", func(b *Bucket) { b.Segments[0].Last = b.Next }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sampleBuckets()[1]
			c.change(b)
			if _, err := decodeEdit((&Edit{Buckets: []*Bucket{b}}).append(nil)); err == nil {
				t.Error("decoded")
			}
		})
	}
}

func TestMergeRaisesReplacesAndDeletes(t *testing.T) {
	s := NewState()
	s.Merge(sampleEdit())
	s.Merge(&Edit{ValueFiles: true})
	s.Merge(&Edit{LogLow: 5, Clock: 5, Numbers: 5, MaxBucketID: 5}) // lower: no effect
	newer := sampleBuckets()[1]
	newer.Next++
	s.Merge(&Edit{Buckets: []*Bucket{newer}, Deleted: []uint64{1}})
	want := State{
		LogLow: 299, Clock: 1_700_000_000_000_000_001, Numbers: 1 << 16, MaxBucketID: 9, LostOperations: 4, ValueFiles: true,
		Buckets: map[uint64]*Bucket{7: newer},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
	again := NewState()
	if err := again.apply(s.snapshot().append(nil)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, want) {
		t.Errorf("the snapshot comes to %+v, want %+v", again, want)
	}
}

// An id is not given out again though the bucket that had it is gone.
func TestMergeRemembersTheHighestID(t *testing.T) {
	s := NewState()
	s.Merge(&Edit{Buckets: sampleBuckets()})
	s.Merge(&Edit{Deleted: []uint64{7}})
	if s.MaxBucketID != 7 {
		t.Errorf("the highest id is %d, want 7", s.MaxBucketID)
	}
}
