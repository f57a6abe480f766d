package nats

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// plains are the streams that are no key/value buckets, by what they capture. Nobody but
// the front end makes and changes them, so it need not ask the store for each message.
// Safe for concurrent use.
type plains struct {
	// making is held by who makes or changes a plain stream, so that no subject is
	// captured twice, and shared by who makes a bucket.
	making sync.RWMutex

	count    atomic.Int64
	captures subjectTree[string] // buckets
	gates    sync.Map            // Bucket → *gate

	mu       sync.Mutex // guards subjects
	subjects map[string][]string
}

// load finds the streams of a store.
func (p *plains) load(ctx context.Context, store kv.Store) error {
	for st, err := range store.Buckets(ctx) {
		if err != nil {
			return err
		}
		p.set(st.Config.Bucket, streamconfig.FromBucket(&st.Config).Subjects)
	}
	return nil
}

// begin begins the making or changing of a stream; the function returned ends it.
func (p *plains) begin(cfg *streamconfig.Config) func() {
	if cfg.IsMessageStream() {
		p.making.Lock()
		return p.making.Unlock
	}
	p.making.RLock()
	return p.making.RUnlock
}

// set notes what a bucket's stream captures from now on, if it is a plain one.
func (p *plains) set(bucket string, subjects []string) {
	if !strings.HasPrefix(bucket, streamconfig.MessageStreamPrefix) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, there := p.subjects[bucket]
	if p.subjects == nil {
		p.subjects = make(map[string][]string)
	}
	p.subjects[bucket] = subjects
	for _, s := range subjects { // first: what is captured before and after always is
		if !slices.Contains(before, s) {
			p.captures.insert(s, bucket)
		}
	}
	for _, s := range before {
		if !slices.Contains(subjects, s) {
			p.captures.remove(s, bucket)
		}
	}
	if !there {
		p.count.Add(1)
	}
}

// Remove forgets a stream.
func (p *plains) drop(bucket string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(bucket)
}

func (p *plains) dropLocked(bucket string) {
	subjects, ok := p.subjects[bucket]
	if !ok {
		return
	}
	for _, s := range subjects {
		p.captures.remove(s, bucket)
	}
	delete(p.subjects, bucket)
	p.gates.Delete(bucket)
	p.count.Add(-1)
}

// capturing returns the bucket of the stream that captures a literal subject, empty if
// there is none.
func (p *plains) capturing(subject []byte) string {
	if p.count.Load() == 0 {
		return ""
	}
	var room [1]string
	if found := p.captures.match(room[:0], subject); len(found) > 0 && wire.ValidSubject(subject) {
		return found[0]
	}
	return ""
}

// overlapping returns the buckets of the streams, other than that bucket's, that capture
// some of what the subjects select.
func (p *plains) overlapping(subjects []string, bucket string) (others []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, captured := range p.subjects {
		if other != bucket && anyOverlap(subjects, captured) {
			others = append(others, other)
		}
	}
	return others
}

// Of returns the subjects that a plain stream captures.
func (p *plains) of(bucket string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.subjects[bucket]
}

// subjects returns the subjects of a bucket's stream.
func (f *Front) subjects(bucket string) []string {
	if strings.HasPrefix(bucket, streamconfig.MessageStreamPrefix) {
		return f.plains.of(bucket)
	}
	return []string{streamconfig.SubjectsOf(bucket)}
}

// anyOverlap reports whether some subject is selected by both.
func anyOverlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool {
		return slices.ContainsFunc(b, func(t string) bool { return wire.Overlap(s, t) })
	})
}

// overlaps refuses subjects that another stream captures. One whose bucket kvd's tools
// have deleted does not any more. The caller holds making.
func (f *Front) overlaps(ctx context.Context, cfg *streamconfig.Config, bucket string) *jsapi.Error {
	for _, other := range f.plains.overlapping(cfg.Subjects, bucket) {
		if _, err := f.store.Bucket(ctx, other); !errors.Is(err, kv.ErrBucketNotFound) {
			return jsapi.ErrSubjectsOverlap
		}
		f.plains.drop(other)
	}
	if !cfg.IsMessageStream() { // two buckets have nothing in common
		return nil
	}
	for name, err := range f.store.BucketNames(ctx) {
		if err != nil {
			return jsapi.ErrorOf(err)
		}
		if !strings.HasPrefix(name, msglog.ReservedBucket) && anyOverlap(cfg.Subjects, []string{streamconfig.SubjectsOf(name)}) {
			return jsapi.ErrSubjectsOverlap
		}
	}
	return nil
}
