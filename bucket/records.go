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

// Scan calls fn for the kept records of a range of revisions; see [msglog.Log].
func (b *Bucket) Scan(ctx context.Context, pattern string, from, upTo kv.Revision, fn func(*kv.Entry) bool) (next kv.Revision, err error) {
	if err := b.checkOpen(ctx); err != nil {
		return from, err
	}
	if err := kv.CheckPattern(pattern); err != nil {
		return from, err
	}
	p := watch.Position{Revision: max(from, 1) - 1}
	upTo = min(upTo, (watchLog{b}).Newest())
	if p.Revision >= upTo {
		return p.Revision + 1, nil
	}
	scan := b.scanWhole
	if kv.IsStale(ctx) {
		scan = b.scan
	}
	var damaged error
	room := entryRoom{lends: true}
	err = b.scanKept(scan, &room, &p, upTo, []string{pattern}, func(e *kv.Entry, cause error) bool {
		if damaged = cause; damaged != nil {
			return false
		}
		return fn(e)
	})
	if err == nil {
		err = damaged
	}
	return p.Revision + 1, kv.NameKey(b.name, "", err)
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
		err = b.scanKept(b.scan, new(entryRoom), &p, to, patterns, func(found *kv.Entry, cause error) bool {
			e, damaged = found, cause
			return false
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read bucket %q from revision %d on: %w", b.name, from, err)
	}
	return e, damaged, nil
}

// scanKept makes one scan, and calls fn for the records that match, are kept and have not
// expired. damaged is the damage of the record's value, nil if there is none.
func (b *Bucket) scanKept(scan scanFunc, room *entryRoom, p *watch.Position, upTo kv.Revision, patterns []string, fn func(e *kv.Entry, damaged error) bool) error {
	return scan(p, upTo, func(f *scanned) bool {
		key := view.String(f.record.Key)
		if !kv.MatchAny(patterns, key) || !b.keeps(key, f.record.Revision) {
			return true
		}
		e, _, damaged := b.entryIn(room, f, false)
		return fn(e, damaged)
	})
}

// keeps reports whether a record is kept and has not expired.
func (b *Bucket) keeps(key string, rev kv.Revision) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.atLocked(index.Hash(key), key, rev)
	return ok
}
