package repair

import (
	"cmp"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
)

// segmentFile is a segment whose description is lost with the manifest.
type segmentFile struct {
	path      string
	header    segment.FileHeader
	bucket    uint64 // id
	desc      segment.Desc
	created   int64         // of its newest record, unix ns
	revisions []kv.Revision // ascending, each once
	tail      int           // records behind the last index block
}

// read reads the records and index pages of a file, and describes it up to its last index block.
func (f *segmentFile) read(fsys vfs.FS, known segment.FileHeader) error {
	type named struct {
		end            int64 // of the last record that the page names
		records        uint64
		sum            uint64
		block, blockAt int64 // end and begin of its index block
	}
	var last named
	var behind []segment.FileRecord // records behind what last names
	err := segment.Inspect(fsys, f.path, known, segment.Inspection{
		Header: func(h *segment.FileHeader) error {
			f.header, f.bucket = *h, h.BucketID
			return nil
		},
		Record: func(r *segment.FileRecord) error {
			own := *r
			own.Key = nil // it is valid until now
			behind = append(behind, own)
			return nil
		},
		Page: func(p *segment.FilePage) error {
			for i := range p.Entries {
				e := &p.Entries[i]
				f.add(e.Op, e.Revision, e.Created)
				last.end = e.Offset + int64(e.Size)
			}
			last.records, last.sum = p.RecordsBefore+p.Records, p.SumBefore+p.RecordsSum
			last.blockAt, last.block = p.Block, p.Block+int64(p.Pages)*segment.PageSize
			behind = slices.DeleteFunc(behind, func(r segment.FileRecord) bool { return r.Offset < last.end })
			return nil
		},
		Gap: func(*segment.FileGap) error { return nil },
	})
	d := segment.Desc{Number: known.Number, BucketID: f.bucket, Size: segment.HeaderSize, Limit: segment.MaxSize}
	if last.block != 0 {
		d.Size, d.LastIndex, d.Records, d.Sum = last.block, last.blockAt, last.records, last.sum
	}
	for i := range behind {
		r := &behind[i]
		if r.Offset >= d.Size {
			f.tail++
			continue
		}
		f.add(r.Op, r.Revision, r.Created) // its page, of the last block, is lost
		d.Records++
		d.Sum += r.HeadSum
	}
	f.desc = d
	f.setRange()
	return err
}

func (f *segmentFile) add(op segment.Op, revision kv.Revision, created int64) {
	f.created = max(f.created, created)
	if op != segment.Erase {
		f.revisions = append(f.revisions, revision)
	}
}

// setRange sets the first and the last revision of the description.
func (f *segmentFile) setRange() {
	slices.Sort(f.revisions)
	f.revisions = slices.Compact(f.revisions)
	f.desc.First, f.desc.Last = 0, 0
	if n := len(f.revisions); f.desc.Records > 0 && n > 0 {
		f.desc.First, f.desc.Last = f.revisions[0], f.revisions[n-1]
	}
}

// finish gives the records behind the last index block a block of their own. In the file system
// of a repair that stays in memory.
func (f *segmentFile) finish(o segment.Options) error {
	if f.tail == 0 {
		f.desc.Sealed = true
		return f.desc.Check()
	}
	last := f.desc.Last
	var encoded []byte
	var entries []segment.Entry
	var room int64
	err := segment.Tail(o, f.desc.Number, f.bucket, f.desc.Size, func(t *segment.TailRecord) error {
		if t.Op != segment.Erase {
			if t.Revision <= last {
				return nil // of an earlier life of the disk
			}
			last = t.Revision
		}
		entries = append(entries, segment.Entry{
			Key: slices.Clone(t.Key), Revision: t.Revision, Floor: t.Floor, Created: t.Created, Deadline: t.Deadline,
			Offset: f.desc.Size + int64(len(encoded)), HeadSum: t.Sum(), Size: uint32(len(t.Encoded)), ValueLen: storedLen(&t.Record, t.Encoded, o.Seed),
			File: t.File.Number, Op: t.Op, Reason: t.Reason, First: t.First, Lost: t.Lost,
		})
		room += int64(segment.EntryBound(len(t.Key), t.File.Number != 0))
		encoded = append(encoded, t.Encoded...)
		return nil
	})
	if err != nil || len(entries) == 0 {
		f.desc.Sealed = true
		return cmp.Or(err, f.desc.Check())
	}
	d := f.desc
	s, err := segment.Open(o, d)
	if err != nil {
		return err
	}
	defer func() { <-s.Retire() }() // it has no other user
	if err := s.Reserve(int64(len(encoded)), room); err != nil {
		return err
	}
	if _, err := s.Append(encoded); err != nil {
		return err
	}
	for i := range entries {
		s.AddEntry(&entries[i])
	}
	if b, ok := s.BeginIndex(); ok {
		if err := s.WriteIndex(b); err != nil {
			return err
		}
	}
	if err := s.Seal(); err != nil {
		return err
	}
	f.desc = s.Desc()
	for i := range entries {
		f.add(entries[i].Op, entries[i].Revision, entries[i].Created)
	}
	return nil
}

// storedLen returns the length of the value of a record as stored.
func storedLen(r *segment.Record, encoded []byte, seed segment.Seed) uint32 {
	if r.File.Number != 0 {
		return r.File.Size
	}
	full, _, err := seed.DecodeRecord(encoded)
	if err != nil {
		return 0 // a tail has sound records alone
	}
	return full.ValueLen()
}

// disjoint returns the segments of a bucket whose ranges of revisions do not overlap, in order,
// and those that are left out: their records are in the others. A crash leaves inputs and outputs
// of a compaction beside each other. Of two that overlap, the one is left out whose records the
// other ones have; and if none is, the older one, whose records that are missing elsewhere are dead.
func disjoint(files []*segmentFile) (kept, left []*segmentFile) {
	kept = slices.Clone(files)
	drop := func(i int) {
		left = append(left, kept[i])
		kept = slices.Delete(kept, i, i+1)
	}
	slices.SortFunc(kept, func(a, b *segmentFile) int { return cmp.Compare(b.desc.Number, a.desc.Number) })
	for i := 0; i < len(kept); {
		if kept[i].overlapsAny(kept) && kept[i].coveredBy(kept) {
			drop(i)
			continue
		}
		i++
	}
	for i := len(kept) - 1; i >= 0; i-- {
		if kept[i].overlapsAny(kept) {
			drop(i)
		}
	}
	slices.SortFunc(kept, func(a, b *segmentFile) int { return cmp.Compare(a.desc.First, b.desc.First) })
	return kept, left
}

func (f *segmentFile) overlapsAny(others []*segmentFile) bool {
	return slices.ContainsFunc(others, func(o *segmentFile) bool {
		return o != f && f.desc.First <= o.desc.Last && o.desc.First <= f.desc.Last
	})
}

// coveredBy reports whether the others have all of f's records.
func (f *segmentFile) coveredBy(others []*segmentFile) bool {
	for _, revision := range f.revisions {
		if !slices.ContainsFunc(others, func(o *segmentFile) bool { return o != f && o.has(revision) }) {
			return false
		}
	}
	return true
}

func (f *segmentFile) has(revision kv.Revision) bool {
	_, ok := slices.BinarySearch(f.revisions, revision)
	return ok
}
