package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

const (
	magic          = "kvdMANIF"
	version        = 2
	featuresKnown  = 0 // of the bits in the header
	headerSize     = 56
	recordHeadSize = 16
	recordSizeMax  = 1 << 30 // bytes; a bound before allocating, not a target
)

// Identity is what never changes about a store.
type Identity struct {
	StoreID [16]byte
	Seed    uint64 // of the checksums of all records
}

// Copy is the content of one copy of the manifest.
type Copy struct {
	Identity   Identity
	Generation uint64
	Records    int // valid ones
	State      State
	Damage     *kv.CorruptError // where the valid part ends, if anything but zeros follows; or nil
}

// appendHeader encodes the header and returns its checksum, where the
// chain begins.
func appendHeader(dst []byte, id Identity, generation uint64) ([]byte, uint64) {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, 0) // no features
	dst = append(dst, id.StoreID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, id.Seed)
	dst = binary.LittleEndian.AppendUint64(dst, generation)
	sum := xxhash.Sum64(dst[start:])
	return binary.LittleEndian.AppendUint64(dst, sum), sum
}

// appendRecord encodes one record. chain is the checksum before it, and the one
// returned that of the record.
func appendRecord(dst []byte, chain uint64, e *Edit) ([]byte, uint64) {
	head := len(dst)
	dst = append(dst, make([]byte, recordHeadSize)...)
	dst = e.append(dst)
	body := len(dst) - head - recordHeadSize
	binary.LittleEndian.PutUint32(dst[head:], uint32(body))
	sum := recordSum(chain, dst[head:head+8], dst[head+recordHeadSize:])
	binary.LittleEndian.PutUint64(dst[head+8:], sum)
	for (len(dst)-head)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst, sum
}

func recordSum(chain uint64, lengths, body []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(chain)
	_, _ = d.Write(lengths) // never fails
	_, _ = d.Write(body)
	return d.Sum64()
}

// encode returns a copy with one record, and the checksum of that record.
func encode(id Identity, generation uint64, state *State) ([]byte, uint64) {
	content, sum := appendHeader(nil, id, generation)
	return appendRecord(content, sum, state.snapshot())
}

// Encode returns a copy of generation 1 that says what the state says, in one record. It is for a copy
// of a store, elsewhere than in a directory.
func Encode(id Identity, state *State) []byte {
	content, _ := encode(id, 1, state)
	return content
}

// Decode reads what [Encode] returned. The error matches kv.ErrCorrupt if anything of it is damaged,
// and kv.ErrVersion if a newer program wrote it. file is what errors call it.
func Decode(file string, b []byte) (*Copy, error) {
	c, err := decodeCopy(file, b)
	if err == nil && c.Damage != nil {
		err = c.Damage
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// decodeCopy reads a copy as far as it is valid. It returns an error if the header
// or the first record is not valid.
func decodeCopy(file string, b []byte) (Copy, error) {
	h, err := decodeHeader(file, b)
	c := Copy{Identity: h.Identity, Generation: h.Generation}
	if err != nil {
		return c, err
	}
	corrupt := func(offset int, detail string) *kv.CorruptError {
		return &kv.CorruptError{File: file, Offset: int64(offset), Detail: detail}
	}
	c.State = NewState()
	sum := h.Stored
	for off := headerSize; off < len(b); {
		body, next, chain, ok := cutRecord(b, off, sum)
		if !ok {
			if len(bytes.TrimLeft(b[off:], "\x00")) > 0 { // else: room that was reserved and not used
				c.Damage = corrupt(off, fmt.Sprintf("manifest record %d is damaged or unfinished", c.Records+1))
			}
			break
		}
		if err := c.State.apply(body); err != nil {
			if errors.Is(err, kv.ErrVersion) {
				return c, err
			}
			return c, corrupt(off, fmt.Sprintf("manifest record %d: %v", c.Records+1, err))
		}
		off, sum = next, chain
		c.Records++
	}
	if c.Records == 0 {
		if c.Damage == nil {
			c.Damage = corrupt(headerSize, "manifest without a record")
		}
		return c, c.Damage
	}
	return c, nil
}

// Header is the header of a copy.
type Header struct {
	Identity
	Version, Features uint32
	Generation        uint64
	Stored, Computed  uint64 // checksums
}

// decodeHeader decodes the header of a copy. With an error that matches kv.ErrCorrupt the header
// has what stands there, as far as there are bytes; it is not to be trusted.
func decodeHeader(file string, b []byte) (h Header, err error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return h, &kv.CorruptError{File: file, Offset: 0, Detail: "not a manifest"}
	}
	h.Version, h.Features = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	copy(h.StoreID[:], b[16:])
	h.Seed = binary.LittleEndian.Uint64(b[32:])
	h.Generation = binary.LittleEndian.Uint64(b[40:])
	h.Stored, h.Computed = binary.LittleEndian.Uint64(b[48:]), xxhash.Sum64(b[:48])
	switch {
	case h.Stored != h.Computed:
		return h, &kv.CorruptError{File: file, Offset: 0, Detail: "manifest header checksum"}
	case h.Version == 1:
		return h, fmt.Errorf("%w: %s has version 1, which was never released, and this program knows %d: copy the buckets with the program that wrote them, to a store in a new directory", kv.ErrVersion, file, version)
	case h.Version != version:
		return h, fmt.Errorf("%w: %s has version %d, this program knows %d", kv.ErrVersion, file, h.Version, version)
	case h.Features&^featuresKnown != 0:
		return h, fmt.Errorf("%w: %s uses features %#x that this program does not know: a newer one wrote it", kv.ErrVersion, file, h.Features&^featuresKnown)
	}
	return h, nil
}

// cutRecord checks the record at off against the chain so far.
func cutRecord(b []byte, off int, chain uint64) (body []byte, next int, sum uint64, ok bool) {
	if len(b)-off < recordHeadSize {
		return nil, 0, 0, false
	}
	head := b[off : off+recordHeadSize]
	size := int64(binary.LittleEndian.Uint32(head))
	if size > recordSizeMax || size > int64(len(b)-off-recordHeadSize) {
		return nil, 0, 0, false
	}
	body = b[off+recordHeadSize:][:size]
	sum = binary.LittleEndian.Uint64(head[8:])
	if recordSum(chain, head[:8], body) != sum {
		return nil, 0, 0, false
	}
	next = min(len(b), off+recordHeadSize+int(size+7)&^7)
	return body, next, sum, true
}
