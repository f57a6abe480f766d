package bucket

import (
	"encoding/binary"
	"fmt"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// The payload of a log frame is a sequence of items, each 8-byte aligned: an
// 8-byte head and a body.
//
//	offset  size  field
//	0       4     length of the body, bytes
//	4       2     kind
//	6       2     zero
//	8       …     body, zero-padded to 8
//
// A body of kind itemRecords is a run of records as package segment encodes
// them, of any buckets, in the order they were decided. A body of another kind
// is one operation on a bucket:
//
//	0       8     bucket id
//	8       8     first argument
//	16      8     second argument
//	24      …     configuration as JSON, for create and edit
const (
	itemHeadSize = 8
	opFixedSize  = 24
)

// itemKind says what an item of a frame is.
type itemKind uint16

// The kinds. On disk: never renumber. Zero is invalid.
const (
	itemRecords itemKind = 1
	opCreate    itemKind = 2 // a: created, unix ns
	opEdit      itemKind = 3 // a, b: the cut that it makes: revision and records kept; 0, 0: none
	opDelete    itemKind = 4
	opForget    itemKind = 5 // a, b: purge-deletes: revision, and that of the newest marker to drop
	opExpire    itemKind = 6 // a: every record up to this revision is dead, expired or trimmed, but for a newest that is a marker with a deadline; b: liveness.aged
	opLapse     itemKind = 7 // a: purge markers with a deadline up to this instant, unix ns, are dead; b: liveness.aged
)

// operation is a change of a bucket's state that is not a record. It carries
// what was decided, so that replay needs neither the clock nor the
// configuration of the time.
type operation struct {
	kind     itemKind
	bucketID uint64
	a, b     uint64
	config   kv.Config // of opCreate and opEdit
	leaving  []dying   // of opExpire: what leaves the index in the same moment; not on disk
}

// cuts reports whether the operation shortens the history of a bucket.
func (op *operation) cuts() bool { return op.kind == opEdit && op.b != 0 }

// appendItemHead appends the head of an item whose body is not known yet, and
// returns where the head begins, for sealItem.
func appendItemHead(dst []byte, kind itemKind) ([]byte, int) {
	head := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(kind))
	return binary.LittleEndian.AppendUint16(dst, 0), head
}

// sealItem fills in the length of the item at head and pads it.
func sealItem(dst []byte, head int) []byte {
	binary.LittleEndian.PutUint32(dst[head:], uint32(len(dst)-head-itemHeadSize))
	for (len(dst)-head)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// appendOperation appends an operation as an item.
func appendOperation(dst []byte, op *operation) []byte {
	dst, head := appendItemHead(dst, op.kind)
	dst = binary.LittleEndian.AppendUint64(dst, op.bucketID)
	dst = binary.LittleEndian.AppendUint64(dst, op.a)
	dst = binary.LittleEndian.AppendUint64(dst, op.b)
	if op.kind == opCreate || op.kind == opEdit {
		dst = append(dst, manifest.EncodeConfig(op.config)...)
	}
	return sealItem(dst, head)
}

// nextItem cuts the first item off a frame's payload.
func nextItem(payload []byte) (kind itemKind, body, rest []byte, err error) {
	if len(payload) < itemHeadSize {
		return 0, nil, nil, fmt.Errorf("%d bytes left where an item begins", len(payload))
	}
	size := int(binary.LittleEndian.Uint32(payload))
	kind = itemKind(binary.LittleEndian.Uint16(payload[4:]))
	padded := (itemHeadSize + size + 7) &^ 7
	if padded > len(payload) {
		return 0, nil, nil, fmt.Errorf("item of %d bytes in %d", padded, len(payload))
	}
	return kind, payload[itemHeadSize : itemHeadSize+size], payload[padded:], nil
}

// decodeOperation reads the body of an item that is not records.
func decodeOperation(kind itemKind, body []byte) (operation, error) {
	op := operation{kind: kind}
	if kind < opCreate || kind > opLapse {
		return op, fmt.Errorf("%w: item kind %d", kv.ErrVersion, kind)
	}
	if len(body) < opFixedSize {
		return op, fmt.Errorf("operation of %d bytes", len(body))
	}
	op.bucketID = binary.LittleEndian.Uint64(body)
	op.a = binary.LittleEndian.Uint64(body[8:])
	op.b = binary.LittleEndian.Uint64(body[16:])
	if kind == opCreate || kind == opEdit {
		var err error
		if op.config, err = manifest.DecodeConfig(body[opFixedSize:]); err != nil {
			return op, err
		}
	}
	if op.cuts() {
		return op, manifest.Cut{UpTo: kv.Revision(op.a), Keep: int(op.b)}.Check()
	}
	return op, nil
}
