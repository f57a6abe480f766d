package bucket

import (
	"cmp"
	"slices"
	"time"

	"kvd/index"
	"kvd/internal/view"
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
		full, damaged, left := false, false, false
		next, err := w.scanner.Scan(sl.Segment, w.offset, func(_ int64, r *segment.Record, _ int) bool {
			if r.Op == segment.Erase || r.Revision <= w.walked {
				return true
			}
			if damaged {
				if damaged, left = false, !b.walkUnread(r.Revision, ttl, now); left {
					return false
				}
			}
			if full = taken == sweepBatch || later(r.Created, ttl) > now; full {
				w.youngest = r.Created
				return false
			}
			w.walkOver(r.Key, r.Revision)
			taken++
			return true
		}, func(*kv.CorruptError) { damaged = true }) // what reads it, or verifies it, reports it
		if err == nil && damaged {
			left = !b.walkUnread(b.endOf(sl), ttl, now)
		}
		sl.Unpin()
		if err != nil || left {
			return err
		}
		if w.offset = next; full || !b.walkOn(sl, horizon) {
			return nil
		}
	}
}

// walkOver adds a record that the TTL has ended to the batch.
func (w *sweepState) walkOver(key []byte, revision kv.Revision) {
	w.find(key, revision)
	w.walked = revision
	w.unsaid++
}

// walkUnread goes on by the index, up to the records before a revision, where damage
// or a disk that does not read hides some: what is not known to have ended comes back
// when the TTL is lifted. Where there is no more to it than an index block that is not
// written yet, revisions follow each other. It reports whether all had ended.
func (b *Bucket) walkUnread(before kv.Revision, ttl time.Duration, now int64) bool {
	w := &b.sweeping
	if before <= w.walked+1 {
		return true
	}
	ended := true
	b.eachUnread(w.walked, before, func(key string, v index.Version) bool {
		if ended = later(v.Created, ttl) <= now; !ended {
			w.youngest = v.Created
			return false
		}
		w.walkOver(view.Bytes(key), v.Revision)
		return true
	})
	return ended
}

// eachUnread calls fn for what the index has between two revisions, both exclusive, in
// the order of revisions, until fn returns false.
func (b *Bucket) eachUnread(after, before kv.Revision, fn func(key string, v index.Version) bool) {
	type unread struct {
		key string
		index.Version
	}
	var list []unread
	for n, more := 0, true; more; n++ {
		b.mu.RLock()
		more = b.mu.index.Part(n, func(key []byte, _ index.Version) {
			var room [kv.MaxHistory]index.Version
			name := view.String(key)
			for _, v := range b.mu.index.Versions(room[:0], index.Hash(name), name) {
				if after < v.Revision && v.Revision < before {
					list = append(list, unread{string(key), v})
				}
			}
		})
		b.mu.RUnlock()
	}
	slices.SortFunc(list, func(a, b unread) int { return cmp.Compare(a.Revision, b.Revision) })
	list = slices.CompactFunc(list, func(a, b unread) bool { return a.Revision == b.Revision })
	for _, u := range list {
		if !fn(u.key, u.Version) {
			return
		}
	}
}

// endOf returns a revision behind those of a segment.
func (b *Bucket) endOf(sl *slot) kv.Revision {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if next := b.after(sl, b.sweeping.walked); next != nil {
		return next.first()
	}
	return b.mu.revision + 1
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

// horizon returns a time that no record is older than which cannot be read yet: no
// group is under way while path is held, and the next gets a later time.
func (s *Store) horizon() int64 {
	s.path.Lock()
	defer s.path.Unlock()
	return s.clock.advance()
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
