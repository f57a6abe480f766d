package bucket

import (
	"context"
	"fmt"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/watch"
)

// At returns the kept record with that revision; see [msglog.Log].
func (b *Bucket) At(ctx context.Context, revision kv.Revision) (kv.Entry, error) {
	if err := b.checkOpen(ctx); err != nil {
		return kv.Entry{}, err
	}
	if revision == 0 {
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	var e *kv.Entry
	var damaged, err error
	if revision <= (watchLog{b}).Newest() {
		e, damaged, err = b.firstKept(ctx, revision, revision, nil)
	}
	return b.outcomeOf(ctx, revision, e, damaged, err)
}

// Next returns the first kept record whose revision is at least from and whose key
// matches; see [msglog.Log].
func (b *Bucket) Next(ctx context.Context, pattern string, from kv.Revision) (kv.Entry, error) {
	if err := b.checkOpen(ctx); err != nil {
		return kv.Entry{}, err
	}
	if err := kv.CheckPattern(pattern); err != nil {
		return kv.Entry{}, err
	}
	e, damaged, err := b.firstKept(ctx, max(from, 1), (watchLog{b}).Newest(), []string{pattern})
	return b.outcomeOf(ctx, max(from, 1), e, damaged, err)
}

// outcomeOf returns the outcome of a search from a revision on. If the record found is
// another than that of this revision, one in between may be missing.
func (b *Bucket) outcomeOf(ctx context.Context, from kv.Revision, e *kv.Entry, damaged, err error) (kv.Entry, error) {
	if err == nil && (e == nil || e.Revision != from) {
		b.mu.RLock()
		err = kv.NameKey(b.name, "", b.doubtsLocked(ctx, from))
		b.mu.RUnlock()
	}
	switch {
	case err != nil:
		return kv.Entry{}, err
	case e == nil:
		return kv.Entry{}, kv.ErrKeyNotFound
	case damaged != nil:
		return kv.Entry{}, damaged
	}
	return *e, nil
}

// firstKept returns the record with the lowest revision within [from, to] that is kept
// and matches, nil if there is none. damaged is the damage of its value, nil if there is
// none.
func (b *Bucket) firstKept(ctx context.Context, from, to kv.Revision, patterns []string) (e *kv.Entry, damaged, err error) {
	p := watch.Position{Revision: from - 1}
	for p.Revision < to && e == nil && err == nil {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		err = b.scan(&p, to, func(f *scanned) bool {
			key := view.String(f.record.Key)
			if !kv.MatchAny(patterns, key) || !b.keeps(key, f.record.Revision) {
				return true
			}
			e, _, damaged = b.entryOf(f, false)
			return false
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read bucket %q from revision %d on: %w", b.name, from, err)
	}
	return e, damaged, nil
}

// keeps reports whether a record is kept and has not expired.
func (b *Bucket) keeps(key string, rev kv.Revision) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.atLocked(index.Hash(key), key, rev)
	return ok
}
