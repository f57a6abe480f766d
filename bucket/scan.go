package bucket

import (
	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// This file reads a bucket in the order of revisions: what it has on the disk, the
// superseded records among it until compaction takes them.

const (
	// scannersMax bounds the scans of a store at a time, each of which has a buffer.
	scannersMax = 8
	// scanRecords is after how many records a scan pauses, so that its caller can
	// look whether it is still wanted.
	scanRecords = 16 << 10
)

// scanned is a record that a scan has come upon. Record is decoded up to its key.
type scanned struct {
	scanner *segment.Scanner
	slot    *slot
	record  *segment.Record
	offset  int64
	size    int
}

func (f *scanned) marker() bool { return kv.Operation(f.record.Op).IsMarker() }

// scan calls fn for the bucket's records behind p and up to a revision, ascending,
// until fn returns false: it does not take the record. p moves along; it is at
// upTo once there is nothing more, and may stop before that. The error is
// *kv.CorruptError where damage has taken a record whose key nobody knows.
func (b *Bucket) scan(p *watch.Position, upTo kv.Revision, fn func(*scanned) bool) error {
	scanner := <-b.store.scanners
	defer func() { b.store.scanners <- scanner }()
	s := scanState{position: p, upTo: upTo, fn: fn, found: scanned{scanner: scanner}, left: scanRecords}
	for {
		sl, err := b.pinAt(p)
		if err != nil {
			return err
		}
		if sl == nil {
			s.end()
		} else {
			s.found.slot = sl
			p.Offset, err = scanner.Scan(sl.Segment, p.Offset, s.take, s.damaged)
			sl.Unpin()
		}
		switch {
		case err != nil || s.lost == nil && (s.stopped || sl == nil):
			return err
		case s.lost != nil && !s.retryDamage():
			return s.lost
		}
	}
}

// pinAt pins the segment in which the record behind p is, and completes p. It
// returns nil if there is none.
func (b *Bucket) pinAt(p *watch.Position) (*slot, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil, b.mu.gone
	}
	var sl *slot
	if p.Placed {
		if sl = b.mu.segments[p.Segment]; !sl.readable() {
			sl = nil // compacted away: what it held is elsewhere
		} else if p.Offset >= sl.Size() {
			if sl = b.after(sl, p.Revision); sl == nil {
				return nil, nil
			}
			*p = watch.Position{Revision: p.Revision, Placed: true, Segment: sl.number, Offset: sl.seek(p.Revision + 1)}
		}
	}
	if sl == nil {
		if sl = b.holding(p.Revision + 1); sl == nil {
			return nil, nil
		}
		*p = watch.Position{Revision: p.Revision, Placed: true, Segment: sl.number, Offset: sl.seek(p.Revision + 1)}
	}
	sl.Pin()
	return sl, nil
}

// readable reports whether the segment is there and was not retired. The caller
// holds the bucket's mu.
func (sl *slot) readable() bool { return sl != nil && sl.lost == nil && sl.released == nil }

// scanState is one run of scan.
type scanState struct {
	position *watch.Position
	upTo     kv.Revision
	fn       func(*scanned) bool
	found    scanned
	left     int // records until it pauses
	stopped  bool
	seen     kv.Revision      // of the newest record come upon
	damage   *kv.CorruptError // behind it; it may turn out to have held nothing
	lost     *kv.CorruptError // damage that seems to have held records
	resume   kv.Revision      // behind what was lost
	looked   *kv.CorruptError // damage that was looked at again
}

// take looks at a record, and reports whether it took it.
func (s *scanState) take(offset int64, rec *segment.Record, size int) bool {
	if rec.Op == segment.Erase {
		return true
	}
	p := s.position
	if s.damage != nil {
		// An index block that is not written yet looks like damage, but revisions
		// follow each other across it.
		if before := max(s.seen, p.Revision); rec.Revision > before+1 {
			s.lost, s.resume = s.damage, rec.Revision-1
			return false
		}
		s.damage = nil
	}
	if rec.Revision > s.upTo {
		p.Revision = max(p.Revision, s.upTo)
		s.stopped = true
		return false
	}
	s.seen = rec.Revision
	if rec.Revision <= p.Revision {
		return true // on the way from a mark
	}
	if s.left--; s.left < 0 {
		s.stopped = true
		return false
	}
	s.found.record, s.found.offset, s.found.size = rec, offset, size
	if !s.fn(&s.found) {
		s.stopped = true
		return false
	}
	p.Revision = rec.Revision
	return true
}

func (s *scanState) damaged(c *kv.CorruptError) {
	if s.damage == nil {
		s.damage = c
	}
}

// end records that there is nothing more.
func (s *scanState) end() {
	if s.damage != nil && max(s.seen, s.position.Revision) < s.upTo {
		s.lost, s.resume = s.damage, s.upTo
		return
	}
	s.position.Revision = max(s.position.Revision, s.upTo)
}

// retryDamage reports whether the scan goes back to damage that it has seen once. What
// looks like damage and is followed by a gap may be an index block that was not written
// when the scan passed it: if the segment was sealed and the one behind it compacted
// before the scan came there, revisions do not follow each other. By now the block is
// written. Damage that is still there ends the scan behind it.
func (s *scanState) retryDamage() bool {
	if l := s.looked; l != nil && l.File == s.lost.File && l.Offset == s.lost.Offset {
		s.position.Revision = s.resume
		return false
	}
	s.looked, s.lost, s.damage = s.lost, nil, nil
	*s.position = watch.Position{Revision: s.position.Revision}
	return true
}

// entryOf makes an entry of a scanned record, with memory of its own.
func (b *Bucket) entryOf(f *scanned, metaOnly bool) (e *kv.Entry, valueSize int, damaged error) {
	return b.entryIn(new(entryRoom), f, metaOnly)
}

// entryIn is entryOf with memory of a room.
func (b *Bucket) entryIn(room *entryRoom, f *scanned, metaOnly bool) (e *kv.Entry, valueSize int, damaged error) {
	valueSize = f.scanner.ValueSize()
	if !metaOnly || f.scanner.HasHeaders() {
		damaged = f.scanner.Value(f.record)
	}
	if metaOnly {
		f.record.Value = nil
	}
	e = room.entry(b, f.record)
	if damaged != nil {
		damaged = kv.NameKey(b.name, e.Key, damaged)
	}
	return e, valueSize, damaged
}
