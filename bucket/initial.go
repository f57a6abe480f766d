package bucket

import (
	"cmp"
	"context"
	"slices"

	"kvd/index"
	"kvd/kv"
	"kvd/watch"
)

// Select finds the initial entries of a watch.
func (b watchLog) Select(ctx context.Context, q *watch.Query, after, upTo kv.Revision, max int) (watch.Selection, error) {
	s := selection{query: q, after: after, upTo: upTo, max: max}
	switch q.Begin {
	case watch.BeginNothing:
		s.At = b.Newest()
		return s.Selection, nil
	case watch.BeginFrom:
		return b.selectFrom(ctx, s)
	}
	snapshot, at, err := b.openSnapshot(ctx)
	if err != nil {
		return s.Selection, err
	}
	defer b.closeSnapshot(snapshot)
	s.At = at
	for _, prefix := range prefixes(q.Patterns) {
		if q.Begin == watch.BeginHistory {
			snapshot.AscendVersions(prefix, func(key []byte, versions []index.Version) bool {
				return s.visit(ctx, key, versions)
			})
		} else {
			snapshot.AscendPrefix(prefix, func(key []byte, newest index.Version) bool {
				return s.visit(ctx, key, []index.Version{newest})
			})
		}
	}
	if err := ctx.Err(); err != nil {
		return s.Selection, err
	}
	return s.finish(), nil
}

// selection gathers the lowest of the references that match.
type selection struct {
	watch.Selection
	query       *watch.Query
	after, upTo kv.Revision
	max         int
	seen        int
}

// visit takes the versions of a key, and reports whether to go on.
func (s *selection) visit(ctx context.Context, key []byte, versions []index.Version) bool {
	if s.seen++; s.seen%contextCheck == 0 && ctx.Err() != nil {
		return false
	}
	if !kv.MatchAny(s.query.Patterns, stringOf(key)) {
		return true
	}
	for _, v := range versions {
		if v.Op.IsMarker() && s.query.IgnoreDeletes {
			continue
		}
		s.add(watch.Ref{Revision: v.Revision, Segment: v.Segment, Offset: v.Offset, Size: v.Size})
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
	s.Refs = s.Refs[:min(len(s.Refs), s.max)]
}

func (s *selection) finish() watch.Selection {
	s.cut()
	return s.Selection
}

// selectFrom finds the records from a revision on that are still there, the
// superseded among them.
func (b watchLog) selectFrom(ctx context.Context, s selection) (watch.Selection, error) {
	s.At = b.Newest()
	if s.upTo == 0 {
		s.upTo = s.At
	}
	p := watch.Position{Revision: max(s.after, s.query.From-1)}
	for p.Revision < s.upTo && ctx.Err() == nil {
		err := b.scan(&p, s.upTo, func(f *scanned) bool {
			if kv.MatchAny(s.query.Patterns, stringOf(f.record.Key)) && !(f.marker() && s.query.IgnoreDeletes) {
				s.add(watch.Ref{Revision: f.record.Revision, Segment: f.slot.number, Offset: f.offset, Size: uint32(f.size)})
			}
			return true
		})
		if err != nil {
			return s.Selection, err
		}
	}
	if err := ctx.Err(); err != nil {
		return s.Selection, err
	}
	return s.finish(), nil
}
