package bucket

import (
	"kvd/index"
	"kvd/kv"
)

// liveness is a bucket's part of the rules that say which of its records are
// live; the other part, a key's floor, stands in the records themselves. It is
// the only place in kvd that knows these rules: recovery, runtime edits and
// compaction all ask it.
//
// Every field only ever rises (a cut is replaced by a tighter one), every change
// is an operation of the log, and the whole lives in the manifest. So what was
// dead once stays dead, whatever order crashes, edits and compaction come in.
type liveness struct {
	expired   kv.Revision // every record up to it is dead, but for a newest that is a marker with a deadline
	cuts      []cut       // in ascending order of revision
	forgotten forgetting
	lapsed    int64       // unix ns: purge markers with a deadline up to it are dead
	aged      kv.Revision // no record that was its key's newest, and left without a marker, is newer. It kills nothing: for watches.
}

// cut says that of a key's records up to a revision only the newest few stay. It
// is made when the history limit of a bucket shrinks.
type cut struct {
	upTo kv.Revision
	keep int
}

// forgetting is what purge-deletes decided: where a key's newest record is a
// marker at or below upTo, all older records are dead, and the marker too if it
// is at or below markers.
type forgetting struct {
	upTo    kv.Revision
	markers kv.Revision
}

// addCut notes a shorter history. It swallows the earlier cuts that keep no
// fewer: they cannot drop a record that this one does not.
func (l *liveness) addCut(c cut) {
	kept := l.cuts[:0:0]
	for _, old := range l.cuts {
		if old.keep < c.keep {
			kept = append(kept, old)
		}
	}
	l.cuts = append(kept, c)
}

// addForgetting notes a purge-deletes.
func (l *liveness) addForgetting(f forgetting) {
	l.forgotten.upTo = max(l.forgotten.upTo, f.upTo)
	l.forgotten.markers = max(l.forgotten.markers, f.markers)
}

// trivial reports whether no rule of the bucket can make a record dead.
func (l *liveness) trivial() bool {
	return l.expired == 0 && len(l.cuts) == 0 && l.forgotten == forgetting{} && l.lapsed == 0
}

// ended returns the newest revision at which the end of a key was forgotten: its
// newest record went without a marker.
func (l *liveness) ended() kv.Revision { return max(l.forgotten.markers, l.aged) }

// keep filters the versions of one key, oldest first, in place. They are all the
// key's records present that are at or above the floor of its newest.
func (l *liveness) keep(versions []index.Version) []index.Version {
	if len(versions) == 0 {
		return versions
	}
	newest := versions[len(versions)-1]
	live := versions[:0]
	for i := range versions {
		if !l.isDead(&versions[i], i == len(versions)-1) {
			live = append(live, versions[i])
		}
	}
	live = l.dropForgotten(live, newest)
	for _, c := range l.cuts {
		live = c.apply(live)
	}
	return live
}

// isDead applies the rules that look at one record: it was ended by its bucket's
// TTL, or trimmed, or it is a marker that was ended by its deadline. What they leave of a key
// is always its newest few records, so that it does not matter whether a cut was
// made before or after.
func (l *liveness) isDead(v *index.Version, newest bool) bool {
	hasTerm := v.Op == kv.Purge && v.Deadline != 0
	return v.Revision <= l.expired && !(newest && hasTerm) || hasTerm && v.Deadline <= l.lapsed
}

// dropForgotten applies the rule of purge-deletes. newest is the key's newest
// record present, live or not.
func (l *liveness) dropForgotten(live []index.Version, newest index.Version) []index.Version {
	if newest.Revision > l.forgotten.upTo || !newest.Op.IsMarker() || len(live) == 0 {
		return live
	}
	if live[len(live)-1].Revision != newest.Revision || newest.Revision <= l.forgotten.markers {
		return live[:0]
	}
	live[0] = newest
	return live[:1]
}

func (c cut) apply(live []index.Version) []index.Version {
	below := 0 // versions up to the cut
	for below < len(live) && live[below].Revision <= c.upTo {
		below++
	}
	return live[max(0, below-c.keep):]
}
