package admin

import (
	"cmp"
	"context"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"kvd/kv"
)

// Observe returns a store that counts the calls and passes them on to s. kv.As finds
// the further interfaces of s and of its buckets through it.
func (m *Metrics) Observe(s kv.Store) kv.Store { return &observedStore{Store: s, metrics: m} }

// observedStore counts the calls of a store.
type observedStore struct {
	kv.Store
	metrics *Metrics
	handles sync.Map // name → *handle; a new bucket of the same name gets another one
}

// Unwrap returns the store inside, for kv.As.
func (o *observedStore) Unwrap() kv.Store { return o.Store }

// As returns, for kv.As, the interfaces whose calls are counted, if the store inside
// has them.
func (o *observedStore) As(target any) (ok bool) {
	switch target := target.(type) {
	case *kv.Submitter:
		var inside kv.Submitter
		if inside, ok = kv.As[kv.Submitter](o.Store); ok {
			*target = &observedSubmitter{inside, o.metrics}
		}
	case *kv.Reclaimer:
		var inside kv.Reclaimer
		if inside, ok = kv.As[kv.Reclaimer](o.Store); ok {
			*target = &observedReclaimer{inside, o.metrics}
		}
	}
	return ok
}

// handle returns the counting handle of a bucket. Handles are kept by name, so that a
// server that looks a bucket up for every read allocates nothing.
func (o *observedStore) handle(b kv.Bucket, err error) (kv.Bucket, error) {
	if err != nil {
		return nil, err
	}
	name := b.Name()
	if h, ok := o.handles.Load(name); ok && h.(*handle).of == b {
		return h.(*handle).bucket, nil
	}
	h := &handle{of: b, bucket: &observedBucket{Bucket: b, metrics: o.metrics, tally: o.metrics.operations.of(name)}}
	o.handles.Store(name, h)
	return h.bucket, nil
}

// handle is the counting handle of a bucket, and that bucket.
type handle struct{ of, bucket kv.Bucket }

func (o *observedStore) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	return o.handle(o.Store.Bucket(ctx, name))
}

func (o *observedStore) CreateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	start := time.Now()
	b, err := o.Store.CreateBucket(ctx, cfg)
	o.metrics.observe(ctx, nil, call{op: opConfigure, bucket: cfg.Bucket}, start, err)
	return o.handle(b, err)
}

func (o *observedStore) UpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	start := time.Now()
	b, err := o.Store.UpdateBucket(ctx, cfg)
	o.metrics.observe(ctx, nil, call{op: opConfigure, bucket: cfg.Bucket}, start, err)
	return o.handle(b, err)
}

func (o *observedStore) CreateOrUpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	start := time.Now()
	b, err := o.Store.CreateOrUpdateBucket(ctx, cfg)
	o.metrics.observe(ctx, nil, call{op: opConfigure, bucket: cfg.Bucket}, start, err)
	return o.handle(b, err)
}

func (o *observedStore) DeleteBucket(ctx context.Context, name string) error {
	start := time.Now()
	err := o.Store.DeleteBucket(ctx, name)
	o.metrics.observe(ctx, nil, call{op: opConfigure, bucket: name}, start, err)
	if err == nil {
		o.handles.Delete(name)
		o.metrics.operations.remove(name)
	}
	return err
}

// observedReclaimer counts the calls of Reclaim.
type observedReclaimer struct {
	inside  kv.Reclaimer
	metrics *Metrics
}

func (o *observedReclaimer) Reclaim(ctx context.Context, progress func(kv.Reclaimed), buckets ...string) (kv.Reclaimed, error) {
	start := time.Now()
	done, err := o.inside.Reclaim(ctx, progress, buckets...)
	c := call{op: opReclaim}
	if len(buckets) > 0 {
		c.bucket = buckets[0]
	}
	o.metrics.observe(ctx, nil, c, start, err)
	return done, err
}

// observedSubmitter counts the mutations of Submit.
type observedSubmitter struct {
	inside  kv.Submitter
	metrics *Metrics
}

func (o *observedSubmitter) Submit(ctx context.Context, mutations []kv.Mutation) error {
	start := time.Now()
	err := o.inside.Submit(ctx, mutations)
	took := time.Since(start)
	var timed [operationKinds]bool // once for all mutations of an operation: they have waited together
	for i := range mutations {
		m := &mutations[i]
		if m.Op <= 0 || int(m.Op) >= len(mutationOps) {
			continue
		}
		op, t := mutationOps[m.Op], o.metrics.operations.ofMutation(m)
		t.count(op, m.Err)
		if !timed[op] {
			timed[op] = true
			o.metrics.durations[op].Observe(took.Seconds())
			t.time(op, took)
		}
	}
	if slow := &o.metrics.slow; int64(took) >= slow.threshold.Load() && len(mutations) > 0 {
		slow.add(ctx, callOf(mutations), start, took, cmp.Or(err, mutations[0].Err))
	}
	return err
}

// callOf describes mutations that were submitted together.
func callOf(mutations []kv.Mutation) call {
	m := &mutations[0]
	c := call{bucket: m.Bucket, key: m.Key, writes: len(mutations)}
	if m.Op > 0 && int(m.Op) < len(mutationOps) {
		c.op = mutationOps[m.Op]
	}
	return c
}

// observedBucket counts the calls of a bucket.
type observedBucket struct {
	kv.Bucket
	metrics *Metrics
	tally   *tally
}

// readsTimed: one read in so many is timed. A read is so short that two readings of
// the clock would slow it down.
const readsTimed = 16

// begin returns the time at which a get begins, or the zero time if it is not timed.
func (b *observedBucket) begin() (start time.Time) {
	if rand.Uint32N(readsTimed) == 0 {
		start = time.Now()
	}
	return start
}

// end counts a get.
func (b *observedBucket) end(ctx context.Context, key string, start time.Time, err error) {
	if err == nil {
		b.tally.gets.add()
	} else {
		b.tally.count(opGet, err)
	}
	if !start.IsZero() {
		b.observe(ctx, opGet, key, start, err)
	}
}

func (b *observedBucket) Get(ctx context.Context, key string) (kv.Entry, error) {
	start := b.begin()
	e, err := b.Bucket.Get(ctx, key)
	b.end(ctx, key, start, err)
	return e, err
}

func (b *observedBucket) GetRevision(ctx context.Context, key string, revision kv.Revision) (kv.Entry, error) {
	start := b.begin()
	e, err := b.Bucket.GetRevision(ctx, key, revision)
	b.end(ctx, key, start, err)
	return e, err
}

func (b *observedBucket) GetAppend(ctx context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	start := b.begin()
	dst, e, err := b.Bucket.GetAppend(ctx, dst, key)
	b.end(ctx, key, start, err)
	return dst, e, err
}

// observe records the duration of a call of the bucket.
func (b *observedBucket) observe(ctx context.Context, op operation, key string, start time.Time, err error) {
	b.metrics.observe(ctx, b.tally, call{op: op, bucket: b.Name(), key: key}, start, err)
}

// write counts a write of one key.
func (b *observedBucket) write(ctx context.Context, op operation, key string, write func() (kv.Revision, error)) (kv.Revision, error) {
	start := time.Now()
	revision, err := write()
	b.observe(ctx, op, key, start, err)
	b.tally.count(op, err)
	return revision, err
}

func (b *observedBucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opPut, key, func() (kv.Revision, error) { return b.Bucket.Put(ctx, key, value, opts...) })
}

func (b *observedBucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opPut, key, func() (kv.Revision, error) { return b.Bucket.PutString(ctx, key, value, opts...) })
}

func (b *observedBucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opCreate, key, func() (kv.Revision, error) { return b.Bucket.Create(ctx, key, value, opts...) })
}

func (b *observedBucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opUpdate, key, func() (kv.Revision, error) { return b.Bucket.Update(ctx, key, value, last, opts...) })
}

func (b *observedBucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opTouch, key, func() (kv.Revision, error) { return b.Bucket.Touch(ctx, key, opts...) })
}

func (b *observedBucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opDelete, key, func() (kv.Revision, error) { return b.Bucket.Delete(ctx, key, opts...) })
}

func (b *observedBucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, opPurge, key, func() (kv.Revision, error) { return b.Bucket.Purge(ctx, key, opts...) })
}

func (b *observedBucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	start := time.Now()
	err := b.Bucket.PurgeDeletes(ctx, olderThan)
	b.observe(ctx, opCompact, "", start, err)
	b.tally.count(opCompact, err)
	return err
}

func (b *observedBucket) History(ctx context.Context, key string) iter.Seq2[kv.Entry, error] {
	return counted(ctx, b, opHistory, key, b.Bucket.History(ctx, key))
}

func (b *observedBucket) Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error] {
	return counted(ctx, b, opKeys, first(patterns), b.Bucket.Keys(ctx, patterns...))
}

func (b *observedBucket) All(ctx context.Context, patterns ...string) iter.Seq2[kv.Entry, error] {
	return counted(ctx, b, opAll, first(patterns), b.Bucket.All(ctx, patterns...))
}

// first returns the first of some patterns; empty if there is none.
func first(patterns []string) string {
	if len(patterns) == 0 {
		return ""
	}
	return patterns[0]
}

// counted counts a listing at its end, by its error. Its duration has that of the loop's body.
func counted[T any](ctx context.Context, b *observedBucket, op operation, key string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		start := time.Now()
		var failed error
		for v, err := range seq {
			b.tally.countDamage(failed) // the listing went on behind it
			failed = err
			if !yield(v, err) {
				break
			}
		}
		b.observe(ctx, op, key, start, failed)
		b.tally.count(op, failed)
	}
}

func (b *observedBucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	start := time.Now()
	w, err := b.Bucket.Watch(ctx, patterns, opts...)
	b.observe(ctx, opWatch, first(patterns), start, err)
	b.tally.count(opWatch, err)
	return w, err
}

// Unwrap returns the bucket inside, for kv.As.
func (b *observedBucket) Unwrap() kv.Bucket { return b.Bucket }
