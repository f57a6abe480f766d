package bucket

import (
	"math"
	"time"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// This file defines when records expire.
//
// A deadline belongs to a key: it counts while the value that has it is the key's newest
// record, and a newer record lifts it. A bucket's TTL belongs to every record: the record
// expires when it is that old. The earlier of the two counts. A marker's deadline belongs
// to that marker. If a key's newest record is a marker with a deadline, the deadline alone
// counts: so an expiry marker outlives a short TTL, and watchers that were disconnected
// can still be sent it.
//
// If a key's newest record is a value that has expired, the whole key has expired: no
// older value is shown again. Readers compare with the clock, so this holds from that
// very instant; the sweep (sweep.go) only logs it. A write to an expired key first writes
// the key's expiry marker, in the same frame (judge.go). So no outcome depends on whether
// the sweep ran first. Other expired records are removed without a marker.
//
// The kept records of a key are always its newest few, whatever the reason for which the
// others expired. If a deadline removed a record from the middle, it would depend on
// timing whether a shorter history counts that record.

// expiresAt returns when a version of a bucket with that TTL expires, unix ns; 0: never.
// newest reports whether it is the newest version of its key.
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

// hasExpired reports whether a version has expired at now.
func hasExpired(v *index.Version, ttl time.Duration, now int64, newest bool) bool {
	at := expiresAt(v, ttl, newest)
	return at != 0 && at <= now
}

// later returns at plus d, and the greatest time if that overflows.
func later(at int64, d time.Duration) int64 {
	if at > math.MaxInt64-int64(d) {
		return math.MaxInt64
	}
	return at + int64(d)
}

// expiredLocked reports whether a version has expired. It reads the clock only if the
// version can expire. The caller holds mu.
func (b *Bucket) expiredLocked(v *index.Version, newest bool) bool {
	if v.Deadline == 0 && b.mu.config.TTL == 0 {
		return false
	}
	return hasExpired(v, b.mu.config.TTL, b.store.clock.now(), newest)
}

// atLocked returns the version of key with that revision, unless it or its key has
// expired. The caller holds mu.
func (b *Bucket) atLocked(hash uint64, key string, revision kv.Revision) (v index.Version, ok bool) {
	v, ok = b.revisionLocked(hash, key, revision)
	if !ok || b.mu.config.TTL == 0 && b.mu.index.Deadlines() == 0 {
		return v, ok
	}
	newest, _ := b.mu.index.Newest(hash, key)
	return v, !b.expiredLocked(&newest, true) && !b.expiredLocked(&v, v.Revision == newest.Revision)
}

// unexpiredLocked filters the versions of one key, oldest first, in place. It keeps those
// that readers see. The caller holds mu.
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

// expiryMarkerSize returns the size of a key's expiry marker, bytes.
func expiryMarkerSize(key string) int { return segment.RecordSize(len(key), 0, 0, true, false) }

// judgeExpiry judges the expiry marker of the mutation's key, before the mutation itself,
// and returns its effect. The caller holds bucket.mu.
func (g *group) judgeExpiry(m *mutation, prev int, previous kv.Revision, now int64) (effect int) {
	marker := mutation{bucket: m.bucket, kind: writePurge, key: m.key, hash: m.hash, size: expiryMarkerSize(m.key)}
	e := marker.effect(m.bucket.next, prev, now)
	e.version.Reason, e.previous = kv.ReasonExpiry, previous
	e.version.Deadline = later(now, m.bucket.mu.config.MarkerTTL)
	e.floor = e.version.Revision
	g.expired++
	_ = g.takeRoom(&e, m.bucket) // markers are always admitted
	g.encode(&marker, &e)
	return len(g.effects) - 1
}
