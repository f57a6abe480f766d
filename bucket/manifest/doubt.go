package manifest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"kvd/kv"
)

// Doubt is what damage took from a bucket, or may have taken. The zero value is none.
// It ends by a decision alone: no restart, checkpoint or compaction ends it.
type Doubt struct {
	// Bound is a revision: no record above it is missing. 0: none is missing. The newest
	// record of a key is known to be the newest if its revision is above the bound.
	Bound kv.Revision
	// Unknown says that an operation on the bucket may be missing. Then its
	// configuration and its rules are in doubt too, and it takes no writes.
	Unknown  bool
	Holes    []Hole       // where records are missing, ascending by UpTo
	Accepted []Hole       // whose loss was accepted: an open finds the holes of segments again
	Lost     []LostRecord // records that are known and whose values are lost, ascending
}

// Hole is a range of revisions of which records are missing: those above After and not
// above UpTo.
type Hole struct {
	After, UpTo kv.Revision
	Records     uint64 // missing; 0: unknown
	File        string // that was damaged
	Offset      int64  // of the damage, bytes from the start of File; -1: the file as a whole
}

// LostRecord names a record whose value is lost.
type LostRecord struct {
	Revision kv.Revision
	Key      string
}

// Limits of a bucket's doubt. The manifest keeps the newest; the bound covers the others.
const (
	HolesMax = 64
	LostMax  = 1024
	fileMax  = 4096 // bytes of Hole.File
)

// None reports whether nothing is in doubt or lost.
func (d *Doubt) None() bool { return d.Whole() && len(d.Lost) == 0 }

// Whole reports whether no record is missing or was accepted as missing.
func (d *Doubt) Whole() bool {
	return d.Bound == 0 && !d.Unknown && len(d.Accepted) == 0 && len(d.Holes) == 0
}

// AddHole adds a hole; the bound rises to its end. It replaces d.Holes and changes no slice in
// place.
func (d *Doubt) AddHole(h Hole) {
	d.Holes = append(slices.Clone(d.Holes), h)
	slices.SortStableFunc(d.Holes, func(a, b Hole) int { return cmp.Compare(a.UpTo, b.UpTo) })
	d.Holes = d.Holes[max(0, len(d.Holes)-HolesMax):]
	d.Bound = max(d.Bound, h.UpTo)
}

// AddLost adds records whose values are lost. It replaces d.Lost and changes no slice in place.
func (d *Doubt) AddLost(lost ...LostRecord) {
	if len(lost) == 0 {
		return
	}
	d.Lost = slices.Concat(d.Lost, lost)
	slices.SortFunc(d.Lost, func(a, b LostRecord) int { return cmp.Compare(a.Revision, b.Revision) })
	d.Lost = slices.Compact(d.Lost)
	d.Lost = d.Lost[max(0, len(d.Lost)-LostMax):]
}

// append appends the parts that stand before the bucket's own.
func (d *Doubt) append(dst []byte) []byte {
	if d.Bound != 0 || d.Unknown {
		unknown := uint64(0)
		if d.Unknown {
			unknown = 1
		}
		dst = binary.AppendUvarint(dst, tagDoubt)
		dst = binary.AppendUvarint(dst, uint64(d.Bound))
		dst = binary.AppendUvarint(dst, unknown)
	}
	for _, h := range d.Holes {
		dst = h.append(dst, tagHole)
	}
	for _, h := range d.Accepted {
		dst = h.append(dst, tagAccepted)
	}
	for _, l := range d.Lost {
		for _, v := range []uint64{tagLost, uint64(l.Revision), uint64(len(l.Key))} {
			dst = binary.AppendUvarint(dst, v)
		}
		dst = append(dst, l.Key...)
	}
	return dst
}

func (h *Hole) append(dst []byte, tag uint64) []byte {
	for _, v := range []uint64{tag, uint64(h.After), uint64(h.UpTo), h.Records, uint64(h.Offset + 1), uint64(len(h.File))} {
		dst = binary.AppendUvarint(dst, v)
	}
	return append(dst, h.File...)
}

func (d *decoder) hole() Hole {
	h := Hole{After: kv.Revision(d.uvarint()), UpTo: kv.Revision(d.uvarint()), Records: d.uvarint(), Offset: int64(d.uvarint()) - 1}
	h.File = d.text(fileMax)
	if h.After >= h.UpTo && d.err == nil {
		d.fail(fmt.Sprintf("a hole above revision %d up to %d", h.After, h.UpTo))
	}
	return h
}

func (d *decoder) lostRecord() LostRecord {
	return LostRecord{Revision: kv.Revision(d.uvarint()), Key: d.text(kv.MaxKeySize)}
}

// text reads a length of at most most bytes and a text of that length.
func (d *decoder) text(most int) string {
	n := d.count(1)
	if n > most {
		d.fail(fmt.Sprintf("a text of %d bytes, at most %d", n, most))
		return ""
	}
	text := string(d.b[:n])
	d.b = d.b[n:]
	return text
}
