package bucket

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kvd/bucket/compaction"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// The random test of the rules of liveness: a reference that keeps, for each
// key, the plain set of what should be visible, against what an open would find
// in lists of records, with the bucket's rules, and against what a reader finds in an
// index that follows the rules later, key by key, after any number of edits,
// erasures, sweeps, purge-deletes and compactions. They are compared after every
// step.

const (
	modelKeys    = 3
	modelRuns    = 20_000
	brokenRuns   = 200_000
	modelOnDisk  = 100 // every so many histories the final state is opened by a store
	modelSeed    = 1
	modelStepMax = 60
)

// modelRecord is a record on the model's disk. An erase has the revision of the
// record before it, so order tells them apart.
type modelRecord struct {
	key      int
	order    int // position in the history
	revision kv.Revision
	floor    kv.Revision
	op       segment.Op
	deadline int64
}

func (r *modelRecord) entry() *segment.Entry {
	return &segment.Entry{Key: modelKey(r.key), Revision: r.revision, Floor: r.floor, Deadline: r.deadline, Op: r.op}
}

func (r *modelRecord) version() index.Version {
	return index.Version{Revision: r.revision, Op: kv.Operation(r.op), Deadline: r.deadline}
}

// rules is the part of the engine and of compaction that a variant of the test
// may break.
type rules struct {
	keep   func(*manifest.Liveness, []index.Version) []index.Version
	addCut func(*manifest.Liveness, manifest.Cut)
	forget func(*manifest.Liveness, manifest.PurgeDeletes)
	floor  func(records []*modelRecord) kv.Revision
	settle func(m *model, key int)                                  // before a write is judged
	shows  func(m *model, versions []index.Version) []index.Version // of those in the index

	drop  func(compaction.Verdict, compaction.InIndex) compaction.Verdict
	sees  func(m *model, r *modelRecord, s compaction.InIndex) compaction.InIndex
	below func(*compaction.Decider, *segment.Entry)
}

var soundRules = rules{
	keep:   (*manifest.Liveness).Filter,
	addCut: (*manifest.Liveness).AddCut,
	forget: (*manifest.Liveness).AddPurgeDeletes,
	floor:  func(records []*modelRecord) kv.Revision { return records[len(records)-1].floor },
	settle: (*model).settleKey,
	shows:  func(m *model, versions []index.Version) []index.Version { return m.keep(&m.live, versions) },

	drop:  func(v compaction.Verdict, _ compaction.InIndex) compaction.Verdict { return v },
	sees:  func(_ *model, _ *modelRecord, s compaction.InIndex) compaction.InIndex { return s },
	below: (*compaction.Decider).SeeBelow,
}

// model is one random history.
type model struct {
	rules
	rng      *rand.Rand
	history  int
	revision kv.Revision
	order    int
	live     manifest.Liveness
	segments [][]modelRecord
	index    [modelKeys][]index.Version
	want     [modelKeys][]modelRecord // the reference
}

func newModel(seed, n uint64, r rules) *model {
	m := &model{rules: r, rng: rand.New(rand.NewPCG(seed, n)), segments: make([][]modelRecord, 1)}
	m.history = pick(m, 1, 2, 3, 5)
	return m
}

func pick[T any](m *model, of ...T) T { return of[m.rng.IntN(len(of))] }

// run makes the history and returns what was wrong first, "" for nothing.
func (m *model) run() string {
	for step := range 5 + m.rng.IntN(modelStepMax-5) {
		m.step()
		for key := range modelKeys {
			want := m.want[key]
			if got := m.recovered(key); !sameRevisions(got, want) {
				return fmt.Sprintf("step %d: key %d would be found with %v, want %v; rules %+v; segments %v", step, key, got, want, m.live, m.segments)
			}
			if got := m.shows(m, slices.Clone(m.index[key])); !sameRevisions(got, want) {
				return fmt.Sprintf("step %d: key %d shows %v, want %v; rules %+v; index %v", step, key, got, want, m.live, m.index[key])
			}
		}
	}
	return ""
}

func sameRevisions(got []index.Version, want []modelRecord) bool {
	return slices.EqualFunc(got, want, func(v index.Version, r modelRecord) bool { return v.Revision == r.revision })
}

func (m *model) step() {
	switch x := m.rng.Float64(); {
	case x < 0.44:
		m.write()
	case x < 0.50:
		m.settleKey(m.rng.IntN(modelKeys))
	case x < 0.56:
		m.edit()
	case x < 0.60:
		m.expire()
	case x < 0.63:
		m.lapse()
	case x < 0.67:
		m.sweep()
	case x < 0.75:
		m.erase()
	case x < 0.83:
		m.purgeDeletes()
	default:
		m.compact()
	}
}

func (m *model) append(r modelRecord) {
	m.order++
	r.order = m.order
	last := len(m.segments) - 1
	m.segments[last] = append(m.segments[last], r)
}

func (m *model) write() {
	op := pick(m, segment.Put, segment.Put, segment.Put, segment.Delete, segment.Purge)
	deadline := int64(m.revision) + 1 + pick[int64](m, 0, 3, 99)
	if op == segment.Delete || m.rng.IntN(2) == 0 {
		deadline = 0
	}
	m.record(m.rng.IntN(modelKeys), op, deadline)
}

// record writes one record of a key.
func (m *model) record(key int, op segment.Op, deadline int64) {
	m.settle(m, key)
	m.revision++
	r := modelRecord{key: key, revision: m.revision, op: op, deadline: deadline}
	r.floor = m.floorOf(&r)
	m.append(r)
	m.trim(key, r.floor)
	m.index[key] = append(m.index[key], r.version())
	kept := slices.DeleteFunc(slices.Clone(m.want[key]), func(r modelRecord) bool { return r.revision <= m.live.ExpiredUpTo })
	if r.op == segment.Purge {
		kept = nil
	}
	m.want[key] = append(slices.Clone(kept[max(0, len(kept)-(m.history-1)):]), r)
	if m.rng.Float64() < 0.25 {
		m.segments = append(m.segments, nil)
	}
}

// floorOf returns the floor that the engine gives a record: it goes by the index.
func (m *model) floorOf(r *modelRecord) kv.Revision {
	versions := m.index[r.key]
	versions = versions[max(0, len(versions)-(m.history-1)):]
	if r.op == segment.Purge || len(versions) == 0 {
		return r.revision
	}
	return max(versions[0].Revision, min(m.live.ExpiredUpTo+1, r.revision))
}

// trim takes the versions of a key below a floor out of the index.
func (m *model) trim(key int, floor kv.Revision) {
	m.index[key] = slices.DeleteFunc(slices.Clone(m.index[key]), func(v index.Version) bool { return v.Revision < floor })
}

// settleKey lets the index of a key follow the rules.
func (m *model) settleKey(key int) {
	m.index[key] = m.keep(&m.live, slices.Clone(m.index[key]))
}

func (m *model) edit() {
	n := pick(m, 1, 2, 3, 5)
	if n < m.history {
		for key, kept := range m.want {
			m.want[key] = kept[max(0, len(kept)-n):]
		}
		m.addCut(&m.live, manifest.Cut{UpTo: m.revision, Keep: n})
	}
	m.history = n
}

// upTo returns a revision that was given out, or 0.
func (m *model) upTo() kv.Revision { return kv.Revision(m.rng.IntN(int(m.revision) + 1)) }

// retain keeps those records of the reference that pass.
func (m *model) retain(passes func(r modelRecord, newest bool) bool) {
	for key, kept := range m.want {
		var left []modelRecord
		for i, r := range kept {
			if passes(r, i == len(kept)-1) {
				left = append(left, r)
			}
		}
		m.want[key] = left
	}
}

func (m *model) expire() { m.expireUpTo(m.upTo()) }

func (m *model) expireUpTo(rev kv.Revision) {
	m.live.ExpiredUpTo = max(m.live.ExpiredUpTo, rev)
	m.retain(func(r modelRecord, newest bool) bool {
		return r.revision > m.live.ExpiredUpTo || newest && r.op == segment.Purge && r.deadline != 0
	})
}

func (m *model) lapse() { m.lapseUpTo(int64(m.upTo())) }

func (m *model) lapseUpTo(at int64) {
	m.live.MarkersExpiredUpTo = max(m.live.MarkersExpiredUpTo, at)
	m.retain(func(r modelRecord, _ bool) bool {
		return r.op != segment.Purge || r.deadline == 0 || r.deadline > m.live.MarkersExpiredUpTo
	})
}

// sweep is what the engine does where values have reached a deadline, or the
// bucket's TTL has ended all records up to one: a marker for each key whose newest
// value that was, and then one of the operations above.
func (m *model) sweep() {
	at, rev := int64(m.upTo()), m.upTo()
	if m.rng.IntN(2) == 0 {
		rev = 0
	}
	for key, kept := range m.want {
		if len(kept) == 0 {
			continue
		}
		newest := kept[len(kept)-1]
		if newest.op == segment.Put && (newest.revision <= rev || rev == 0 && newest.deadline != 0 && newest.deadline <= at) {
			m.record(key, segment.Purge, int64(m.revision)+1+pick[int64](m, 1, 9))
		}
	}
	if rev == 0 {
		m.lapseUpTo(at)
	} else {
		m.expireUpTo(rev)
	}
}

// erase drops all but the newest few of a key without a successor.
func (m *model) erase() {
	key, n := m.rng.IntN(modelKeys), pick(m, 0, 1, 2)
	kept := m.want[key]
	if len(kept) == 0 {
		return
	}
	floor := m.revision + 1
	if n > 0 {
		floor = kept[max(0, len(kept)-n)].revision
	}
	m.settle(m, key)
	m.append(modelRecord{key: key, revision: m.revision, op: segment.Erase, floor: floor})
	m.trim(key, floor)
	m.want[key] = slices.DeleteFunc(slices.Clone(kept), func(r modelRecord) bool { return r.revision < floor })
}

func (m *model) purgeDeletes() {
	f := manifest.PurgeDeletes{UpTo: m.revision, MarkersUpTo: m.upTo()}
	m.forget(&m.live, f)
	for key, kept := range m.want {
		if len(kept) == 0 {
			continue
		}
		newest := kept[len(kept)-1]
		switch {
		case newest.op == segment.Put:
		case newest.revision > f.MarkersUpTo:
			m.want[key] = []modelRecord{newest}
		default:
			m.want[key] = nil
		}
	}
}

// compact rewrites one segment, or two neighbours, without what may be dropped: it
// lets the engine decide.
func (m *model) compact() {
	if len(m.segments) < 2 {
		return
	}
	first := m.rng.IntN(len(m.segments) - 1)
	end := min(first+pick(m, 1, 2), len(m.segments)-1)
	inputs := slices.Concat(m.segments[first:end]...) // oldest first
	d := compaction.NewDecider(first == 0)
	seen := make([]compaction.InIndex, len(inputs))
	for i := range inputs {
		seen[i] = m.sees(m, &inputs[i], m.sight(&inputs[i]))
		d.SeeInput(inputs[i].entry(), int64(i), seen[i])
	}
	for _, r := range slices.Concat(m.segments[:first]...) {
		m.below(d, r.entry())
	}
	var stay []modelRecord
	for i := range inputs {
		switch m.drop(d.Decide(inputs[i].entry(), int64(i), seen[i]), seen[i]) {
		case compaction.KeepLive, compaction.KeepDead:
			stay = append(stay, inputs[i])
		case compaction.RemoveSuperseded, compaction.RemoveLast:
		}
	}
	m.segments = slices.Replace(m.segments, first, end, stay)
}

// sight is what the index shows of a record's key.
func (m *model) sight(r *modelRecord) (s compaction.InIndex) {
	live := m.index[r.key]
	if len(live) == 0 {
		return s
	}
	newest := live[len(live)-1].Revision
	for _, o := range slices.Concat(m.segments...) {
		if o.revision == newest && o.op != segment.Erase {
			s.Newer, s.Older = o.order > r.order, o.order < r.order
		}
	}
	s.Live = r.op != segment.Erase && slices.ContainsFunc(live, func(v index.Version) bool { return v.Revision == r.revision })
	return s
}

// recovered returns what an open finds of a key: of its records present those at
// or above the floor of the newest, as the bucket's rules keep them.
func (m *model) recovered(key int) []index.Version {
	var records []*modelRecord
	for _, s := range m.segments {
		for i := range s {
			if s[i].key == key {
				records = append(records, &s[i])
			}
		}
	}
	if len(records) == 0 {
		return nil
	}
	floor := m.floor(records)
	versions := make([]index.Version, 0, len(records))
	for _, r := range records {
		if r.op != segment.Erase && r.revision >= floor {
			versions = append(versions, r.version())
		}
	}
	return m.keep(&m.live, versions)
}

func TestRandomHistoriesShowWhatTheReferenceShows(t *testing.T) {
	for n := range uint64(modelRuns) {
		m := newModel(modelSeed, n, soundRules)
		if wrong := m.run(); wrong != "" {
			t.Fatalf("history %d of seed %d: %s", n, modelSeed, wrong)
		}
		if n%modelOnDisk == 0 {
			m.compareStore(t, n)
		}
	}
}

// compareStore lets a store open what the history left.
func (m *model) compareStore(t *testing.T, n uint64) {
	w := written{live: m.live}
	for _, s := range m.segments {
		var records []segment.Record
		for _, r := range s {
			records = append(records, segment.Record{
				Key: modelKey(r.key), Revision: r.revision, Floor: r.floor, Op: r.op, Reason: modelReason(r.op), Deadline: r.deadline,
			})
		}
		w.segments = append(w.segments, records)
	}
	h := w.harness(t)
	defer h.close()
	want := showing{}
	for key, kept := range m.want {
		for _, r := range kept {
			want[string(modelKey(key))] = append(want[string(modelKey(key))], r.revision)
		}
	}
	wantShown(t, h.find("b"), want)
	if t.Failed() {
		t.Fatalf("history %d of seed %d", n, modelSeed)
	}
}

func modelKey(key int) []byte { return []byte{'a' + byte(key)} }

func modelReason(op segment.Op) kv.MarkerReason {
	if op == segment.Delete || op == segment.Purge {
		return kv.ReasonClient
	}
	return kv.ReasonNone
}

// The test above can fail: each rule, broken, is caught.
func TestBrokenRulesAreCaught(t *testing.T) {
	for _, c := range []struct {
		name     string
		breakOne func(*rules)
	}{
		{"compaction drops whatever is dead", func(r *rules) {
			r.drop = func(v compaction.Verdict, s compaction.InIndex) compaction.Verdict {
				if !s.Live {
					return compaction.RemoveLast
				}
				return v
			}
		}},
		{"compaction drops a tombstone early", func(r *rules) {
			r.below = func(*compaction.Decider, *segment.Entry) {}
		}},
		{"an erase stands in for any newer record", func(r *rules) {
			r.sees = func(m *model, r *modelRecord, s compaction.InIndex) compaction.InIndex {
				for _, o := range slices.Concat(m.segments...) {
					s.Newer = s.Newer || o.key == r.key && o.order > r.order
				}
				return s
			}
		}},
		{"an erase's floor does not count", func(r *rules) {
			r.floor = func(records []*modelRecord) kv.Revision {
				for _, o := range slices.Backward(records) {
					if o.op != segment.Erase {
						return o.floor
					}
				}
				return 0
			}
		}},
		{"the floor is that of the oldest record", func(r *rules) {
			r.floor = func(records []*modelRecord) kv.Revision { return records[0].floor }
		}},
		{"a cut swallows every earlier one", func(r *rules) {
			r.addCut = func(l *manifest.Liveness, c manifest.Cut) { l.Cuts = []manifest.Cut{c} }
		}},
		{"a cut is not kept", func(r *rules) {
			r.addCut = func(*manifest.Liveness, manifest.Cut) {}
		}},
		{"a write does not settle its key", func(r *rules) { r.settle = func(*model, int) {} }},
		{"a reader takes what the index has", func(r *rules) {
			r.shows = func(_ *model, versions []index.Version) []index.Version { return versions }
		}},
		{"the latest purge-deletes counts alone", func(r *rules) {
			r.forget = func(l *manifest.Liveness, f manifest.PurgeDeletes) { l.PurgedDeletes = f }
		}},
		{"purge-deletes forgets markers only", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				kept := *l
				kept.PurgedDeletes.UpTo = min(kept.PurgedDeletes.UpTo, kept.PurgedDeletes.MarkersUpTo)
				return kept.Filter(versions)
			}
		}},
		{"lapsed markers stay", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				kept := *l
				kept.MarkersExpiredUpTo = 0
				return kept.Filter(versions)
			}
		}},
		{"values lapse like markers", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				live := slices.Clone(l.Filter(versions))
				return slices.DeleteFunc(live, func(v index.Version) bool { return v.Deadline != 0 && v.Deadline <= l.MarkersExpiredUpTo })
			}
		}},
		{"a marker with a deadline outlives the TTL behind newer records", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				live := l.Filter(slices.Clone(versions))
				for _, v := range slices.Backward(versions) {
					if v.Op == kv.Purge && v.Deadline > l.MarkersExpiredUpTo && v.Revision <= l.ExpiredUpTo && (len(live) == 0 || v.Revision < live[0].Revision) {
						live = append([]index.Version{v}, live...)
					}
				}
				return live
			}
		}},
		{"markers with a deadline expire with the rest", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				live := slices.Clone(l.Filter(versions))
				return slices.DeleteFunc(live, func(v index.Version) bool { return v.Revision <= l.ExpiredUpTo })
			}
		}},
		{"expired records stay", func(r *rules) {
			r.keep = func(l *manifest.Liveness, versions []index.Version) []index.Version {
				kept := *l
				kept.ExpiredUpTo = 0
				return kept.Filter(versions)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			broken := soundRules
			c.breakOne(&broken)
			for n := range uint64(brokenRuns) {
				if newModel(modelSeed, n, broken).run() != "" {
					return
				}
			}
			t.Errorf("%d histories hold without the rule", brokenRuns)
		})
	}
}
