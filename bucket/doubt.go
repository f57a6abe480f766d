package bucket

import (
	"context"
	"fmt"
	"path"
	"slices"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
)

// This file keeps a bucket's doubt (package manifest, "Doubt"), and refuses the reads and
// conditions that depend on it. Each of them compares the newest revision of its key with
// the bucket's bound. The bound is 0 if nothing is in doubt.

// boundAll is the bound of a bucket that is in doubt as a whole.
const boundAll = kv.Revision(1<<64 - 1)

var (
	_ kv.Doubtful      = (*Bucket)(nil)
	_ kv.DoubtfulStore = (*Store)(nil)
)

// setDoubtLocked replaces the bucket's doubt. The caller holds mu.
func (b *Bucket) setDoubtLocked(d manifest.Doubt) {
	b.mu.doubt = d
	b.mu.bound, b.mu.doubtful, b.mu.unwritable = 0, nil, nil
	if d.Bound == 0 && !d.Unknown {
		return
	}
	b.mu.doubtful = b.describeDoubt(&d)
	if b.servesStale() {
		return
	}
	b.mu.bound = d.Bound
	if d.Unknown {
		b.mu.bound = boundAll
		b.mu.unwritable = fmt.Errorf("%w: bucket %q: %w", kv.ErrReadOnly, b.name, b.mu.doubtful)
	}
}

// doubt returns the bucket's doubt. Its slices are not to be changed.
func (b *Bucket) doubt() manifest.Doubt {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.doubt
}

// servesStale reports whether the store was opened to serve the bucket in spite of its doubt.
func (b *Bucket) servesStale() bool {
	return slices.Contains(b.store.opts.ServeStale, b.name) || slices.Contains(b.store.opts.ServeStale, ServeStaleAll)
}

// describeDoubt returns the error of what is in doubt.
func (b *Bucket) describeDoubt(d *manifest.Doubt) *kv.CorruptError {
	c := &kv.CorruptError{File: manifest.LogDir, Offset: -1, Bucket: b.name, UpTo: d.Bound}
	var missing string
	for _, h := range slices.Backward(d.Holes) {
		if h.UpTo != d.Bound {
			continue
		}
		c.File, c.Offset, c.After = h.File, h.Offset, h.After
		switch h.Records {
		case 0:
			missing = "records are missing"
		case 1:
			missing = "1 record is missing"
		default:
			missing = fmt.Sprintf("%d records are missing", h.Records)
		}
		missing += fmt.Sprintf(" above revision %d up to %d", h.After, h.UpTo)
		break
	}
	switch {
	case d.Unknown:
		c.After, c.UpTo = 0, boundAll
		c.Detail = fmt.Sprintf("a change of bucket %q may be missing, so all of it is in doubt and it takes no writes", b.name)
	case missing == "":
		c.Detail = fmt.Sprintf("records of bucket %q up to revision %d may be missing", b.name, d.Bound)
	default:
		c.Detail = fmt.Sprintf("bucket %q: %s", b.name, missing)
	}
	return c
}

// doubtLocked returns nil, or why nothing is certain that depends on records up to the
// bound. The caller holds mu.
func (b *Bucket) doubtLocked(ctx context.Context) error {
	if b.mu.bound == 0 || kv.IsStale(ctx) {
		return nil
	}
	return b.mu.doubtful
}

// doubtsLocked is doubtLocked for a key whose newest record has that revision, 0 where
// there is none. The caller holds mu.
func (b *Bucket) doubtsLocked(ctx context.Context, newest kv.Revision) error {
	if newest > b.mu.bound { // so for every record if the bound is 0
		return nil
	}
	return b.doubtLocked(ctx)
}

// inDoubtLocked reports whether the newest record of a key may be missing. The caller
// holds mu.
func (b *Bucket) inDoubtLocked(newest kv.Revision) bool {
	return b.mu.bound != 0 && newest <= b.mu.bound
}

// checkDoubt returns nil, or why nothing that concerns many keys can be decided. What a
// reader accepts ([kv.WithStale]) does not matter here.
func (b *Bucket) checkDoubt() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.doubtLocked(context.Background())
}

// historyDoubtLocked returns nil, or why records of a key's history may be missing.
// versions are those of the key that are known, oldest first. A history that begins above
// the bound is whole if it is full or begins with a purge: then nothing older is kept. The
// caller holds mu.
func (b *Bucket) historyDoubtLocked(ctx context.Context, versions []index.Version) error {
	if b.mu.bound == 0 {
		return nil
	}
	if len(versions) > 0 && versions[0].Revision > b.mu.bound &&
		(versions[0].Op == kv.Purge || len(versions) >= b.mu.config.History) {
		return nil
	}
	return b.doubtLocked(ctx)
}

// addHoleLocked adds a hole to the bucket's doubt, whose bound rises to its end. The
// caller holds mu.
func (b *Bucket) addHoleLocked(h manifest.Hole) {
	d := b.mu.doubt
	d.AddHole(h)
	b.setDoubtLocked(d)
}

// Doubt says what damage took from the bucket, or may have taken; see [kv.Doubtful].
func (b *Bucket) Doubt(ctx context.Context) (kv.Doubt, error) {
	if err := b.checkOpen(ctx); err != nil {
		return kv.Doubt{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.publicDoubtLocked(), nil
}

// publicDoubtLocked returns the doubt as callers see it. The caller holds mu.
func (b *Bucket) publicDoubtLocked() kv.Doubt {
	d := b.mu.doubt
	d.Lost = b.lostLocked()
	return publicDoubt(&d)
}

func publicDoubt(d *manifest.Doubt) kv.Doubt {
	p := kv.Doubt{Bound: d.Bound, Unknown: d.Unknown}
	for _, h := range d.Holes {
		p.Missing = append(p.Missing, kv.MissingRange(h))
	}
	for _, l := range d.Lost {
		p.Lost = append(p.Lost, kv.LostRecord{Key: l.Key, Revision: l.Revision})
	}
	return p
}

// AcceptLoss ends the bucket's doubt; see [kv.Doubtful].
func (b *Bucket) AcceptLoss(ctx context.Context) (given kv.Doubt, err error) {
	err = b.store.operate(ctx, func() (journal.Operation, error) {
		b.mu.RLock()
		defer b.mu.RUnlock()
		if b.mu.gone != nil {
			return nil, b.mu.gone
		}
		if b.mu.doubt.Bound == 0 && !b.mu.doubt.Unknown {
			return nil, errUnchanged
		}
		given = b.publicDoubtLocked()
		return &journal.Accept{Bucket: b.id, UpTo: b.mu.doubt.Bound}, nil
	})
	if err == errUnchanged { //nolint:errorlint // it is the one of the function above
		return kv.Doubt{}, nil
	}
	if err != nil {
		return kv.Doubt{}, kv.NameKey(b.name, "", err)
	}
	b.store.opts.Logger.Warn("the loss of records was accepted", "bucket", b.name, "bound", given.Bound, "missing", given.Missing)
	return given, nil
}

// checkOperations returns nil, or why the set of buckets is in doubt.
func (s *Store) checkOperations(ctx context.Context) error {
	n := s.lostOperations.Load()
	if n == 0 || kv.IsStale(ctx) || slices.Contains(s.opts.ServeStale, ServeStaleAll) {
		return nil
	}
	return &kv.CorruptError{File: path.Join(s.dir, manifest.LogDir), Offset: -1, Detail: fmt.Sprintf(
		"%d changes of buckets are missing: buckets that are listed may be deleted, and others may be missing. Ways out: a backup; kvd repair, which copies what is sound; a listing that accepts this (--stale, kv.WithStale, kvd serve --serve-stale '*'); to give up what is missing, kvd accept --buckets", n)}
}

// AcceptOperations gives up the changes of buckets that damage took; see
// [kv.DoubtfulStore].
func (s *Store) AcceptOperations(ctx context.Context) (given uint64, err error) {
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	if given = s.lostOperations.Swap(0); given == 0 {
		return 0, nil
	}
	if err := s.makeCheckpoint(unpaced); err != nil {
		s.lostOperations.Store(given)
		return 0, err
	}
	s.opts.Logger.Warn("the loss of changes of buckets was accepted", "changes", given)
	return given, nil
}

// applyAccept ends the doubt up to a bound.
func (b *Bucket) applyAccept(op *journal.Accept) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.mu.doubt
	if d.Bound > op.UpTo {
		return // found later than the operation: it stays
	}
	d.Bound, d.Unknown = 0, false
	d.Accepted = slices.Clone(d.Accepted)
	d.Holes = slices.DeleteFunc(slices.Clone(d.Holes), func(h manifest.Hole) bool {
		if h.UpTo <= op.UpTo {
			d.Accepted = append(d.Accepted, h)
		}
		return h.UpTo <= op.UpTo
	})
	if extra := len(d.Accepted) - manifest.HolesMax; extra > 0 { // an open puts them in doubt again
		d.Accepted = d.Accepted[extra:]
	}
	b.setDoubtLocked(d)
}
