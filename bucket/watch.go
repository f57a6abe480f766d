package bucket

import (
	"context"
	"fmt"
	"time"

	"kvd/kv"
	"kvd/segment"
)

// Watch sends the entries of all keys that match any of the patterns; see [kv.Bucket]. The
// Watcher also implements [kv.Poller]. It ends with kv.ErrBucketNotFound when the bucket is
// deleted, and with kv.ErrClosed when the store is closed.
func (b *Bucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	if err := b.checkOpen(ctx); err != nil {
		return nil, err
	}
	if err := checkPatterns(patterns); err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	var o kv.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.IncludeHistory && o.UpdatesOnly {
		return nil, kv.NameKey(b.name, "", fmt.Errorf("%w: use IncludeHistory or UpdatesOnly, not both", kv.ErrInvalidOption))
	}
	if o.ResumeBucketID != 0 && o.ResumeBucketID != b.life {
		return nil, fmt.Errorf("%w: %q with id %d; the one of that name has id %d", kv.ErrBucketNotFound, b.name, o.ResumeBucketID, b.life)
	}
	w, err := b.hub.Watch(ctx, patterns, o)
	if err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	return w, nil
}

// Watchers describes the bucket's watchers; see [kv.Watched].
func (b *Bucket) Watchers() (count int, lag kv.Revision) {
	st := b.hub.Stats()
	return st.Watchers, st.Lag
}

// publishEffects publishes the records of effects to the bucket's watchers. Readers see
// these records already.
func (b *Bucket) publishEffects(g *group, effects []effect) {
	g.events = g.events[:0]
	for i := range effects {
		if e := &effects[i]; e.op != segment.Erase {
			g.events = append(g.events, e.entry(b))
		}
	}
	if len(g.events) > 0 {
		b.hub.Publish(g.events)
	}
	clear(g.events)
}

// entry returns the entry that watchers get for the effect. It shares the memory of the
// caller's key and value.
func (e *effect) entry(b *Bucket) kv.Entry {
	v := &e.version
	entry := kv.Entry{
		Bucket: b.name, Key: e.key, Value: e.value,
		Revision: v.Revision, Created: time.Unix(0, v.Created).UTC(), Operation: v.Op, Reason: v.Reason, Headers: e.headers, Previous: e.previous,
	}
	if v.Deadline != 0 {
		entry.Deadline = time.Unix(0, v.Deadline).UTC()
	}
	return entry
}
