package bucket

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
)

const (
	// snapshotMax bounds how long a listing keeps the index's snapshot open, apart from
	// the key that its consumer handles at the time. While a snapshot is open, the writer
	// copies every node that it changes. A slower consumer gets the remaining keys from a
	// copy.
	snapshotMax = time.Second
	// contextCheck is the number of keys after which a listing checks its context.
	contextCheck = 256
	// listTurn is the number of keys after which a listing lets other goroutines run: some
	// 100 µs of work. See turns for the reason.
	listTurn = 1024
	// snapshotsOpen bounds the snapshots of a store's listings at a time. Further ones wait.
	snapshotsOpen = 64
)

// Keys yields the keys that match any of the patterns, ascending, as they were
// at one revision.
func (b *Bucket) Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := checkPatterns(patterns)
		if err == nil {
			l := listing{bucket: b, ctx: ctx, patterns: patterns}
			l.yield = func(key string, _ index.Version) bool { return yield(key, nil) }
			err = l.run()
		}
		if err != nil {
			yield("", kv.NameKey(b.name, "", err))
		}
	}
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if err := kv.CheckPattern(p); err != nil {
			return err
		}
	}
	return nil
}

// listing is one pass over the live keys of a bucket.
type listing struct {
	bucket   *Bucket
	ctx      context.Context
	patterns []string
	yield    func(string, index.Version) bool
	held     *heldSegments // of the versions that yield needs; nil: it needs none
	ttl      time.Duration // of the bucket
	now      int64         // unix ns: the time of the listing

	seen    int
	late    atomic.Bool // the snapshot has been open for too long: keys are copied to rest
	rest    []string    // keys copied for a slow consumer
	stopped bool        // the consumer has ended the listing

	versions []index.Version // of rest, with held
}

func (l *listing) run() error {
	pin := func() {}
	if l.held != nil {
		pin = l.held.beginLocked
	}
	snapshot, err := l.bucket.openSnapshotWith(l.ctx, pin)
	if err != nil {
		return err
	}
	if snapshot.doubtful != nil {
		l.bucket.closeSnapshot(snapshot)
		return snapshot.doubtful
	}
	config, _ := l.bucket.config()
	l.ttl, l.now = config.TTL, l.bucket.store.clock.now()
	released := false
	release := func() {
		if !released {
			released = true
			l.bucket.closeSnapshot(snapshot)
		}
	}
	defer release() // also when the consumer panics
	defer time.AfterFunc(snapshotMax, func() { l.late.Store(true) }).Stop()
	for _, prefix := range prefixes(l.patterns) {
		snapshot.AscendPrefix(prefix, l.visit)
		if l.stopped || l.ctx.Err() != nil {
			break
		}
	}
	release()
	for i, key := range l.rest {
		if l.stopped || l.ctx.Err() != nil {
			break
		}
		var v index.Version
		if l.held != nil {
			v = l.versions[i]
		}
		l.stopped = !l.yield(key, v)
	}
	if l.stopped {
		return nil
	}
	return l.ctx.Err()
}

// visit yields or copies one key of the snapshot, and reports whether to go on.
func (l *listing) visit(key []byte, newest index.Version) bool {
	if l.seen++; l.seen%contextCheck == 0 && l.ctx.Err() != nil {
		return false
	}
	if l.seen%listTurn == 0 {
		runtime.Gosched()
	}
	if newest.Op != kv.Put || hasExpired(&newest, l.ttl, l.now, true) {
		return true
	}
	name := string(key)
	if !kv.MatchAny(l.patterns, name) {
		return true
	}
	if l.late.Load() {
		l.rest = append(l.rest, name)
		if l.held != nil {
			l.versions = append(l.versions, newest)
		}
		return true
	}
	l.stopped = !l.yield(name, newest)
	return !l.stopped
}

// prefixes returns the ranges of keys that the patterns can match, ascending and disjoint:
// the literal prefixes of the patterns, without those that a shorter one covers.
func prefixes(patterns []string) []string {
	if len(patterns) == 0 {
		return []string{""}
	}
	all := make([]string, len(patterns))
	for i, p := range patterns {
		all[i] = kv.LiteralPrefix(p)
	}
	slices.Sort(all)
	kept := all[:1]
	for _, p := range all[1:] {
		if !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// snapshot is a bucket's index as it was at one moment.
type snapshot struct {
	*index.Snapshot
	at        kv.Revision        // the newest revision in it
	rules     *manifest.Liveness // pending rules by which versions in it may be dead; nil: none
	forgotten forgotten          // as of that moment
	doubtful  error              // why the bucket may have other keys and records; nil: it has none
}

// openSnapshot takes a snapshot of the index. It waits until the index's tree is complete.
// The caller closes it with closeSnapshot.
func (b *Bucket) openSnapshot(ctx context.Context) (*snapshot, error) {
	return b.openSnapshotWith(ctx, func() {})
}

// openSnapshotWith is openSnapshot that also calls fn in the moment of the snapshot, with
// mu held.
func (b *Bucket) openSnapshotWith(ctx context.Context, fn func()) (*snapshot, error) {
	if err := b.checkOpen(ctx); err != nil {
		return nil, err
	}
	select {
	case <-b.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case b.store.snapshots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.gone != nil {
		<-b.store.snapshots
		return nil, b.mu.gone
	}
	fn()
	return &snapshot{b.mu.index.Snapshot(), b.mu.revision, b.rulesLocked(), b.forgottenLocked(), b.doubtLocked(ctx)}, nil
}

func (b *Bucket) closeSnapshot(s *snapshot) {
	b.mu.Lock()
	s.Release()
	b.mu.Unlock()
	<-b.store.snapshots
}

// buildTree completes the index's tree after an open, in slices that are so short that
// readers and the writer run in between. Only one goroutine calls it.
func (b *Bucket) buildTree() {
	const slice = 32 // keys per hold of the lock
	select {
	case <-b.ready: // the bucket is newer than the manifest: its tree began empty
		return
	default:
	}
	b.mu.RLock()
	x := b.mu.index
	b.mu.RUnlock()
	order := x.Order() // beside readers and writers
	b.mu.Lock()
	x.UseOrder(order)
	b.mu.Unlock()
	for done := false; !done; {
		b.mu.Lock()
		done = b.mu.gone != nil || b.mu.index.BuildTree(slice)
		b.mu.Unlock()
	}
	close(b.ready)
}

// BucketNames yields the names of all buckets in ascending order.
func (s *Store) BucketNames(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.open(ctx); err != nil {
			yield("", err)
			return
		}
		for _, b := range s.list() {
			if !yield(b.name, nil) {
				return
			}
		}
		if err := s.checkOperations(ctx); err != nil {
			yield("", err)
		}
	}
}

// Buckets yields the status of all buckets in ascending order of names.
func (s *Store) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	return func(yield func(kv.Status, error) bool) {
		if err := s.open(ctx); err != nil {
			yield(kv.Status{}, err)
			return
		}
		for _, b := range s.list() {
			st, err := b.Status(ctx)
			if errors.Is(err, kv.ErrBucketNotFound) {
				continue // deleted since the list was taken
			}
			if !yield(st, err) || err != nil {
				return
			}
		}
		if err := s.checkOperations(ctx); err != nil {
			yield(kv.Status{}, err)
		}
	}
}

// open returns nil, or why a call on the store cannot begin.
func (s *Store) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return kv.ErrClosed
	}
	return nil
}
