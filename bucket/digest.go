package bucket

import "kvd/kv"

// The index keeps the digest of its versions (package kv/digest). It is that of the records
// which the rules keep, except for a while: rules take effect in one operation of the log, and
// the index follows a few keys at a time. Meanwhile the digest is not known.

// digestLocked returns the digest of the records that the rules keep, nil if it is not known.
// Of a bucket in doubt, or one that was, it is not known: what is missing now may be found by
// a later open. The caller holds mu.
func (b *Bucket) digestLocked() *kv.Digest {
	if b.mu.rulesPending > 0 || b.mu.removalsPending > 0 || b.stale || !b.mu.doubt.Whole() {
		return nil
	}
	d := b.mu.index.Digest()
	return &d
}

// awaitRemovalLocked records that an operation was applied whose records leave the index later,
// by removeVersions. An open removes them before it serves the bucket. The caller holds mu.
func (b *Bucket) awaitRemovalLocked() {
	if b.store.log != nil {
		b.mu.removalsPending++
	}
}
