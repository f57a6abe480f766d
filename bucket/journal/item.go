package journal

import (
	"encoding/binary"
	"fmt"
)

// HeadSize is the size in bytes of what stands before the body of an item.
const HeadSize = 8

// copyAt is the place in an item's head of the copy that it is: 1 for the second.
const copyAt = 6

// Kind is the kind of an item.
type Kind uint16

// The kinds. On disk: never renumber. Zero is invalid.
const (
	Records           Kind = 1
	kindCreate        Kind = 2
	kindEdit          Kind = 3
	kindDelete        Kind = 4
	kindPurgeDeletes  Kind = 5
	kindExpire        Kind = 6
	kindExpireMarkers Kind = 7
	kindAccept        Kind = 8
	kindIssue         Kind = 9
	kindCreateHidden  Kind = 10
	kindReveal        Kind = 11
)

// BeginRecords appends the head of an item of kind Records to dst. The caller
// appends the records and calls [EndItem] with the returned head, an offset in dst.
func BeginRecords(dst []byte) (_ []byte, head int) { return beginItem(dst, Records) }

func beginItem(dst []byte, kind Kind) ([]byte, int) {
	head := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(kind))
	return binary.LittleEndian.AppendUint16(dst, 0), head
}

// EndItem fills in the length of the item that begins at head, and pads the item.
func EndItem(dst []byte, head int) []byte {
	binary.LittleEndian.PutUint32(dst[head:], uint32(len(dst)-head-HeadSize))
	for (len(dst)-head)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// MarkSecond says of a payload with one operation that it is the second copy.
func MarkSecond(payload []byte) { payload[copyAt] = 1 }

// IsSecond reports whether the item at the start of a payload, an operation, is the
// second copy. The payload must be one that [Next] accepts.
func IsSecond(payload []byte) bool { return payload[copyAt] == 1 }

// Next cuts the first item off a payload, which is not empty. body and rest are parts
// of payload.
func Next(payload []byte) (kind Kind, body, rest []byte, err error) {
	if len(payload) < HeadSize {
		return 0, nil, nil, fmt.Errorf("%d bytes left where an item begins", len(payload))
	}
	size := int(binary.LittleEndian.Uint32(payload))
	kind = Kind(binary.LittleEndian.Uint16(payload[4:]))
	padded := (HeadSize + size + 7) &^ 7
	if padded > len(payload) {
		return 0, nil, nil, fmt.Errorf("item of %d bytes in %d", padded, len(payload))
	}
	return kind, payload[HeadSize : HeadSize+size], payload[padded:], nil
}

// FilterBit returns the bit of a bucket in the filters of a frame's words.
func FilterBit(bucketID uint64) uint64 { return 1 << (bucketID * 0x9e3779b97f4a7c15 >> 58) }
