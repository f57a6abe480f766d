package fuzz

import (
	"cmp"
	"maps"
	"slices"

	"kvd/kv"
	"kvd/kv/msglog"
)

// This file has the specification's rules for times to live. Like a store, a Model keeps
// expired records until an operation removes them. Shown returns the records that readers
// see.

// expiresAt returns when a record expires, unix ns; 0: never. The deadline of a value
// counts only while the value is the newest record of its key. The deadline of a marker
// always counts. The age limit does not apply to the newest record if it is a marker with
// a deadline.
func (b *Bucket) expiresAt(r Record, newest bool) (at int64) {
	marker := r.Operation.IsMarker()
	if newest || marker {
		at = r.Deadline
	}
	if ttl := int64(b.Config.TTL); ttl != 0 && !(newest && marker && at != 0) {
		if aged := r.Created + ttl; at == 0 || aged < at {
			at = aged
		}
	}
	return at
}

func (b *Bucket) died(r Record, newest bool, now int64) bool {
	at := b.expiresAt(r, newest)
	return at != 0 && at <= now
}

// Shown returns the records of a key that readers see, oldest first. There are none if
// the newest record has expired.
func (b *Bucket) Shown(key string, now int64) []Record {
	kept := b.Keys[key]
	if n := len(kept); n == 0 || b.died(kept[n-1], true, now) {
		return nil
	}
	for len(kept) > 1 && b.died(kept[0], false, now) {
		kept = kept[1:]
	}
	return kept
}

// hides reports whether the bucket has a record that readers do not see.
func (b *Bucket) hides(now int64) bool {
	for key, kept := range b.Keys {
		if len(b.Shown(key, now)) < len(kept) {
			return true
		}
	}
	return false
}

// expire adds the expiry marker of a key whose newest record is an expired value, and
// returns the changed bucket. A bucket without markers is not changed.
func (m *Model) expire(b *Bucket, key string) *Bucket {
	kept := b.Keys[key]
	if n := len(kept); n == 0 || b.Config.Kind == msglog.Kind || kept[n-1].Operation != kv.Put || !b.died(kept[n-1], true, m.Clock) {
		return b
	}
	b = m.change(b)
	b.Revision++
	b.Keys[key] = []Record{{
		Revision: b.Revision, Created: m.Clock, Operation: kv.Purge, Reason: kv.ReasonExpiry,
		Deadline: m.Clock + int64(b.Config.MarkerTTL),
	}}
	return b
}

// Sweep adds the expiry markers of a bucket, in the order of the expired revisions, and
// removes all other expired records.
func (m *Model) Sweep(name string) {
	b := m.Buckets[name]
	if b == nil {
		return
	}
	newest := func(key string) kv.Revision { return b.Keys[key][len(b.Keys[key])-1].Revision }
	keys := slices.SortedFunc(maps.Keys(b.Keys), func(x, y string) int { return cmp.Compare(newest(x), newest(y)) })
	b = m.change(b)
	if ttl := int64(b.Config.TTL); ttl != 0 {
		b.aged = max(b.aged, m.Clock-ttl)
	}
	for _, key := range keys {
		b = m.expire(b, key)
	}
	b = m.change(b)
	for key := range b.Keys {
		b.keep(key, b.Shown(key, m.Clock))
	}
}

// keep sets the remaining records of a key. The bucket must not be shared yet.
func (b *Bucket) keep(key string, records []Record) {
	if len(records) > 0 {
		b.Keys[key] = records
		return
	}
	if b.Config.Kind == msglog.Kind {
		b.ended = max(b.ended, b.Keys[key][len(b.Keys[key])-1].Revision)
	}
	delete(b.Keys, key)
}

// Erase removes the records of the matching keys below a revision (0: all), except the
// newest few of each key. It returns the number of removed records.
func (m *Model) Erase(name, pattern string, below kv.Revision, keep uint64) (uint64, error) {
	b := m.Buckets[name]
	if b == nil {
		return 0, kv.ErrBucketNotFound
	}
	m.Sweep(name)
	b = m.change(m.Buckets[name])
	if below == 0 {
		below = b.Revision + 1
	}
	var going []kv.Revision
	for key, kept := range b.Keys {
		for _, r := range kept {
			if kv.Match(pattern, key) && r.Revision < below {
				going = append(going, r.Revision)
			}
		}
	}
	slices.Sort(going)
	going = going[:max(0, len(going)-int(keep))]
	for key, kept := range b.Keys {
		b.Keys[key] = slices.DeleteFunc(slices.Clone(kept), func(r Record) bool { return slices.Contains(going, r.Revision) })
		if len(b.Keys[key]) == 0 {
			delete(b.Keys, key)
		}
	}
	return uint64(len(going)), nil
}

// Trim removes the oldest records of a message log: those below a revision or, if that is
// 0, until the bucket has at most so many records and bytes (0: no limit). It returns the
// number of removed records.
func (m *Model) Trim(name string, below kv.Revision, records uint64, bytes int64) (uint64, error) {
	b := m.Buckets[name]
	if b == nil {
		return 0, kv.ErrBucketNotFound
	}
	if b.Config.Kind != msglog.Kind {
		return 0, kv.ErrNotSupported
	}
	m.Sweep(name)
	b = m.change(m.Buckets[name])
	sizes := make(map[kv.Revision]int64)
	for key, kept := range b.Keys {
		for i := range kept {
			sizes[kept[i].Revision] = size(key, kept[i:i+1])
		}
	}
	left, size := uint64(len(sizes)), b.Bytes()
	var last kv.Revision // the newest record to remove
	for _, r := range slices.Sorted(maps.Keys(sizes)) {
		fits := (records == 0 || left <= records) && (bytes == 0 || size <= bytes)
		if below > 0 && r >= below || below == 0 && fits {
			break
		}
		left, size, last = left-1, size-sizes[r], r
	}
	for key, kept := range b.Keys {
		b.keep(key, slices.DeleteFunc(slices.Clone(kept), func(r Record) bool { return r.Revision <= last }))
	}
	return uint64(len(sizes)) - left, nil
}
