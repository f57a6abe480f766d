package bucket

import "kvd/kv"

// forgotten says which ends of keys a bucket has forgotten: no record of the key is
// left, not even a marker that watches could be sent. A watch that resumes from a
// revision up to which ends were forgotten would keep such a key for ever; it gets
// kv.ErrCompacted instead.
//
// The index forgets by rules (PurgeDeletes, trims, silent expiry, markers whose time is
// over) and by erasures. Compaction removes the records later.
type forgotten struct {
	upTo  kv.Revision // no key that ended so had a newer record
	times uint64      // how often the index forgot ends since the store was opened
}

// forgottenLocked returns what the bucket has forgotten. The caller holds mu.
func (b *Bucket) forgottenLocked() forgotten {
	return forgotten{upTo: max(b.mu.live.SilentEndUpTo(), b.mu.ended), times: b.mu.forgets}
}

// and returns what is forgotten by either.
func (f forgotten) and(g forgotten) forgotten {
	return forgotten{upTo: max(f.upTo, g.upTo), times: max(f.times, g.times)}
}

// check returns a *kv.CompactedError if the end of a key was forgotten at or above a
// revision.
func (f forgotten) check(b *Bucket, from kv.Revision) error {
	if from > f.upTo {
		return nil
	}
	return &kv.CompactedError{Bucket: b.name, Wanted: from, First: f.upTo + 1}
}

// recordForgottenLocked records that the index has forgotten the ends of keys; rules say so by
// themselves up to which revision. The caller holds mu.
func (b *Bucket) recordForgottenLocked(upTo kv.Revision) {
	if upTo != 0 {
		b.mu.forgets++
	}
}

// recordErasedLocked records the end of a key of which an erasure removes every record
// below floor. The caller holds mu.
func (b *Bucket) recordErasedLocked(hash uint64, key string, floor kv.Revision) {
	if v, ok := b.mu.index.Newest(hash, key); ok && v.Revision < floor {
		b.mu.live.UnmarkedUpTo = max(b.mu.live.UnmarkedUpTo, v.Revision)
		b.recordForgottenLocked(v.Revision)
	}
}

// CheckForgotten returns a *kv.CompactedError if the end of a key at or above a
// revision may have been forgotten since a selection.
func (b watchLog) CheckForgotten(from kv.Revision, since uint64) error {
	b.mu.RLock()
	now := b.forgottenLocked()
	b.mu.RUnlock()
	if now.times == since {
		return nil
	}
	return now.check(b.Bucket, from)
}
