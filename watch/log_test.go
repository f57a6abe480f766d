package watch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"kvd/kv"
)

// memLog is a Log in memory. It keeps every record; first and gone say which of
// them count as removed.
type memLog struct {
	mu      sync.Mutex
	records []kv.Entry // in ascending order of revisions
	first   kv.Revision
	reads   int // calls of Read
	bad     map[kv.Revision]error
	gone    map[kv.Revision]bool // removed after they were selected
}

// add appends a record and returns it.
func (l *memLog) add(key, value string, op kv.Operation) kv.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := kv.Entry{Bucket: "b", Key: key, Operation: op, Revision: kv.Revision(len(l.records) + 1), Created: time.Unix(int64(len(l.records)), 0)}
	if op == kv.Put {
		e.Value = []byte(value)
	}
	l.records = append(l.records, e)
	return e
}

func (l *memLog) Newest() kv.Revision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return kv.Revision(len(l.records))
}

// newestOf reports whether a record is the newest of its key up to a revision.
func (l *memLog) newestOf(e *kv.Entry, upTo kv.Revision) bool {
	for i := range l.records {
		if r := &l.records[i]; r.Key == e.Key && r.Revision > e.Revision && r.Revision <= upTo {
			return false
		}
	}
	return true
}

func (l *memLog) Select(ctx context.Context, q *Query, after, upTo kv.Revision, most int) (Selection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Selection{At: kv.Revision(len(l.records))}
	if upTo == 0 {
		upTo = s.At
	}
	for i := range l.records {
		e := &l.records[i]
		switch {
		case q.Begin == BeginNothing, e.Revision <= after, e.Revision > upTo, !kv.MatchAny(q.Patterns, e.Key),
			q.IgnoreDeletes && e.Operation.IsMarker(),
			q.Begin == BeginFrom && e.Revision < q.From,
			q.Begin == BeginLast && !l.newestOf(e, s.At):
			continue
		}
		s.Total++
		s.Refs = append(s.Refs, Ref{Revision: e.Revision, Size: uint32(len(e.Value))})
	}
	slices.SortFunc(s.Refs, func(a, b Ref) int { return cmp.Compare(a.Revision, b.Revision) })
	if len(s.Refs) > most {
		s.Refs, s.More = s.Refs[:most], true
	}
	return s, ctx.Err()
}

func (l *memLog) CheckForgotten(from kv.Revision, since uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from >= l.first {
		return nil
	}
	return &kv.CompactedError{Bucket: "b", Wanted: from, First: l.first}
}

func (l *memLog) Load(q *Query, refs []Ref, fn func(*kv.Entry, int, error)) error {
	for _, r := range refs {
		l.mu.Lock()
		e := l.records[r.Revision-1]
		superseded := q.Begin == BeginLast && !l.newestOf(&e, kv.Revision(len(l.records)))
		damaged, gone := l.bad[r.Revision], l.gone[r.Revision]
		l.mu.Unlock()
		if superseded || gone {
			fn(nil, 0, nil)
			continue
		}
		fn(l.entry(q, e, damaged))
	}
	return nil
}

func (l *memLog) entry(q *Query, e kv.Entry, damaged error) (*kv.Entry, int, error) {
	size := len(e.Value)
	if q.MetaOnly || damaged != nil {
		e.Value = nil
	}
	return &e, size, damaged
}

func (l *memLog) Read(q *Query, p *Position, fn func(*kv.Entry, int, error) bool) error {
	l.mu.Lock()
	l.reads++
	records, first := l.records, l.first
	l.mu.Unlock()
	if p.Revision+1 < first {
		return &kv.CompactedError{Bucket: "b", Wanted: p.Revision + 1, First: first}
	}
	for _, e := range records[p.Revision:] {
		if kv.MatchAny(q.Patterns, e.Key) && !fn(l.entry(q, e, nil)) {
			return nil
		}
		p.Revision = e.Revision
	}
	return nil
}
