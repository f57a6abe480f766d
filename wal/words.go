package wal

import "encoding/binary"

// Words are what the log's owner knows of everything before a frame. The log stores them
// with each frame, in the headers of its files and in its mark, and does not interpret
// them. So the owner learns from the frames on both sides of a hole what the hole held.
type Words struct {
	Records    uint64 // number of records in all frames before
	Sum        uint64 // of a checksum of each of those records, mod 2^64
	Operations uint64 // number of operations in all frames before
	Before     uint64 // a filter: what the frame directly before is about
	Recent     uint64 // a filter: what the 63 frames before that one are about
}

const wordsSize = 40

// encode writes w to the first wordsSize bytes of b.
func (w Words) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], w.Records)
	le.PutUint64(b[8:], w.Sum)
	le.PutUint64(b[16:], w.Operations)
	le.PutUint64(b[24:], w.Before)
	le.PutUint64(b[32:], w.Recent)
}

// decodeWords is the inverse of encode.
func decodeWords(b []byte) Words {
	le := binary.LittleEndian
	return Words{
		Records: le.Uint64(b[0:]), Sum: le.Uint64(b[8:]), Operations: le.Uint64(b[16:]),
		Before: le.Uint64(b[24:]), Recent: le.Uint64(b[32:]),
	}
}
