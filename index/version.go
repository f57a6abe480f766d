package index

import (
	"fmt"

	"kvd/kv"
)

// Version is what the index holds of one record.
type Version struct {
	Revision kv.Revision
	Created  int64  // unix nanoseconds
	Deadline int64  // unix nanoseconds; 0: none
	Segment  uint32 // the engine's number of a segment, below 1<<24
	Offset   int64  // bytes from the segment's start: a multiple of 8 below 1<<31
	Size     uint32 // bytes of the record with its value
	Op       kv.Operation
	Reason   kv.MarkerReason
}

// Place is where a record lies.
type Place struct {
	Segment uint32 // below 1<<24
	Offset  int64  // a multiple of 8 below 1<<31
}

// Place returns where v lies.
func (v Version) Place() Place { return Place{Segment: v.Segment, Offset: v.Offset} }

// Limits of a [Version].
const (
	segmentLimit = 1 << 24
	offsetLimit  = 1 << 31
	offsetAlign  = 8
)

// A place, operation and reason are packed in one word, so that [Index.Move] replaces
// the place by one store beside snapshots that read it:
//
//	bits 0–27 offset/8 · 28–51 segment · 52–53 operation · 54–55 reason · 56 has a deadline
const (
	segmentShift = 28
	opShift      = 52
	reasonShift  = 54
	deadlineBit  = 1 << 56
	placeMask    = 1<<opShift - 1
	offsetMask   = 1<<segmentShift - 1
	segmentMask  = segmentLimit - 1
	twoBits      = 3
	putBits      = uint64(kv.Put) << opShift
)

func packPlace(p Place) uint64 {
	if p.Segment >= segmentLimit || p.Offset < 0 || p.Offset >= offsetLimit || p.Offset%offsetAlign != 0 {
		panic(fmt.Sprintf("index: place out of range: segment %d, offset %d", p.Segment, p.Offset))
	}
	return uint64(p.Offset/offsetAlign) | uint64(p.Segment)<<segmentShift
}

func unpackPlace(word uint64) Place {
	return Place{Segment: uint32(word>>segmentShift) & segmentMask, Offset: int64(word&offsetMask) * offsetAlign}
}

func pack(v Version) uint64 {
	if v.Op == 0 || v.Op > twoBits || v.Reason > twoBits {
		panic(fmt.Sprintf("index: unknown operation %d or reason %d", uint8(v.Op), uint8(v.Reason)))
	}
	w := packPlace(v.Place()) | uint64(v.Op)<<opShift | uint64(v.Reason)<<reasonShift
	if v.Deadline != 0 {
		w |= deadlineBit
	}
	return w
}

func isPut(word uint64) bool { return word&(twoBits<<opShift) == putBits }
