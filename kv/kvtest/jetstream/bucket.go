package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

// bucket is a handle of one stream, by its name.
type bucket struct {
	name   string
	js     js.JetStream
	values js.KeyValue // reads, listings and watches
	stream js.Stream   // what values does not show: markers
}

func (b *bucket) Name() string { return b.name }

func (b *bucket) Get(ctx context.Context, key string) (kv.Entry, error) {
	return b.read(ctx, key, func() (js.KeyValueEntry, error) { return b.values.Get(ctx, key) })
}

func (b *bucket) GetRevision(ctx context.Context, key string, revision kv.Revision) (kv.Entry, error) {
	return b.read(ctx, key, func() (js.KeyValueEntry, error) {
		if revision == 0 { // to nats.go it is the newest
			return nil, js.ErrKeyNotFound
		}
		return b.values.GetRevision(ctx, key, uint64(revision))
	})
}

func (b *bucket) GetAppend(ctx context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	e, err := b.Get(ctx, key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		err = kv.ErrKeyNotFound
	}
	if err != nil {
		return dst, kv.Entry{}, err
	}
	dst = append(dst, e.Value...)
	e.Value = dst[len(dst)-len(e.Value):]
	return dst, e, nil
}

func (b *bucket) read(ctx context.Context, key string, get func() (js.KeyValueEntry, error)) (kv.Entry, error) {
	if err := b.check(ctx, key); err != nil {
		return kv.Entry{}, err
	}
	e, err := get()
	if err != nil {
		return kv.Entry{}, b.failed(ctx, "get", key, err)
	}
	entry := entryOf(e)
	entry.Delta = 0
	return entry, nil
}

// check returns the error of a call that must not begin.
func (b *bucket) check(ctx context.Context, key string) error {
	if err := kv.CheckKey(key); err != nil {
		return kv.NameKey(b.name, key, err)
	}
	return ctx.Err()
}

// failed names what did not succeed, in the terms of package kv.
func (b *bucket) failed(ctx context.Context, what, key string, err error) error {
	if err = translate(err); isSilence(err) {
		if _, gone := b.js.Stream(ctx, streamName(b.name)); errors.Is(gone, js.ErrStreamNotFound) {
			err = fmt.Errorf("%w: %w", kv.ErrBucketNotFound, err)
		}
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case errors.Is(err, kv.ErrKeyNotFound):
		return kv.NameKey(b.name, key, kv.ErrKeyNotFound)
	case errors.Is(err, kv.ErrBucketNotFound):
		return fmt.Errorf("jetstream: %s in bucket %q: %w", what, b.name, err)
	}
	return kv.NameKey(b.name, key, fmt.Errorf("jetstream: %s: %w", what, err))
}

// entryOf returns what nats.go shows of a record.
func entryOf(e js.KeyValueEntry) kv.Entry {
	entry := kv.Entry{
		Bucket:    e.Bucket(),
		Key:       e.Key(),
		Value:     e.Value(),
		Revision:  kv.Revision(e.Revision()),
		Created:   e.Created(),
		Delta:     e.Delta(),
		Operation: kv.Put,
	}
	switch e.Operation() {
	case js.KeyValueDelete:
		entry.Operation, entry.Reason = kv.Delete, kv.ReasonClient
	case js.KeyValuePurge:
		entry.Operation, entry.Reason = kv.Purge, kv.ReasonClient
	}
	return entry
}

func (b *bucket) History(ctx context.Context, key string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		if err := b.check(ctx, key); err != nil {
			yield(kv.Entry{}, err)
			return
		}
		entries, err := b.initial(ctx, []string{key}, js.IncludeHistory())
		if err == nil && len(entries) == 0 {
			err = kv.ErrKeyNotFound
		}
		if err != nil {
			yield(kv.Entry{}, b.failed(ctx, "history of", key, err))
			return
		}
		for _, e := range entries {
			if !yield(entryOf(e), nil) {
				return
			}
		}
	}
}

func (b *bucket) Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		keys, err := b.keys(ctx, patterns)
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// keys lists what the patterns select. The server sends keys in the order of
// their revisions, and one written meanwhile perhaps twice.
func (b *bucket) keys(ctx context.Context, patterns []string) ([]string, error) {
	filters, err := filtersOf(patterns)
	if err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	entries, err := b.initial(ctx, filters, js.IgnoreDeletes(), js.MetaOnly())
	if err != nil {
		return nil, b.failed(ctx, "list keys", "", err)
	}
	var keys []string
	for _, e := range entries {
		if kv.MatchAny(patterns, e.Key()) {
			keys = append(keys, e.Key())
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// All yields the newest entry of each key. The server sends them in the order of their
// revisions, and those of keys that are written meanwhile besides.
func (b *bucket) All(ctx context.Context, patterns ...string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		newest, err := b.newestEntries(ctx, patterns)
		if err != nil {
			yield(kv.Entry{}, err)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(newest)) {
			if !yield(newest[key], nil) {
				return
			}
		}
	}
}

func (b *bucket) newestEntries(ctx context.Context, patterns []string) (map[string]kv.Entry, error) {
	filters, err := filtersOf(patterns)
	if err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	entries, err := b.initial(ctx, filters, js.IgnoreDeletes())
	if err != nil {
		return nil, b.failed(ctx, "list entries", "", err)
	}
	newest := make(map[string]kv.Entry)
	for _, e := range entries {
		if kv.MatchAny(patterns, e.Key()) {
			entry := entryOf(e)
			entry.Delta = 0
			newest[e.Key()] = entry
		}
	}
	return newest, nil
}

// initial returns the entries of a watch up to the end of the initial ones. The
// listings of nats.go do the same, but take a lost connection for that end.
func (b *bucket) initial(ctx context.Context, filters []string, opts ...js.WatchOpt) ([]js.KeyValueEntry, error) {
	for {
		entries, err := b.tryInitial(ctx, filters, opts)
		if !errors.Is(err, errStalled) {
			return entries, err
		}
	}
}

// errStalled reports that a watch waits for an entry that has expired: nats.go counts the initial
// entries by what the server says first, and waits without a limit for one that is removed before
// it is delivered.
var errStalled = errors.New("the watch stalls")

// stallTime is how long an initial entry may take to come.
const stallTime = 5 * time.Second

// tryInitial is initial with one watch.
func (b *bucket) tryInitial(ctx context.Context, filters []string, opts []js.WatchOpt) ([]js.KeyValueEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := b.values.WatchFiltered(ctx, filters, opts...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Stop() }() // an error says that it has stopped already
	var entries []js.KeyValueEntry
	for {
		select {
		case e, open := <-w.Updates():
			if !open {
				return nil, errors.Join(ctx.Err(), kv.ErrClosed)
			}
			if e == nil {
				return entries, nil
			}
			entries = append(entries, e)
		case <-time.After(stallTime):
			return nil, errStalled
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *bucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.values.PurgeDeletes(ctx, js.DeleteMarkersOlderThan(olderThan)); err != nil {
		return b.failed(ctx, "purge deletes", "", err)
	}
	return nil
}

func (b *bucket) Status(ctx context.Context) (kv.Status, error) {
	if err := ctx.Err(); err != nil {
		return kv.Status{}, err
	}
	info, err := b.stream.Info(ctx)
	if err != nil {
		return kv.Status{}, b.failed(ctx, "status", "", err)
	}
	var keys []string
	if info.State.Msgs > 0 {
		if keys, err = b.keys(ctx, nil); err != nil {
			return kv.Status{}, err
		}
	}
	return kv.Status{
		Config:   fromNATS(b.name, info.Config),
		ID:       idOf(info),
		Created:  info.Created,
		Keys:     uint64(len(keys)),
		Values:   info.State.Msgs,
		Bytes:    info.State.Bytes,
		Revision: kv.Revision(info.State.LastSeq),
	}, nil
}

// idOf returns what tells a stream from another of the same name: when it was
// made.
func idOf(info *js.StreamInfo) uint64 { return uint64(info.Created.UnixNano()) }
