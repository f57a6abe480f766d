package segment

import (
	"encoding/binary"

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
	HeadSum  uint64 // of the record, for AddEntry; Entries leaves it 0
	Size     uint32 // of the whole record, bytes
	ValueLen uint32 // of the value as stored, bytes
	File     uint64 // number of the file that has the value; 0: the record has it
	Op       Op
	Reason   kv.MarkerReason
	First    bool // as in the record
	Lost     bool // likewise
}

const errEntry formatError = "index entry is malformed"

// The bits of an entry's kind byte above those of the reason: it has a deadline; a byte of the
// record's flags follows.
const (
	entryDeadline = 1 << 6
	entryFlags    = 1 << 7
)

// entryFlagsKnown are the record's flags that an entry may have.
const entryFlagsKnown = flagFirst | flagFile | flagLost | flagsReserved

// entryFixedMax is the maximum size of an entry without its key: the bytes of kind and flags,
// four 64-bit varints, two of 32 bits and the key's length. entryFileMax is that of the number
// of a value file, and entryMax that of an entry.
const (
	entryFixedMax = 2 + 4*binary.MaxVarintLen64 + 2*binary.MaxVarintLen32 + binary.MaxVarintLen16
	entryFileMax  = binary.MaxVarintLen64
	entryMax      = entryFixedMax + entryFileMax + maxKeySize
)

// An entry is smaller than its record, and every entry fits into a page.
var (
	_ = [recordFixedSize - entryFixedMax]struct{}{}
	_ = [16 - entryFileMax]struct{}{} // a record with a value file is as much larger
	_ = [pageRoom - entryMax]struct{}{}
)

// EntryBound returns the maximum size of the index entry of a record, in bytes. file says that
// the record's value is in a file of its own.
func EntryBound(keyLen int, file bool) int {
	if file {
		return entryFixedMax + entryFileMax + keyLen
	}
	return entryFixedMax + keyLen
}

// Footprint returns the size of the record in bytes, with its value, also if that is in a file
// of its own.
func (e *Entry) Footprint() uint32 {
	if e.File != 0 {
		return e.Size + e.ValueLen
	}
	return e.Size
}

// deltas are the numbers to which those of the next entry are relative.
type deltas struct {
	revision kv.Revision
	created  int64
}

// appendEntry appends the encoding of e to dst, in the order: kind, flags, size,
// value length, revision, floor, created, deadline, value file, key.
func (d *deltas) appendEntry(dst []byte, e *Entry) []byte {
	kind := kindOf(e.Op, e.Reason)
	if e.Deadline != 0 {
		kind |= entryDeadline
	}
	if flags := e.flags(); flags != 0 {
		dst = append(dst, kind|entryFlags, flags)
	} else {
		dst = append(dst, kind)
	}
	dst = binary.AppendUvarint(dst, uint64(e.Size/alignment))
	dst = binary.AppendUvarint(dst, uint64(e.ValueLen))
	dst = binary.AppendVarint(dst, int64(e.Revision-d.revision))
	dst = binary.AppendVarint(dst, int64(e.Revision-e.Floor))
	dst = binary.AppendVarint(dst, e.Created-d.created)
	if e.Deadline != 0 {
		dst = binary.AppendVarint(dst, e.Deadline-e.Created)
	}
	if e.File != 0 {
		dst = binary.AppendUvarint(dst, e.File)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Key)))
	dst = append(dst, e.Key...)
	d.revision, d.created = e.Revision, e.Created
	return dst
}

// flags returns the flags of e's record that its entry has.
func (e *Entry) flags() (flags uint8) {
	if e.First {
		flags |= flagFirst
	}
	if e.File != 0 {
		flags |= flagFile
	}
	if e.Lost {
		flags |= flagLost
	}
	return flags
}

// decodeEntry decodes the entry at the start of b into e, except its Offset, and returns the
// entry's size. Key aliases b. The error is errEntry or errRecordVersion.
func (d *deltas) decodeEntry(b []byte, e *Entry) (int, error) {
	v := varints{b: b, n: 1}
	if len(b) == 0 || !validKind(b[0]&^(entryDeadline|entryFlags)) {
		return 0, errEntry
	}
	flags := uint8(0)
	if b[0]&entryFlags != 0 {
		flags, v.n = v.byte(1), 2
		if flags == 0 || flags&^entryFlagsKnown != 0 {
			return 0, errEntry
		}
		if flags&flagsReserved != 0 {
			return 0, errRecordVersion
		}
	}
	e.First, e.Lost = flags&flagFirst != 0, flags&flagLost != 0
	size, valueLen := v.unsigned(), v.unsigned()
	e.Revision = d.revision + kv.Revision(v.signed())
	e.Floor = e.Revision - kv.Revision(v.signed())
	e.Created = d.created + v.signed()
	e.Deadline = 0
	if b[0]&entryDeadline != 0 {
		e.Deadline = e.Created + v.signed()
		v.bad = v.bad || e.Deadline == 0
	}
	e.File = 0
	inRecord := valueLen
	if flags&flagFile != 0 {
		e.File, inRecord = v.unsigned(), 16
		v.bad = v.bad || e.File == 0
	}
	keyLen := v.unsigned()
	if v.bad || keyLen == 0 || keyLen > maxKeySize || keyLen > uint64(len(b)-v.n) ||
		valueLen > kv.MaxValueSizeLimit || size > maxRecordSize/alignment ||
		size*alignment < recordFixedSize+keyLen+inRecord {
		return 0, errEntry
	}
	e.Op, e.Reason = splitKind(b[0])
	if !validFlags(e.Op, flags, int(valueLen)) {
		return 0, errEntry
	}
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

// byte returns the byte at i, or 0 behind the end.
func (v *varints) byte(i int) byte {
	if i >= len(v.b) {
		return 0
	}
	return v.b[i]
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
