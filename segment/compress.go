package segment

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
)

const (
	// compressMin is the smallest value, in bytes, that compressing is tried on:
	// below it the 4 bytes that the record grows by and the time are seldom earned.
	compressMin = 128
	// compressSaves: a compressed value is stored if it is shorter by a part in so
	// many, since every read of it pays.
	compressSaves = 8
)

// scratchMax bounds the buffers that are kept for reuse, bytes.
const scratchMax = 2 << 20

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// freeScratch gives a buffer back, unless one huge value made it huge.
func freeScratch(b *[]byte) {
	if cap(*b) <= scratchMax {
		scratch.Put(b)
	}
}

// Compress returns value compressed as a record stores it, in memory of its own,
// or nil if that does not save enough.
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
	// A copy, and not the buffer: one caller may hand in thousands of small values
	// at once, and each would hold memory that was made for a large one.
	return bytes.Clone(packed)
}

// AppendValue appends the record's value to dst, as it was before compression,
// and returns the extended slice. dst may be memory that the record's slices
// alias; then these are void afterwards. On an error, which matches
// kv.ErrCorrupt, dst comes back as it was.
func (r *Record) AppendValue(dst []byte) ([]byte, error) {
	if !r.Compressed {
		return append(dst, r.Value...), nil
	}
	// RawLen was checked against its limit; the block must agree before a byte is
	// allocated.
	if n, err := s2.DecodedLen(r.Value); err != nil || n != int(r.RawLen) {
		return dst, formatError(fmt.Sprintf("compressed value of %d bytes is said to have %d", n, r.RawLen))
	}
	b := scratch.Get().(*[]byte)
	defer freeScratch(b)
	*b = append((*b)[:0], r.Value...)
	start, size := len(dst), int(r.RawLen)
	out := slices.Grow(dst, size)[:start+size]
	// The capacity is cut, so that a block which says one thing and does another
	// writes to nobody else's bytes.
	value, err := s2.Decode(out[start:start+size:start+size], *b)
	if err != nil || len(value) != size {
		return dst, formatError("compressed value does not decompress")
	}
	return out, nil
}
