package bucket

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/watch"
)

// Select finds the initial entries of a watch.
func (b watchLog) Select(ctx context.Context, q *watch.Query, after, upTo kv.Revision, most int) (watch.Selection, error) {
	config, _ := b.config() // of a bucket that is gone nothing is found
	s := selection{bucket: b.Bucket, query: q, after: after, upTo: upTo, max: most, ttl: config.TTL, now: b.store.clock.now()}
	switch q.Begin {
	case watch.BeginNothing:
		s.At = b.Newest()
		return s.Selection, nil
	case watch.BeginFrom:
		from, err := b.checkFrom(q.From)
		if err != nil && !q.PassForgotten {
			return s.Selection, err
		}
		s.after = max(after, q.From-1)
		if from.scan {
			return s.scan(ctx, from.newest)
		}
	}
	if n := len(q.Patterns); 0 < n && n <= lookMax && !slices.ContainsFunc(q.Patterns, isWildcard) {
		return s.look(ctx)
	}
	return s.list(ctx)
}

// lookMax is how many keys are looked up in one hold of the bucket's lock.
const lookMax = 64

func isWildcard(pattern string) bool { return strings.ContainsAny(pattern, "*>") }

// look looks up patterns that are keys: that needs neither order nor snapshot.
func (s *selection) look(ctx context.Context) (watch.Selection, error) {
	b := s.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return s.Selection, b.mu.gone
	}
	s.At, s.rules = b.mu.revision, b.rulesLocked()
	var room [kv.MaxHistory]index.Version
	for _, key := range s.query.Patterns {
		versions := b.mu.index.Versions(room[:0], index.Hash(key), key)
		if n := len(versions); n > 1 && s.query.Begin == watch.BeginLast {
			versions = versions[n-1:]
		}
		if len(versions) > 0 {
			s.visit(ctx, view.Bytes(key), versions...)
		}
	}
	return s.finish(ctx)
}

// resumption is what there is to resume from a revision.
type resumption struct {
	newest kv.Revision
	scan   bool // there are fewer records to read from there on than keys to look at
}

// checkFrom returns an error if the end of a key may be missing from that revision
// on.
func (b *Bucket) checkFrom(from kv.Revision) (resumption, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := resumption{newest: b.mu.revision}
	r.scan = from > r.newest || uint64(r.newest-from) < uint64(b.mu.index.Len())
	if err := b.endedLocked(from); err != nil {
		return r, err
	}
	return r, b.lostLocked(from)
}

// endedLocked returns a *kv.CompactedError if the marker of a key that has nothing
// else any more was dropped at or above a revision: who has seen everything below
// it alone would take that key for alive.
func (b *Bucket) endedLocked(rev kv.Revision) error {
	if ended := max(b.mu.live.SilentEndUpTo(), b.mu.ended); rev <= ended {
		return &kv.CompactedError{Bucket: b.name, Wanted: rev, First: ended + 1}
	}
	return nil
}

// list looks at every key of the index.
func (s *selection) list(ctx context.Context) (watch.Selection, error) {
	snapshot, err := s.bucket.openSnapshot(ctx)
	if err != nil {
		return s.Selection, err
	}
	defer s.bucket.closeSnapshot(snapshot)
	s.At, s.rules = snapshot.at, snapshot.rules
	if len(s.query.Patterns) == 0 { // growing step by step would copy more than the listing takes
		s.Refs = make([]watch.Ref, 0, min(snapshot.Len(), 2*s.max))
	}
	for _, prefix := range prefixes(s.query.Patterns) {
		if s.query.Begin == watch.BeginLast {
			snapshot.AscendPrefix(prefix, func(key []byte, newest index.Version) bool {
				return s.visit(ctx, key, newest)
			})
			continue
		}
		snapshot.AscendVersions(prefix, func(key []byte, versions []index.Version) bool {
			return s.visit(ctx, key, versions...)
		})
	}
	return s.finish(ctx)
}

// scan reads the records in the order of revisions.
func (s *selection) scan(ctx context.Context, newest kv.Revision) (watch.Selection, error) {
	s.At = newest
	if s.upTo == 0 {
		s.upTo = newest
	}
	p := watch.Position{Revision: s.after}
	for p.Revision < s.upTo && ctx.Err() == nil {
		if err := s.bucket.scan(&p, s.upTo, s.take); err != nil {
			return s.Selection, err
		}
	}
	return s.finish(ctx)
}

// take takes a record that is kept. One that a newer record has replaced since the
// selection began counts: that one will stand for it. So does one whose key was
// forgotten meanwhile: the watch is told at the end of its initial entries, unless it
// is to pass over that.
func (s *selection) take(f *scanned) bool {
	key := view.String(f.record.Key)
	if !kv.MatchAny(s.query.Patterns, key) || s.query.IgnoreDeletes && f.marker() {
		return true
	}
	hash := index.Hash(key)
	b := s.bucket
	b.mu.RLock()
	v, kept := b.revisionLocked(hash, key, f.record.Revision)
	newest, present := b.newestLocked(hash, key)
	b.mu.RUnlock()
	kept = kept && !s.died(&newest, true) && !s.died(&v, v.Revision == newest.Revision)
	switch {
	case kept:
		s.add(watch.Ref{Revision: f.record.Revision, Segment: f.slot.number, Offset: f.offset, Size: uint32(f.size)})
	case !present && !s.query.PassForgotten, newest.Revision > s.upTo:
		s.Total++
	}
	return true
}

// selection gathers the lowest of the references that match.
type selection struct {
	watch.Selection
	bucket      *Bucket
	query       *watch.Query
	after, upTo kv.Revision
	ttl         time.Duration      // of the bucket
	now         int64              // at which the selection is made
	rules       *manifest.Liveness // by which something in the index may be dead; nil: nothing is
	max         int
	seen        int
}

// visit takes the versions of a key, which are its own, and reports whether to go
// on.
func (s *selection) visit(ctx context.Context, key []byte, versions ...index.Version) bool {
	if s.seen++; s.seen%contextCheck == 0 && ctx.Err() != nil {
		return false
	}
	if !kv.MatchAny(s.query.Patterns, view.String(key)) {
		return true
	}
	if s.rules != nil {
		if versions = s.rules.Filter(versions); len(versions) == 0 {
			return true
		}
	}
	newest := &versions[len(versions)-1]
	if s.died(newest, true) {
		return true
	}
	for i := range versions {
		v := &versions[i]
		if v.Op.IsMarker() && s.query.IgnoreDeletes || v != newest && s.died(v, false) {
			continue
		}
		s.add(watch.Ref{Revision: v.Revision, Segment: v.Segment, Offset: v.Offset, Size: v.Size})
	}
	return true
}

func (s *selection) died(v *index.Version, newest bool) bool { return hasDied(v, s.ttl, s.now, newest) }

func (s *selection) add(r watch.Ref) {
	if r.Revision <= s.after || s.upTo != 0 && r.Revision > s.upTo {
		return
	}
	s.Total++
	s.Refs = append(s.Refs, r)
	if len(s.Refs) >= 2*s.max {
		s.cut()
	}
}

// cut keeps the lowest max references.
func (s *selection) cut() {
	slices.SortFunc(s.Refs, func(a, b watch.Ref) int { return cmp.Compare(a.Revision, b.Revision) })
	if len(s.Refs) > s.max {
		s.Refs, s.More = s.Refs[:s.max], true
	}
}

func (s *selection) finish(ctx context.Context) (watch.Selection, error) {
	if err := ctx.Err(); err != nil {
		return s.Selection, err
	}
	s.cut()
	return s.Selection, nil
}
