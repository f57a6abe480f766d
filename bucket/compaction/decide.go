package compaction

import (
	"kvd/internal/view"
	"kvd/segment"
)

// Verdict is what becomes of a record of a compaction's inputs.
type Verdict uint8

// The verdicts.
const (
	// KeepLive: the record is live.
	KeepLive Verdict = iota
	// KeepDead: the record is not live, but has to stay.
	KeepDead
	// RemoveSuperseded: the record goes; a newer record of its key stays.
	RemoveSuperseded
	// RemoveLast: the record goes, and it is the last one of its key. Nothing tells of
	// the end of the key afterwards.
	RemoveLast
)

// InIndex is what the index shows of a record and its key. The zero value says that
// it shows nothing of the key.
type InIndex struct {
	Live  bool // the record itself
	Newer bool // a record that stands behind it
	Older bool // a record that stands before it
}

// Decider decides which records of the inputs of one compaction may go. It is first
// shown the inputs ([Decider.SeeInput]) and, if [Decider.NeedsBelow] reports so, each
// segment below them ([Decider.SeeBelow], [Decider.SeeUnreadable]). Then
// [Decider.Decide] is asked about each record of the inputs, oldest first. If the
// inputs are the lowest, nothing has to be shown. It is not safe for concurrent use.
type Decider struct {
	lowest bool // there is no segment below the inputs
	keys   map[string]*keyState
}

// keyState is what is known of a key for which the index shows nothing newer than some
// record of the inputs that is not live.
type keyState struct {
	last    int64 // position of its newest record in the inputs other than an erase
	lastAny int64 // of its newest of all
	older   bool  // a record other than an erase is left before the one at hand
}

// keysMax bounds the keys that are noted, about 100 bytes each.
const keysMax = 1 << 18

// NewDecider returns a Decider; lowest says that no segment lies below the inputs.
func NewDecider(lowest bool) *Decider { return &Decider{lowest: lowest} }

// NeedsBelow reports whether the segments below decide about any record shown so far.
func (d *Decider) NeedsBelow() bool { return len(d.keys) > 0 }

// SeeInput takes a record of the inputs. position rises from record to record. It
// keeps nothing of e.
func (d *Decider) SeeInput(e *segment.Entry, position int64, s InIndex) {
	if s.Live || s.Newer || d.lowest {
		return
	}
	end := d.keys[view.String(e.Key)]
	if end == nil {
		if len(d.keys) >= keysMax {
			return
		}
		if d.keys == nil {
			d.keys = make(map[string]*keyState)
		}
		end = &keyState{last: -1}
		d.keys[string(e.Key)] = end
	}
	end.lastAny = position
	if e.Op != segment.Erase {
		end.last = position
	}
}

// SeeBelow takes a record of a segment below the inputs.
func (d *Decider) SeeBelow(e *segment.Entry) {
	if e.Op == segment.Erase {
		return
	}
	if end := d.keys[view.String(e.Key)]; end != nil {
		end.older = true
	}
}

// SeeUnreadable says that a segment below the inputs may hold any key.
func (d *Decider) SeeUnreadable() {
	for _, end := range d.keys {
		end.older = true
	}
}

// Decide returns the verdict about a record of the inputs, at the position at which
// [Decider.SeeInput] was shown it.
func (d *Decider) Decide(e *segment.Entry, position int64, s InIndex) Verdict {
	switch {
	case s.Live:
		return KeepLive
	case s.Newer:
		return RemoveSuperseded
	case d.lowest:
		if s.Older {
			return KeepDead
		}
		return RemoveLast
	}
	end := d.keys[view.String(e.Key)]
	switch {
	case end == nil:
		return KeepDead
	case position < end.last, e.Op == segment.Erase && position < end.lastAny:
		return RemoveSuperseded
	case end.older || s.Older:
		return KeepDead
	}
	return RemoveLast
}
