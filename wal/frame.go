package wal

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The frame header. See the package documentation for the diagram.
const (
	frameSumAt        = 0
	framePayloadSumAt = 8
	frameLengthAt     = 16
	frameReservedAt   = 20
	frameLSNAt        = 24
	frameSyncedAt     = 32
	frameTimeAt       = 40
	frameWordsAt      = 48

	// FrameHeaderSize is the number of bytes before a frame's payload.
	FrameHeaderSize = frameWordsAt + wordsSize

	frameAlign = 8 // of frames packed between two syncs
)

var _ = [1]struct{}{}[frameWordsAt-frameTimeAt-8]

// NewFrame returns a buffer for one frame, with space for the header. It uses dst's array
// if that is large enough. The caller appends the payload and passes the result to
// [Log.Append].
func NewFrame(dst []byte) []byte {
	var room [FrameHeaderSize]byte
	return append(dst[:0], room[:]...)
}

// identity ties checksums to one use of one file: the same bytes in another use, file or
// place have other checksums.
type identity struct {
	salt   uint64
	number uint64
}

// sum is the checksum of b at offset of the file.
func (id identity) sum(offset int64, b []byte) uint64 {
	var prefix [24]byte
	binary.LittleEndian.PutUint64(prefix[0:], id.salt)
	binary.LittleEndian.PutUint64(prefix[8:], id.number)
	binary.LittleEndian.PutUint64(prefix[16:], uint64(offset))
	var d xxhash.Digest
	d.Reset()
	d.Write(prefix[:])
	d.Write(b)
	return d.Sum64()
}

// frameHeader has the fields of a frame's header.
type frameHeader struct {
	payloadSum uint64
	length     int // of the payload, bytes
	lsn        LSN
	synced     LSN // the newest durable frame when this one was written
	time       int64
	words      Words
}

// size returns the bytes of header and payload.
func (h frameHeader) size() int64 { return FrameHeaderSize + int64(h.length) }

// seal writes the header of frame for its place at offset. The payload must follow the
// header in frame. seal computes h's length and payload checksum.
func (h frameHeader) seal(frame []byte, id identity, offset int64) {
	le := binary.LittleEndian
	payload := frame[FrameHeaderSize:]
	le.PutUint64(frame[framePayloadSumAt:], id.sum(offset+FrameHeaderSize, payload))
	le.PutUint32(frame[frameLengthAt:], uint32(len(payload)))
	le.PutUint32(frame[frameReservedAt:], 0)
	le.PutUint64(frame[frameLSNAt:], uint64(h.lsn))
	le.PutUint64(frame[frameSyncedAt:], uint64(h.synced))
	le.PutUint64(frame[frameTimeAt:], uint64(h.time))
	h.words.encode(frame[frameWordsAt:])
	le.PutUint64(frame[frameSumAt:], id.sum(offset, frame[framePayloadSumAt:FrameHeaderSize]))
}

// decodeFrameHeader is the inverse of seal for the header at the start of b, which was at
// offset of the file. It returns false for anything but a header that seal wrote for this
// place. It does not check the payload.
func decodeFrameHeader(b []byte, id identity, offset int64) (frameHeader, bool) {
	le := binary.LittleEndian
	if len(b) < FrameHeaderSize ||
		le.Uint64(b[frameSumAt:]) != id.sum(offset, b[framePayloadSumAt:FrameHeaderSize]) {
		return frameHeader{}, false
	}
	h := frameHeader{
		payloadSum: le.Uint64(b[framePayloadSumAt:]),
		length:     int(le.Uint32(b[frameLengthAt:])),
		lsn:        LSN(le.Uint64(b[frameLSNAt:])),
		synced:     LSN(le.Uint64(b[frameSyncedAt:])),
		time:       int64(le.Uint64(b[frameTimeAt:])),
		words:      decodeWords(b[frameWordsAt:]),
	}
	ok := h.length <= maxLonePayload && h.lsn > 0 && h.synced < h.lsn && le.Uint32(b[frameReservedAt:]) == 0
	return h, ok
}

// pageUp and frameUp round an offset up to the next place where a page or a frame may
// begin.
func pageUp(offset int64) int64  { return (offset + pageSize - 1) &^ (pageSize - 1) }
func frameUp(offset int64) int64 { return (offset + frameAlign - 1) &^ (frameAlign - 1) }

// allZero reports whether b, which has at most a page, has only zeros.
func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
