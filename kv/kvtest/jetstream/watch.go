package jetstream

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	js "github.com/nats-io/nats.go/jetstream"

	"kvd/internal/feed"
	"kvd/kv"
)

// Watch sends the entries of the keys that match; see [kv.Bucket].
func (b *bucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	filters, err := filtersOf(patterns)
	if err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var o kv.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	if err := b.checkID(ctx, o.ResumeBucketID); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	source, err := b.values.WatchFiltered(ctx, filters, watchOptions(o)...)
	if err != nil {
		cancel()
		return nil, b.failed(ctx, "watch", "", err)
	}
	updates := make(chan kv.Update)
	w := &watcher{Feed: feed.New(updates), patterns: slices.Clone(patterns), source: source, cancel: cancel, updates: updates}
	go w.forward(ctx)
	return w, nil
}

// checkID returns nil if the bucket has this id, or id is 0.
func (b *bucket) checkID(ctx context.Context, id uint64) error {
	if id == 0 {
		return nil
	}
	info, err := b.stream.Info(ctx)
	if err != nil {
		return b.failed(ctx, "watch", "", err)
	}
	if got := idOf(info); got != id {
		return fmt.Errorf("jetstream: resume the watch of bucket %q, id %d, in one of id %d: %w", b.name, id, got, kv.ErrBucketNotFound)
	}
	return nil
}

func watchOptions(o kv.WatchOptions) (opts []js.WatchOpt) {
	if o.IncludeHistory {
		opts = append(opts, js.IncludeHistory())
	}
	if o.UpdatesOnly {
		opts = append(opts, js.UpdatesOnly())
	}
	if o.IgnoreDeletes {
		opts = append(opts, js.IgnoreDeletes())
	}
	if o.MetaOnly {
		opts = append(opts, js.MetaOnly())
	}
	if o.ResumeFrom > 0 {
		opts = append(opts, js.ResumeFromRevision(uint64(o.ResumeFrom)))
	}
	return opts
}

// watcher passes on what a watch of nats.go delivers.
type watcher struct {
	*feed.Feed

	// Immutable.
	patterns []string
	source   js.KeyWatcher
	cancel   context.CancelFunc
	updates  chan kv.Update
}

// forward is a goroutine that Watch starts. It ends with the context, which Stop
// cancels, or with the source.
func (w *watcher) forward(ctx context.Context) {
	defer func() { _ = w.source.Stop() }() // an error says that it has stopped already
	for {
		select {
		case e, open := <-w.source.Updates():
			if !open {
				w.End(cmp.Or(ctx.Err(), kv.ErrClosed))
				return
			}
			if !w.deliver(ctx, e) {
				w.End(ctx.Err())
				return
			}
		case <-ctx.Done():
			w.End(ctx.Err())
			return
		}
	}
}

// deliver sends one event, and reports whether the watch goes on.
func (w *watcher) deliver(ctx context.Context, e js.KeyValueEntry) bool {
	var u kv.Update
	if e != nil {
		if !kv.MatchAny(w.patterns, e.Key()) {
			return true
		}
		entry := entryOf(e)
		u.Entry = &entry
	}
	select {
	case w.updates <- u:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stop ends the watch.
func (w *watcher) Stop() error {
	w.SetStopped()
	w.cancel()
	return nil
}
