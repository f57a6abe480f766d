package bucket

import (
	"slices"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
)

// applyReveal makes an imported bucket visible. Replay may apply it again. The caller holds path.
func (s *Store) applyReveal(b *Bucket, op *journal.Reveal) {
	b.hidden, b.revealed = false, s.lastLSN()
	b.next = max(b.next, op.Next)
	b.issuable = max(b.issuable, op.Next-1)
	b.mu.Lock()
	b.mu.compactedEndUpTo = max(b.mu.compactedEndUpTo, op.Last)
	b.skipToLocked(op)
	b.mu.Unlock()
	s.mu.Lock()
	s.mu.buckets[b.name] = b
	s.mu.Unlock()
	if m := s.maintain; m != nil && b.expires.Load() {
		signal(m.expiring)
	}
}

// skipToLocked records the revisions that an import has left out behind its last record. The
// bucket from which it came may have issued them. The caller holds mu.
func (b *Bucket) skipToLocked(op *journal.Reveal) {
	skipped := manifest.SkippedRange{After: op.Last, UpTo: op.Next - 1}
	if skipped.After == skipped.UpTo {
		return
	}
	b.mu.revision = max(b.mu.revision, skipped.UpTo)
	if !slices.Contains(b.mu.skipped, skipped) {
		b.recordSkipped(skipped)
	}
}

// discardImports removes the buckets whose imports were not committed. It leaves them hidden if
// the open has found damage, which may be to the operation that commits one, and in a store that
// takes no writes.
func (r *recovery) discardImports() {
	s := r.store
	if s.checkFailure() != nil || r.evidence != nil || len(s.report.Damages) > 0 || s.lostOperations.Load() > 0 {
		return
	}
	for _, b := range s.all() {
		if b.hidden {
			s.applyDelete(b)
			s.report.Discarded = append(s.report.Discarded, b.name)
		}
	}
}
