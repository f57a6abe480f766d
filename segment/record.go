package segment

import (
	"encoding/binary"
	"fmt"
	"slices"

	"kvd/kv"
)

// Op is the operation of a record. The first three are those of [kv.Operation].
type Op uint8

// The operations, as on disk: never renumber.
const (
	Put    = Op(kv.Put)
	Delete = Op(kv.Delete)
	Purge  = Op(kv.Purge)
	Erase  = Op(4) // raises the floor of its key; never visible to readers; has no revision of its own
)

// Record is one stored mutation of a key.
type Record struct {
	BucketID   uint64
	Revision   kv.Revision
	Floor      kv.Revision // the oldest kept revision of the key after this record
	Created    int64       // unix nanoseconds
	Deadline   int64       // unix nanoseconds; 0: none
	Op         Op
	Reason     kv.MarkerReason
	First      bool      // the key had no record when this one was written; not of an erase
	Lost       bool      // the value and the headers are lost: both are empty; not of an erase
	Compressed bool      // Value is compressed
	RawLen     uint32    // of the value before compression, bytes; 0 unless Compressed
	Key        []byte    // 1 to 1,024 bytes
	Headers    []byte    // at most 65,536 bytes; opaque
	Value      []byte    // as stored, at most kv.MaxValueSizeLimit bytes; empty if a file has it
	File       ValueFile // that has the value; only of a put
}

// Limits of a record, in bytes.
const (
	maxKeySize     = 1024 // the limit of the format, so that an index entry always fits into a page
	maxHeadersSize = 1 << 16
	maxRecordSize  = (recordFixedSize + recordOptionsSize + maxKeySize + maxHeadersSize + kv.MaxValueSizeLimit + alignment - 1) &^ (alignment - 1)
)

// Offsets of a record's fields; see the package doc.
const (
	recordHeadSum  = 0
	recordBodySum  = 8
	recordBucketID = 16
	recordRevision = 24
	recordCreated  = 32
	recordFloor    = 40
	recordValueLen = 48
	recordKeyLen   = 52
	recordKind     = 54
	recordFlags    = 55

	recordFixedSize   = 56
	recordOptionsSize = 8 + 4 + 4 + 2 + 16 + 1 // all of them, also those that are reserved
	alignment         = 8
	recordMin         = recordFixedSize + alignment // size of the smallest record
)

// The flags of a record, as on disk: never renumber.
const (
	flagDeadline   = 1 << 0
	flagHeaders    = 1 << 1
	flagCompressed = 1 << 2
	flagFirst      = 1 << 4
	flagFile       = 1 << 6
	flagLost       = 1 << 7

	// Reserved: a record that has one of them is of a later version.
	flagTransaction = 1 << 3
	flagLease       = 1 << 5
	flagsReserved   = flagTransaction | flagLease
)

// A kind byte is an operation and a marker's reason. Bit 6 is zero in a record, and bit 7 is
// reserved; an index entry uses both for itself.
const (
	kindOpMask      = 0x0f
	kindReasonShift = 4
	kindReasonMask  = 0x03
	kindMore        = 1 << 7
)

var le = binary.LittleEndian

// formatError describes what is wrong with encoded bytes. It matches kv.ErrCorrupt. The
// caller adds the place.
type formatError string

func (e formatError) Error() string        { return string(e) }
func (e formatError) Is(target error) bool { return target == kv.ErrCorrupt }

// The possible format errors of a record.
const (
	errRecordShort   formatError = "bytes end inside the record"
	errRecordHeadSum formatError = "checksum of the record's header and key does not match"
	errRecordBodySum formatError = "checksum of the record's value does not match"
	errRecordKind    formatError = "unknown operation or reason"
	errRecordFlags   formatError = "impossible flags"
	errRecordLengths formatError = "a length is outside its limits"
	errRecordPadding formatError = "padding is not zero"
)

// errRecordVersion is returned for a record or an index entry of a later version.
var errRecordVersion = fmt.Errorf("%w: a record uses flags or a kind that this program does not know; open the store with the program that wrote it", kv.ErrVersion)

// HeadSum returns the first checksum of an encoded record, which covers its header and key.
func HeadSum(encoded []byte) uint64 { return le.Uint64(encoded[recordHeadSum:]) }

// RecordSize returns the encoded size of a record, a multiple of 8. The lengths
// are in bytes and within their limits.
func RecordSize(keyLen, headersLen, valueLen int, deadline, compressed bool) int {
	head := headSize(0, flagsOf(deadline, headersLen > 0, compressed), keyLen)
	return align(head + headersLen + valueLen)
}

// FileRecordSize is [RecordSize] of a record whose value is in a file of its own.
func FileRecordSize(keyLen, headersLen int, deadline, compressed bool) int {
	head := headSize(0, flagFile|flagsOf(deadline, headersLen > 0, compressed), keyLen)
	return align(head + headersLen)
}

func flagsOf(deadline, headers, compressed bool) (flags uint8) {
	if deadline {
		flags |= flagDeadline
	}
	if headers {
		flags |= flagHeaders
	}
	if compressed {
		flags |= flagCompressed
	}
	return flags
}

// flags returns the flags of the encoded record.
func (r *Record) flags() uint8 {
	flags := flagsOf(r.Deadline != 0, len(r.Headers) > 0, r.Compressed)
	if r.First {
		flags |= flagFirst
	}
	if r.File.Number != 0 {
		flags |= flagFile
	}
	if r.Lost {
		flags |= flagLost
	}
	return flags
}

// headSize returns the size of the head: the first checksum and everything that it covers.
func headSize(kind, flags uint8, keyLen int) int {
	n := recordFixedSize + keyLen
	if flags&(flagDeadline|flagLease) != 0 {
		n += 8
	}
	if flags&flagHeaders != 0 {
		n += 4
	}
	if flags&flagCompressed != 0 {
		n += 4
	}
	if flags&flagTransaction != 0 {
		n += 2
	}
	if flags&flagFile != 0 {
		n += 16
	}
	if kind&kindMore != 0 {
		n++
	}
	return n
}

func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// AppendRecord appends the encoding of r to dst and returns the extended slice. It allocates
// only if dst's capacity is too small. It panics if r exceeds the limits of the format: the
// caller must have checked the client's input.
func (s Seed) AppendRecord(dst []byte, r *Record) []byte {
	if err := r.check(); err != nil {
		panic("segment: append record: " + err.Error())
	}
	kind, flags := kindOf(r.Op, r.Reason), r.flags()
	head := headSize(kind, flags, len(r.Key))
	size := align(head + len(r.Headers) + len(r.Value))

	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	b := dst[start:]
	le.PutUint64(b[recordBucketID:], r.BucketID)
	le.PutUint64(b[recordRevision:], uint64(r.Revision))
	le.PutUint64(b[recordCreated:], uint64(r.Created))
	le.PutUint64(b[recordFloor:], uint64(r.Floor))
	le.PutUint32(b[recordValueLen:], r.ValueLen())
	le.PutUint16(b[recordKeyLen:], uint16(len(r.Key)))
	b[recordKind] = kind
	b[recordFlags] = flags

	n := recordFixedSize
	if flags&flagDeadline != 0 {
		le.PutUint64(b[n:], uint64(r.Deadline))
		n += 8
	}
	if flags&flagHeaders != 0 {
		le.PutUint32(b[n:], uint32(len(r.Headers)))
		n += 4
	}
	if flags&flagCompressed != 0 {
		le.PutUint32(b[n:], r.RawLen)
		n += 4
	}
	if flags&flagFile != 0 {
		le.PutUint64(b[n:], r.File.Number)
		le.PutUint64(b[n+8:], r.File.Sum)
		n += 16
	}
	n += copy(b[n:], r.Key)
	n += copy(b[n:], r.Headers)
	n += copy(b[n:], r.Value)
	clear(b[n:])

	le.PutUint64(b[recordBodySum:], s.sum(b[head:]))
	le.PutUint64(b[recordHeadSum:], s.sum(b[recordBodySum:head]))
	return dst
}

// check returns the reason why r cannot be encoded, or nil.
func (r *Record) check() error {
	if !validKind(kindOf(r.Op, r.Reason)) || r.Op > Erase || r.Reason > kv.ReasonExpiry {
		return errRecordKind
	}
	if len(r.Key) == 0 || len(r.Key) > maxKeySize || len(r.Headers) > maxHeadersSize ||
		r.ValueLen() > kv.MaxValueSizeLimit || !validRawLen(r.Compressed, r.RawLen) {
		return errRecordLengths
	}
	if !validFlags(r.Op, r.flags(), int(r.ValueLen())) || r.File.Number != 0 && len(r.Value) > 0 {
		return errRecordFlags
	}
	return nil
}

// ValueLen returns the length of the value as stored, wherever it is, in bytes.
func (r *Record) ValueLen() uint32 {
	if r.File.Number != 0 {
		return r.File.Size
	}
	return uint32(len(r.Value))
}

// validFlags reports whether a record of that operation and length of the value may have the
// flags: an erase is neither first nor lost, a lost record has nothing behind its key, and only a
// put has a value that is large enough for a file.
func validFlags(op Op, flags uint8, value int) bool {
	return (op != Erase || flags&(flagFirst|flagLost) == 0) &&
		(flags&flagFile == 0 || op == Put && value >= ValueFileMin) &&
		(flags&flagLost == 0 || value == 0 && flags&(flagHeaders|flagCompressed) == 0)
}

func kindOf(op Op, reason kv.MarkerReason) uint8 { return uint8(op) | uint8(reason)<<kindReasonShift }

func validKind(kind uint8) bool {
	op, reason := splitKind(kind)
	return op >= Put && op <= Erase && reason <= kv.ReasonExpiry && kind == kindOf(op, reason)
}

func splitKind(kind uint8) (Op, kv.MarkerReason) {
	return Op(kind & kindOpMask), kv.MarkerReason(kind >> kindReasonShift & kindReasonMask)
}

func validRawLen(compressed bool, n uint32) bool {
	return compressed && n <= kv.MaxValueSizeLimit || !compressed && n == 0
}

// DecodeRecord decodes the record at the start of b and returns it with its
// size. It verifies both checksums. The record's slices alias b. The error
// matches kv.ErrCorrupt, or kv.ErrVersion for a record of a later version.
func (s Seed) DecodeRecord(b []byte) (r Record, size int, err error) {
	size, err = s.decode(b, &r)
	if err != nil {
		return Record{}, 0, err
	}
	return r, size, nil
}

// decode is DecodeRecord into r, which is zero before and undefined after an error. A copy of a
// record takes some nanoseconds, and a read passes it up through four functions.
func (s Seed) decode(b []byte, r *Record) (size int, err error) {
	l, err := s.decodeHead(b, r)
	if err != nil {
		return 0, err
	}
	if len(b) < l.size {
		return 0, errRecordShort
	}
	if s.sum(b[l.head:l.size]) != le.Uint64(b[recordBodySum:]) {
		return 0, errRecordBodySum
	}
	// The last 8 bytes of a record include all of its padding.
	end := l.head + l.headers + l.value
	if le.Uint64(b[l.size-8:])>>(8*(8-uint(l.size-end))) != 0 {
		return 0, errRecordPadding
	}
	if l.headers > 0 {
		r.Headers = b[l.head : l.head+l.headers : l.head+l.headers]
	}
	r.Value = b[l.head+l.headers : end : end]
	return l.size, nil
}

// DecodeHeader decodes the record at the start of b up to its key and returns it with the size
// of the whole record. It verifies only the first checksum, so b may end after the key.
// Headers and Value are nil, and Key aliases b. The error matches kv.ErrCorrupt, or
// kv.ErrVersion for a record of a later version.
func (s Seed) DecodeHeader(b []byte) (r Record, size int, err error) {
	l, err := s.decodeHead(b, &r)
	if err != nil {
		return Record{}, 0, err
	}
	return r, l.size, nil
}

// layout has the sizes of a record's parts, in bytes.
type layout struct {
	head    int // size of the fixed part, options and key
	headers int
	value   int // 0 if a file has it
	size    int // of the whole record
}

// valueSize returns the length of a record's value before compression.
func (l *layout) valueSize(r *Record) int {
	switch {
	case r.Compressed:
		return int(r.RawLen)
	case r.File.Number != 0:
		return int(r.File.Size)
	}
	return l.value
}

// decodeHead checks and decodes the part that the first checksum covers, into r, which is zero before
// and undefined after an error. It checks the lengths against their limits before it uses them.
func (s Seed) decodeHead(b []byte, r *Record) (l layout, err error) {
	if len(b) < recordFixedSize {
		return layout{}, errRecordShort
	}
	kind, flags := b[recordKind], b[recordFlags]
	later := kind&kindMore != 0 || flags&flagsReserved != 0
	if !later && !validKind(kind) {
		return layout{}, errRecordKind
	}
	keyLen := int(le.Uint16(b[recordKeyLen:]))
	l.value = int(le.Uint32(b[recordValueLen:]))
	l.head = headSize(kind, flags, keyLen)
	if keyLen == 0 || keyLen > maxKeySize || l.value > kv.MaxValueSizeLimit {
		return layout{}, errRecordLengths
	}
	if len(b) < l.head {
		return layout{}, errRecordShort
	}
	if s.sum(b[recordBodySum:l.head]) != le.Uint64(b[recordHeadSum:]) {
		return layout{}, errRecordHeadSum
	}
	if later {
		return layout{}, errRecordVersion
	}

	r.BucketID = le.Uint64(b[recordBucketID:])
	r.Revision = kv.Revision(le.Uint64(b[recordRevision:]))
	r.Created = int64(le.Uint64(b[recordCreated:]))
	r.Floor = kv.Revision(le.Uint64(b[recordFloor:]))
	r.Op, r.Reason = splitKind(kind)
	r.Key = b[l.head-keyLen : l.head : l.head]
	r.First, r.Lost = flags&flagFirst != 0, flags&flagLost != 0
	if !validFlags(r.Op, flags, l.value) {
		return layout{}, errRecordFlags
	}
	if err := decodeOptions(b[recordFixedSize:], flags, r, &l); err != nil {
		return layout{}, err
	}
	if flags&flagFile != 0 {
		r.File.Size, l.value = uint32(l.value), 0
	}
	l.size = align(l.head + l.headers + l.value)
	return l, nil
}

// decodeOptions decodes the optional fields at the start of b. A field that is present must not
// be zero, so that a record has only one encoding.
func decodeOptions(b []byte, flags uint8, r *Record, l *layout) error {
	if flags&flagDeadline != 0 {
		if r.Deadline = int64(le.Uint64(b)); r.Deadline == 0 {
			return errRecordFlags
		}
		b = b[8:]
	}
	if flags&flagHeaders != 0 {
		n := le.Uint32(b)
		if n == 0 || n > maxHeadersSize {
			return errRecordLengths
		}
		l.headers = int(n)
		b = b[4:]
	}
	if flags&flagCompressed != 0 {
		r.Compressed, r.RawLen = true, le.Uint32(b)
		b = b[4:]
	}
	if flags&flagFile != 0 {
		if r.File.Number = le.Uint64(b); r.File.Number == 0 {
			return errRecordFlags
		}
		r.File.Sum = le.Uint64(b[8:])
	}
	if !validRawLen(r.Compressed, r.RawLen) {
		return errRecordLengths
	}
	return nil
}

// The fields fill the fixed part without gaps, and every record starts and ends aligned.
var (
	_ = [1]struct{}{}[recordFlags+1-recordFixedSize]
	_ = [1]struct{}{}[recordFixedSize%alignment]
	_ = [1]struct{}{}[maxRecordSize%alignment]
	_ = [1]struct{}{}[maxKeySize-kv.MaxKeySize]
)

// String returns the operation's name.
func (op Op) String() string {
	switch op {
	case Put, Delete, Purge:
		return kv.Operation(op).String()
	case Erase:
		return "ERASE"
	}
	return fmt.Sprintf("Op(%d)", uint8(op))
}
