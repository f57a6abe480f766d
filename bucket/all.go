package bucket

import (
	"context"
	"iter"

	"kvd/index"
	"kvd/kv"
)

// All yields the newest entries of the keys that match any of the patterns, ascending, as
// they were at one revision. It pins the segments of that moment until it ends, and those that
// compaction makes meanwhile: segments that are replaced stay on the disk, or in memory, until then.
func (b *Bucket) All(ctx context.Context, patterns ...string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		err := checkPatterns(patterns)
		if err == nil {
			l := &listing{bucket: b, ctx: ctx, patterns: patterns, held: &heldSegments{bucket: b}}
			defer l.held.end()
			l.yield = func(key string, v index.Version) bool { return yield(l.read(key, v)) }
			err = l.run()
		}
		if err != nil {
			yield(kv.Entry{}, kv.NameKey(b.name, "", err))
		}
	}
}

// read returns one entry of a listing of entries. A damaged entry has everything but its
// value, and is returned with the error.
func (l *listing) read(key string, v index.Version) (kv.Entry, error) {
	b := l.bucket
	e, err := b.readVersion(l.held.segment(v.Segment), key, v)
	if err != nil {
		e = b.withoutValue(key, v)
	}
	return e, err
}
