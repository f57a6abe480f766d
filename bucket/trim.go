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

// A trim finds the oldest records by reading the segments in the order of revisions,
// as the sweep does, and remembers where the first that is left stands: so one that
// drops a record does not pass over all that were dropped before. The operation that
// it decides is the sweep's too: every record up to a revision is dead. It goes a
// round at a time, each of which is such an operation.

const (
	// trimRound is how many records a round drops at most: they are looked up again
	// while writers wait.
	trimRound = 1024
	// trimAtOnce is how many leave the index in the same moment as the operation is
	// applied. Of a larger round readers may see a part.
	trimAtOnce = 256
)

// errRulesPending says that what is dead by a rule has to leave the index before the
// decision: it counts there.
var errRulesPending = errors.New("what is dead goes first")

// Trim drops the oldest records; see [msglog.Log]. A crash leaves all of a round or
// nothing, and rounds in the order of revisions.
func (b *Bucket) Trim(ctx context.Context, below kv.Revision, records uint64, bytes int64) (uint64, error) {
	if err := b.usable(ctx); err != nil {
		return 0, err
	}
	if !b.silent {
		return 0, fmt.Errorf("%w: trimming bucket %q, which is no message log", kv.ErrNotSupported, b.name)
	}
	if err := b.lockSweep(ctx); err != nil {
		return 0, err
	}
	defer b.unlockSweep()
	if !b.store.leapt {
		if err := b.sweepLocked(ctx); err != nil {
			return 0, err
		}
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

// trim is one call of Trim, which has the turn of the bucket's sweep.
type trim struct {
	bucket  *Bucket
	below   kv.Revision
	records uint64
	bytes   int64
	applied manifest.Liveness // by whose rules the index was settled

	// Of the round.
	found     []versionRef  // the oldest records, those that may go, oldest first
	keys      []byte        // theirs
	remaining int           // records that would be left without those found
	size      int64         // bytes of them
	removed   int           // of found: those that go
	op        trimOperation // of the round
}

// fits reports whether so much may be left.
func (t *trim) fits(records int, bytes int64) bool {
	return (t.records == 0 || uint64(records) <= t.records) && (t.bytes <= 0 || bytes <= t.bytes)
}

// round finds a round of the oldest records and drops those that are to go.
func (t *trim) round(ctx context.Context) error {
	t.removed = 0
	if err := t.find(ctx); err != nil || len(t.found) == 0 {
		return err
	}
	return t.remove(ctx)
}

// drop drops those of the records found that are to go.
func (t *trim) remove(ctx context.Context) error {
	b := t.bucket
	operate := b.operateAfterSweepLocked
	if b.store.leapt { // what has expired may not have: it stays, and counts
		operate = b.store.operate
	}
	err := operate(ctx, t.decide)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil || t.removed <= trimAtOnce { // these have left already
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

// find notes the oldest records, as many as are to go as things are now, or as a
// round takes.
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
			t.add(f.record.Key, seen, watch.Position{Revision: seen - 1, Placed: true, Segment: f.slot.number, Offset: f.offset})
			return true
		})
		var damage *kv.CorruptError
		switch {
		case errors.As(err, &damage): // what reads it, or verifies it, reports it
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

// begin returns where the search begins and the last revision that it is about, and
// counts what is there.
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

// enough reports whether no more is to be found in this round.
func (t *trim) enough() bool {
	return len(t.found) == trimRound || t.below == 0 && t.fits(t.remaining, t.size)
}

// look takes a record that is left.
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

// trimOperation is the operation of a round. It is an ordinary journal.Expire in the log.
// In memory it may name what it removes, so that rule and index change in one moment.
type trimOperation struct {
	journal.Expire
	versions []versionRef // to be taken out of the index in the same moment; nil: later
}

// decide says up to which revision records go: some of those found may have gone
// meanwhile, so that others stay. The bucket's path is held.
func (t *trim) decide() (journal.Operation, error) {
	b := t.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.takesWritesLocked(); err != nil {
		return nil, err
	}
	if b.mu.settling > 0 && !t.applied.SameCutsAndPurges(&b.mu.live) {
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

// settle takes what is dead by the bucket's rules out of the index.
func (t *trim) applyRules() {
	b := t.bucket
	b.mu.RLock()
	t.applied = b.mu.live
	b.mu.RUnlock()
	b.applyRules()
}
