package manifest

import (
	"slices"

	"kvd/index"
	"kvd/kv"
)

// Liveness is the rules that decide which records of a bucket are live, except the
// floors, which are in the records themselves. The package documentation lists the
// rules under "Liveness". The zero value removes nothing. A copy may be read while
// the original changes: Cuts is replaced, never written to.
type Liveness struct {
	ExpiredUpTo        kv.Revision // every record up to it is removed, but a newest that is a purge marker with a deadline
	Cuts               []Cut       // ascending by UpTo
	PurgedDeletes      PurgeDeletes
	MarkersExpiredUpTo int64 // Unix time in ns: purge markers with a deadline up to it are removed
	// UnmarkedUpTo is at or above every record that was the newest of its key when it
	// expired or was trimmed without a marker. It is not a rule: a watch that resumes
	// below it gets kv.ErrCompacted.
	UnmarkedUpTo kv.Revision
}

// Cut keeps only the newest Keep records of each key up to the revision UpTo. It is
// made when the history limit of a bucket shrinks.
type Cut struct {
	UpTo kv.Revision
	Keep int
}

// PurgeDeletes is the outcome of the purge-deletes of a bucket. Where the newest
// record of a key is a marker up to UpTo, all older records are removed, and the
// marker too if it is up to MarkersUpTo.
type PurgeDeletes struct {
	UpTo        kv.Revision
	MarkersUpTo kv.Revision
}

// AddCut adds a shorter history. It replaces the earlier cuts that keep at least as
// many records: they remove nothing that c does not remove.
func (l *Liveness) AddCut(c Cut) {
	kept := l.Cuts[:0:0]
	for _, old := range l.Cuts {
		if old.Keep < c.Keep {
			kept = append(kept, old)
		}
	}
	l.Cuts = append(kept, c)
}

// AddPurgeDeletes adds the outcome of another purge-deletes.
func (l *Liveness) AddPurgeDeletes(f PurgeDeletes) {
	l.PurgedDeletes.UpTo = max(l.PurgedDeletes.UpTo, f.UpTo)
	l.PurgedDeletes.MarkersUpTo = max(l.PurgedDeletes.MarkersUpTo, f.MarkersUpTo)
}

// Empty reports whether no rule can remove a record.
func (l *Liveness) Empty() bool {
	return l.ExpiredUpTo == 0 && len(l.Cuts) == 0 && l.PurgedDeletes == PurgeDeletes{} && l.MarkersExpiredUpTo == 0
}

// SilentEndUpTo returns a revision at or above every record that was the newest of
// its key and was removed by a rule without leaving a marker. A watch that resumes
// below it cannot be told of each key that is gone.
func (l *Liveness) SilentEndUpTo() kv.Revision {
	return max(l.PurgedDeletes.MarkersUpTo, l.UnmarkedUpTo)
}

// Filter removes the versions that are not live, in place, and returns the others.
// versions are all present records of one key that are at or above the floor of the
// newest, oldest first.
func (l *Liveness) Filter(versions []index.Version) []index.Version {
	if len(versions) == 0 {
		return versions
	}
	newest := versions[len(versions)-1]
	live := versions[:0]
	for i := range versions {
		if !l.Removes(&versions[i], i == len(versions)-1) {
			live = append(live, versions[i])
		}
	}
	live = l.applyPurgeDeletes(live, newest)
	for _, c := range l.Cuts {
		live = c.apply(live)
	}
	return live
}

// Removes applies the rules that look at one record: expiry by the bucket's TTL,
// trimming, and expiry of a purge marker by its deadline. newest says whether it is
// the newest record of its key. These rules always keep the newest few records of a
// key, so the outcome does not depend on whether a cut was made before or after.
func (l *Liveness) Removes(v *index.Version, newest bool) bool {
	hasTerm := v.Op == kv.Purge && v.Deadline != 0
	return v.Revision <= l.ExpiredUpTo && !(newest && hasTerm) || hasTerm && v.Deadline <= l.MarkersExpiredUpTo
}

// applyPurgeDeletes applies the rule of purge-deletes. newest is the key's newest
// present record, live or not.
func (l *Liveness) applyPurgeDeletes(live []index.Version, newest index.Version) []index.Version {
	if newest.Revision > l.PurgedDeletes.UpTo || !newest.Op.IsMarker() || len(live) == 0 {
		return live
	}
	if live[len(live)-1].Revision != newest.Revision || newest.Revision <= l.PurgedDeletes.MarkersUpTo {
		return live[:0]
	}
	live[0] = newest
	return live[:1]
}

func (c Cut) apply(live []index.Version) []index.Version {
	below := 0 // versions up to the cut
	for below < len(live) && live[below].Revision <= c.UpTo {
		below++
	}
	return live[max(0, below-c.Keep):]
}

// SameCutsAndPurges reports whether l and m have the same cuts and purge-deletes,
// which are the rules that may concern many keys at once.
func (l *Liveness) SameCutsAndPurges(m *Liveness) bool {
	return l.PurgedDeletes == m.PurgedDeletes && slices.Equal(l.Cuts, m.Cuts)
}
