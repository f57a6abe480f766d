package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/cespare/xxhash/v2"

	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
)

// buckets returns the buckets of the manifest in ascending order of ids.
func (v *verification) buckets() []*manifest.Bucket {
	return slices.SortedFunc(maps.Values(v.manifest.State.Buckets), func(a, b *manifest.Bucket) int { return int(a.ID) - int(b.ID) })
}

func (v *verification) checkSegments() error {
	total := int64(0)
	for _, d := range v.buckets() {
		for i := range d.Segments {
			total += d.Segments[i].Size
		}
	}
	meter := progress.Start(StageRecords, total, v.opts.Progress)
	for _, d := range v.buckets() {
		if d.Hidden {
			v.addNote("bucket %q is being imported: the next open removes it, unless the log commits the import", d.Config.Bucket)
		} else {
			v.report.Buckets++
		}
		before := v.report.Damage
		c := content{bucket: d}
		last := kv.Revision(0)
		for i := range d.Segments {
			if err := v.checkSegment(d, &d.Segments[i], &last, &c); err != nil {
				return err
			}
			meter.Add(d.Segments[i].Size)
		}
		if v.report.Damage == before {
			v.checkDigest(&c)
		}
	}
	return nil
}

// checkSegment reads a segment twice, by its records and by its index blocks, and
// compares the two. last is the newest revision in the earlier segments. content gets the entries
// of the index blocks.
func (v *verification) checkSegment(b *manifest.Bucket, d *manifest.Segment, last *kv.Revision, c *content) error {
	file := path.Join(v.segments.Dir, segment.FileName(d.Number))
	opts := v.segments
	opts.Bucket = b.Config.Bucket
	seg, err := segment.Open(opts, d.Desc)
	var corrupt *kv.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.damaged(&kv.CorruptError{File: file, Offset: -1, Detail: fmt.Sprintf("segment of bucket %q is missing", b.Config.Bucket)})
		return nil
	case errors.As(err, &corrupt):
		v.damaged(corrupt)
		return nil
	case err != nil:
		return err
	}
	defer func() { <-seg.Retire() }() // it has no other user
	v.report.Segments++
	v.report.Bytes += d.Size
	before := v.report.Damage
	var records, entries sequence
	err = seg.Walk(0, d.Size, func(offset int64, r *segment.Record, size int, valueOK bool) error {
		if valueOK && v.decompresses(seg, offset, size, r) {
			v.report.Records++
		}
		v.checkRevision(file, offset, b, r, last)
		v.addValue(r)
		records.add(&segment.Entry{
			Key: r.Key, Revision: r.Revision, Floor: r.Floor, Created: r.Created, Deadline: r.Deadline,
			Offset: offset, Size: uint32(size), File: r.File.Number, Op: r.Op, Reason: r.Reason, First: r.First, Lost: r.Lost,
		})
		return nil
	}, v.damaged)
	if err != nil {
		return err
	}
	damaged := v.damaged
	if v.report.Damage > before { // the index blocks would show the same damage again, but only they count the records
		damaged = func(*kv.CorruptError) {}
	}
	err = seg.Entries(func(e *segment.Entry) error { entries.add(e); c.add(e); return nil }, damaged, func(h segment.Hole) {
		h.Err.Bucket = b.Config.Bucket
		v.damaged(h.Err)
	})
	if err != nil {
		return err
	}
	if v.report.Damage == before && records.sum() != entries.sum() {
		v.damaged(&kv.CorruptError{File: file, Offset: d.LastIndex, Detail: fmt.Sprintf(
			"its index blocks list %d records, it holds %d, or they differ", entries.count, records.count)})
	}
	return nil
}

// addValue notes the value file of a record, which was checked.
func (v *verification) addValue(r *segment.Record) {
	if r.File.Number != 0 {
		v.values[r.File.Number] = true
		v.report.Bytes += int64(r.File.Size)
	}
}

// decompresses reports whether the value of a record can be decompressed, or is not
// compressed. The record's checksums are right, but they do not prove that a compressed
// value decompresses.
func (v *verification) decompresses(seg *segment.Segment, offset int64, size int, r *segment.Record) bool {
	if !r.Compressed {
		return true
	}
	var err error
	var corrupt *kv.CorruptError
	if _, v.value, err = seg.Read(v.value[:0], offset, uint32(size)+r.File.Size, view.String(r.Key), r.Revision); errors.As(err, &corrupt) {
		v.damaged(corrupt)
	}
	return err == nil
}

// checkRevision reports a record whose checksums are right, but whose revision a store
// never writes at that place.
func (v *verification) checkRevision(file string, offset int64, b *manifest.Bucket, r *segment.Record, last *kv.Revision) {
	if r.Op == segment.Erase {
		return // it has no revision of its own
	}
	if r.Revision <= *last || r.Revision >= b.Next {
		v.damaged(&kv.CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(
			"key %q, revision %d, bucket %q: it stands behind revision %d, and the next is %d",
			r.Key, r.Revision, b.Config.Bucket, *last, b.Next)})
	}
	*last = max(*last, r.Revision)
}

// sequence is a hash of a sequence of entries. It lets two sequences of any length be
// compared in constant memory.
type sequence struct {
	hash  xxhash.Digest
	count int
	buf   []byte
}

func (s *sequence) add(e *segment.Entry) {
	if s.count == 0 {
		s.hash.Reset()
	}
	s.count++
	s.buf = s.buf[:0]
	for _, n := range []uint64{
		uint64(e.Revision), uint64(e.Floor), uint64(e.Created), uint64(e.Deadline),
		uint64(e.Offset), uint64(e.Size), uint64(e.Op)<<8 | uint64(e.Reason), uint64(len(e.Key)),
		flag(e.First, 1) | flag(e.Lost, 2), e.File,
	} {
		s.buf = binary.LittleEndian.AppendUint64(s.buf, n)
	}
	_, _ = s.hash.Write(append(s.buf, e.Key...)) // never fails
}

func flag(set bool, bit uint64) uint64 {
	if set {
		return bit
	}
	return 0
}

func (s *sequence) sum() [2]uint64 {
	if s.count == 0 {
		return [2]uint64{}
	}
	return [2]uint64{uint64(s.count), s.hash.Sum64()}
}

// checkStrays adds a note for each file in the segments' directory that is neither a segment nor
// a value file of the store.
func (v *verification) checkStrays() error {
	named := make(map[uint64]bool)
	for _, d := range v.manifest.State.Buckets {
		for _, s := range d.Segments {
			named[s.Number] = true
		}
	}
	entries, err := v.fs.List(v.segments.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first Open did not finish
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := segment.ParseFileName(e.Name)
		ours := named[number]
		if !ok {
			number, ok = segment.ParseValueFileName(e.Name)
			ours = v.values[number]
		}
		switch {
		case !ok || number >= v.manifest.State.Numbers:
			v.addNote("%s is not the store's: the next open moves it to %s", path.Join(manifest.SegmentDir, e.Name), manifest.LostDir)
		case !ours:
			v.addNote("%s is left from unfinished work: the next open removes it", path.Join(manifest.SegmentDir, e.Name))
		}
	}
	return nil
}
