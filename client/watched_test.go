package client

import (
	"context"
	"iter"
	"sync"

	"kvd/bucket"
	"kvd/kv"
)

// watchedStore is the engine with watches of one bucket, made of a log in memory:
// everything that was put, which a watch reads from where it is asked to.
type watchedStore struct {
	kv.Store
	engine *bucket.Store
	bucket *watchedBucket
}

func newWatchedStore(engine *bucket.Store) *watchedStore {
	return &watchedStore{Store: engine, engine: engine}
}

func (s *watchedStore) Close() error { return s.engine.Close() }

func (s *watchedStore) CreateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	b, err := s.engine.CreateBucket(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.bucket = &watchedBucket{Bucket: b, grown: make(chan struct{})}
	return s.bucket, nil
}

func (s *watchedStore) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if _, err := s.engine.Bucket(ctx, name); err != nil {
		return nil, err
	}
	return s.bucket, nil
}

type watchedBucket struct {
	kv.Bucket
	mu    sync.Mutex
	log   []kv.Entry    // of revision 1, 2, 3, …
	grown chan struct{} // closed when log grows
}

func (b *watchedBucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rev, err := b.Bucket.Put(ctx, key, value, opts...)
	if err != nil {
		return 0, err
	}
	e, err := b.Bucket.GetRevision(ctx, key, rev)
	b.log = append(b.log, e)
	close(b.grown)
	b.grown = make(chan struct{})
	return rev, err
}

func (b *watchedBucket) Watch(ctx context.Context, _ []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	var o kv.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &logWatcher{bucket: b, cancel: cancel, updates: make(chan kv.Update), done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	next, initial := 0, len(b.log)
	switch {
	case o.ResumeFrom != 0:
		next = int(o.ResumeFrom) - 1
	case o.UpdatesOnly:
		next = initial
	}
	if o.UpdatesOnly {
		initial = -1 // no signal
	}
	go w.run(ctx, next, initial)
	return w, nil
}

// logWatcher sends the log from a place on.
type logWatcher struct {
	bucket  *watchedBucket
	cancel  context.CancelFunc
	updates chan kv.Update
	done    chan struct{}
}

func (w *logWatcher) run(ctx context.Context, next, initial int) {
	defer close(w.done)
	defer close(w.updates)
	if next >= initial && initial >= 0 && !w.send(ctx, kv.Update{}) {
		return
	}
	for {
		w.bucket.mu.Lock()
		log, grown := w.bucket.log, w.bucket.grown
		w.bucket.mu.Unlock()
		for ; next < len(log); next++ {
			if !w.send(ctx, kv.Update{Entry: &log[next]}) || next == initial-1 && !w.send(ctx, kv.Update{}) {
				return
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
	}
}

func (w *logWatcher) send(ctx context.Context, u kv.Update) bool {
	select {
	case w.updates <- u:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *logWatcher) Updates() <-chan kv.Update { return w.updates }
func (w *logWatcher) Err() error                { return nil }

func (w *logWatcher) Stop() error {
	w.cancel()
	<-w.done
	return nil
}

func (w *logWatcher) All() iter.Seq2[kv.Update, error] {
	return func(yield func(kv.Update, error) bool) {
		for u := range w.updates {
			if !yield(u, nil) {
				return
			}
		}
	}
}
