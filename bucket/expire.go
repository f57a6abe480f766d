package bucket

import (
	"math"
	"time"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// This file is what a time to live means. A deadline is a key's: it counts while
// the value that has it is the newest record, and a newer one lifts it. A bucket's
// TTL is every record's: it dies when it is that old. The earlier of the two counts.
// A marker's deadline is that marker's, and the newest record of a key that is a
// marker with a deadline dies by that alone: so an expiry marker outlives a short
// TTL, and who was away can still learn of it.
//
// A key whose newest record is a value that died is gone as a whole: no older
// value shows again. Who reads compares with the clock, so that is true from that
// very instant; the sweep (sweep.go) only writes down what is so already. What
// changes a key that has expired begins by writing its expiry marker, in the same
// frame (judge.go): so no outcome depends on whether the sweep was there first.
// The other dead records leave without a word.
//
// What stays of a key is always its newest few records, whatever they die of: a
// deadline that took a record out of the middle would leave it to chance whether a
// shorter history counts it.

// expiresAt returns when a version of a bucket with that TTL dies by itself, unix
// ns; 0: never. newest says whether it is the newest of its key.
func expiresAt(v *index.Version, ttl time.Duration, newest bool) (at int64) {
	marker := v.Op.IsMarker()
	if v.Deadline != 0 && (newest || marker) {
		at = v.Deadline
	}
	if ttl == 0 || newest && marker && at != 0 {
		return at
	}
	if aged := later(v.Created, ttl); at == 0 || aged < at {
		at = aged
	}
	return at
}

// hasExpired reports whether a version is dead at now.
func hasExpired(v *index.Version, ttl time.Duration, now int64, newest bool) bool {
	at := expiresAt(v, ttl, newest)
	return at != 0 && at <= now
}

// later adds, and stops at the end of time.
func later(at int64, d time.Duration) int64 {
	if at > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return at + int64(d)
}

// expiredLocked reports whether a version has died by itself. Only a bucket in which
// that can be asks for the time.
func (b *Bucket) expiredLocked(v *index.Version, newest bool) bool {
	if v.Deadline == 0 && b.mu.config.TTL == 0 {
		return false
	}
	return hasExpired(v, b.mu.config.TTL, b.store.clock.now(), newest)
}

// atLocked returns the version of key with that revision, unless it or its key has
// died.
func (b *Bucket) atLocked(hash uint64, key string, revision kv.Revision) (v index.Version, ok bool) {
	v, ok = b.revisionLocked(hash, key, revision)
	if !ok || b.mu.config.TTL == 0 && b.mu.index.Deadlines() == 0 {
		return v, ok
	}
	newest, _ := b.mu.index.Newest(hash, key)
	return v, !b.expiredLocked(&newest, true) && !b.expiredLocked(&v, v.Revision == newest.Revision)
}

// unexpiredLocked filters the versions of one key, oldest first, in place: those that
// readers see.
func (b *Bucket) unexpiredLocked(versions []index.Version) []index.Version {
	n := len(versions)
	if n == 0 || b.expiredLocked(&versions[n-1], true) {
		return versions[:0]
	}
	hidden := 0
	for hidden < n-1 && b.expiredLocked(&versions[hidden], false) {
		hidden++
	}
	return versions[hidden:]
}

// expiryMarkerSize returns the size of the record that says that a key expired,
// bytes.
func expiryMarkerSize(key string) int { return segment.RecordSize(len(key), 0, 0, true, false) }

// expire judges the expiry marker of the mutation's key, in front of the mutation
// itself, and returns its effect. The caller holds bucket.mu.
func (g *group) judgeExpiry(m *mutation, prev int, now int64) (effect int) {
	marker := mutation{bucket: m.bucket, kind: writePurge, key: m.key, hash: m.hash, size: expiryMarkerSize(m.key)}
	e := marker.effect(m.bucket.next, prev, now)
	e.version.Reason = kv.ReasonExpiry
	e.version.Deadline = later(now, m.bucket.mu.config.MarkerTTL)
	e.floor = e.version.Revision
	g.expired++
	_ = g.admitRoom(&e, m.bucket) // markers are always admitted
	g.encode(&marker, &e)
	return len(g.effects) - 1
}
