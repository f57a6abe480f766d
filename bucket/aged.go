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

// findAged adds the next records that the bucket's TTL has expired to the batch. It reads
// at most sweepBatch records, and adds those that damage between them hides.
func (b *Bucket) findAged(now int64) error {
	w := &b.sweeping
	b.mu.RLock()
	ttl := b.mu.config.TTL
	b.mu.RUnlock()
	if ttl == 0 || !w.aged(w.createdFrom, ttl, now) {
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
			return nil // the next call finds the same damage
		}
		w.offset = part.offset
		room -= part.taken
		if part.end == endsInTime || part.end != endsBehindDamage && !b.nextScanned(sl, horizon) {
			return nil
		}
	}
}

// scanPart is the result of scanning a part of a segment.
type scanPart struct {
	end    scanEnd
	taken  int         // number of records added to the batch
	offset int64       // where the next scan begins
	next   kv.Revision // damage hides the records between the last one added and this one; 0: no damage
}

// scanEnd is the reason why a scan ended.
type scanEnd uint8

const (
	endsWithSegment  scanEnd = iota // everything was read
	endsInTime                      // the next record has not expired, or the batch is full
	endsBehindDamage                // there may be hidden records before the next one
	endsInDamage                    // there may be hidden records at the end of the segment
)

// scanExpired adds at most room expired records of a segment to the batch. It stops at the
// first record that has not expired, and behind damage. The caller has pinned the segment.
func (w *sweepState) scanExpired(sl *openSegment, ttl time.Duration, now int64, room int) (part scanPart, err error) {
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
		if part.taken == room || !w.aged(r.Created, ttl, now) {
			part.end, w.createdFrom = endsInTime, r.Created
			return false
		}
		w.addExpired(r.Key, r.Revision)
		part.taken++
		return true
	}, func(*kv.CorruptError) { damaged = true }) // reads of the record and Verify report it
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

// addHidden adds to the batch the expired records below a revision that the scan could
// not read, because of damage or because the disk fails. It takes them from the index. A
// record that is left out would return when the TTL is lifted. It reports whether all of
// them had expired.
func (b *Bucket) addHidden(before kv.Revision, ttl time.Duration, now int64) bool {
	w := &b.sweeping
	if before <= w.expiredUpTo+1 {
		return true
	}
	expired := true
	b.eachVersion(w.expiredUpTo, before, func(key string, v index.Version) bool {
		if expired = w.aged(v.Created, ttl, now); !expired {
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

// endOf returns a revision above all revisions of a segment and at most the first one of
// the next segment.
func (b *Bucket) endOf(sl *openSegment) kv.Revision {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if next := b.after(sl, b.sweeping.expiredUpTo); next != nil {
		return next.first()
	}
	return b.mu.revision + 1
}

// pinScanned pins and returns the segment where the scan goes on; nil if there is none.
// The caller unpins it.
func (b *Bucket) pinScanned(horizon int64) *openSegment {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil
	}
	w.expiredUpTo = max(w.expiredUpTo, b.mu.live.ExpiredUpTo)
	if w.segment == nil || w.segment.released != nil { // or compacted away
		if w.segment = b.holding(w.expiredUpTo + 1); w.segment == nil {
			w.createdFrom = horizon
			return nil
		}
		w.offset = w.segment.seek(w.expiredUpTo + 1)
	}
	w.segment.Pin()
	return w.segment
}

// horizon returns a lower bound of the times of records that cannot be read yet, unix ns.
// While path is held no group is under way, and the next group gets a later time.
func (s *Store) horizon() int64 {
	s.path.Lock()
	defer s.path.Unlock()
	return s.clock.advance()
}

// nextScanned moves the scan to the segment after sl, which was read to its end. It
// reports whether there is one. Records written since the scan began are not older than
// horizon.
func (b *Bucket) nextScanned(sl *openSegment, horizon int64) bool {
	w := &b.sweeping
	b.mu.RLock()
	defer b.mu.RUnlock()
	next := b.after(sl, w.expiredUpTo)
	if next == nil {
		w.createdFrom = horizon
		return false
	}
	w.segment, w.offset = next, next.seek(w.expiredUpTo+1)
	return true
}
