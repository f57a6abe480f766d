package bucket

import (
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// This file finds what a bucket's TTL has ended, by reading its segments in the
// order of revisions.

// walk adds the next records that the bucket's TTL has ended to the batch, at most
// as many as one holds.
func (b *Bucket) walk(now int64) error {
	w := &b.sweeping
	b.mu.RLock()
	ttl := b.mu.config.TTL
	b.mu.RUnlock()
	if ttl == 0 || later(w.youngest, ttl) > now {
		return nil
	}
	horizon := b.store.horizon()
	for taken := 0; ; {
		sl := b.walkFrom(horizon)
		if sl == nil {
			return nil
		}
		full := false
		next, err := w.scanner.Scan(sl.Segment, w.offset, func(_ int64, r *segment.Record, _ int) bool {
			if r.Op == segment.Erase || r.Revision <= w.walked {
				return true
			}
			if full = taken == sweepBatch || later(r.Created, ttl) > now; full {
				w.youngest = r.Created
				return false
			}
			found := dying{string(r.Key), r.Revision}
			if r.Op != segment.Put && b.isNewest(found) {
				w.aged = r.Revision
			}
			w.found, w.dropping = append(w.found, found), append(w.dropping, found)
			w.walked = r.Revision
			taken++
			return true
		}, func(*kv.CorruptError) {}) // what reads it, or verifies it, reports it
		sl.Unpin()
		if err != nil {
			return err
		}
		if w.offset = next; full || !b.walkOn(sl, horizon) {
			return nil
		}
	}
}

func (b *Bucket) isNewest(d dying) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	newest, ok := b.mu.index.Newest(index.Hash(d.key), d.key)
	return ok && newest.Revision == d.revision && newest.Deadline == 0
}

// walkFrom returns the segment where the walk goes on, pinned; nil if there is
// none.
func (b *Bucket) walkFrom(horizon int64) *slot {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil
	}
	w.walked = max(w.walked, b.mu.live.expired)
	if w.slot == nil || w.slot.released != nil { // or compacted away
		if w.slot = b.holding(w.walked + 1); w.slot == nil {
			w.youngest = horizon
			return nil
		}
		w.offset = w.slot.seek(w.walked + 1)
	}
	w.slot.Pin()
	return w.slot
}

// horizon returns a time before which no record was made that cannot be read yet:
// no group is under way while path is held.
func (s *Store) horizon() int64 {
	s.path.Lock()
	defer s.path.Unlock()
	return s.now()
}

// walkOn goes to the segment behind sl, which was read to its end, and reports
// whether there is one. What was not there when the walk began is not older than
// horizon.
func (b *Bucket) walkOn(sl *slot, horizon int64) bool {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	next := b.after(sl, w.walked)
	if next == nil {
		w.youngest = horizon
		return false
	}
	w.slot, w.offset = next, next.seek(w.walked+1)
	return true
}
