package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
	"kvd/wal"
)

// Edit is one record of the manifest. Zero fields change nothing, except Clean. A
// bucket replaces the one of its id.
type Edit struct {
	LogLow      wal.LSN
	LogWords    wal.Words // belong to LogLow
	Clock       int64
	Numbers     uint64
	MaxBucketID uint64
	Clean       bool // the store was closed in good order; void once an edit follows
	Buckets     []*Bucket
	Deleted     []uint64 // ids of buckets
	// LostOperations replaces State.LostOperations; nil: it stays.
	LostOperations *uint64
	ValueFiles     bool // sets State.ValueFiles
}

// The tags of an edit's parts. On disk: never renumber.
const (
	tagLogLow        = 1
	tagClock         = 2
	tagNumbers       = 3
	tagMaxBucketID   = 4
	tagBucket        = 5
	tagBucketDeleted = 6
	tagCompactedEnd  = 7
	tagClean         = 8
	tagSkipped       = 9
	tagDoubt         = 10
	tagHole          = 11
	tagLost          = 12
	tagLostOps       = 13
	tagLogWords      = 14
	tagAccepted      = 15
	tagValueFiles    = 16
	tagDigest        = 17
	tagHidden        = 18
)

// append appends the encoded edit to dst.
func (e *Edit) append(dst []byte) []byte {
	for _, f := range []struct{ tag, value uint64 }{
		{tagLogLow, uint64(e.LogLow)},
		{tagClock, uint64(e.Clock)},
		{tagNumbers, e.Numbers},
		{tagMaxBucketID, e.MaxBucketID},
	} {
		if f.value != 0 {
			dst = binary.AppendUvarint(dst, f.tag)
			dst = binary.AppendUvarint(dst, f.value)
		}
	}
	if w := e.LogWords; w != (wal.Words{}) {
		dst = binary.AppendUvarint(dst, tagLogWords)
		for _, v := range []uint64{w.Records, w.Sum, w.Operations, w.Before, w.Recent} {
			dst = binary.AppendUvarint(dst, v)
		}
	}
	if e.Clean {
		dst = binary.AppendUvarint(dst, tagClean)
	}
	if e.ValueFiles {
		dst = binary.AppendUvarint(dst, tagValueFiles)
	}
	if e.LostOperations != nil {
		dst = binary.AppendUvarint(dst, tagLostOps)
		dst = binary.AppendUvarint(dst, *e.LostOperations)
	}
	for _, b := range e.Buckets {
		dst = b.appendBefore(dst)
		dst = binary.AppendUvarint(dst, tagBucket)
		dst = b.append(dst)
	}
	for _, id := range e.Deleted {
		dst = binary.AppendUvarint(dst, tagBucketDeleted)
		dst = binary.AppendUvarint(dst, id)
	}
	return dst
}

// decodeEdit reads the body of a record. An unknown tag is kv.ErrVersion.
func decodeEdit(body []byte) (*Edit, error) {
	e := &Edit{}
	d := decoder{b: body}
	var before *Bucket // of the bucket that follows: what stands in parts before it
	for len(d.b) > 0 && d.err == nil {
		switch tag := d.uvarint(); tag {
		case tagLogLow:
			e.LogLow = wal.LSN(d.uvarint())
		case tagLogWords:
			e.LogWords = wal.Words{Records: d.uvarint(), Sum: d.uvarint(), Operations: d.uvarint(), Before: d.uvarint(), Recent: d.uvarint()}
		case tagClock:
			e.Clock = int64(d.uvarint())
		case tagNumbers:
			e.Numbers = d.uvarint()
		case tagMaxBucketID:
			e.MaxBucketID = d.uvarint()
		case tagClean:
			e.Clean = true
		case tagValueFiles:
			e.ValueFiles = true
		case tagLostOps:
			n := d.uvarint()
			e.LostOperations = &n
		case tagBucket:
			b := d.bucket()
			if before != nil {
				b.CompactedEndUpTo, b.Skipped, b.Doubt = before.CompactedEndUpTo, before.Skipped, before.Doubt
				b.Digest, b.Hidden = before.Digest, before.Hidden
				before = nil
			}
			e.Buckets = append(e.Buckets, b)
		case tagBucketDeleted:
			e.Deleted = append(e.Deleted, d.uvarint())
		default:
			if before == nil {
				before = &Bucket{}
			}
			if !d.before(tag, before) {
				return nil, fmt.Errorf("%w: manifest tag %d", kv.ErrVersion, tag)
			}
		}
	}
	if before != nil {
		d.fail("no bucket follows the parts that belong to one")
	}
	return e, d.err
}

// appendBefore appends the parts that stand before the bucket's own.
func (b *Bucket) appendBefore(dst []byte) []byte {
	if b.CompactedEndUpTo != 0 {
		dst = binary.AppendUvarint(dst, tagCompactedEnd)
		dst = binary.AppendUvarint(dst, uint64(b.CompactedEndUpTo))
	}
	for _, s := range b.Skipped {
		dst = binary.AppendUvarint(dst, tagSkipped)
		dst = binary.AppendUvarint(dst, uint64(s.After))
		dst = binary.AppendUvarint(dst, uint64(s.UpTo))
	}
	if b.Digest != nil {
		dst = binary.AppendUvarint(dst, tagDigest)
		dst = binary.AppendUvarint(dst, b.Digest.High)
		dst = binary.AppendUvarint(dst, b.Digest.Low)
	}
	if b.Hidden {
		dst = binary.AppendUvarint(dst, tagHidden)
	}
	return b.Doubt.append(dst)
}

// before reads a part that stands before a bucket's own into b. It reports whether it
// knows the tag.
func (d *decoder) before(tag uint64, b *Bucket) bool {
	switch tag {
	case tagCompactedEnd:
		b.CompactedEndUpTo = kv.Revision(d.uvarint())
	case tagSkipped:
		b.Skipped = append(b.Skipped, SkippedRange{kv.Revision(d.uvarint()), kv.Revision(d.uvarint())})
	case tagDigest:
		b.Digest = &kv.Digest{High: d.uvarint(), Low: d.uvarint()}
	case tagHidden:
		b.Hidden = true
	case tagDoubt:
		b.Doubt.Bound, b.Doubt.Unknown = kv.Revision(d.uvarint()), d.uvarint() != 0
	case tagAccepted:
		b.Doubt.Accepted = append(b.Doubt.Accepted, d.hole())
	case tagHole:
		b.Doubt.Holes = append(b.Doubt.Holes, d.hole())
	case tagLost:
		b.Doubt.Lost = append(b.Doubt.Lost, d.lostRecord())
	default:
		return false
	}
	return true
}

func (b *Bucket) append(dst []byte) []byte {
	config := EncodeConfig(b.Config)
	for _, v := range []uint64{
		b.ID, b.Life, uint64(b.Created), uint64(b.Position), uint64(b.Next), b.Keys,
		uint64(b.Live.ExpiredUpTo), uint64(b.Live.PurgedDeletes.UpTo), uint64(b.Live.PurgedDeletes.MarkersUpTo),
		uint64(b.Live.MarkersExpiredUpTo), uint64(b.Live.UnmarkedUpTo), uint64(len(b.Live.Cuts)),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	for _, c := range b.Live.Cuts {
		dst = binary.AppendUvarint(dst, uint64(c.UpTo))
		dst = binary.AppendUvarint(dst, uint64(c.Keep))
	}
	dst = binary.AppendUvarint(dst, uint64(len(config)))
	dst = append(dst, config...)
	dst = binary.AppendUvarint(dst, uint64(len(b.Segments)))
	for i := range b.Segments {
		dst = b.Segments[i].append(dst)
	}
	return dst
}

// Hash returns a hash of everything that the manifest says of the bucket.
func (b *Bucket) Hash() uint64 { return xxhash.Sum64(b.append(b.appendBefore(nil))) }

// segmentNumbers is how many numbers the entry of a segment has.
const segmentNumbers = 10

func (s *Segment) append(dst []byte) []byte {
	sealed := uint64(0)
	if s.Sealed {
		sealed = 1
	}
	for _, v := range []uint64{
		s.Number, uint64(s.Size), uint64(s.LastIndex), uint64(s.Limit), sealed, uint64(s.RemovedUpTo),
		s.Records, s.Sum, uint64(s.First), uint64(s.Last),
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

func (d *decoder) bucket() *Bucket {
	b := &Bucket{ID: d.uvarint(), Life: d.uvarint(), Created: int64(d.uvarint()), Position: wal.LSN(d.uvarint())}
	b.Next, b.Keys = kv.Revision(d.uvarint()), d.uvarint()
	b.Live.ExpiredUpTo = kv.Revision(d.uvarint())
	b.Live.PurgedDeletes.UpTo = kv.Revision(d.uvarint())
	b.Live.PurgedDeletes.MarkersUpTo = kv.Revision(d.uvarint())
	b.Live.MarkersExpiredUpTo = int64(d.uvarint())
	b.Live.UnmarkedUpTo = kv.Revision(d.uvarint())
	for range d.count(2) {
		b.Live.Cuts = append(b.Live.Cuts, Cut{UpTo: kv.Revision(d.uvarint()), Keep: int(d.uvarint())})
	}
	size := d.count(1)
	config := d.b[:size]
	d.b = d.b[size:]
	if d.err == nil {
		b.Config, d.err = DecodeConfig(config)
	}
	for range d.count(segmentNumbers) {
		s := Segment{}
		s.BucketID = b.ID
		s.Number, s.Size, s.LastIndex = d.uvarint(), int64(d.uvarint()), int64(d.uvarint())
		s.Limit, s.Sealed, s.RemovedUpTo = int64(d.uvarint()), d.uvarint() != 0, kv.Revision(d.uvarint())
		s.Records, s.Sum, s.First, s.Last = d.uvarint(), d.uvarint(), kv.Revision(d.uvarint()), kv.Revision(d.uvarint())
		b.Segments = append(b.Segments, s)
	}
	if d.err == nil {
		d.err = b.check()
	}
	return b
}

// check returns an error for an entry that no store writes.
func (b *Bucket) check() error {
	if b.ID == 0 || b.Next == 0 || b.Life == 0 || b.Life > LifeMax {
		return fmt.Errorf("edit: bucket %d with next revision %d and life %d", b.ID, b.Next, b.Life)
	}
	for _, c := range b.Live.Cuts {
		if err := c.Check(); err != nil {
			return err
		}
	}
	for i := range b.Segments {
		s := &b.Segments[i]
		if err := s.Check(); err != nil {
			return fmt.Errorf("edit: bucket %d: %w", b.ID, err)
		}
		if s.Last >= b.Next {
			return fmt.Errorf("edit: bucket %d with next revision %d has a segment up to revision %d", b.ID, b.Next, s.Last)
		}
	}
	return nil
}

// Check returns an error if no store makes such a cut: Keep is out of [1,
// kv.MaxHistory].
func (c Cut) Check() error {
	if c.Keep < 1 || c.Keep > kv.MaxHistory {
		return fmt.Errorf("cut at revision %d to %d records, must be 1 to %d", c.UpTo, c.Keep, kv.MaxHistory)
	}
	return nil
}
