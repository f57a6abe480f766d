package bucket

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket/compaction"
	"kvd/kv"
)

// Reclaim implements [kv.Reclaimer]. It compacts everything that can be compacted now. It
// returns once the replaced files are removed, except those that a reader holds.
func (s *Store) Reclaim(ctx context.Context, progress func(kv.Reclaimed), buckets ...string) (kv.Reclaimed, error) {
	if progress == nil {
		progress = func(kv.Reclaimed) {}
	}
	list, err := s.named(ctx, buckets)
	if err != nil {
		return kv.Reclaimed{}, err
	}
	r := &reclaiming{progress: progress, pacer: &pacer{store: s, ctx: ctx}}
	if s.maintain != nil {
		r.pacer.rate, r.pacer.quit = restful*max(s.opts.CompactionRate, compactionRateDefault), s.maintain.quit
	}
	for _, b := range list {
		r.sum.Total += b.diskSize()
	}
	for _, b := range list {
		if err := r.bucket(b); err != nil {
			return r.sum, fmt.Errorf("reclaim: %w", err)
		}
	}
	return r.sum, nil
}

// Reclaim is [Store.Reclaim] of this bucket.
func (b *Bucket) Reclaim(ctx context.Context, progress func(kv.Reclaimed)) (kv.Reclaimed, error) {
	return b.store.Reclaim(ctx, progress, b.name)
}

// named returns the buckets of those names, or all buckets if there are no names.
func (s *Store) named(ctx context.Context, names []string) ([]*Bucket, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	if err := s.checkFailure(); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return s.list(), nil
	}
	var list []*Bucket
	for _, name := range names {
		b, err := s.lookup(name)
		if err != nil {
			return nil, err
		}
		if err := b.checkWritable(); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// diskSize returns the bytes of the bucket's segments.
func (b *Bucket) diskSize() (n int64) {
	if b.memory {
		return 0
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for sl := range b.files() {
		n += sl.Size()
	}
	return n
}

// reclaiming is one run of Reclaim.
type reclaiming struct {
	progress func(kv.Reclaimed)
	pacer    *pacer
	sum      kv.Reclaimed
}

// bucket compacts one bucket until no compaction pays. If a segment is damaged, it goes on
// with the others, and returns the damage at the end.
func (r *reclaiming) bucket(b *Bucket) error {
	r.sum.Bucket = b.name
	done, before := r.sum.Done, b.diskSize()
	var damage error
	for {
		r.progress(r.sum)
		more, err := r.step(b)
		switch {
		case errors.Is(err, kv.ErrCorrupt):
			damage = err
		case errors.Is(err, kv.ErrBucketNotFound):
			return nil
		case err != nil:
			return err
		case !more:
			r.sum.Done = done + before
			r.progress(r.sum)
			return damage
		}
		r.sum.Done = min(r.sum.Done, done+before)
	}
}

// step does one compaction, or a checkpoint that has to come before it.
func (r *reclaiming) step(b *Bucket) (more bool, err error) {
	s := b.store
	s.compacting.Lock()
	defer s.compacting.Unlock()
	if err := s.checkWritable(); err != nil {
		return false, err
	}
	v, ok := b.victim(func(*compaction.Usage) compaction.Policy { return compaction.Reclaim })
	if !ok {
		return false, nil
	}
	if v.unsealed {
		return true, v.compact(r.pacer)
	}
	done, err := b.compact(v.runs[0].From, v.runs[0].To, r.pacer)
	if errors.Is(err, errStopped) {
		return false, kv.ErrClosed
	}
	r.sum.Done += done.Freed + done.Written
	r.sum.Freed += done.Freed
	return true, err
}
