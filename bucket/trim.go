package bucket

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/watch"
)

// A trim finds the oldest records by reading the segments in the order of revisions, as
// the sweep does. It remembers the position of the oldest record that is kept: so the
// next trim does not read the removed records again. A trim works in rounds. Each round
// logs one operation, the same as the sweep's: every record up to a revision is dead.

const (
	// trimRound bounds the records that a round removes. They are looked up again while
	// writers wait.
	trimRound = 1024
	// trimAtOnce bounds the records that are removed from the index in the same moment as
	// the operation is applied. Readers may see a part of a larger round.
	trimAtOnce = 256
)

// errRulesPending reports that the bucket's rules have to be applied to the index before
// the decision, since it counts the records of the index.
var errRulesPending = errors.New("the rules are not applied to the index yet")

// Trim removes the oldest records; see [msglog.Log]. Each round is durable as a whole or
// not at all after a crash, and rounds are in the order of revisions.
func (b *Bucket) Trim(ctx context.Context, below kv.Revision, records uint64, bytes int64) (uint64, error) {
	if err := b.checkOpen(ctx); err != nil {
		return 0, err
	}
	if !b.noMarkers {
		return 0, fmt.Errorf("%w: trimming bucket %q: it is not a message log", kv.ErrNotSupported, b.name)
	}
	if err := b.lockSweep(ctx); err != nil {
		return 0, err
	}
	defer b.unlockSweep()
	if err := b.sweepLocked(ctx); err != nil {
		return 0, err
	}
	t := trim{bucket: b, below: below, records: records, bytes: bytes}
	var trimmed uint64
	for {
		err := t.round(ctx)
		if errors.Is(err, errRulesPending) {
			t.applyRules()
			continue
		}
		if err == nil {
			trimmed += uint64(t.removed)
		}
		if err != nil || len(t.found) < trimRound {
			return trimmed, err
		}
	}
}

// trim is one call of Trim. It holds the lock of the bucket's sweep.
type trim struct {
	bucket  *Bucket
	below   kv.Revision
	records uint64
	bytes   int64
	applied manifest.Liveness // the rules that were applied to the index

	// The round.
	found     []versionRef  // the oldest records that may be removed, in the order of revisions
	keys      []byte        // of found
	remaining int           // number of records without those found
	size      int64         // their bytes
	removed   int           // how many of found are removed
	op        trimOperation // memory of the round's operation
}

// fits reports whether so many records and bytes may be kept.
func (t *trim) fits(records int, bytes int64) bool {
	return (t.records == 0 || uint64(records) <= t.records) && (t.bytes <= 0 || bytes <= t.bytes)
}

// round finds a round of the oldest records and removes those that have to be removed.
func (t *trim) round(ctx context.Context) error {
	t.removed = 0
	if err := t.find(ctx); err != nil || len(t.found) == 0 {
		return err
	}
	return t.remove(ctx)
}

// remove removes those of the records found that have to be removed.
func (t *trim) remove(ctx context.Context) error {
	b := t.bucket
	err := b.operateAfterSweepLocked(ctx, t.decide) // what waits after a leap of the clock is kept and counted
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil || t.removed <= trimAtOnce { // they were removed with the operation
		return err
	}
	dead := t.found
	b.removeVersions(func() (batch []versionRef) {
		n := min(sweepSlice, len(dead))
		batch, dead = dead[:n], dead[n:]
		return batch
	})
	return nil
}

// find collects the oldest records: as many as have to be removed by the present counts,
// and at most a round.
func (t *trim) find(ctx context.Context) error {
	b := t.bucket
	t.found, t.keys = t.found[:0], t.keys[:0]
	p, upTo := t.begin()
	for p.Revision < upTo && !t.enough() {
		if err := ctx.Err(); err != nil {
			return err
		}
		seen := p.Revision
		err := b.scan(&p, upTo, func(f *scanned) bool {
			if t.enough() {
				return false
			}
			seen = f.record.Revision
			t.add(f.record.Key, seen, watch.Position{Revision: seen - 1, Placed: true, Segment: f.segment.number, Offset: f.offset})
			return true
		})
		var damage *kv.CorruptError
		switch {
		case errors.As(err, &damage): // reads and Verify report it
			b.eachVersion(seen, p.Revision+1, func(key string, v index.Version) bool {
				t.add(view.Bytes(key), v.Revision, watch.Position{Revision: v.Revision - 1})
				return !t.enough()
			})
		case err != nil:
			return err
		}
	}
	if len(t.found) == 0 {
		b.sweeping.oldest = p
	}
	return nil
}

// begin returns the position where the search begins and the last revision that may be
// removed. It sets the counts.
func (t *trim) begin() (p watch.Position, upTo kv.Revision) {
	b := t.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	t.remaining, t.size = b.mu.index.Count(), b.mu.index.Bytes()
	p, upTo = b.sweeping.oldest, b.mu.revision
	p.Revision = max(p.Revision, b.mu.live.ExpiredUpTo)
	if t.below > 0 {
		upTo = min(upTo, t.below-1)
	}
	return p, upTo
}

// enough reports whether the round is complete.
func (t *trim) enough() bool {
	return len(t.found) == trimRound || t.below == 0 && t.fits(t.remaining, t.size)
}

// add adds a record to the round if the index has it.
func (t *trim) add(key []byte, revision kv.Revision, at watch.Position) {
	b := t.bucket
	hash := index.Hash(view.String(key))
	b.mu.RLock()
	v, ok := b.mu.index.At(hash, view.String(key), revision)
	b.mu.RUnlock()
	if !ok {
		return
	}
	if len(t.found) == 0 {
		b.sweeping.oldest = at
	}
	from := len(t.keys)
	t.keys = append(t.keys, key...)
	t.found = append(t.found, versionRef{key: view.String(t.keys[from:]), hash: hash, revision: revision})
	t.remaining, t.size = t.remaining-1, t.size-int64(v.Size)
}

// trimOperation is the operation of a round. In the log it is an ordinary journal.Expire.
// In memory it may list the versions to remove, so that rule and index change in the same
// moment.
type trimOperation struct {
	journal.Expire
	versions []versionRef // to be removed from the index in the same moment; nil: later
}

// decide returns the operation of the round. It counts again, because some of the records
// found may have been removed meanwhile and others may then be kept. The caller holds path.
func (t *trim) decide() (journal.Operation, error) {
	b := t.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.checkWritableLocked(); err != nil {
		return nil, err
	}
	if b.mu.rulesPending > 0 && !t.applied.SameCutsAndPurges(&b.mu.live) {
		return nil, errRulesPending
	}
	op := &t.op
	*op = trimOperation{Expire: journal.Expire{Bucket: b.id}}
	t.removed, t.remaining, t.size = 0, b.mu.index.Count(), b.mu.index.Bytes()
	for i := range t.found {
		if t.below == 0 && t.fits(t.remaining, t.size) {
			break
		}
		d := &t.found[i]
		v, ok := b.mu.index.At(d.hash, d.key, d.revision)
		if !ok {
			continue
		}
		op.ExpiredUpTo = d.revision
		if newest, _ := b.mu.index.Newest(d.hash, d.key); newest.Revision == d.revision {
			op.UnmarkedUpTo = d.revision
		}
		t.removed, t.remaining, t.size = t.removed+1, t.remaining-1, t.size-int64(v.Size)
	}
	if t.removed == 0 {
		return nil, errUnchanged
	}
	if t.removed <= trimAtOnce {
		op.versions = t.found
	}
	return op, nil
}

// applyRules removes from the index the versions that are dead by the bucket's rules.
func (t *trim) applyRules() {
	b := t.bucket
	b.mu.RLock()
	t.applied = b.mu.live
	b.mu.RUnlock()
	b.applyRules()
}
