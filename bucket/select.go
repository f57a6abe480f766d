package bucket

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/watch"
)

// Select finds the newest records of keys as of one revision; see [msglog.Log]. It reads a
// snapshot of the index: keys are looked up, and the keys that a wildcard can match are
// visited.
func (b *Bucket) Select(ctx context.Context, q msglog.Query) (msglog.Selection, error) {
	if err := checkPatterns(q.Patterns); err != nil {
		return nil, kv.NameKey(b.name, "", err)
	}
	snapshot, err := b.openSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer b.closeSnapshot(snapshot)
	if snapshot.doubtful != nil {
		return nil, kv.NameKey(b.name, "", snapshot.doubtful)
	}
	config, _ := b.config() // a deleted bucket has no entries
	f := finder{
		snapshot: snapshot, query: &q, ttl: config.TTL, now: b.store.clock.now(),
		found: selected{bucket: b, at: q.UpTo},
	}
	if f.found.at == 0 {
		f.found.at = snapshot.at
	}
	if q.Appended {
		f.subjects = make(map[string]struct{})
	}
	if err := f.find(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(f.found.refs, func(a, b watch.Ref) int { return cmp.Compare(a.Revision, b.Revision) })
	return &f.found, nil
}

// finder makes a selection.
type finder struct {
	snapshot *snapshot
	query    *msglog.Query
	ttl      time.Duration       // of the bucket
	now      int64               // unix ns: the time of the selection
	subjects map[string]struct{} // that are selected, of a query with Appended
	versions []index.Version     // scratch
	found    selected
}

// find finds the records. The error is msglog.ErrTooMany, or that of the context.
func (f *finder) find(ctx context.Context) error {
	var literals, wildcards []string
	for _, p := range f.query.Patterns {
		if isWildcard(p) {
			wildcards = append(wildcards, p)
		} else {
			literals = append(literals, p)
		}
	}
	slices.Sort(literals)
	seen := 0
	goesOn := func() bool {
		seen++
		return len(f.found.refs) <= f.query.Max && (seen%contextCheck != 0 || ctx.Err() == nil)
	}
	for _, key := range slices.Compact(literals) {
		if !goesOn() {
			break
		}
		if len(wildcards) == 0 || !kv.MatchAny(wildcards, key) { // else it is visited
			f.look(key)
		}
	}
	if len(wildcards) > 0 {
		for _, prefix := range prefixes(wildcards) {
			f.visit(prefix, wildcards, goesOn)
		}
	}
	if len(f.found.refs) > f.query.Max {
		return msglog.ErrTooMany
	}
	return ctx.Err()
}

// look selects the record of one key, or the newest that was appended to it.
func (f *finder) look(key string) {
	if !f.query.Appended {
		f.versions = f.snapshot.Versions(f.versions[:0], key)
		f.take(f.versions)
		return
	}
	newest := string(msglog.AppendSuffix([]byte(key+"."), f.found.at))
	oldest := string(msglog.AppendSuffix([]byte(key+"."), 0))
	f.snapshot.Ascend(newest, func(k []byte, v index.Version) bool {
		if string(k) > oldest {
			return false
		}
		return len(k) != len(oldest) || !f.take([]index.Version{v})
	})
}

// visit selects of the keys with a prefix those that match, while goesOn.
func (f *finder) visit(prefix string, patterns []string, goesOn func() bool) {
	if f.query.Appended {
		f.snapshot.AscendPrefix(prefix, func(key []byte, v index.Version) bool {
			f.visitAppended(key, v, patterns)
			return goesOn()
		})
		return
	}
	if f.found.at >= f.snapshot.at {
		f.snapshot.AscendPrefix(prefix, func(key []byte, newest index.Version) bool {
			if kv.MatchAny(patterns, view.String(key)) {
				f.versions = append(f.versions[:0], newest)
				f.take(f.versions)
			}
			return goesOn()
		})
		return
	}
	f.snapshot.AscendVersions(prefix, func(key []byte, versions []index.Version) bool {
		if kv.MatchAny(patterns, view.String(key)) {
			f.take(versions)
		}
		return goesOn()
	})
}

// visitAppended selects an appended record if its subject matches and has none yet: the
// newest record of a subject comes first.
func (f *finder) visitAppended(key []byte, v index.Version, patterns []string) {
	subject := subjectOf(key, v.Revision)
	if len(subject) == 0 || v.Revision > f.found.at {
		return
	}
	if _, known := f.subjects[string(subject)]; known || !kv.MatchAny(patterns, view.String(subject)) {
		return
	}
	if f.take([]index.Version{v}) {
		f.subjects[string(subject)] = struct{}{}
	}
}

// subjectOf returns the key that msglog.Append was given, where it made that record's key. It
// is empty for another record.
func subjectOf(key []byte, r kv.Revision) []byte {
	if made, ok := msglog.AppendedRevision(view.String(key)); !ok || made != r {
		return nil
	}
	return key[:len(key)-msglog.AppendedKeySize]
}

// take selects the newest of a key's versions up to the selection's revision, and reports
// whether there is one. It owns the slice.
func (f *finder) take(versions []index.Version) bool {
	if f.snapshot.rules != nil {
		versions = f.snapshot.rules.Filter(versions)
	}
	newest := len(versions) - 1
	if newest < 0 || hasExpired(&versions[newest], f.ttl, f.now, true) {
		return false
	}
	n := newest
	for n >= 0 && versions[n].Revision > f.found.at {
		n--
	}
	if n < 0 || n < newest && hasExpired(&versions[n], f.ttl, f.now, false) {
		return false
	}
	v := &versions[n]
	f.found.refs = append(f.found.refs, watch.Ref{Revision: v.Revision, Segment: v.Segment, Offset: v.Offset, Size: v.Size})
	return true
}

// selected implements [msglog.Selection].
type selected struct {
	bucket *Bucket
	at     kv.Revision
	refs   []watch.Ref // that are not read yet
}

func (s *selected) At() kv.Revision { return s.at }

func (s *selected) Len() int { return len(s.refs) }

func (s *selected) Skip(below kv.Revision) {
	s.refs = s.refs[sort.Search(len(s.refs), func(i int) bool { return s.refs[i].Revision >= below }):]
}

func (s *selected) Read(fn func(*kv.Entry)) (err error) {
	refs := watch.Batch(s.refs)
	log := watchLog{s.bucket}
	loading := log.Load(&watch.Query{}, refs, func(e *kv.Entry, _ int, damaged error) {
		switch {
		case err != nil:
			return
		case e == nil:
			err = kv.ErrKeyNotFound
		case damaged != nil:
			err = damaged
		default:
			fn(e)
		}
		s.refs = s.refs[1:]
	})
	if err == nil {
		err = loading
	}
	return err
}
