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

	// FrameHeaderSize is the number of bytes before a frame's payload.
	FrameHeaderSize = 48

	frameAlign = 8 // of frames packed between two syncs
)

var _ = [1]struct{}{}[FrameHeaderSize-frameTimeAt-8]

// NewFrame returns a buffer for one frame: dst's array, as far as it goes, with
// room for the header. The caller appends the payload and hands the result to
// [Log.Append].
func NewFrame(dst []byte) []byte {
	var room [FrameHeaderSize]byte
	return append(dst[:0], room[:]...)
}

// identity ties checksums to one life of one file: bytes of another life, file
// or place have other checksums, whatever they say.
type identity struct {
	salt   uint64
	number uint64
}

// sum is the checksum of b as it stands at offset of the file.
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

// frameHeader is what a frame says about itself.
type frameHeader struct {
	payloadSum uint64
	length     int // of the payload, bytes
	lsn        LSN
	synced     LSN // the newest frame that was durable when this one was written
	time       int64
}

// size returns the bytes of header and payload.
func (h frameHeader) size() int64 { return FrameHeaderSize + int64(h.length) }

// seal fills in the header of frame, whose payload stands behind it, for its
// place at offset. It sets h's length and payload checksum from the bytes.
func (h frameHeader) seal(frame []byte, id identity, offset int64) {
	le := binary.LittleEndian
	payload := frame[FrameHeaderSize:]
	le.PutUint64(frame[framePayloadSumAt:], id.sum(offset+FrameHeaderSize, payload))
	le.PutUint32(frame[frameLengthAt:], uint32(len(payload)))
	le.PutUint32(frame[frameReservedAt:], 0)
	le.PutUint64(frame[frameLSNAt:], uint64(h.lsn))
	le.PutUint64(frame[frameSyncedAt:], uint64(h.synced))
	le.PutUint64(frame[frameTimeAt:], uint64(h.time))
	le.PutUint64(frame[frameSumAt:], id.sum(offset, frame[framePayloadSumAt:FrameHeaderSize]))
}

// decodeFrameHeader is seal's inverse for the header at the start of b, which
// stood at offset. It reports false for anything but a header that seal wrote
// for this place, and leaves the payload to its caller.
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
	}
	ok := h.length <= maxLonePayload && h.lsn > 0 && h.synced < h.lsn && le.Uint32(b[frameReservedAt:]) == 0
	return h, ok
}

// pageUp and frameUp round an offset up to where a page or a frame may begin.
func pageUp(offset int64) int64  { return (offset + pageSize - 1) &^ (pageSize - 1) }
func frameUp(offset int64) int64 { return (offset + frameAlign - 1) &^ (frameAlign - 1) }

// allZero reports whether b, of a page at most, holds nothing.
func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
