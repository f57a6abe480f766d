package hole

import (
	"kvd/bucket/journal"
	"kvd/kv"
	"kvd/wal"
)

// Hole is a run of frames that were durable and cannot be read.
type Hole struct {
	First, Last wal.LSN   // both inclusive
	Before      wal.Words // totals of everything before First
	After       wal.Words // totals of everything up to Last, with the filters of Last and the frames before it
	AfterKnown  bool      // false: nothing behind the hole has its words
	// Twins is how many of the hole's operations have their other copy in the sound
	// frame right before or right behind the hole.
	Twins uint64
}

// filterFrames is how many frames the filters of a frame's words are about.
const filterFrames = 64

// touches reports whether the hole may have held records of a bucket or operations on it.
func (h *Hole) touches(bucket uint64) bool {
	if !h.AfterKnown || h.Last-h.First >= filterFrames {
		return true
	}
	filter := h.After.Before
	if h.Last > h.First {
		filter |= h.After.Recent
	}
	return filter&journal.FilterBit(bucket) != 0
}

// operations returns how many operations the hole took with both copies; at least one if
// that is unknown.
func (h *Hole) operations() uint64 {
	if !h.AfterKnown {
		return 1
	}
	frames := h.After.Operations - h.Before.Operations
	if frames <= h.Twins {
		return 0
	}
	return (frames - h.Twins + 1) / 2
}

// missing is a number of records and the sum of their head checksums.
type missing struct {
	records, sum uint64
	known        bool
}

// total returns what all holes held.
func total(holes []Hole) (m missing) {
	m.known = true
	for i := range holes {
		h := &holes[i]
		m.known = m.known && h.AfterKnown
		m.records += h.After.Records - h.Before.Records
		m.sum += h.After.Sum - h.Before.Sum
	}
	return m
}

// Item is a record of a bucket's tail.
type Item struct {
	Sum      uint64 // head checksum
	Revision kv.Revision
	Break    bool // damage may hide records before it
	Sound    bool // a sound frame has the record
}

// Bucket is what is known of a bucket.
type Bucket struct {
	ID       uint64
	Position wal.LSN     // its segments hold every frame up to it
	Highest  kv.Revision // that the manifest, a sound frame or its tail names
	Tail     []Item      // in the order of the log, without items that the position covers

	// Its records in sound frames next to the holes. 0: there is none.
	LastBefore  uint64      // head checksum of the last one before the first hole
	FirstBehind uint64      // head checksum of the first one behind the last hole
	BoundBehind kv.Revision // the revision before that record
}

// Verdict is what is lost of a bucket.
type Verdict struct {
	// Whole says that nothing is missing once the tail's candidates are taken.
	Whole bool
	// Bound is the bound of the doubt of a bucket that is not whole.
	Bound kv.Revision
	// Unknown says that an operation on the bucket may be missing.
	Unknown bool
	// Records is how many records are missing of all such buckets; 0: unknown.
	Records uint64
}

// Decide returns the verdict on each bucket, in the same order, and how many operations
// are missing. The candidates of every bucket are to be taken: those of a bucket in doubt
// are sound records too.
func Decide(holes []Hole, buckets []Bucket) (verdicts []Verdict, operations uint64) {
	verdicts = make([]Verdict, len(buckets))
	var open []int // those that only the totals can save
	left := total(holes)
	for i := range holes {
		operations += holes[i].operations()
	}
	for i := range buckets {
		b := &buckets[i]
		touched, unknown := b.touched(holes)
		verdicts[i].Unknown = unknown
		switch {
		case !touched || b.runs():
			verdicts[i].Whole = true
			left.take(b)
		default:
			open = append(open, i)
		}
	}
	candidates := left
	for _, i := range open {
		candidates.take(&buckets[i])
	}
	if candidates.known && candidates.records == 0 && candidates.sum == 0 {
		for _, i := range open {
			verdicts[i].Whole = true
		}
		return verdicts, operations
	}
	atMost := most(holes)
	if candidates.known {
		atMost = left.records
	}
	for _, i := range open {
		verdicts[i].Bound = buckets[i].bound(atMost)
		if candidates.known && candidates.records <= left.records { // else some candidates were not in a hole
			verdicts[i].Records = candidates.records
		}
	}
	return verdicts, operations
}

// touched reports whether a hole may have taken records of the bucket, or operations on
// it.
func (b *Bucket) touched(holes []Hole) (touched, unknown bool) {
	for i := range holes {
		h := &holes[i]
		if b.Position >= h.Last || !h.touches(b.ID) {
			continue
		}
		touched = true
		unknown = unknown || h.operations() > 0
	}
	return touched, unknown
}

// runs reports whether the tail has everything across the holes without a break.
func (b *Bucket) runs() bool {
	if b.FirstBehind == 0 {
		return false
	}
	began := b.LastBefore == 0 // the tail begins where the position ends
	for i := range b.Tail {
		item := &b.Tail[i]
		if began && item.Break {
			return false
		}
		if began && item.Sound && item.Sum == b.FirstBehind {
			return true
		}
		if item.Sum == b.LastBefore {
			began = true
		}
	}
	return false
}

// take subtracts the candidates of a bucket.
func (m *missing) take(b *Bucket) {
	for i := range b.Tail {
		if !b.Tail[i].Sound {
			m.records--
			m.sum -= b.Tail[i].Sum
		}
	}
}

// recordsMax bounds the records of a frame: a record has at least 64 bytes, and a payload
// at most 80 MiB.
const recordsMax = 80 << 20 / 64

// bound returns the bound of the bucket's doubt. atMost is how many records are missing
// at most.
func (b *Bucket) bound(atMost uint64) kv.Revision {
	if b.FirstBehind != 0 {
		return max(b.BoundBehind, 1)
	}
	return b.Highest + kv.Revision(atMost)
}

// most returns how many records the holes held at most, where that is not known exactly.
func most(holes []Hole) (n uint64) {
	for i := range holes {
		n += uint64(holes[i].Last-holes[i].First+1) * recordsMax
	}
	return n
}
