package index

// hint is a place in four bytes, for a prefetch alone: the offset is rounded down, and of the segment
// only the low bits are kept. Zero means that nothing is known.
//
//	bits 0–20 offset/64 · 21–31 segment
type hint uint32

const (
	hintAlign        = 64
	hintOffsetBits   = 21
	hintOffsets      = 1 << hintOffsetBits
	hintSegments     = 1 << (32 - hintOffsetBits)
	hintOffsetsBytes = hintOffsets * hintAlign // offsets from 128 MiB on have no hint
)

func hintOf(p Place) hint {
	if p.Offset >= hintOffsetsBytes {
		return 0
	}
	return hint(p.Offset/hintAlign) | hint(p.Segment%hintSegments)<<hintOffsetBits
}

// place returns the place: of the segments whose low bits match, the last one below end.
func (h hint) place(end uint32) (p Place, ok bool) {
	if h == 0 {
		return Place{}, false
	}
	last := end - 1
	back := (last - uint32(h>>hintOffsetBits)) % hintSegments
	if back > last {
		return Place{}, false
	}
	return Place{Segment: last - back, Offset: int64(h%hintOffsets) * hintAlign}, true
}
