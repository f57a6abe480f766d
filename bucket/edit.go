package bucket

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// manifestState is what the manifest says, all edits applied.
type manifestState struct {
	logLow      wal.LSN // replay begins behind it
	clock       int64   // unix ns: no record is younger; later ones must not be older
	numbers     uint64  // file numbers below it are handed out, or scratch
	maxBucketID uint64  // the highest id ever given to a bucket that it knows or knew
	clean       bool    // the store was closed in good order, and not opened since
	buckets     map[uint64]*bucketDesc
}

// bucketDesc is a bucket as the manifest has it.
type bucketDesc struct {
	id       uint64
	created  int64 // unix ns
	config   kv.Config
	position wal.LSN // every mutation of the bucket up to it is in the segments
	next     kv.Revision
	keys     uint64 // with a record, as of position: how large the index will be
	live     liveness
	// ended is the highest revision of a record that compaction dropped when it was
	// the newest of its key: who has seen less than that may not know that the key
	// is gone.
	ended    kv.Revision
	lost     []lostRange   // in ascending order
	segments []segmentDesc // in ascending order of revisions; the last is the active one
}

// segmentDesc is a segment file as the manifest has it.
type segmentDesc struct {
	segment.Desc
	dropped kv.Revision // the highest revision that compaction left out of it; 0 none
}

// edit is one record of the manifest. Zero fields change nothing; buckets are
// replaced whole.
type edit struct {
	logLow      wal.LSN
	clock       int64
	numbers     uint64
	maxBucketID uint64
	clean       bool // void once an edit follows
	buckets     []*bucketDesc
	deleted     []uint64
}

// The tags of an edit's parts. On disk: never renumber.
const (
	tagLogLow        = 1
	tagClock         = 2
	tagNumbers       = 3
	tagMaxBucketID   = 4
	tagBucket        = 5
	tagBucketDeleted = 6
	tagEnded         = 7
	tagClean         = 8
	tagLost          = 9
)

func (s *manifestState) init() { s.buckets = make(map[uint64]*bucketDesc) }

// snapshot returns the edit that makes the whole state out of nothing.
func (s *manifestState) snapshot() *edit {
	e := &edit{logLow: s.logLow, clock: s.clock, numbers: s.numbers, maxBucketID: s.maxBucketID, clean: s.clean}
	for _, id := range slices.Sorted(maps.Keys(s.buckets)) {
		e.buckets = append(e.buckets, s.buckets[id])
	}
	return e
}

// merge applies an edit.
func (s *manifestState) merge(e *edit) {
	s.logLow = max(s.logLow, e.logLow)
	s.clock = max(s.clock, e.clock)
	s.numbers = max(s.numbers, e.numbers)
	s.maxBucketID = max(s.maxBucketID, e.maxBucketID)
	s.clean = e.clean
	for _, b := range e.buckets {
		s.buckets[b.id] = b
		s.maxBucketID = max(s.maxBucketID, b.id)
	}
	for _, id := range e.deleted {
		delete(s.buckets, id)
	}
}

// apply decodes and applies the body of a manifest record.
func (s *manifestState) apply(body []byte) error {
	e, err := decodeEdit(body)
	if err != nil {
		return err
	}
	s.merge(e)
	return nil
}

// append encodes the edit: a sequence of tag and value, all numbers uvarints.
func (e *edit) append(dst []byte) []byte {
	for _, f := range []struct{ tag, value uint64 }{
		{tagLogLow, uint64(e.logLow)},
		{tagClock, uint64(e.clock)},
		{tagNumbers, e.numbers},
		{tagMaxBucketID, e.maxBucketID},
	} {
		if f.value != 0 {
			dst = binary.AppendUvarint(dst, f.tag)
			dst = binary.AppendUvarint(dst, f.value)
		}
	}
	if e.clean {
		dst = binary.AppendUvarint(dst, tagClean)
	}
	for _, b := range e.buckets {
		if b.ended != 0 {
			dst = binary.AppendUvarint(dst, tagEnded)
			dst = binary.AppendUvarint(dst, uint64(b.ended))
		}
		for _, l := range b.lost {
			dst = binary.AppendUvarint(dst, tagLost)
			dst = binary.AppendUvarint(dst, uint64(l.after))
			dst = binary.AppendUvarint(dst, uint64(l.upTo))
		}
		dst = binary.AppendUvarint(dst, tagBucket)
		dst = b.append(dst)
	}
	for _, id := range e.deleted {
		dst = binary.AppendUvarint(dst, tagBucketDeleted)
		dst = binary.AppendUvarint(dst, id)
	}
	return dst
}

func decodeEdit(body []byte) (*edit, error) {
	e := &edit{}
	d := decoder{b: body}
	var ended kv.Revision // of the bucket that follows
	var lost []lostRange  // likewise
	for len(d.b) > 0 && d.err == nil {
		switch tag := d.uvarint(); tag {
		case tagLogLow:
			e.logLow = wal.LSN(d.uvarint())
		case tagClock:
			e.clock = int64(d.uvarint())
		case tagNumbers:
			e.numbers = d.uvarint()
		case tagMaxBucketID:
			e.maxBucketID = d.uvarint()
		case tagClean:
			e.clean = true
		case tagBucket:
			b := d.bucket()
			b.ended, ended = ended, 0
			b.lost, lost = lost, nil
			e.buckets = append(e.buckets, b)
		case tagBucketDeleted:
			e.deleted = append(e.deleted, d.uvarint())
		case tagEnded:
			ended = kv.Revision(d.uvarint())
		case tagLost:
			lost = append(lost, lostRange{kv.Revision(d.uvarint()), kv.Revision(d.uvarint())})
		default:
			return nil, fmt.Errorf("%w: manifest tag %d", kv.ErrVersion, tag)
		}
	}
	if ended != 0 || lost != nil {
		d.fail(fmt.Sprintf("no bucket follows where keys ended at revision %d, and %d ranges were lost", ended, len(lost)))
	}
	return e, d.err
}

func (b *bucketDesc) append(dst []byte) []byte {
	config := encodeConfig(b.config)
	for _, v := range []uint64{
		b.id, uint64(b.created), uint64(b.position), uint64(b.next), b.keys,
		uint64(b.live.expired), uint64(b.live.forgotten.upTo), uint64(b.live.forgotten.markers),
		uint64(b.live.lapsed), uint64(b.live.aged), uint64(len(b.live.cuts)),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	for _, c := range b.live.cuts {
		dst = binary.AppendUvarint(dst, uint64(c.upTo))
		dst = binary.AppendUvarint(dst, uint64(c.keep))
	}
	dst = binary.AppendUvarint(dst, uint64(len(config)))
	dst = append(dst, config...)
	dst = binary.AppendUvarint(dst, uint64(len(b.segments)))
	for i := range b.segments {
		dst = b.segments[i].append(dst)
	}
	return dst
}

func (s *segmentDesc) append(dst []byte) []byte {
	sealed := uint64(0)
	if s.Sealed {
		sealed = 1
	}
	for _, v := range []uint64{
		s.Number, uint64(s.Size), uint64(s.LastIndex), uint64(s.Limit), sealed, uint64(s.dropped),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// decoder reads uvarints off a manifest record; the first error sticks.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("a number is cut off")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many items of at least size bytes follow, bounded by the
// bytes that are left.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail(fmt.Sprintf("%d items in %d bytes", n, len(d.b)))
		return 0
	}
	return int(n)
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("edit: %s", why)
	}
	d.b = nil
}

func (d *decoder) bucket() *bucketDesc {
	b := &bucketDesc{id: d.uvarint(), created: int64(d.uvarint()), position: wal.LSN(d.uvarint())}
	b.next, b.keys = kv.Revision(d.uvarint()), d.uvarint()
	b.live.expired = kv.Revision(d.uvarint())
	b.live.forgotten.upTo = kv.Revision(d.uvarint())
	b.live.forgotten.markers = kv.Revision(d.uvarint())
	b.live.lapsed = int64(d.uvarint())
	b.live.aged = kv.Revision(d.uvarint())
	for range d.count(2) {
		b.live.cuts = append(b.live.cuts, cut{upTo: kv.Revision(d.uvarint()), keep: int(d.uvarint())})
	}
	size := d.count(1)
	config := d.b[:size]
	d.b = d.b[size:]
	if d.err == nil {
		b.config, d.err = decodeConfig(config)
	}
	for range d.count(6) {
		s := segmentDesc{}
		s.BucketID = b.id
		s.Number, s.Size, s.LastIndex = d.uvarint(), int64(d.uvarint()), int64(d.uvarint())
		s.Limit, s.Sealed, s.dropped = int64(d.uvarint()), d.uvarint() != 0, kv.Revision(d.uvarint())
		b.segments = append(b.segments, s)
	}
	if d.err == nil {
		d.err = b.check()
	}
	return b
}

// check refuses what no store ever decided.
func (b *bucketDesc) check() error {
	if b.id == 0 || b.next == 0 {
		return fmt.Errorf("edit: bucket %d with next revision %d", b.id, b.next)
	}
	for _, c := range b.live.cuts {
		if err := c.check(); err != nil {
			return err
		}
	}
	return nil
}

func (c cut) check() error {
	if c.keep < 1 || c.keep > kv.MaxHistory {
		return fmt.Errorf("cut at revision %d to %d records, allowed are 1 to %d", c.upTo, c.keep, kv.MaxHistory)
	}
	return nil
}
