package segment

import (
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
)

// Steps in which a file's room on the disk grows: it doubles up to growMin, and
// goes on by a quarter, within growMin and growMax. Small buckets stay small,
// large ones ask the file system rarely.
const (
	growMin = 1 << 20
	growMax = 4 << 20
)

// SizeFor returns the limit that a new segment needs to take records of that
// many bytes, whose index entries take at most the sum of their [EntryBound].
func SizeFor(records, entries int64) int64 {
	return blockEnd(HeaderSize+records, entries)
}

// Reserve makes sure that appending that many bytes of records finds room on
// the disk, and that the index block over everything pending and them does too;
// entries is the sum of the records' [EntryBound]. It returns ErrFull if the
// limit would be passed, and an error that matches vfs.ErrNoSpace if the disk
// is full; after either the segment is as it was.
func (s *Segment) Reserve(records, entries int64) error {
	need := blockEnd(s.size.Load()+records, s.pending.length+entries)
	if need > s.limit {
		return ErrFull
	}
	if err := s.wake(); err != nil {
		return err
	}
	allocated := s.allocated.Load()
	if need <= allocated {
		return nil
	}
	step := min(allocated, max(growMin, min(allocated/4, growMax)))
	target := min(max(need, pageAlign(allocated+step)), s.limit)
	err := s.file.Allocate(allocated, target-allocated)
	if errors.Is(err, vfs.ErrNoSpace) && target > need {
		target = need // what is asked for may still fit
		err = s.file.Allocate(allocated, target-allocated)
	}
	if err != nil {
		return fmt.Errorf("segment: reserve in %s: %w", s.path, err)
	}
	s.allocated.Store(target)
	return nil
}

// Append writes p, whole encoded records, at the end and returns the offset of
// the first. They can be read from then on. The room must have been reserved.
// After an error the bytes may or may not be there, and nothing was added.
func (s *Segment) Append(p []byte) (offset int64, err error) {
	offset = s.size.Load()
	if len(p)%alignment != 0 || offset+int64(len(p)) > s.allocated.Load() {
		panic("segment: append of unaligned bytes or without a reservation")
	}
	if _, err := s.file.WriteAt(p, offset); err != nil {
		return 0, fmt.Errorf("segment: append to %s: %w", s.path, err)
	}
	s.size.Store(offset + int64(len(p)))
	return offset, nil
}

// Note adds the index entry of one record. Every record appended is noted, in
// the order of their offsets, before BeginIndex. Key is copied.
func (s *Segment) Note(e *Entry) {
	if e.Offset != s.pending.next || e.Offset+int64(e.Size) > s.size.Load() {
		panic(fmt.Sprintf("segment: note of the record at %d where %d is next", e.Offset, s.pending.next))
	}
	s.pending.add(e)
}

// chunkSize is where the pending entries go on in another slice: growing one
// slice of many megabytes would stall the writer that meets the copy.
const chunkSize = 64 << 10

// pending is the index block that is gathering.
type pending struct {
	chunks [][]byte // the entries, encoded
	length int64    // of all chunks
	count  uint32
	prev   int64 // offset of the block before; 0: none
	start  int64 // offset of the first record
	next   int64 // offset of the record to be noted next
	deltas deltas
}

func (p *pending) add(e *Entry) {
	last := len(p.chunks) - 1
	if last < 0 || len(p.chunks[last]) >= chunkSize {
		var chunk []byte // the first grows from nothing: most buckets are small
		if last >= 0 {
			chunk = make([]byte, 0, chunkSize+EntryBound(len(e.Key)))
		}
		p.chunks = append(p.chunks, chunk)
		last++
	}
	before := len(p.chunks[last])
	p.chunks[last] = p.deltas.appendEntry(p.chunks[last], e)
	p.length += int64(len(p.chunks[last]) - before)
	p.count++
	p.next = e.Offset + int64(e.Size)
}

// Block is an index block on its way to the file.
type Block struct {
	offset int64
	header blockHeader
	chunks [][]byte
}

// BeginIndex takes the pending entries into a block, whose place is the end of
// the segment, and moves the end to the next page behind it. ok is false if
// nothing is pending. Blocks are written in the order they began.
func (s *Segment) BeginIndex() (b *Block, ok bool) {
	p, offset := &s.pending, s.size.Load()
	if p.next != offset {
		panic(fmt.Sprintf("segment: index of records up to %d where the last ends at %d", p.next, offset))
	}
	if p.count == 0 {
		return nil, false
	}
	b = &Block{
		offset: offset,
		header: blockHeader{prev: p.prev, start: p.start, count: p.count, length: uint32(p.length)},
		chunks: p.chunks,
	}
	s.size.Store(b.end())
	s.pending = pending{prev: offset, start: b.end(), next: b.end()}
	return b, true
}

// end returns where appends go on.
func (b *Block) end() int64 { return blockEnd(b.offset, int64(b.header.length)) }

// encode returns the block and the zeros behind it.
func (b *Block) encode(seed Seed, bucketID, number uint64) []byte {
	buf := make([]byte, blockHeaderSize, b.end()-b.offset)
	for _, chunk := range b.chunks {
		buf = append(buf, chunk...)
	}
	b.header.bodySum = seed.sum(buf[blockHeaderSize:])
	seed.appendBlockHeader(buf[:0], place{bucketID, number, b.offset}, &b.header)
	return slices.Grow(buf, cap(buf)-len(buf))[:cap(buf)]
}

// WriteIndex writes a block that BeginIndex returned. It may run beside the
// writer.
func (s *Segment) WriteIndex(b *Block) error {
	if prev := s.Desc().LastIndex; prev != b.header.prev {
		panic(fmt.Sprintf("segment: index block at %d written after the one at %d", b.offset, prev))
	}
	if _, err := s.file.WriteAt(b.encode(s.seed, s.bucketID, s.number), b.offset); err != nil {
		return fmt.Errorf("segment: write index to %s: %w", s.path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.indexed, s.mu.lastIndex = b.end(), b.offset
	return nil
}

// Sync makes everything appended and written durable. It may run beside the
// writer, whose appends meanwhile may be durable or not. The error does not match
// vfs.ErrNoSpace: nothing may be tried again after it.
func (s *Segment) Sync() error {
	if err := s.sync(); err != nil {
		return fmt.Errorf("segment: sync %s: %w", s.path, err)
	}
	return nil
}

// sync keeps a sync's error from passing for a full disk that was met before
// anything happened: the pages are gone, and a second sync would not say so.
func (s *Segment) sync() error {
	err := s.file.Sync()
	if errors.Is(err, vfs.ErrNoSpace) {
		return errors.New(err.Error())
	}
	return err
}

// Seal ends the segment: it gives back the room beyond the end, syncs the file
// and closes it. Every record is in an index block, and every block written;
// nothing but readers may run beside it. Reads go on.
func (s *Segment) Seal() error {
	size := s.size.Load()
	if d := s.Desc(); d.Size != size {
		panic(fmt.Sprintf("segment: seal at %d where the index ends at %d", size, d.Size))
	}
	err := s.wake()
	if err == nil {
		err = s.file.Truncate(size)
	}
	if err == nil {
		err = s.sync()
	}
	if err == nil {
		err = s.file.Close()
	}
	if err != nil {
		return fmt.Errorf("segment: seal %s: %w", s.path, err)
	}
	s.file = nil
	s.allocated.Store(size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.sealed = true
	return nil
}

// removeStep is how much of a dead file goes at a time: giving back 64 MiB at
// once stalled syncs of the log on the same disk for milliseconds.
const removeStep = 4 << 20

// Remove takes a segment's file away, shrinking it in steps of 4 MiB first. It
// calls step after each, which may wait. The segment is neither open nor mapped.
func Remove(o Options, number uint64, step func()) error {
	name := o.path(number)
	err := shrink(o.FS, name, step)
	if err == nil {
		err = o.FS.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("segment: remove %s: %w", name, err)
	}
	return nil
}

func shrink(fs vfs.FS, name string, step func()) error {
	file, err := fs.Open(name, vfs.ReadWrite)
	if err != nil {
		return err
	}
	size, err := file.Size()
	for err == nil && size > removeStep {
		size -= removeStep
		if err = file.Truncate(size); err == nil {
			step()
		}
	}
	return errors.Join(err, file.Close())
}
