package bucket

import (
	"strings"

	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// This file reads a bucket's records in the order of revisions. It reads what the segments
// have, also superseded records that compaction has not removed yet.

const (
	// scannersMax bounds the scans of a store at a time. Each has a buffer.
	scannersMax = 8
	// scanRecords is the number of records after which a scan pauses, so that its caller
	// can check whether its context has ended.
	scanRecords = 16 << 10
)

// scanned is a record that a scan has read. The record is decoded up to its key.
type scanned struct {
	scanner *segment.Scanner
	segment *openSegment
	record  *segment.Record
	offset  int64
	size    int
}

// scanFunc is scan or scanWhole.
type scanFunc func(p *watch.Position, upTo kv.Revision, fn func(*scanned) bool) error

func (f *scanned) marker() bool { return kv.Operation(f.record.Op).IsMarker() }

// scan calls fn for the bucket's records above p's revision and up to upTo, ascending. It
// ends when fn returns false, which leaves the record to the next scan. p is the progress:
// it is at upTo when there are no more records. A scan may stop before that. The error is
// a *kv.CorruptError if damage hides a record whose key is unknown.
func (b *Bucket) scan(p *watch.Position, upTo kv.Revision, fn func(*scanned) bool) error {
	return b.scanUnless(func() error { return nil }, p, upTo, fn)
}

// scanWhole is scan for a reader that must be told of every record: it ends with the error of
// what is in doubt where records behind p may be missing. It judges that at the moment at which
// it pins each segment, so that no compaction copies around a hole in between.
func (b *Bucket) scanWhole(p *watch.Position, upTo kv.Revision, fn func(*scanned) bool) error {
	return b.scanUnless(func() error {
		if p.Revision < upTo && b.inDoubtLocked(p.Revision+1) {
			return b.mu.doubtful
		}
		return nil
	}, p, upTo, fn)
}

// scanUnless is scan that ends with the error of refuse, which is called with the bucket's mu
// held whenever a segment is pinned.
func (b *Bucket) scanUnless(refuse func() error, p *watch.Position, upTo kv.Revision, fn func(*scanned) bool) error {
	scanner := <-b.store.scanners
	defer func() { b.store.scanners <- scanner }()
	s := scanState{position: p, upTo: upTo, fn: fn, found: scanned{scanner: scanner}, left: scanRecords}
	for {
		sl, err := b.pinAt(p, refuse)
		if err != nil {
			return err
		}
		if sl == nil {
			s.end()
		} else {
			s.found.segment = sl
			p.Offset, err = scanner.Scan(sl.Segment, p.Offset, s.take, s.damaged)
			sl.Unpin()
		}
		switch {
		case err != nil || s.lost == nil && (s.stopped || sl == nil):
			return err
		case s.lost != nil && !s.retryDamage():
			b.examineOnce(s.damagedIn, s.lost)
			return s.lost
		}
	}
}

// pinAt pins the segment that has the next record after p, and completes p. It returns nil
// if there is none. The error is that of refuse.
func (b *Bucket) pinAt(p *watch.Position, refuse func() error) (*openSegment, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil, b.mu.gone
	}
	if err := refuse(); err != nil {
		return nil, err
	}
	var sl *openSegment
	if p.Placed {
		if sl = b.mu.segments[p.Segment]; !sl.readable() {
			sl = nil // compacted: its records are in another segment
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

// readable reports whether the segment exists and is not retired. The caller holds the
// bucket's mu.
func (sl *openSegment) readable() bool { return sl != nil && sl.lost == nil && sl.released == nil }

// scanState is the state of one scan.
type scanState struct {
	position  *watch.Position
	upTo      kv.Revision
	fn        func(*scanned) bool
	found     scanned
	left      int // records until it pauses
	stopped   bool
	seen      kv.Revision      // the revision of the last record read
	damage    *kv.CorruptError // after that record; perhaps it hides no record
	damagedIn *openSegment     // the segment of damage
	lost      *kv.CorruptError // damage that seems to hide records
	resume    kv.Revision      // the last revision that lost hides
	looked    *kv.CorruptError // damage that was read a second time
}

// take passes a record to fn, and reports whether to go on.
func (s *scanState) take(offset int64, rec *segment.Record, size int) bool {
	if rec.Op == segment.Erase {
		return true
	}
	p := s.position
	if s.damage != nil {
		// An index block that is not written yet looks like damage, but the revisions
		// before and after it have no gap.
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
		return true // the scan began at a mark before p
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
		s.damage, s.damagedIn = c, s.found.segment
	}
}

// end records that there are no more records.
func (s *scanState) end() {
	if s.damage != nil && max(s.seen, s.position.Revision) < s.upTo {
		s.lost, s.resume = s.damage, s.upTo
		return
	}
	s.position.Revision = max(s.position.Revision, s.upTo)
}

// retryDamage reports whether to read damage a second time; then it resets the scan to
// before it. What looks like damage with a gap of revisions may be an index block that was
// not written yet when the scan read it: if its segment was sealed and the next one was
// compacted before the scan reached that one, revisions have a gap. By now the block is
// written. If the damage is still there, the scan ends after it.
func (s *scanState) retryDamage() bool {
	if l := s.looked; l != nil && l.File == s.lost.File && l.Offset == s.lost.Offset {
		s.position.Revision = s.resume
		return false
	}
	s.looked, s.lost, s.damage = s.lost, nil, nil
	*s.position = watch.Position{Revision: s.position.Revision}
	return true
}

// entryOf returns the entry of a scanned record, in memory of its own.
func (b *Bucket) entryOf(f *scanned, metaOnly bool) (e *kv.Entry, valueSize int, damaged error) {
	return b.entryIn(new(entryRoom), f, metaOnly)
}

// entryIn is entryOf with the memory of a room.
func (b *Bucket) entryIn(room *entryRoom, f *scanned, metaOnly bool) (e *kv.Entry, valueSize int, damaged error) {
	valueSize = f.scanner.ValueSize()
	if !metaOnly || f.scanner.HasHeaders() || f.record.Lost {
		damaged = f.scanner.Value(f.record)
	}
	if metaOnly {
		f.record.Value = nil
	}
	e = room.entry(b, f.record)
	if damaged != nil {
		key := strings.Clone(e.Key) // errors outlive entries
		b.noteLost(damaged, key, e.Revision)
		damaged = kv.NameKey(b.name, key, damaged)
	}
	return e, valueSize, damaged
}
