package index

import "unsafe"

// Use is how much of a segment the versions kept take up. Compaction decides by it.
type Use struct {
	Versions int
	Bytes    int64 // of their records
}

// Use returns how much of a segment the versions kept take up. A read.
func (x *Index) Use(segment uint32) Use {
	if page := int(segment / usePage); page < len(x.uses) && x.uses[page] != nil {
		return x.uses[page][segment%usePage]
	}
	return Use{}
}

// uses counts by segment, in pages of 64 segments.
type uses []*[usePage]Use

const usePage = 64

// add counts n more versions of that size, or fewer if n is negative.
func (u *uses) add(segment, size uint32, n int) {
	page := int(segment / usePage)
	for page >= len(*u) {
		*u = append(*u, nil)
	}
	if (*u)[page] == nil {
		(*u)[page] = new([usePage]Use)
	}
	w := &(*u)[page][segment%usePage]
	w.Versions += n
	w.Bytes += int64(n) * int64(size)
}

// end returns a number above every segment that was ever counted, at most 64 above the highest.
func (u uses) end() uint32 { return uint32(len(u)) * usePage }

func (u uses) memory() (n int64) {
	for _, page := range u {
		if page != nil {
			n += int64(unsafe.Sizeof(*page))
		}
	}
	return n + int64(cap(u))*int64(unsafe.Sizeof(uintptr(0)))
}
