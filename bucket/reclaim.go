package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kvd/bucket/compaction"
	"kvd/kv"
)

// Reclaim implements [kv.Reclaimer]. It compacts every segment that exists when it begins and
// has garbage then or while it runs. It returns once the replaced files are removed, except those that
// a reader holds.
func (s *Store) Reclaim(ctx context.Context, progress func(kv.Reclaimed), buckets ...string) (kv.Reclaimed, error) {
	if progress == nil {
		progress = func(kv.Reclaimed) {}
	}
	list, err := s.named(ctx, buckets)
	if err != nil {
		return kv.Reclaimed{}, err
	}
	r := s.newReclaiming(ctx, progress)
	sizes := make([]int64, len(list))
	for i, b := range list {
		sizes[i] = b.diskSize()
		r.sum.Total += sizes[i]
	}
	for i, b := range list {
		if err := r.bucket(b, sizes[i]); err != nil {
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

// reclaiming is one run of Reclaim. It works on the segments that existed when it began, and
// on those that it made of them. It does not count the garbage that writers make in the latter.
// So it ends, however much is written meanwhile.
type reclaiming struct {
	store    *Store
	progress func(kv.Reclaimed)
	pacer    *pacer
	sum      kv.Reclaimed

	end     uint64                 // of the numbers of the segments that existed when it began
	outputs map[*openSegment]int64 // the segments that it made, with the bytes of dead records that it had to keep
	retired []*openSegment         // the segments that it replaced, and whose files may still exist
	written int64                  // bytes of outputs
	removed int64                  // bytes of files that it replaced and that are gone
}

func (s *Store) newReclaiming(ctx context.Context, progress func(kv.Reclaimed)) *reclaiming {
	r := &reclaiming{store: s, progress: progress, pacer: &pacer{store: s, ctx: ctx}, outputs: make(map[*openSegment]int64)}
	if s.maintain != nil {
		r.pacer.rate, r.pacer.quit = restful*max(s.opts.CompactionRate, compactionRateDefault), s.maintain.quit
	}
	r.end = s.numbers.end()
	return r
}

// scope leaves out the segments that writers or other compactions have made since the
// beginning.
func (r *reclaiming) scope(sl *openSegment, c *compaction.Candidate) {
	if sl.Number() < r.end {
		return
	}
	dead, ours := r.outputs[sl]
	c.Fits = c.Fits && ours
	c.Garbage = min(c.Garbage, dead)
	c.Need = max(0, c.Size-c.Garbage)
}

// bucket compacts one bucket until no compaction pays. size is the bytes of its files when
// Reclaim began. If a segment is damaged, it goes on with the others, and returns the damage at
// the end.
func (r *reclaiming) bucket(b *Bucket, size int64) error {
	r.sum.Bucket = b.name
	end := r.sum.Done + size
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
			r.sum.Done = end
			r.progress(r.sum)
			return damage
		}
		r.sum.Done = min(r.sum.Done, end)
	}
}

// step does one compaction, or a checkpoint that has to come before it. Then it removes the
// files that were replaced.
func (r *reclaiming) step(b *Bucket) (more bool, err error) {
	s := r.store
	s.compacting.Lock()
	defer s.compacting.Unlock()
	if err := s.checkWritable(); err != nil {
		return false, err
	}
	v, ok := b.victim(func(*compaction.Usage) compaction.Policy { return compaction.Reclaim }, r.scope)
	switch {
	case !ok:
	case v.unsealed:
		err = v.compact(r.pacer)
	default:
		err = r.compact(b, v.runs[0])
	}
	r.free()
	return ok, err
}

// compact rewrites a run of segments.
func (r *reclaiming) compact(b *Bucket, run compaction.Run) error {
	c, err := b.compact(run.From, run.To, r.pacer)
	if errors.Is(err, errStopped) {
		return kv.ErrClosed
	}
	if err != nil {
		return err
	}
	r.sum.Done += c.size
	r.retired = append(r.retired, c.retired...)
	if c.output != nil {
		r.outputs[c.output] = c.deadKept
		r.written += c.output.Size()
	}
	return nil
}

// free removes the files that were replaced, except those that a reader holds, and counts
// the bytes that are free now. The caller holds compacting.
func (r *reclaiming) free() {
	s := r.store
	s.removeRetired(func() { s.pause(r.pacer.checkpoints()) })
	r.retired = slices.DeleteFunc(r.retired, func(sl *openSegment) bool {
		gone := sl.removed.Load()
		if gone {
			r.removed += sl.Size() + sl.valueBytes
		}
		return gone
	})
	r.sum.Freed = max(0, r.removed-r.written)
}
