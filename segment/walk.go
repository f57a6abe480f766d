package segment

import (
	"errors"
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
// a valid record or index page, and for every record whose value does not match its checksum.
// It returns fn's error, the system's error of opening the file, or an error that matches
// kv.ErrVersion at a record of a later version. It needs no pin, but the file must not be
// removed during the call.
func (s *Segment) Walk(from, to int64, fn func(offset int64, r *Record, size int, valueOK bool) error, damaged func(*kv.CorruptError)) error {
	file, err := s.openToRead()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	to = min(to, s.size.Load())
	if from < HeaderSize {
		if _, err := readFileHeader(file); err != nil {
			damaged(s.damage(0, "file header", err))
		}
		from = HeaderSize
	}
	if end := s.readable(to); end < to {
		damaged(s.tooShort())
		to = end
	}
	w := s.newWalker(file, to, damaged)
	w.values = true
	return w.walk(int64(align(int(from))), w.end, func(f *found) error {
		return fn(f.offset, &f.record, f.size, f.valueOK)
	})
}

// openToRead opens the file for reading. What the segment holds is read as if it were in the file.
func (s *Segment) openToRead() (vfs.File, error) {
	file, err := s.fs.Open(s.path, vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment: read %s: %w", s.path, err)
	}
	return &wholeFile{file, s}, nil
}

// walker finds records by their checksums.
type walker struct {
	window
	s       *Segment
	blockAt int64       // offset of an index block at the end of the walk; 0: none. Zeros lead to it
	values  bool        // check values, not only headers of records
	last    kv.Revision // revision of the newest record found
	tell    *Inspection // receives pages and gaps; nil: gaps are damage, and pages are passed
	found   found       // the current record
	key     []byte      // a copy of its key, because the window may move
	damaged func(*kv.CorruptError)
	damages int   // calls of damaged
	err     error // of a record of a later version
}

// found is a record that a walk has found.
type found struct {
	offset int64
	record Record
	layout
	headSum uint64
	bodySum uint64
	bodyHas uint64 // the checksum that the body has, once it was checked
	valueOK bool
}

// storedLen returns the length of the record's value as stored, wherever it is.
func (f *found) storedLen() uint32 {
	if f.record.File.Number != 0 {
		return f.record.File.Size
	}
	return uint32(f.value)
}

func (s *Segment) newWalker(file vfs.File, end int64, damaged func(*kv.CorruptError)) *walker {
	return &walker{s: s, window: window{file: file, end: end, size: windowSize}, damaged: damaged}
}

// walk calls fn for every record in [pos, to).
func (w *walker) walk(pos, to int64, fn func(*found) error) error {
	for pos < to && w.err == nil {
		if w.record(pos, to) {
			w.check(&w.found)
			if err := fn(&w.found); err != nil {
				return err
			}
			pos += int64(w.found.size)
		} else if next, ok := w.indexPage(pos, to); ok {
			if err := w.tellPage(next - pageSize); err != nil {
				return err
			}
			pos = next
		} else if w.err == nil {
			next := w.search(pos+alignment, to)
			if err := w.gap(pos, next); err != nil {
				return err
			}
			pos = next
		}
	}
	return w.err
}

// gap reports a range without a valid record or index page.
func (w *walker) gap(from, to int64) error {
	if w.tell != nil {
		return w.tellGap(from, to)
	}
	w.report(from, to, "%d bytes hold no valid record", to-from)
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
	// At most maxKeySize, so that garbage does not move the window far. This may move it.
	keyLen := min(int(le.Uint16(b[recordKeyLen:])), maxKeySize)
	b = w.at(pos, headSize(b[recordKind], b[recordFlags], keyLen))
	var r Record
	l, err := w.s.seed.decodeHead(b, &r)
	if errors.Is(err, kv.ErrVersion) {
		w.err = fmt.Errorf("segment: read %s at %d: %w", w.s.path, pos, err)
	}
	if err != nil || int64(l.size) > to-pos {
		return false
	}
	w.found = found{offset: pos, record: r, layout: l, headSum: HeadSum(b), bodySum: le.Uint64(b[recordBodySum:])}
	return true
}

// indexPage returns the end of the index page at pos, if there is a sound one that ends at or
// before to. There may be zeros between pos and the page.
func (w *walker) indexPage(pos, to int64) (end int64, ok bool) {
	at := pageAlign(pos)
	if at == w.blockAt && at == to {
		return at, w.zero(pos, at)
	}
	return at + pageSize, at+pageSize <= to && w.soundPage(at) && w.zero(pos, at)
}

func (w *walker) soundPage(offset int64) bool {
	_, _, err := w.s.seed.decodePage(w.at(offset, pageSize), w.s.placeOf(offset))
	return err == nil
}

func (s *Segment) placeOf(offset int64) place { return place{s.bucketID, s.number, offset} }

// search returns the offset of the next record or index page after damage, or to. It accepts
// only a record that is newer than those before: the bytes of a record do not depend on their
// place, so a value may contain a copy of an older record. (An erase has no revision of its
// own. It is always accepted, because an old erase is still true.)
func (w *walker) search(pos, to int64) int64 {
	for ; pos < to && w.err == nil; pos += alignment {
		if w.record(pos, to) && (w.found.record.Op == Erase || w.found.record.Revision > w.last) {
			return pos
		}
		if pos%pageSize == 0 && pos+pageSize <= to && w.soundPage(pos) {
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
	if w.checkBody(f); f.valueOK {
		w.checkFile(f)
	}
}

// checkBody checks what is behind the head of found.
func (w *walker) checkBody(f *found) {
	end := f.offset + int64(f.size)
	padding := int64(f.size - f.head - f.headers - f.value)
	f.bodyHas = w.sum(w.s.seed, f.offset+int64(f.head), end)
	f.valueOK = f.bodyHas == f.bodySum && w.zero(end-padding, end)
	if !f.valueOK {
		w.report(f.offset, end, "key %q, revision %d, %s: %v",
			w.key, f.record.Revision, w.s.bucket, errRecordBodySum)
	}
}

// checkFile checks the file that has the value of found, if there is one.
func (w *walker) checkFile(f *found) {
	if f.record.File.Number == 0 {
		return
	}
	err := w.s.checkValueFile(f.record.File, f.record.BucketID)
	var damage *kv.CorruptError
	switch f.valueOK = err == nil; {
	case errors.As(err, &damage):
		w.damages++
		w.damaged(w.s.ofRecord(damage, string(w.key), f.record.Revision))
	case err != nil:
		w.err = err
	}
}

func (w *walker) report(from, to int64, format string, args ...any) {
	w.damages++
	w.damaged(w.s.corrupt(from, w.cause(from, to), format, args...))
}
