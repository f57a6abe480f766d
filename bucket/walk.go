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

// This file finds the records that a bucket's TTL has expired, by reading its segments
// in the order of revisions. Where damage hides records, the index has their revisions
// and times.

// walk adds the next records that the bucket's TTL has expired to the batch: at most
// sweepBatch that it reads, and those that damage between them hides.
func (b *Bucket) findAged(now int64) error {
	w := &b.sweeping
	b.mu.RLock()
	ttl := b.mu.config.TTL
	b.mu.RUnlock()
	if ttl == 0 || later(w.createdFrom, ttl) > now {
		return nil
	}
	horizon := b.store.horizon()
	room := sweepBatch
	for {
		sl := b.pinScanned(horizon)
		if sl == nil {
			return nil
		}
		part, err := w.scanExpired(sl, ttl, now, room)
		sl.Unpin()
		if err != nil {
			return err
		}
		if part.end == endsInDamage {
			part.next = b.endOf(sl)
		}
		if part.next != 0 && !b.addHidden(part.next, ttl, now) {
			return nil // the next walk comes upon the same damage
		}
		w.offset = part.offset
		room -= part.taken
		if part.end == endsInTime || part.end != endsBehindDamage && !b.nextScanned(sl, horizon) {
			return nil
		}
	}
}

// scanPart is what a scan of a segment has taken, and where it ended.
type scanPart struct {
	end    scanEnd
	taken  int         // records
	offset int64       // where to go on
	next   kv.Revision // after damage: damage hides the records between the last taken and this one; 0: none
}

// scanEnd says why a scan ended.
type scanEnd uint8

const (
	endsWithSegment  scanEnd = iota // everything was read
	endsInTime                      // the next record has not expired, or the batch is full
	endsBehindDamage                // there may be hidden records before the next one
	endsInDamage                    // there may be hidden records at the end of the segment
)

// scanExpired adds records of a segment that have expired to the batch, at most that
// many, and stops at the first that has not, or behind damage. The caller has pinned
// the segment.
func (w *sweepState) scanExpired(sl *slot, ttl time.Duration, now int64, room int) (part scanPart, err error) {
	damaged := false
	part.offset, err = w.scanner.Scan(sl.Segment, w.offset, func(_ int64, r *segment.Record, _ int) bool {
		if r.Op == segment.Erase || r.Revision <= w.expiredUpTo {
			return true
		}
		if damaged && r.Revision > w.expiredUpTo+1 {
			part.end, part.next = endsBehindDamage, r.Revision
			return false
		}
		damaged = false // only an index block that is not written yet: no revision is missing
		if part.taken == room || later(r.Created, ttl) > now {
			part.end, w.createdFrom = endsInTime, r.Created
			return false
		}
		w.addExpired(r.Key, r.Revision)
		part.taken++
		return true
	}, func(*kv.CorruptError) { damaged = true }) // a read of the record, or verify, reports it
	if damaged && part.end == endsWithSegment {
		part.end = endsInDamage
	}
	return part, err
}

// addExpired adds a record that the TTL has expired to the batch.
func (w *sweepState) addExpired(key []byte, revision kv.Revision) {
	w.add(key, revision)
	w.expiredUpTo = revision
	w.unlogged++
}

// addHidden adds what the index has of the records below a revision that have expired
// to the batch: damage, or a disk that does not read, hides them from the scan. A record
// that is left out would come back when the TTL is lifted. It reports whether all had
// expired.
func (b *Bucket) addHidden(before kv.Revision, ttl time.Duration, now int64) bool {
	w := &b.sweeping
	if before <= w.expiredUpTo+1 {
		return true
	}
	expired := true
	b.eachVersion(w.expiredUpTo, before, func(key string, v index.Version) bool {
		if expired = later(v.Created, ttl) <= now; !expired {
			w.createdFrom = v.Created
			return false
		}
		w.addExpired(view.Bytes(key), v.Revision)
		return true
	})
	return expired
}

// eachVersion calls fn for the versions in the index between two revisions, both
// exclusive, in the order of revisions, until fn returns false.
func (b *Bucket) eachVersion(after, before kv.Revision, fn func(key string, v index.Version) bool) {
	type version struct {
		key string
		index.Version
	}
	var list []version
	for n, more := 0, true; more; n++ {
		b.mu.RLock()
		more = b.mu.index.Part(n, func(key []byte, _ index.Version) {
			var room [kv.MaxHistory]index.Version
			name := view.String(key)
			for _, v := range b.mu.index.Versions(room[:0], index.Hash(name), name) {
				if after < v.Revision && v.Revision < before {
					list = append(list, version{string(key), v})
				}
			}
		})
		b.mu.RUnlock()
	}
	slices.SortFunc(list, func(a, b version) int { return cmp.Compare(a.Revision, b.Revision) })
	list = slices.CompactFunc(list, func(a, b version) bool { return a.Revision == b.Revision })
	for _, v := range list {
		if !fn(v.key, v.Version) {
			return
		}
	}
}

// endOf returns a revision that is higher than those of a segment, and no higher than
// the first of the segment behind it.
func (b *Bucket) endOf(sl *slot) kv.Revision {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if next := b.after(sl, b.sweeping.expiredUpTo); next != nil {
		return next.first()
	}
	return b.mu.revision + 1
}

// pinScanned returns the segment where the walk goes on, pinned; nil if there is
// none. The caller unpins it.
func (b *Bucket) pinScanned(horizon int64) *slot {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil
	}
	w.expiredUpTo = max(w.expiredUpTo, b.mu.live.ExpiredUpTo)
	if w.slot == nil || w.slot.released != nil { // or compacted away
		if w.slot = b.holding(w.expiredUpTo + 1); w.slot == nil {
			w.createdFrom = horizon
			return nil
		}
		w.offset = w.slot.seek(w.expiredUpTo + 1)
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

// nextScanned goes to the segment behind sl, which was read to its end, and reports
// whether there is one. What was not there when the walk began is not older than
// horizon.
func (b *Bucket) nextScanned(sl *slot, horizon int64) bool {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	next := b.after(sl, w.expiredUpTo)
	if next == nil {
		w.createdFrom = horizon
		return false
	}
	w.slot, w.offset = next, next.seek(w.expiredUpTo+1)
	return true
}
