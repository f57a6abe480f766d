package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"kvd/internal/vfs"
	"kvd/kv"
)

// HeaderSize is the size of a copy's header, bytes.
const HeaderSize = headerSize

// Record is a record of a copy, as [Inspect] finds it.
type Record struct {
	Offset           int64 // of its head in the file, bytes
	Size             int64 // of head, body and padding, bytes
	Stored, Computed uint64
	Edit             *Edit // nil where it cannot be decoded
	Counts           bool  // it and all records before it are sound
	Err              error // why it does not count by itself; nil behind damage
}

// Inspection is what [Inspect] finds in a copy besides its records.
type Inspection struct {
	Header Header
	Err    error // why the header does not count; nil: it does
	Size   int64 // of the file, bytes
	End    int64 // where the last record that was told ends
	Zeros  bool  // only zeros follow: room that was reserved and not used
}

// Inspect reads one copy of a manifest and calls record for each of its records, in order, also
// where the copy does not count as a whole. It goes on behind a damaged record as long as the
// chain of stored checksums does. It writes nothing. The error is that of record, or the
// system's; or it matches kv.ErrCorrupt if the file is no manifest at all, and kv.ErrVersion if
// a newer program wrote it.
func Inspect(fsys vfs.FS, file string, record func(*Record) error) (Inspection, error) {
	b, err := readFile(fsys, file)
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{Size: int64(len(b)), End: min(headerSize, int64(len(b)))}
	in.Header, in.Err = decodeHeader(file, b)
	if in.Err != nil && (in.Header.Stored == 0 || errors.Is(in.Err, kv.ErrVersion)) {
		return in, in.Err
	}
	chain, counts := in.Header.Stored, in.Err == nil
	for in.End < in.Size {
		r := inspectRecord(b, int(in.End), chain, counts)
		if r == nil {
			break
		}
		if err := record(r); err != nil {
			return in, err
		}
		chain, counts, in.End = r.Stored, r.Counts, r.Offset+r.Size
	}
	in.Zeros = len(bytes.TrimLeft(b[in.End:], "\x00")) == 0
	return in, nil
}

// inspectRecord returns the record at off, or nil if there is none: where its checksum does not
// match, it takes a sound record behind it to show that there is one.
func inspectRecord(b []byte, off int, chain uint64, counts bool) *Record {
	body, next, sum, ok := cutRecord(b, off, chain)
	if !ok {
		return inspectDamaged(b, off, chain)
	}
	r := &Record{Offset: int64(off), Size: int64(next - off), Stored: sum, Computed: sum, Counts: counts}
	if r.Edit, r.Err = decodeEdit(body); r.Err != nil {
		r.Edit, r.Counts = nil, false
	}
	return r
}

// inspectDamaged returns the damaged record at off, if its length leads to a sound one.
func inspectDamaged(b []byte, off int, chain uint64) *Record {
	if len(b)-off < recordHeadSize {
		return nil
	}
	size, stored := int64(binary.LittleEndian.Uint32(b[off:])), binary.LittleEndian.Uint64(b[off+8:])
	next := int64(off) + recordHeadSize + (size+7)&^7
	if next >= int64(len(b)) {
		return nil
	}
	if _, _, _, ok := cutRecord(b, int(next), stored); !ok {
		return nil
	}
	return &Record{
		Offset: int64(off), Size: next - int64(off), Stored: stored,
		Computed: recordSum(chain, b[off:off+8], b[off+recordHeadSize:][:size]),
		Err:      fmt.Errorf("%w: the checksum of the record does not match", kv.ErrCorrupt),
	}
}
