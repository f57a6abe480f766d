package dump

import (
	"fmt"
	"sort"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// life is what is known of a bucket once everything that counts was read.
type life struct {
	id       uint64
	name     string
	position wal.LSN // the segments hold everything up to it
	rules    manifest.Liveness
	deleted  string // what deleted it; empty: nothing did
	hidden   bool   // it is being imported: the next open throws it away unless its import was committed
	keys     map[string]*biography
}

// biography is all records of a key that count, in the order of the log.
type biography struct {
	versions []version
	verdicts []Verdict // of each; nil: they were not asked for yet
}

type version struct {
	index.Version
	floor kv.Revision
	op    segment.Op
	lsn   wal.LSN // of its frame; 0: a segment has it
}

func newLife(id uint64, name string) *life {
	return &life{id: id, name: name, keys: make(map[string]*biography)}
}

// add adds a record. The log and a segment may both have it.
func (l *life) add(key string, v version) {
	b := l.keys[key]
	if b == nil {
		b = &biography{}
		l.keys[key] = b
	}
	if n := len(b.versions); n > 0 && v.op != segment.Erase && b.versions[n-1].Revision >= v.Revision {
		return
	}
	b.versions = append(b.versions, v)
}

// verdict returns what becomes of a record.
func (l *life) verdict(key string, revision kv.Revision, op segment.Op) Verdict {
	b := l.keys[key]
	if b == nil {
		return Verdict{}
	}
	if b.verdicts == nil {
		l.judge(b)
	}
	for i := b.from(revision); i < len(b.versions) && b.versions[i].Revision <= revision; i++ {
		if v := &b.versions[i]; v.Revision == revision && v.op == op {
			return b.verdicts[i]
		}
	}
	return Verdict{}
}

// from returns the first version with at least that revision. An erase has that of the record of
// the bucket before it, so revisions never fall.
func (b *biography) from(revision kv.Revision) int {
	return sort.Search(len(b.versions), func(i int) bool { return b.versions[i].Revision >= revision })
}

// judge asks the rules about every version.
func (l *life) judge(b *biography) {
	b.verdicts = make([]Verdict, len(b.versions))
	why := l.deleted
	if why == "" && l.hidden {
		why = "the import of the bucket was not committed"
	}
	if why != "" {
		for i := range b.verdicts {
			b.verdicts[i] = Verdict{StateDead, "deleted", why}
		}
		return
	}
	// The newest record has the highest floor, and the first one above a record removed it.
	highest := kv.Revision(0)
	floors := make([]kv.Revision, len(b.versions))
	for i := range b.versions {
		highest = max(highest, b.versions[i].floor)
		floors[i] = highest
	}
	var left []index.Version
	var at []int
	for i := range b.versions {
		v := &b.versions[i]
		switch {
		case v.op == segment.Erase:
			b.verdicts[i] = Verdict{State: StateLive}
		case v.Revision < highest:
			by := &b.versions[sort.Search(len(floors), func(i int) bool { return floors[i] > v.Revision })]
			b.verdicts[i] = Verdict{StateDead, "floor", fmt.Sprintf("the %s with revision %d keeps nothing below %d", by.op, by.Revision, by.floor)}
		default:
			left, at = append(left, v.Version), append(at, i)
		}
	}
	for i, rule := range l.rules.Judge(left) {
		b.verdicts[at[i]] = l.explain(rule, left[i].Revision)
	}
}

// explain returns the verdict of a rule on a record.
func (l *life) explain(rule manifest.Rule, revision kv.Revision) Verdict {
	v := Verdict{State: StateDead, Rule: rule.String()}
	r := &l.rules
	switch rule {
	case manifest.RuleNone:
		return Verdict{State: StateLive}
	case manifest.RuleExpired:
		v.By = fmt.Sprintf("records up to revision %d expired or were trimmed", r.ExpiredUpTo)
	case manifest.RuleMarkerExpired:
		v.By = fmt.Sprintf("markers with a deadline up to %s expired", timeOf(r.MarkersExpiredUpTo).Format(timeLayout))
	case manifest.RuleForgotten:
		v.By = fmt.Sprintf("a purge-deletes of markers up to revision %d", r.PurgedDeletes.UpTo)
	case manifest.RuleCut:
		for _, c := range r.Cuts {
			if revision <= c.UpTo {
				v.By = fmt.Sprintf("the history was cut to %d at revision %d", c.Keep, c.UpTo)
			}
		}
	}
	return v
}

const timeLayout = "2006-01-02T15:04:05.999999999Z07:00"

// apply applies an operation.
func (l *life) apply(op journal.Operation, lsn wal.LSN) {
	switch op := op.(type) {
	case *journal.Delete:
		l.deleted = fmt.Sprintf("the bucket was deleted by LSN %d", lsn)
	case *journal.Edit:
		l.name = op.Config.Bucket
	case *journal.Reveal:
		l.hidden = false
	}
	journal.ChangeRules(&l.rules, op)
}

// add adds the entry of an index block.
func (l *life) addEntry(e *segment.Entry) {
	l.add(string(e.Key), version{
		Version: index.Version{Revision: e.Revision, Created: e.Created, Deadline: e.Deadline, Op: kv.Operation(e.Op), Reason: e.Reason},
		floor:   e.Floor, op: e.Op,
	})
}

// addRecord adds a record of the log.
func (l *life) addRecord(r *segment.Record, lsn wal.LSN) {
	l.add(string(r.Key), version{
		Version: index.Version{Revision: r.Revision, Created: r.Created, Deadline: r.Deadline, Op: kv.Operation(r.Op), Reason: r.Reason},
		floor:   r.Floor, op: r.Op, lsn: lsn,
	})
}
