package bucket

import (
	"kvd/internal/view"
	"kvd/segment"
)

// verdict is what becomes of a record that compaction comes upon.
type verdict uint8

const (
	stays verdict = iota
	// detained: it is dead, and yet has to stay.
	detained
	// superseded: a newer record of its key stays.
	superseded
	// ended: with it the end of its key is forgotten. There is no newer record of
	// the key, and no older one left.
	ended
)

// sighting is what the index shows of a record's key.
type sighting struct {
	live  bool // the record itself is visible
	newer bool // a visible record stands behind it
	older bool // a visible record stands before it
}

// dropping decides which records of neighbouring segments, the inputs of a
// compaction, may go. A dead record goes if either
//
//   - a newer record of its key stays, where an erase stands in for another erase
//     alone; or
//   - no older record of its key is left, in the inputs or below them; erases do
//     not count.
//
// So the newest record present always carries the highest floor, what is below
// that floor stays dead, and a tombstone is the last of its key to go.
//
// Where the index shows a newer record, it is the first; nearly always. For the
// rest, what is in the segments counts, dead or alive: note takes the dead records
// of the inputs and noteBelow what lies below; then decide is asked about every
// record of the inputs, oldest first. Whatever note does not know stays: keeping a
// dead record is never wrong. If the inputs are the lowest, note and noteBelow are
// not needed.
type dropping struct {
	lowest bool // there is no segment below the inputs
	keys   map[string]*keyEnd
}

// keyEnd is what is known of a key of which the index shows nothing newer than
// some dead record of the inputs.
type keyEnd struct {
	last    int64 // position of its newest record in the inputs other than an erase
	lastAny int64 // of its newest of all
	older   bool  // a record other than an erase is left before the one at hand
}

// droppingMax bounds the keys that are noted, about 100 bytes each.
const droppingMax = 1 << 18

// note takes a record of the inputs, at a position that rises from record to
// record.
func (d *dropping) note(e *segment.Entry, position int64, s sighting) {
	if s.live || s.newer || d.lowest {
		return
	}
	end := d.keys[view.String(e.Key)]
	if end == nil {
		if len(d.keys) >= droppingMax {
			return
		}
		if d.keys == nil {
			d.keys = make(map[string]*keyEnd)
		}
		end = &keyEnd{last: -1}
		d.keys[string(e.Key)] = end
	}
	end.lastAny = position
	if e.Op != segment.Erase {
		end.last = position
	}
}

// noteBelow takes a record of a segment below the inputs.
func (d *dropping) noteBelow(e *segment.Entry) {
	if e.Op == segment.Erase {
		return
	}
	if end := d.keys[view.String(e.Key)]; end != nil {
		end.older = true
	}
}

// noteUnknown says that a segment below the inputs may hold any key.
func (d *dropping) noteUnknown() {
	for _, end := range d.keys {
		end.older = true
	}
}

// decide says what becomes of a record of the inputs.
func (d *dropping) decide(e *segment.Entry, position int64, s sighting) verdict {
	switch {
	case s.live:
		return stays
	case s.newer:
		return superseded
	case d.lowest:
		if s.older {
			return detained
		}
		return ended
	}
	end := d.keys[view.String(e.Key)]
	switch {
	case end == nil:
		return detained
	case position < end.last, e.Op == segment.Erase && position < end.lastAny:
		return superseded
	case end.older || s.older:
		return detained
	}
	return ended
}
