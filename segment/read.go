package segment

import (
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Pin keeps the segment readable until Unpin. It costs one atomic addition. The caller must
// order Pin and Retire by a lock of its own, so that no Pin begins after Retire. Pin panics
// after the segment was released.
func (s *Segment) Pin() {
	if s.pins.Add(1) <= 1 {
		panic("segment: pin after retire")
	}
}

// Unpin releases a pin. The last Unpin after Retire releases the segment.
func (s *Segment) Unpin() {
	switch n := s.pins.Add(-1); {
	case n == 0:
		s.release()
	case n < 0:
		panic("segment: unpin without a pin")
	}
}

// Retire gives up the segment. It must be called once: no Pin may follow, and the writer and the
// background must be done or have a pin. When the last pin is released, the file is unmapped and
// closed, and the returned channel is closed. Only then may the file be removed.
func (s *Segment) Retire() <-chan struct{} {
	s.Unpin() // the owner's
	return s.released
}

// release unmaps and closes the file. The goroutine of the last Unpin calls it. Errors are
// ignored, because nobody needs the file any more.
func (s *Segment) release() {
	if m := s.mapping.Swap(nil); m != nil {
		_ = m.Close()
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	close(s.released)
	if s.onRelease != nil {
		s.onRelease()
	}
}

// dropMapping removes the mapping from the segment and returns it. The caller closes it after it
// has released its lock; the next Read maps the file again. dropMapping returns nil if the
// segment is pinned or not mapped. No Pin may run at the same time.
func (s *Segment) dropMapping() vfs.Mapping {
	if s.pins.Load() != 1 {
		return nil
	}
	if m := s.mapping.Swap(nil); m != nil {
		return m.Mapping
	}
	return nil
}

// Read appends the record at offset to dst, with its value, also if a file of its own has that.
// It returns the record, whose slices alias these bytes, and the extended slice. size is that of
// the record with its value, in bytes ([Entry.Footprint]). It allocates only if dst's capacity is
// too small. It verifies all checksums, the bucket, the revision, and the key unless key is empty.
// A compressed value is decompressed and replaces the stored bytes; the record is then not marked
// as compressed, and never as one with a value file. On an error the slice is returned unchanged.
// The error is a *kv.CorruptError that names bucket, key and revision if the bytes are damaged or
// cannot be read, or if the record is a Lost one; it matches kv.ErrVersion for a record of a later
// version; otherwise it is the system's, of opening or mapping a file. The caller must have a pin.
func (s *Segment) Read(dst []byte, offset int64, size uint32, key string, revision kv.Revision) (r Record, buf []byte, err error) {
	if buf, err = s.readStored(&r, dst, offset, size, key, revision); err != nil {
		return Record{}, dst, err
	}
	if r.Lost {
		return Record{}, dst, s.lost(offset, key, revision, nil, "%s", detailLost)
	}
	value := len(buf) // where the value begins
	switch {
	case r.File.Number != 0:
		if buf, err = s.appendValue(buf, r.File); err != nil {
			return Record{}, dst, s.valueError(err, key, revision)
		}
		r.Value, r.File = buf[value:len(buf):len(buf)], ValueFile{}
	case r.Compressed:
		value = len(dst) + headSize(0, flagsOf(r.Deadline != 0, len(r.Headers) > 0, true), len(r.Key)) + len(r.Headers)
	}
	if r.Compressed {
		if buf, err = r.AppendValue(buf[:value]); err != nil {
			return Record{}, dst, s.lost(offset, key, revision, nil, "%v", err)
		}
		r.Value, r.Compressed, r.RawLen = buf[value:len(buf):len(buf)], false, 0
	}
	return r, buf, nil
}

// detailLost describes a record whose value is lost.
const detailLost = "the value was damaged, and a compaction kept the rest of the record"

// ReadStored is Read without decompression and without the files of values: it appends exactly
// the stored bytes of the record, also of a Lost one.
func (s *Segment) ReadStored(dst []byte, offset int64, size uint32, key string, revision kv.Revision) (r Record, buf []byte, err error) {
	if buf, err = s.readStored(&r, dst, offset, size, key, revision); err != nil {
		return Record{}, dst, err
	}
	return r, buf, nil
}

// readStored is ReadStored into r, which is zero before and undefined after an error.
func (s *Segment) readStored(r *Record, dst []byte, offset int64, size uint32, key string, revision kv.Revision) ([]byte, error) {
	end := s.size.Load()
	if offset < HeaderSize || size < recordFixedSize || offset > end-recordFixedSize {
		return dst, s.outside(offset, size, key, revision)
	}
	own, err := s.recordSize(dst, offset, size, key, revision)
	if err != nil {
		return dst, err
	}
	if own < recordFixedSize || offset > end-int64(own) {
		return dst, s.outside(offset, own, key, revision)
	}
	start := len(dst)
	buf := slices.Grow(dst, int(own))[:start+int(own)]
	if err := s.readAt(buf[start:], offset, key, revision); err != nil {
		return dst, err
	}
	n, err := s.seed.decode(buf[start:], r)
	if err != nil {
		return dst, s.undecoded(offset, key, revision, err)
	}
	if n != int(own) || own+r.File.Size != size || r.BucketID != s.bucketID || r.Revision != revision || key != "" && string(r.Key) != key {
		return dst, s.lost(offset, key, revision, nil,
			"another record is there: key %q, revision %d, bucket %d", r.Key, r.Revision, r.BucketID)
	}
	return buf, nil
}

// ReadHeader is Read without the value and without the check of the key. It neither reads nor
// verifies the value, unless the record has headers: one checksum covers both. It also returns the
// length of the value before compression, in bytes.
func (s *Segment) ReadHeader(dst []byte, offset int64, size uint32, revision kv.Revision) (Record, int, []byte, error) {
	end := s.size.Load()
	if offset < HeaderSize || size < recordFixedSize || offset > end-recordFixedSize {
		return Record{}, 0, dst, s.outside(offset, size, "", revision)
	}
	start := len(dst)
	n := int(min(int64(size), recordFixedSize+recordOptionsSize+kv.MaxKeySize, end-offset))
	buf := slices.Grow(dst, n)[:start+n]
	if err := s.readAt(buf[start:], offset, "", revision); err != nil {
		return Record{}, 0, dst, err
	}
	var r Record
	l, err := s.seed.decodeHead(buf[start:], &r)
	if err != nil {
		return Record{}, 0, dst, s.undecoded(offset, "", revision, err)
	}
	if l.size+int(r.File.Size) != int(size) || offset > end-int64(l.size) || r.BucketID != s.bucketID || r.Revision != revision {
		return Record{}, 0, dst, s.lost(offset, "", revision, nil,
			"another record is there: key %q, revision %d, bucket %d", r.Key, r.Revision, r.BucketID)
	}
	if r.Lost {
		return Record{}, 0, dst, s.lost(offset, string(r.Key), revision, nil, "%s", detailLost)
	}
	valueSize := l.valueSize(&r)
	if l.headers > 0 {
		if r, buf, err = s.ReadStored(dst, offset, size, "", revision); err != nil {
			return Record{}, 0, dst, err
		}
		r.Value = nil
	}
	r.Compressed, r.RawLen, r.File = false, 0, ValueFile{}
	return r, valueSize, buf, nil
}

// readAt reads bytes of a record, from memory if they are held. Its errors are those of Read.
func (s *Segment) readAt(p []byte, offset int64, key string, revision kv.Revision) error {
	if s.readHeld(p, offset) {
		return nil
	}
	m, err := s.mapped()
	if err != nil {
		return fmt.Errorf("segment: map %s: %w", s.path, err)
	}
	if _, err := m.ReadAt(p, offset); err != nil {
		return s.lost(offset, key, revision, err, "unreadable")
	}
	return nil
}

// outside returns the error of a read of bytes that the segment does not have.
func (s *Segment) outside(offset int64, size uint32, key string, revision kv.Revision) error {
	return s.lost(offset, key, revision, nil, "%d bytes are not within the segment's %d", size, s.size.Load())
}

// valueError returns the error of a read whose value file could not be read.
func (s *Segment) valueError(err error, key string, revision kv.Revision) error {
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		return s.ofRecord(damage, key, revision)
	}
	return err
}

// undecoded returns the error of a read whose bytes did not decode.
func (s *Segment) undecoded(offset int64, key string, revision kv.Revision, err error) error {
	if errors.Is(err, kv.ErrVersion) {
		return fmt.Errorf("segment: read %s at %d: %w", s.path, offset, err)
	}
	return s.lost(offset, key, revision, nil, "%v", err)
}

// lost returns an error for the damage of one record.
func (s *Segment) lost(offset int64, key string, revision kv.Revision, cause error, format string, args ...any) error {
	return s.corrupt(offset, cause, "key %q, revision %d, %s: "+format,
		append([]any{key, revision, s.bucket}, args...)...)
}

// mapped returns the mapping, and makes it if there is none. It is as long as the file may become,
// so that a growing file needs no new one. The caller reads from the result once: if the file
// cannot be mapped, it is a oneRead, and the next call tries again.
func (s *Segment) mapped() (vfs.Mapping, error) {
	if m := s.mapping.Load(); m != nil {
		return m.Mapping, nil
	}
	if s.reads != nil {
		s.reads <- struct{}{}
	}
	m, err := s.mapOrOpen()
	if _, ok := m.(oneRead); !ok {
		s.readEnded()
	}
	return m, err
}

// readEnded allows another read to open a file.
func (s *Segment) readEnded() {
	if s.reads != nil {
		<-s.reads
	}
}

// mapOrOpen returns a mapping that another read has made meanwhile, or makes it.
func (s *Segment) mapOrOpen() (vfs.Mapping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.mapping.Load(); m != nil {
		return m.Mapping, nil
	}
	length := s.limit
	if s.mu.desc.Sealed {
		length = s.mu.desc.Size
	}
	file, err := s.fs.Open(s.path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	m, err := file.Map(length)
	if err != nil {
		return oneRead{s, file}, nil // the address space or the number of mappings is at its limit: read without one
	}
	_ = file.Close() // read only; the mapping remains valid
	prefetcher, _ := m.(vfs.Prefetcher)
	s.mapping.Store(&mapping{m, prefetcher})
	return m, nil
}

// oneRead stands for a mapping where the system refuses one. It reads from the file, and closes
// it after the read.
type oneRead struct {
	segment *Segment
	file    vfs.File
}

func (r oneRead) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.file.ReadAt(p, off)
	_ = r.Close() // read only
	return n, err
}

func (r oneRead) Close() error {
	defer r.segment.readEnded()
	return r.file.Close()
}
