package bucket

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
)

// The size of a new segment is an eighth of its bucket's size, so that compaction can
// choose between several segments. It is at least Options.SegmentSize and at most
// segmentSizeMax, bytes.
const (
	segmentSizeDefault = 1 << 20
	segmentSizeMax     = 64 << 20
)

// segmentsMax bounds the segments that a bucket has between two opens: index.Version has
// 24 bits for their numbers. A writer and a compaction may start the last two at once.
const segmentsMax = 1<<24 - 1

// reserve makes sure that the active segment has room for that many bytes of records. If
// it is too full, reserve starts the next one. Its file stays open until endUses. The caller
// holds path.
func (b *Bucket) reserve(records, entries int64) error {
	if b.memory {
		return b.reserveMemory(records)
	}
	if b.active != nil {
		if err := b.store.use(b.active); err != nil {
			return err
		}
		err := b.active.Reserve(records, entries)
		if !errors.Is(err, segment.ErrFull) {
			return err
		}
		b.store.writeBehind(b.active, 1)
		if err := b.sealActive(); err != nil {
			return err
		}
		b.store.endUses(len(b.store.path.using) - 1)
	}
	if err := b.startSegment(segment.SizeFor(records, entries)); err != nil {
		return err
	}
	return b.active.Reserve(records, entries)
}

// sealActive ends the active segment: what is held of it is written, and its last index block
// begins. The next checkpoint writes the block and seals the segment. An error that matches
// vfs.ErrNoSpace changes nothing, and any other has poisoned the store. The caller holds path.
func (b *Bucket) sealActive() error {
	err := b.store.tails.write(b.active)
	switch {
	case errors.Is(err, vfs.ErrNoSpace):
		return err
	case err != nil:
		_ = b.store.poison(err) // nothing of the group at hand is written yet
		return b.store.checkFailure()
	}
	f := b.markUnsynced()
	f.beginIndex()
	f.seal = true
	b.store.warm.cool(b.active)
	b.active = nil
	return nil
}

// use opens the file of a segment, and keeps it open until the end of the group. It looks where
// the directory is before it opens a file by its name. The caller holds path.
func (s *Store) use(sl *openSegment) error {
	if !s.warm.useOpen(sl) {
		if err := s.checkPlaceLocked(); err != nil {
			return err
		}
		if err := s.warm.use(sl); err != nil {
			return err
		}
	}
	s.path.using = append(s.path.using, sl)
	return nil
}

// endUses ends the uses of files, except the first n. The caller holds path.
func (s *Store) endUses(n int) {
	for _, sl := range s.path.using[n:] {
		s.warm.release(sl)
	}
	clear(s.path.using[n:])
	s.path.using = s.path.using[:n]
}

// startSegment makes a new active segment that takes at least size bytes.
func (b *Bucket) startSegment(size int64) error {
	s := b.store
	if err := b.mayStartSegment(); err != nil {
		return err
	}
	if err := s.warm.enter(); err != nil {
		return err
	}
	number, err := s.numbers.take()
	if err != nil {
		s.warm.leave()
		return err
	}
	seg, err := segment.Create(b.disk, number, b.id, max(size, b.segmentSize()))
	if err != nil {
		s.warm.leave()
		s.numbers.giveBack(number)
		return err
	}
	b.active = b.addSegment(seg, &manifest.Segment{}, true)
	s.warm.add(b.active)
	s.path.using = append(s.path.using, b.active)
	b.markUnsynced().created = true
	return nil
}

// mayStartSegment returns an error if the bucket has had as many segments as it may have.
func (b *Bucket) mayStartSegment() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if len(b.mu.segments) >= segmentsMax {
		return fmt.Errorf("%w: bucket %q has had %d segments since it was opened: reopen the store", kv.ErrReadOnly, b.name, segmentsMax)
	}
	return nil
}

// addSegment adds a segment to the bucket under the next number. If newest, it is also
// the last in the order of revisions. A nil segment stands for a lost file.
func (b *Bucket) addSegment(seg *segment.Segment, d *manifest.Segment, newest bool) *openSegment {
	b.mu.Lock()
	defer b.mu.Unlock()
	sl := &openSegment{Segment: seg, number: uint32(len(b.mu.segments)), removedUpTo: d.RemovedUpTo}
	if seg == nil {
		sl.lost = d
	}
	b.mu.segments, b.mu.numbered = append(b.mu.segments, sl), append(b.mu.numbered, sl)
	if newest {
		b.mu.order = append(b.mu.order, sl)
	}
	return sl
}

// removeNumberLocked ends the use of a segment's number. No version in the index has it. The caller
// holds mu.
func (b *Bucket) removeNumberLocked(sl *openSegment) {
	b.mu.segments[sl.number] = nil
	b.mu.numbered = slices.DeleteFunc(b.mu.numbered, func(other *openSegment) bool { return other == sl })
}

// segmentSize returns the size of the next segment, bytes: a power of two.
func (b *Bucket) segmentSize() int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var total int64
	for sl := range b.files() {
		total += sl.Size()
	}
	size := int64(1) << bits.Len64(uint64(total/8))
	return min(max(size, b.store.opts.SegmentSize), segmentSizeMax)
}

// markUnsynced records that the active segment has writes that are not synced, and
// returns its entry in unsynced. The caller holds path.
func (b *Bucket) markUnsynced() *unsyncedFile {
	b.markDirty()
	if n := len(b.unsynced); n > 0 && b.unsynced[n-1].segment == b.active {
		return b.unsynced[n-1]
	}
	f := &unsyncedFile{segment: b.active}
	b.unsynced = append(b.unsynced, f)
	return f
}
