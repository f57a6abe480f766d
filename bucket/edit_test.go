package bucket

import (
	"encoding/binary"
	"reflect"
	"testing"

	"kvd/kv"
	"kvd/segment"
)

func sampleBuckets() []*bucketDesc {
	return []*bucketDesc{
		{id: 1, created: 5, config: kv.Config{Bucket: "plain"}.WithDefaults(), next: 1},
		{
			id: 7, created: 1_700_000_000_000_000_000, config: fullConfig, position: 300, next: 1 << 40,
			live: liveness{expired: 3, cuts: []cut{{5, 1}, {9, 4}}, forgotten: forgetting{20, 10}, lapsed: 99, aged: 2},
			segments: []segmentDesc{
				{Desc: segment.Desc{Number: 4, BucketID: 7, Size: 8192, LastIndex: 4096, Limit: 1 << 20, Sealed: true}, dropped: 17},
				{Desc: segment.Desc{Number: 6, BucketID: 7, Size: 64, Limit: 64 << 20}},
			},
			ended: 17,
		},
	}
}

func sampleEdit() *edit {
	return &edit{
		logLow: 299, clock: 1_700_000_000_000_000_001, numbers: 1 << 16, maxBucketID: 9,
		buckets: sampleBuckets(), deleted: []uint64{2, 1<<64 - 1},
	}
}

func TestAnEditComesBackAsItWas(t *testing.T) {
	for _, c := range []struct {
		name string
		e    *edit
	}{
		{"empty", &edit{}},
		{"log position alone", &edit{logLow: 1}},
		{"deletions alone", &edit{deleted: []uint64{3}}},
		{"closed in good order", &edit{clean: true, clock: 7}},
		{"lost revisions", &edit{buckets: []*bucketDesc{{id: 1, next: 9, config: kv.Config{Bucket: "b"}.WithDefaults(), ended: 2, lost: []lostRange{{1, 5}, {6, 1 << 40}}}}}},
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
	golden(t, "edit", sampleEdit().append(nil))
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
		if got.logLow != 0 && got.logLow != whole.logLow || got.clock != 0 && got.clock != whole.clock ||
			got.numbers != 0 && got.numbers != whole.numbers || got.maxBucketID != 0 && got.maxBucketID != whole.maxBucketID ||
			len(got.buckets) > 0 && !reflect.DeepEqual(got.buckets, whole.buckets[:len(got.buckets)]) ||
			len(got.deleted) > 0 && !reflect.DeepEqual(got.deleted, whole.deleted[:len(got.deleted)]) {
			t.Errorf("cut at %d of %d: %+v", n, len(b), got)
		}
	}
}

func TestAnUnknownTagIsOfANewerVersion(t *testing.T) {
	for _, tag := range []uint64{0, tagLost + 1, 1<<64 - 1} {
		_, err := decodeEdit(binary.AppendUvarint(sampleEdit().append(nil), tag))
		wantError(t, err, kv.ErrVersion, "tag")
	}
}

// Counts and lengths are bounded by the bytes that are left before anything is
// made for them.
func TestAnEditsLengthsAreBounded(t *testing.T) {
	head := func(cuts uint64) []byte {
		b := binary.AppendUvarint(nil, tagBucket)
		for range 10 {
			b = binary.AppendUvarint(b, 1)
		}
		return binary.AppendUvarint(b, cuts)
	}
	config := encodeConfig(kv.Config{Bucket: "b"}.WithDefaults())
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
		change func(*bucketDesc)
	}{
		{"a cut that keeps nothing", func(b *bucketDesc) { b.live.cuts[0].keep = 0 }},
		{"a cut that keeps more than any history", func(b *bucketDesc) { b.live.cuts[1].keep = kv.MaxHistory + 1 }},
		{"a negative cut", func(b *bucketDesc) { b.live.cuts[0].keep = -1 }},
		{"a history beyond the limit", func(b *bucketDesc) { b.config.History = kv.MaxHistory + 1 }},
		{"a bad name", func(b *bucketDesc) { b.config.Bucket = "a b" }},
		{"no id", func(b *bucketDesc) { b.id = 0 }},
		{"no next revision", func(b *bucketDesc) { b.next = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sampleBuckets()[1]
			c.change(b)
			if _, err := decodeEdit((&edit{buckets: []*bucketDesc{b}}).append(nil)); err == nil {
				t.Error("decoded")
			}
		})
	}
}

func TestMergeRaisesReplacesAndDeletes(t *testing.T) {
	var s manifestState
	s.init()
	s.merge(sampleEdit())
	s.merge(&edit{logLow: 5, clock: 5, numbers: 5, maxBucketID: 5}) // lower: no effect
	newer := sampleBuckets()[1]
	newer.next++
	s.merge(&edit{buckets: []*bucketDesc{newer}, deleted: []uint64{1}})
	want := manifestState{
		logLow: 299, clock: 1_700_000_000_000_000_001, numbers: 1 << 16, maxBucketID: 9,
		buckets: map[uint64]*bucketDesc{7: newer},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
	var again manifestState
	again.init()
	if err := again.apply(s.snapshot().append(nil)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, want) {
		t.Errorf("the snapshot comes to %+v, want %+v", again, want)
	}
}

// An id is not given out again though the bucket that had it is gone.
func TestMergeRemembersTheHighestID(t *testing.T) {
	var s manifestState
	s.init()
	s.merge(&edit{buckets: sampleBuckets()})
	s.merge(&edit{deleted: []uint64{7}})
	if s.maxBucketID != 7 {
		t.Errorf("the highest id is %d, want 7", s.maxBucketID)
	}
}
