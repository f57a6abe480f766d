package bucket

import (
	"context"
	"iter"
	"sync"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

var (
	_ kv.Reader = (*frozen)(nil)
	_ kv.Reader = (*Bucket)(nil)
)

// frozen is a bucket as it was at the moment of a snapshot. It implements [kv.Reader].
type frozen struct {
	// Immutable.
	bucket   *Bucket
	owner    *heldSnapshot
	index    *index.Snapshot
	revision kv.Revision        // the newest in it
	rules    *manifest.Liveness // pending rules by which versions in it may be dead; nil: none
	ttl      time.Duration      // of the bucket
	bound    kv.Revision        // of its doubt; 0: nothing is in doubt
	doubtful *kv.CorruptError   // what is in doubt; nil: nothing

	held struct { // guards the fields inside. Locked before Bucket.mu
		sync.Mutex
		segments heldSegments
	}
}

// freezeLocked returns the bucket as it is now. The caller holds mu alone.
func (b *Bucket) freezeLocked(owner *heldSnapshot) *frozen {
	f := &frozen{
		bucket: b, owner: owner, index: b.mu.index.Snapshot(), revision: b.mu.revision,
		rules: b.rulesLocked(), ttl: b.mu.config.TTL, bound: b.mu.bound, doubtful: b.mu.doubtful,
	}
	f.held.segments.bucket = b
	f.held.segments.beginLocked()
	return f
}

// freeze returns the bucket as it is now, for one call of a reader. The caller releases its owner. A
// call holds its snapshot for as long as its consumer takes, so it takes no place of a listing, which
// watches and trims wait for. There may be snapshotsHeld calls at a time; further ones wait.
func (b *Bucket) freeze(ctx context.Context) (*frozen, error) {
	if err := b.checkOpen(ctx); err != nil {
		return nil, err
	}
	select {
	case b.store.readings <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	x := &heldSnapshot{store: b.store, freed: func() { <-b.store.readings }}
	if err := x.take(ctx, []*Bucket{b}, false); err != nil {
		x.freed()
		return nil, err
	}
	return x.buckets[0], nil
}

// free releases index and segments. Nobody reads them any more.
func (f *frozen) free() {
	f.bucket.mu.Lock()
	f.index.Release()
	f.bucket.mu.Unlock()
	f.held.segments.end()
}

// named returns an error of a method that takes no key, with the bucket's name.
func (f *frozen) named(err error) error { return kv.NameKey(f.bucket.name, "", err) }

// doubts returns nil, or why nothing is certain about a key whose newest record has that revision, 0
// where there is none.
func (f *frozen) doubts(ctx context.Context, newest kv.Revision) error {
	if newest > f.bound || f.bound == 0 || kv.IsStale(ctx) {
		return nil
	}
	return f.doubtful
}

// shows reports whether a reader sees a key by its newest version: a value, or with markers any
// record.
func (f *frozen) shows(v *index.Version, markers bool) bool {
	if v.Op.IsMarker() {
		if !markers || f.rules != nil && len(f.rules.Filter([]index.Version{*v})) == 0 {
			return false
		}
	}
	return !hasExpired(v, f.ttl, f.owner.taken, true)
}

// Get returns the newest entry of key.
func (f *frozen) Get(ctx context.Context, key string) (kv.Entry, error) {
	if err := f.owner.enter(ctx); err != nil {
		return kv.Entry{}, kv.NameKey(f.bucket.name, key, err)
	}
	defer f.owner.leave()
	e, err := f.get(ctx, key)
	if err != nil {
		return kv.Entry{}, err
	}
	return e, nil
}

// get is Get between enter and leave. After an error the entry has what is known of it, the key at
// least.
func (f *frozen) get(ctx context.Context, key string) (kv.Entry, error) {
	none := kv.Entry{Bucket: f.bucket.name, Key: key}
	v, found := f.index.Newest(key)
	if err := f.doubts(ctx, v.Revision); err != nil {
		return none, kv.NameKey(f.bucket.name, key, err)
	}
	if !found || !f.shows(&v, false) {
		return none, kv.NameKey(f.bucket.name, key, missing(key, nil))
	}
	return f.read(key, v)
}

// read reads a record. After an error the entry has everything but the value.
func (f *frozen) read(key string, v index.Version) (kv.Entry, error) {
	e, err := f.bucket.readVersion(f.segment(v.Segment), key, v)
	if err != nil {
		return f.bucket.withoutValue(key, v), err
	}
	return e, nil
}

// segment returns the pinned segment with that number.
func (f *frozen) segment(number uint32) *segment.Segment {
	f.held.Lock()
	defer f.held.Unlock()
	return f.held.segments.segment(number)
}

// GetMany yields the newest entry of each key.
func (f *frozen) GetMany(ctx context.Context, keys []string) iter.Seq2[kv.Entry, error] {
	return f.sequence(ctx, kv.CheckGetMany(keys), func(yield func(kv.Entry, error) bool) error {
		for _, key := range keys {
			if err := f.goesOn(ctx); err != nil {
				return err
			}
			if !yield(f.get(ctx, key)) {
				return nil
			}
		}
		return nil
	})
}

// goesOn returns nil, or why a sequence ends.
func (f *frozen) goesOn(ctx context.Context) error {
	if err := f.owner.why(); err != nil {
		return err
	}
	return ctx.Err()
}

// sequence returns a sequence of entries that fn yields between enter and leave. It ends with the
// error of fn, or with refused if that is not nil.
func (f *frozen) sequence(ctx context.Context, refused error, fn func(yield func(kv.Entry, error) bool) error) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		if err := f.within(ctx, refused, func() error { return fn(yield) }); err != nil {
			yield(kv.Entry{}, err)
		}
	}
}

// within calls fn between enter and leave. It returns the error of fn, or refused if that is not nil,
// with the name of the bucket.
func (f *frozen) within(ctx context.Context, refused error, fn func() error) error {
	if refused != nil {
		return f.named(refused)
	}
	if err := f.owner.enter(ctx); err != nil {
		return f.named(err)
	}
	defer f.owner.leave()
	return f.named(fn())
}

// Range yields the newest entries of a range of keys.
func (f *frozen) Range(ctx context.Context, o kv.RangeOptions) iter.Seq2[kv.Entry, error] {
	return f.sequence(ctx, o.Validate(), func(yield func(kv.Entry, error) bool) error {
		r := ranging{walk: walk{frozen: f, ctx: ctx}, options: &o, yield: yield}
		return r.run()
	})
}

// Count counts the keys with a value that match.
func (f *frozen) Count(ctx context.Context, patterns ...string) (n uint64, err error) {
	o := kv.RangeOptions{Patterns: patterns, KeysOnly: true}
	err = f.within(ctx, o.Validate(), func() error {
		r := ranging{walk: walk{frozen: f, ctx: ctx}, options: &o, found: func(string, index.Version) bool { n++; return true }}
		return r.run()
	})
	return n, err
}

// GetMany yields the newest entry of each key, as of one moment.
func (b *Bucket) GetMany(ctx context.Context, keys []string) iter.Seq2[kv.Entry, error] {
	return frozenSequence(ctx, b, func(f *frozen) iter.Seq2[kv.Entry, error] { return f.GetMany(ctx, keys) })
}

// Range yields the newest entries of a range of keys, as of one moment.
func (b *Bucket) Range(ctx context.Context, o kv.RangeOptions) iter.Seq2[kv.Entry, error] {
	return frozenSequence(ctx, b, func(f *frozen) iter.Seq2[kv.Entry, error] { return f.Range(ctx, o) })
}

// Children yields the next level of the tree of keys below prefix, as of one moment.
func (b *Bucket) Children(ctx context.Context, prefix, separators string, limit int) iter.Seq2[kv.Child, error] {
	return frozenSequence(ctx, b, func(f *frozen) iter.Seq2[kv.Child, error] {
		return f.Children(ctx, prefix, separators, limit)
	})
}

// Count counts the keys with a value that match, as of one moment.
func (b *Bucket) Count(ctx context.Context, patterns ...string) (uint64, error) {
	f, err := b.freeze(ctx)
	if err != nil {
		return 0, kv.NameKey(b.name, "", err)
	}
	defer f.owner.Release()
	return f.Count(ctx, patterns...)
}

// frozenSequence returns a sequence that takes the moment when it begins to be read.
func frozenSequence[T any](ctx context.Context, b *Bucket, read func(*frozen) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		f, err := b.freeze(ctx)
		if err != nil {
			var none T
			yield(none, kv.NameKey(b.name, "", err))
			return
		}
		defer f.owner.Release()
		read(f)(yield)
	}
}
