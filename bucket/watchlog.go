package bucket

import (
	"errors"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// watchLog implements watch.Log: it gives a bucket's records to its watchers.
type watchLog struct{ *Bucket }

var _ watch.Log = watchLog{}

// Newest returns the newest revision that can be read.
func (b watchLog) Newest() kv.Revision {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.revision
}

// Read calls fn for the matching records with a revision above p's.
func (b watchLog) Read(q *watch.Query, p *watch.Position, fn func(*kv.Entry, int, error) bool) error {
	from := p.Revision + 1
	newest, err := b.readable(from)
	if err != nil {
		return err
	}
	scan := b.scanWhole
	if q.Stale {
		scan = b.scan
	}
	var room entryRoom
	err = scan(p, newest, func(f *scanned) bool {
		if !kv.MatchAny(q.Patterns, view.String(f.record.Key)) || q.IgnoreDeletes && f.marker() {
			return true
		}
		return fn(b.entryIn(&room, f, q.MetaOnly))
	})
	if err != nil {
		return err
	}
	return b.checkRead(from, p.Revision)
}

// readable returns the newest revision. It returns a *kv.CompactedError if a watcher that
// reads on from a revision would miss the end of a key.
func (b *Bucket) readable(from kv.Revision) (newest kv.Revision, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if from > b.mu.revision {
		return b.mu.revision, nil
	}
	return b.mu.revision, b.forgottenLocked().check(b, from)
}

// checkRead returns a *kv.CompactedError if compaction removed the end of a key while the
// records between two revisions were read. An end that was forgotten meanwhile, but whose
// record is still on the disk, was read.
func (b *Bucket) checkRead(from, upTo kv.Revision) error {
	b.mu.RLock()
	removed := forgotten{upTo: b.mu.compactedEndUpTo}
	b.mu.RUnlock()
	if removed.upTo < from {
		return nil
	}
	removed.upTo = max(removed.upTo, upTo)
	return removed.check(b, from)
}

// Load reads the records of refs. Consecutive references to one segment share a pin.
func (b watchLog) Load(q *watch.Query, refs []watch.Ref, fn func(*kv.Entry, int, error)) error {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Segment == refs[0].Segment {
			n++
		}
		if err := b.loadFrom(q, refs[:n], fn); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// loadFrom loads references to one segment.
func (b watchLog) loadFrom(q *watch.Query, refs []watch.Ref, fn func(*kv.Entry, int, error)) error {
	sl, err := b.pinRef(&refs[0])
	if err != nil {
		return err
	}
	if sl == nil {
		return b.loadMoved(q, refs, fn)
	}
	defer sl.Unpin()
	var room entryRoom
	var buf []byte
	for i := range refs {
		var rec segment.Record
		var valueSize int
		var cause error
		if rec, valueSize, buf, cause = readRef(sl, buf[:0], &refs[i], q.MetaOnly); cause == nil {
			fn(room.entry(b.Bucket, &rec), valueSize, nil)
			continue
		}
		if err := b.loadByRevision(q, refs[i].Revision, cause, fn); err != nil {
			return err
		}
	}
	return nil
}

// loadMoved loads references to a segment that was compacted.
func (b watchLog) loadMoved(q *watch.Query, refs []watch.Ref, fn func(*kv.Entry, int, error)) error {
	for len(refs) > 0 {
		n := b.loadByScan(q, refs, fn)
		if n == 0 { // loadByRevision finds the reason
			if err := b.loadByRevision(q, refs[0].Revision, nil, fn); err != nil {
				return err
			}
			n = 1
		}
		refs = refs[n:]
	}
	return nil
}

// skipMax bounds the other records that a scan reads between two references. Beyond it,
// a new scan for the next reference reads no more.
const skipMax = 512

// loadByScan scans for the first reference's revision. It loads this reference and those
// that the scan finds after it, and returns how many it loaded. It stops at damage.
func (b watchLog) loadByScan(q *watch.Query, refs []watch.Ref, fn func(*kv.Entry, int, error)) (n int) {
	var room entryRoom
	p, passed := watch.Position{Revision: refs[0].Revision - 1}, 0
	_ = b.scan(&p, refs[len(refs)-1].Revision, func(f *scanned) bool { // loading the next reference returns the error too
		for ; refs[n].Revision < f.record.Revision; n++ {
			fn(nil, 0, nil)
		}
		if refs[n].Revision > f.record.Revision {
			passed++
			return passed < skipMax
		}
		fn(b.entryIn(&room, f, q.MetaOnly))
		n, passed = n+1, 0
		return n < len(refs)
	})
	return n
}

// pinRef pins the segment of a reference. It returns nil if the segment was compacted
// meanwhile.
func (b *Bucket) pinRef(r *watch.Ref) (*openSegment, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil, b.mu.gone
	}
	sl := b.mu.segments[r.Segment]
	if !sl.readable() {
		return nil, nil
	}
	sl.Pin()
	return sl, nil
}

func readRef(sl *openSegment, buf []byte, r *watch.Ref, metaOnly bool) (segment.Record, int, []byte, error) {
	if metaOnly {
		return sl.ReadHeader(buf, r.Offset, r.Size, r.Revision)
	}
	rec, buf, err := sl.Read(buf, r.Offset, r.Size, "", r.Revision)
	return rec, len(rec.Value), buf, err
}

// loadByRevision loads a record that has moved, or whose copy at the reference is damaged.
func (b watchLog) loadByRevision(q *watch.Query, rev kv.Revision, cause error, fn func(*kv.Entry, int, error)) error {
	p := watch.Position{Revision: rev - 1}
	found := false
	err := b.scan(&p, rev, func(f *scanned) bool {
		found = true
		fn(b.entryOf(f, q.MetaOnly))
		return false
	})
	var corrupt *kv.CorruptError
	switch {
	case found || err != nil:
		return err
	case errors.As(cause, &corrupt):
		return corrupt // not even its key is known
	}
	fn(nil, 0, nil)
	return nil
}
