package segment

import (
	"fmt"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Walk reads [from, to) without the index and calls fn for every record in file order, with
// its offset and size. from is 0 or the beginning of a record or an index block; to is cut to
// the segment's size. The record is decoded up to its key, and valid until fn returns;
// valueOK says whether the rest is sound. If from is 0, Walk also checks the file's header.
//
// After damage Walk searches on in steps of 8 bytes. It calls damaged for every range without
// a valid record or block, every record whose value is lost, and every unsound index block.
// It returns fn's error, or the system's error of opening the file. It needs no pin, but the
// file must not be removed during the call.
func (s *Segment) Walk(from, to int64, fn func(offset int64, r *Record, size int, valueOK bool) error, damaged func(*kv.CorruptError)) error {
	file, err := s.openToRead()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	if from < HeaderSize {
		if _, err := readFileHeader(file); err != nil {
			damaged(s.damage(0, "file header", err))
		}
		from = HeaderSize
	}
	w := s.newWalker(file, min(to, s.size.Load()), damaged)
	w.values = true
	return w.walk(int64(align(int(from))), w.end, func(f *found) error {
		return fn(f.offset, &f.record, f.size, f.valueOK)
	})
}

func (s *Segment) openToRead() (vfs.File, error) {
	file, err := s.fs.Open(s.path, vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment: read %s: %w", s.path, err)
	}
	return file, nil
}

// walker finds records by their checksums.
type walker struct {
	window
	s       *Segment
	values  bool        // check values and index blocks, not only headers of records
	last    kv.Revision // revision of the newest record found
	found   found       // the current record
	key     []byte      // a copy of its key, because the window may move
	damaged func(*kv.CorruptError)
}

// found is a record that a walk has found.
type found struct {
	offset int64
	record Record
	layout
	bodySum uint64
	valueOK bool
}

func (s *Segment) newWalker(file vfs.File, end int64, damaged func(*kv.CorruptError)) *walker {
	return &walker{s: s, window: window{file: file, end: end, size: windowSize}, damaged: damaged}
}

func (w *walker) walk(pos, to int64, fn func(*found) error) error {
	for pos < to {
		if w.record(pos, to) {
			w.check(&w.found)
			if err := fn(&w.found); err != nil {
				return err
			}
			pos += int64(w.found.size)
		} else if h, ok := w.block(pos, to); ok {
			w.checkBlock(pos, to, &h)
			pos = blockEnd(pos, int64(h.length))
		} else {
			next := w.search(pos+alignment, to)
			w.report(pos, next, "%d bytes hold no valid record", next-pos)
			pos = next
		}
	}
	return nil
}

// record sets found to the head of the record at pos, if there is a valid one that ends at or
// before to.
func (w *walker) record(pos, to int64) bool {
	b := w.at(pos, recordFixedSize)
	// The bucket id is compared first: in a search this is cheaper than a checksum.
	if len(b) < recordFixedSize || le.Uint64(b[recordBucketID:]) != w.s.bucketID {
		return false
	}
	b = w.at(pos, headSize(b[recordFlags], int(le.Uint16(b[recordKeyLen:])))) // which may move the window
	r, l, err := w.s.seed.decodeHead(b)
	if err != nil || int64(l.size) > to-pos {
		return false
	}
	w.found = found{offset: pos, record: r, layout: l, bodySum: le.Uint64(b[recordBodySum:])}
	return true
}

// block decodes the header of the index block at pos, if there is a valid one that ends at or
// before to.
func (w *walker) block(pos, to int64) (blockHeader, bool) {
	h, err := w.s.seed.decodeBlockHeader(w.at(pos, blockHeaderSize), w.s.placeOf(pos))
	return h, err == nil && pos+blockHeaderSize+int64(h.length) <= to
}

func (s *Segment) placeOf(offset int64) place { return place{s.bucketID, s.number, offset} }

// search returns the offset of the next record or index block after damage, or to. It accepts
// only a record that is newer than those before: the bytes of a record do not depend on their
// place, so a value may contain a copy of an older record. (An erase has no revision of its
// own. It is always accepted, because an old erase is still true.)
func (w *walker) search(pos, to int64) int64 {
	for ; pos < to; pos += alignment {
		if w.record(pos, to) && (w.found.record.Op == Erase || w.found.record.Revision > w.last) {
			return pos
		}
		if _, ok := w.block(pos, to); ok {
			return pos
		}
	}
	return to
}

// check completes the fields of found.
func (w *walker) check(f *found) {
	if f.record.Op != Erase {
		w.last = f.record.Revision
	}
	w.key = append(w.key[:0], f.record.Key...)
	f.record.Key = w.key
	if !w.values {
		return
	}
	end := f.offset + int64(f.size)
	padding := int64(f.size - f.head - f.headers - f.value)
	f.valueOK = w.sum(w.s.seed, f.offset+int64(f.head), end) == f.bodySum && w.zero(end-padding, end)
	if !f.valueOK {
		w.report(f.offset, end, "key %q, revision %d, bucket %d: %v",
			w.key, f.record.Revision, w.s.bucketID, errRecordBodySum)
	}
}

// checkBlock checks the rest of the index block at pos, and the zeros after it.
func (w *walker) checkBlock(pos, to int64, h *blockHeader) {
	if !w.values {
		return
	}
	end := pos + blockHeaderSize + int64(h.length)
	if w.sum(w.s.seed, pos+blockHeaderSize, end) != h.bodySum {
		w.report(pos, end, "%v", errBlockBodySum)
	}
	if next := min(pageAlign(end), to); !w.zero(end, next) {
		w.report(end, next, "padding behind an index block is not zero")
	}
}

func (w *walker) report(from, to int64, format string, args ...any) {
	w.damaged(w.s.corrupt(from, w.cause(from, to), format, args...))
}
