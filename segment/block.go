package segment

import (
	"encoding/binary"
	"math"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// Entry is the content of an index block about one record.
type Entry struct {
	Key      []byte
	Revision kv.Revision
	Floor    kv.Revision
	Created  int64  // unix nanoseconds
	Deadline int64  // unix nanoseconds; 0: none
	Offset   int64  // of the record, in bytes from the start of the file
	Size     uint32 // of the whole record, bytes
	ValueLen uint32 // of the value as stored, bytes
	Op       Op
	Reason   kv.MarkerReason
}

// Offsets of the fields of an index block's header; see the package doc.
const (
	blockHeadSum = 8
	blockBodySum = 16
	blockPrev    = 24
	blockStart   = 32
	blockCount   = 40
	blockLength  = 44

	blockHeaderSize = 48
)

// pageSize is the alignment of appends after an index block, so that bytes that a checkpoint
// made durable never share a page with a later write.
const pageSize = 4096

func pageAlign(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// blockHeader describes an index block.
type blockHeader struct {
	bodySum uint64
	prev    int64  // offset of the predecessor; 0: none
	start   int64  // the block covers the records in [start, its own offset)
	count   uint32 // of its entries
	length  uint32 // of its body, bytes
}

// place is the place of an index block. The block's checksum covers it, so that a block that
// was written or moved elsewhere is not valid.
type place struct {
	bucketID uint64
	number   uint64 // of the segment
	offset   int64
}

const (
	errBlockMagic   formatError = "no index block"
	errBlockHeadSum formatError = "checksum of the index block's header does not match"
	errBlockBodySum formatError = "checksum of the index block's entries does not match"
	errBlockRange   formatError = "index block's range or length is impossible"
	errEntry        formatError = "index entry is malformed"
)

// appendBlockHeader appends the encoding of h to dst.
func (s Seed) appendBlockHeader(dst []byte, p place, h *blockHeader) []byte {
	start := len(dst)
	dst = append(dst, blockMagic...)
	dst = le.AppendUint64(dst, 0)
	dst = le.AppendUint64(dst, h.bodySum)
	dst = le.AppendUint64(dst, uint64(h.prev))
	dst = le.AppendUint64(dst, uint64(h.start))
	dst = le.AppendUint32(dst, h.count)
	dst = le.AppendUint32(dst, h.length)
	le.PutUint64(dst[start+blockHeadSum:], s.blockSum(p, dst[start:]))
	return dst
}

// decodeBlockHeader decodes the header at the start of b. The ranges that it returns are
// possible: HeaderSize <= start < offset, and prev is 0 or before start.
func (s Seed) decodeBlockHeader(b []byte, p place) (blockHeader, error) {
	if len(b) < blockHeaderSize || string(b[:len(blockMagic)]) != blockMagic {
		return blockHeader{}, errBlockMagic
	}
	if s.blockSum(p, b) != le.Uint64(b[blockHeadSum:]) {
		return blockHeader{}, errBlockHeadSum
	}
	h := blockHeader{
		bodySum: le.Uint64(b[blockBodySum:]),
		prev:    int64(le.Uint64(b[blockPrev:])),
		start:   int64(le.Uint64(b[blockStart:])),
		count:   le.Uint32(b[blockCount:]),
		length:  le.Uint32(b[blockLength:]),
	}
	if h.start < HeaderSize || h.start >= p.offset || h.prev < 0 || h.prev >= h.start ||
		h.count == 0 || int64(h.length) > p.offset-h.start {
		return blockHeader{}, errBlockRange
	}
	return h, nil
}

// blockSum returns the checksum of the block header at the start of b at place p.
func (s Seed) blockSum(p place, b []byte) uint64 {
	var at [24]byte
	le.PutUint64(at[0:], p.bucketID)
	le.PutUint64(at[8:], p.number)
	le.PutUint64(at[16:], uint64(p.offset))
	var d xxhash.Digest
	d.ResetWithSeed(uint64(s))
	_, _ = d.Write(at[:])
	_, _ = d.Write(b[blockBodySum:blockHeaderSize])
	return d.Sum64()
}

// blockEnd returns where appends continue after a block of that length at offset.
func blockEnd(offset, length int64) int64 { return pageAlign(offset + blockHeaderSize + length) }

// entryDeadline is the bit of an entry's kind byte for a deadline. It is the bit above those
// of the reason.
const entryDeadline = 1 << 6

// entryFixedMax is the maximum size of an entry without its key: the kind byte, four 64-bit
// varints, two of 32 bits and the key's length. It is less than a record's fixed part, so an
// index block is smaller than the records that it covers.
const entryFixedMax = 1 + 4*binary.MaxVarintLen64 + 2*binary.MaxVarintLen32 + binary.MaxVarintLen16

var _ = [recordFixedSize - entryFixedMax]struct{}{}

// EntryBound returns the maximum size of the index entry of a record, in bytes.
func EntryBound(keyLen int) int { return entryFixedMax + keyLen }

// deltas are the numbers to which those of the next entry are relative.
type deltas struct {
	revision kv.Revision
	created  int64
}

// appendEntry appends the encoding of e to dst, in the order: kind, size,
// value length, revision, floor, created, deadline, key.
func (d *deltas) appendEntry(dst []byte, e *Entry) []byte {
	kind := kindOf(e.Op, e.Reason)
	if e.Deadline != 0 {
		kind |= entryDeadline
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(e.Size/alignment))
	dst = binary.AppendUvarint(dst, uint64(e.ValueLen))
	dst = binary.AppendVarint(dst, int64(e.Revision-d.revision))
	dst = binary.AppendVarint(dst, int64(e.Revision-e.Floor))
	dst = binary.AppendVarint(dst, e.Created-d.created)
	if e.Deadline != 0 {
		dst = binary.AppendVarint(dst, e.Deadline-e.Created)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Key)))
	dst = append(dst, e.Key...)
	d.revision, d.created = e.Revision, e.Created
	return dst
}

// decodeEntry decodes the entry at the start of b into e, except its Offset, and returns the
// entry's size. Key aliases b.
func (d *deltas) decodeEntry(b []byte, e *Entry) (int, error) {
	v := varints{b: b, n: 1}
	if len(b) == 0 || !validKind(b[0]&^entryDeadline) {
		return 0, errEntry
	}
	size, valueLen := v.unsigned(), v.unsigned()
	e.Revision = d.revision + kv.Revision(v.signed())
	e.Floor = e.Revision - kv.Revision(v.signed())
	e.Created = d.created + v.signed()
	e.Deadline = 0
	if b[0]&entryDeadline != 0 {
		e.Deadline = e.Created + v.signed()
		v.bad = v.bad || e.Deadline == 0
	}
	keyLen := v.unsigned()
	if v.bad || keyLen == 0 || keyLen > maxKeySize || keyLen > uint64(len(b)-v.n) ||
		valueLen > kv.MaxValueSizeLimit || size > maxRecordSize/alignment ||
		size*alignment < recordFixedSize+keyLen+valueLen {
		return 0, errEntry
	}
	e.Op, e.Reason = splitKind(b[0])
	e.Size, e.ValueLen = uint32(size*alignment), uint32(valueLen)
	e.Key = b[v.n : v.n+int(keyLen) : v.n+int(keyLen)]
	d.revision, d.created = e.Revision, e.Created
	return v.n + int(keyLen), nil
}

// varints reads consecutive varints. After a malformed one bad is set and the rest are zero.
type varints struct {
	b   []byte
	n   int // bytes read
	bad bool
}

func (v *varints) unsigned() uint64 {
	if v.n < len(v.b) && v.b[v.n] < 0x80 { // most have one byte
		v.n++
		return uint64(v.b[v.n-1])
	}
	u, n := binary.Uvarint(v.b[min(v.n, len(v.b)):])
	if n <= 0 {
		v.bad, v.n = true, len(v.b)
		return 0
	}
	v.n += n
	return u
}

func (v *varints) signed() int64 {
	u := v.unsigned()
	return int64(u>>1) ^ -int64(u&1)
}

// entryReader reads the entries of an index block in file order.
type entryReader struct {
	entry  Entry // the current one; its Key aliases body
	body   []byte
	count  uint32 // entries that are not read yet
	next   int64  // offset of the first record whose entry is not read yet
	end    int64  // end of the last record
	deltas deltas
	err    error // why reading stopped early; matches kv.ErrCorrupt
}

// newEntryReader returns a reader of the block with header h at offset.
func newEntryReader(body []byte, h *blockHeader, offset int64) entryReader {
	return entryReader{body: body, count: h.count, next: h.start, end: offset}
}

// advance reads the next entry. It returns false at the end, and sets err if the body is
// malformed.
func (r *entryReader) advance() bool {
	if r.count == 0 {
		if len(r.body) != 0 || r.next != r.end {
			r.err = errEntry
		}
		return false
	}
	n, err := r.deltas.decodeEntry(r.body, &r.entry)
	if err == nil && int64(r.entry.Size) > r.end-r.next {
		err = errEntry
	}
	if err != nil {
		r.err = err
		return false
	}
	r.entry.Offset = r.next
	r.next += int64(r.entry.Size)
	r.body = r.body[n:]
	r.count--
	return true
}

// The body of a block is shorter than the records it covers, which fit into MaxSize.
var _ = [math.MaxUint32 - MaxSize]struct{}{}
