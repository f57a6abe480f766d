package bucket

import "kvd/kv"

// forgotten describes the ends of keys that a bucket has forgotten. The end of a key is
// forgotten if no record of the key is left, not even a marker that a watch could send. A
// watch that resumes at or below the revision of a forgotten end would show such a key for
// ever; it gets kv.ErrCompacted instead.
//
// The index forgets ends by rules (PurgeDeletes, trims, expiry without markers, expired
// markers) and by erasures. Compaction removes the records later.
type forgotten struct {
	upTo  kv.Revision // the highest revision of a forgotten end
	times uint64      // number of times that the index has forgotten ends since the store was opened
}

// forgottenLocked returns what the bucket has forgotten. The caller holds mu.
func (b *Bucket) forgottenLocked() forgotten {
	return forgotten{upTo: max(b.mu.live.SilentEndUpTo(), b.mu.compactedEndUpTo), times: b.mu.forgets}
}

// and returns the union of both.
func (f forgotten) and(g forgotten) forgotten {
	return forgotten{upTo: max(f.upTo, g.upTo), times: max(f.times, g.times)}
}

// check returns a *kv.CompactedError if the end of a key at or above a revision was
// forgotten.
func (f forgotten) check(b *Bucket, from kv.Revision) error {
	if from > f.upTo {
		return nil
	}
	return &kv.CompactedError{Bucket: b.name, Wanted: from, First: f.upTo + 1}
}

// recordForgottenLocked counts that the index has forgotten ends of keys up to a revision;
// 0: it has forgotten none. The rules have the revision itself. The caller holds mu.
func (b *Bucket) recordForgottenLocked(upTo kv.Revision) {
	if upTo != 0 {
		b.mu.forgets++
	}
}

// recordErasedLocked records the end of a key whose records are all below floor, so that an
// erasure removes them all. The caller holds mu.
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
