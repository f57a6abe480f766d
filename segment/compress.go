package segment

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
)

const (
	// compressMin is the smallest value, in bytes, that Compress tries to compress. Smaller values
	// seldom justify the time and the 4 bytes that the record grows by.
	compressMin = 128
	// compressSaves: a compressed value is stored only if it saves at least 1/compressSaves of the
	// size, because every read must decompress it.
	compressSaves = 8
)

// scratchMax is the maximum size of a buffer that is kept for reuse, in bytes.
const scratchMax = 2 << 20

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// freeScratch returns a buffer to the pool, unless a huge value has made it too large.
func freeScratch(b *[]byte) {
	if cap(*b) <= scratchMax {
		scratch.Put(b)
	}
}

// Compress returns value compressed as a record stores it, in new memory. It returns nil if
// compression does not save enough.
func Compress(value []byte) []byte {
	if len(value) < compressMin {
		return nil
	}
	b := scratch.Get().(*[]byte)
	defer freeScratch(b)
	*b = slices.Grow((*b)[:0], s2.MaxEncodedLen(len(value)))
	packed := s2.Encode((*b)[:cap(*b)], value)
	if len(packed)+4 > len(value)-len(value)/compressSaves { // 4: the length before compression
		return nil
	}
	// A copy and not the buffer: one caller may pass thousands of small values at once, and each
	// would otherwise keep memory that was allocated for a large one.
	return bytes.Clone(packed)
}

// AppendValue appends the record's value, decompressed, to dst and returns the extended slice. dst
// may be memory that the record's slices alias; then the slices are invalid afterwards. On an
// error, which matches kv.ErrCorrupt, dst is returned unchanged.
func (r *Record) AppendValue(dst []byte) ([]byte, error) {
	if !r.Compressed {
		return append(dst, r.Value...), nil
	}
	// RawLen was checked against its limit. The length in the block must agree with it before
	// anything is allocated.
	if n, err := s2.DecodedLen(r.Value); err != nil || n != int(r.RawLen) {
		return dst, formatError(fmt.Sprintf("compressed value of %d bytes is said to have %d", n, r.RawLen))
	}
	b := scratch.Get().(*[]byte)
	defer freeScratch(b)
	*b = append((*b)[:0], r.Value...)
	start, size := len(dst), int(r.RawLen)
	out := slices.Grow(dst, size)[:start+size]
	// The capacity is cut, so that a block that decodes to more than its stated length writes to
	// nobody else's bytes.
	value, err := s2.Decode(out[start:start+size:start+size], *b)
	if err != nil || len(value) != size {
		return dst, formatError("compressed value does not decompress")
	}
	return out, nil
}
