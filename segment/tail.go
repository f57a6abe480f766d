package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"kvd/kv"
)

// TailRecord is a sound record of a tail.
type TailRecord struct {
	Record         // decoded up to its key; the key is part of Encoded
	Encoded []byte // all of it; valid until the callback returns
	Offset  int64
	Broken  bool // damage may hide records between it and the one before, or the beginning
}

// Sum returns the head checksum of the record.
func (t *TailRecord) Sum() uint64 { return HeadSum(t.Encoded) }

// Identify returns the bucket of a segment's file by its header. Its error matches
// fs.ErrNotExist for a missing file, kv.ErrVersion for one of another version, and
// kv.ErrCorrupt for a damaged header, or the header of another store or number.
func Identify(o Options, number uint64) (bucketID uint64, err error) {
	s := newSegment(&o, Desc{Number: number})
	file, err := s.openToRead()
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	h, err := readFileHeader(file)
	switch {
	case errors.Is(err, kv.ErrVersion):
		return 0, fmt.Errorf("segment: %s: %w", s.path, err)
	case err != nil:
		return 0, s.damage(0, "file header", err)
	case h.storeID != o.StoreID || h.seed != o.Seed || h.number != number:
		return 0, s.corrupt(0, nil, "the file is segment %d of store %x", h.number, h.storeID)
	}
	return h.bucketID, nil
}

// Tail reads what stands in a segment's file from the offset from on, whatever the manifest
// says of it, and calls fn for each record whose head and value are sound, in file order. A
// process that was killed leaves there what it had appended since the last checkpoint; a
// power cut leaves any part of it, and an earlier use of the disk anything. from is
// [HeaderSize], or the end of an index block.
//
// A missing file has no tail. The error is fn's or the system's.
func Tail(o Options, number, bucketID uint64, from int64, fn func(*TailRecord) error) error {
	s := newSegment(&o, Desc{Number: number, BucketID: bucketID})
	file, err := s.openToRead()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("segment: read %s: %w", s.path, err)
	}
	size -= size % alignment
	t := TailRecord{}
	w := s.newWalker(file, size, func(*kv.CorruptError) { t.Broken = true })
	w.values = true
	return w.walk(max(from, HeaderSize), size, func(f *found) error {
		if !f.valueOK {
			return nil // reported: what follows is behind a break
		}
		t.Encoded = slices.Grow(t.Encoded[:0], f.size)[:f.size]
		if err := readFull(file, t.Encoded, f.offset); err != nil {
			t.Broken = true
			return nil //nolint:nilerr // the record cannot be read: that is a break
		}
		t.Record, t.Offset = f.record, f.offset
		err := fn(&t)
		t.Broken = false
		return err
	})
}
