package bucket

import (
	"cmp"
	"context"
	"slices"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/watch"
)

// Select finds the initial entries of a watch.
//
// A resumed watch must be sent the end of every key. Some ends have no record:
// PurgeDeletes, trims, erasures and expiry without markers forget them. So a selection
// checks what was forgotten in the same hold of the bucket's lock in which it reads the
// index. A selection that reads the records one after the other checks it after the last.
func (b watchLog) Select(ctx context.Context, q *watch.Query, after, upTo kv.Revision, most int) (watch.Selection, error) {
	config, _ := b.config() // a deleted bucket has no entries
	s := selection{bucket: b.Bucket, query: q, after: after, upTo: upTo, max: most, ttl: config.TTL, now: b.store.clock.now()}
	switch q.Begin {
	case watch.BeginNothing:
		s.At = b.Newest()
		return s.Selection, nil
	case watch.BeginFrom:
		s.after = max(after, q.From-1)
		scans, err := s.resume(ctx)
		if err != nil {
			return s.Selection, err
		}
		if scans {
			err = s.scan(ctx)
			return s.Selection, err
		}
	}
	var err error
	if n := len(q.Patterns); 0 < n && n <= lookMax && !slices.ContainsFunc(q.Patterns, isWildcard) {
		err = s.look(ctx)
	} else {
		err = s.list(ctx)
	}
	return s.Selection, err
}

// lookMax bounds the keys that are looked up in one hold of the bucket's lock.
const lookMax = 64

func isWildcard(pattern string) bool { return len(kv.LiteralPrefix(pattern)) < len(pattern) }

// look looks up patterns that are keys. This needs neither an order nor a snapshot.
func (s *selection) look(ctx context.Context) error {
	b := s.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return b.mu.gone
	}
	s.At, s.rules, s.forgotten = b.mu.revision, b.rulesLocked(), b.forgottenLocked()
	var room [kv.MaxHistory]index.Version
	for _, key := range s.query.Patterns {
		versions := b.mu.index.Versions(room[:0], index.Hash(key), key)
		if err := s.doubtLocked(ctx, versions); err != nil {
			return err
		}
		if n := len(versions); n > 1 && s.query.Begin == watch.BeginLast {
			versions = versions[n-1:]
		}
		if len(versions) > 0 {
			s.visit(ctx, view.Bytes(key), versions...)
		}
	}
	return s.finish(ctx)
}

// doubtLocked returns nil, or why records of a key that the watch must be sent may be
// missing. versions are those that are known. The caller holds the bucket's mu.
func (s *selection) doubtLocked(ctx context.Context, versions []index.Version) error {
	switch {
	case s.query.Begin == watch.BeginFrom:
		return s.bucket.doubtsLocked(ctx, s.after+1)
	case s.query.Begin != watch.BeginLast:
		return s.bucket.historyDoubtLocked(ctx, versions)
	case len(versions) == 0:
		return s.bucket.doubtLocked(ctx)
	}
	return s.bucket.doubtsLocked(ctx, versions[len(versions)-1].Revision)
}

// resume returns a *kv.FutureRevisionError for a watch that was sent revisions which this
// bucket never issued, a *kv.CompactedError for one that was sent revisions which a crash
// took, and what is in doubt for one that begins where records may be missing. It reports
// whether to scan: whether there are fewer records from its revision on
// than keys in the index.
func (s *selection) resume(ctx context.Context) (scans bool, err error) {
	b := s.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	s.At = b.mu.revision
	if s.query.From > s.At+1 && !s.query.PassForgotten { // else it waits until the bucket is there
		return false, &kv.FutureRevisionError{Bucket: b.name, Wanted: s.query.From, Newest: s.At}
	}
	if !s.query.PassForgotten {
		err = b.checkSkippedLocked(s.query.From)
	}
	if err == nil {
		err = b.doubtsLocked(ctx, s.after+1)
	}
	return s.after >= s.At || uint64(s.At-s.after) <= uint64(b.mu.index.Len()), err
}

// list visits every key of the index.
func (s *selection) list(ctx context.Context) error {
	snapshot, err := s.bucket.openSnapshot(ctx)
	if err != nil {
		return err
	}
	defer s.bucket.closeSnapshot(snapshot)
	if snapshot.doubtful != nil && s.query.Begin != watch.BeginFrom { // resume has judged that
		return snapshot.doubtful
	}
	s.At, s.rules, s.forgotten = snapshot.at, snapshot.rules, snapshot.forgotten
	if len(s.query.Patterns) == 0 { // growing step by step would copy for longer than the listing takes
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
func (s *selection) scan(ctx context.Context) error {
	if s.upTo == 0 {
		s.upTo = s.At
	}
	scan := s.bucket.scanWhole
	if s.query.Stale {
		scan = s.bucket.scan
	}
	p := watch.Position{Revision: s.after}
	for p.Revision < s.upTo && ctx.Err() == nil {
		if err := scan(&p, s.upTo, s.take); err != nil {
			return err
		}
	}
	s.bucket.mu.RLock()
	s.forgotten = s.forgotten.and(s.bucket.forgottenLocked()) // by now
	s.bucket.mu.RUnlock()
	return s.finish(ctx)
}

// take adds a record if it is kept. It only counts a record that was superseded since the
// selection began: the watch is sent the newer record.
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
	expired := present && s.expired(&newest)
	switch {
	case kept && !expired && !s.hasExpired(&v, v.Revision == newest.Revision):
		s.add(watch.Ref{Revision: f.record.Revision, Segment: f.segment.number, Offset: f.offset, Size: uint32(f.size)})
	case newest.Revision > s.upTo:
		s.Total++
	}
	return true
}

// selection collects the matching references with the lowest revisions.
type selection struct {
	watch.Selection
	bucket      *Bucket
	query       *watch.Query
	after, upTo kv.Revision
	ttl         time.Duration      // of the bucket
	now         int64              // unix ns: the time of the selection
	rules       *manifest.Liveness // pending rules by which versions in the index may be dead; nil: none
	forgotten   forgotten          // as of the selection's moment
	max         int
	seen        int
}

// visit adds the versions of a key, and reports whether to go on. It owns the slice
// versions.
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
	if s.expired(newest) {
		return true
	}
	for i := range versions {
		v := &versions[i]
		if v.Op.IsMarker() && s.query.IgnoreDeletes || v != newest && s.hasExpired(v, false) {
			continue
		}
		s.add(watch.Ref{Revision: v.Revision, Segment: v.Segment, Offset: v.Offset, Size: v.Size})
	}
	return true
}

func (s *selection) hasExpired(v *index.Version, newest bool) bool {
	return hasExpired(v, s.ttl, s.now, newest)
}

// expired reports whether the newest version of a key has expired. If no marker will be
// written, the end of the key counts as forgotten, also before the sweep logs it.
func (s *selection) expired(newest *index.Version) bool {
	if !s.hasExpired(newest, true) {
		return false
	}
	if s.bucket.noMarkers || newest.Op.IsMarker() {
		s.forgotten.upTo = max(s.forgotten.upTo, newest.Revision)
	}
	return true
}

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

// finish sorts the selection. It returns a *kv.CompactedError if a resumed watch would
// miss the end of a key.
func (s *selection) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.query.Begin == watch.BeginFrom && !s.query.PassForgotten {
		if err := s.forgotten.check(s.bucket, s.after+1); err != nil {
			return err
		}
	}
	s.Forgotten = s.forgotten.times
	s.cut()
	return nil
}
