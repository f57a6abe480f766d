package segment

import (
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Pin keeps the segment readable until Unpin. It costs one atomic addition.
// Pins and Retire are ordered by a lock of the caller's: no Pin begins after
// Retire.
func (s *Segment) Pin() {
	if s.pins.Add(1) <= 1 {
		panic("segment: pin after retire")
	}
}

// Unpin gives a pin back. The last one after Retire releases the segment.
func (s *Segment) Unpin() {
	switch n := s.pins.Add(-1); {
	case n == 0:
		s.release()
	case n < 0:
		panic("segment: unpin without a pin")
	}
}

// Retire gives up the segment, once: no Pin follows, and the writer and the
// background are done or hold a pin. When the last pin is gone the file is
// unmapped and closed, and the channel returned is closed; only then may the
// file be removed.
func (s *Segment) Retire() <-chan struct{} {
	s.Unpin() // the owner's
	return s.released
}

// release unmaps and closes the file. Whoever holds the last pin calls it. An
// error would concern a file that nobody needs any more.
func (s *Segment) release() {
	if m := s.mapping.Swap(nil); m != nil {
		_ = (*m).Close()
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	close(s.released)
	if s.onRelease != nil {
		s.onRelease()
	}
}

// dropMapping takes the mapping away and returns it, for the caller to close
// when it has released its lock; the next Read maps the file again. It returns
// nil if the segment is pinned or not mapped. No Pin may run beside it.
func (s *Segment) dropMapping() vfs.Mapping {
	if s.pins.Load() != 1 {
		return nil
	}
	if m := s.mapping.Swap(nil); m != nil {
		return *m
	}
	return nil
}

// Read appends the bytes of the record at offset, of that size, to dst and
// returns the record, whose slices alias them, and the extended slice; it
// allocates only where dst's capacity is short. It verifies both checksums and
// that the record is this bucket's, of this key, where it is not empty, and
// revision. A compressed value is decompressed, in the place of what is stored, and
// the record does not say that it was. On an error the slice comes back as it was:
// a *kv.CorruptError naming bucket, key and revision where the bytes are damaged or
// cannot be read, else the system's, of mapping the file. The caller holds a pin.
func (s *Segment) Read(dst []byte, offset int64, size uint32, key string, revision kv.Revision) (Record, []byte, error) {
	r, buf, err := s.ReadStored(dst, offset, size, key, revision)
	if err == nil && r.Compressed {
		start := len(dst)
		value := start + headSize(flagsOf(r.Deadline != 0, len(r.Headers) > 0, true), len(r.Key)) + len(r.Headers)
		if buf, err = r.AppendValue(buf[:value]); err != nil {
			return Record{}, dst, s.lost(offset, key, revision, nil, "%v", err)
		}
		r.Value, r.Compressed, r.RawLen = buf[value:len(buf):len(buf)], false, 0
	}
	return r, buf, err
}

// ReadStored is Read that leaves a compressed value as it is stored: what it
// appends is the record, byte for byte.
func (s *Segment) ReadStored(dst []byte, offset int64, size uint32, key string, revision kv.Revision) (Record, []byte, error) {
	if end := s.size.Load(); offset < HeaderSize || size < recordFixedSize || offset > end-int64(size) {
		return Record{}, dst, s.lost(offset, key, revision, nil, "%d bytes are not within the segment's %d", size, end)
	}
	m, err := s.mapped()
	if err != nil {
		return Record{}, dst, fmt.Errorf("segment: map %s: %w", s.path, err)
	}
	start := len(dst)
	buf := slices.Grow(dst, int(size))[:start+int(size)]
	if _, err := m.ReadAt(buf[start:], offset); err != nil {
		return Record{}, dst, s.lost(offset, key, revision, err, "unreadable")
	}
	r, n, err := s.seed.DecodeRecord(buf[start:])
	if err != nil {
		return Record{}, dst, s.lost(offset, key, revision, nil, "%v", err)
	}
	if n != int(size) || r.BucketID != s.bucketID || r.Revision != revision || key != "" && string(r.Key) != key {
		return Record{}, dst, s.lost(offset, key, revision, nil,
			"another record is there: key %q, revision %d, bucket %d", r.Key, r.Revision, r.BucketID)
	}
	return r, buf, nil
}

// ReadHeader is Read without the value, which it neither reads nor verifies unless the
// record has headers (one checksum covers both), and of whatever key. It returns the
// value's length before compression too.
func (s *Segment) ReadHeader(dst []byte, offset int64, size uint32, revision kv.Revision) (Record, int, []byte, error) {
	if end := s.size.Load(); offset < HeaderSize || size < recordFixedSize || offset > end-int64(size) {
		return Record{}, 0, dst, s.lost(offset, "", revision, nil, "%d bytes are not within the segment's %d", size, end)
	}
	m, err := s.mapped()
	if err != nil {
		return Record{}, 0, dst, fmt.Errorf("segment: map %s: %w", s.path, err)
	}
	start := len(dst)
	n := min(int(size), recordFixedSize+recordOptionsSize+kv.MaxKeySize)
	buf := slices.Grow(dst, n)[:start+n]
	if _, err := m.ReadAt(buf[start:], offset); err != nil {
		return Record{}, 0, dst, s.lost(offset, "", revision, err, "unreadable")
	}
	r, l, err := s.seed.decodeHead(buf[start:])
	if err != nil {
		return Record{}, 0, dst, s.lost(offset, "", revision, nil, "%v", err)
	}
	if l.size != int(size) || r.BucketID != s.bucketID || r.Revision != revision {
		return Record{}, 0, dst, s.lost(offset, "", revision, nil,
			"another record is there: key %q, revision %d, bucket %d", r.Key, r.Revision, r.BucketID)
	}
	valueSize := l.valueSize(&r)
	if l.headers > 0 {
		if r, buf, err = s.ReadStored(dst, offset, size, "", revision); err != nil {
			return Record{}, 0, dst, err
		}
		r.Value, r.Compressed, r.RawLen = nil, false, 0
	}
	return r, valueSize, buf, nil
}

// lost returns the damage of one record.
func (s *Segment) lost(offset int64, key string, revision kv.Revision, cause error, format string, args ...any) error {
	return s.corrupt(offset, cause, "key %q, revision %d, bucket %d: "+format,
		append([]any{key, revision, s.bucketID}, args...)...)
}

// mapped returns the mapping, making it if there is none. It is as long as the
// file may become, so that growth needs no other.
func (s *Segment) mapped() (vfs.Mapping, error) {
	if m := s.mapping.Load(); m != nil {
		return *m, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.mapping.Load(); m != nil {
		return *m, nil
	}
	length := s.limit
	if s.mu.sealed {
		length = s.mu.indexed
	}
	file, err := s.fs.Open(s.path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	m, err := file.Map(length)
	_ = file.Close() // read only; the mapping outlives it
	if err != nil {
		return nil, err
	}
	s.mapping.Store(&m)
	return m, nil
}
