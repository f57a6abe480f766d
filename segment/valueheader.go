package segment

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

const valueMagic = "kvdVALU\n"

// valueHeaderSize is the size of a value file's header in bytes: a page, so that no page has
// parts of both header and value.
const valueHeaderSize = pageSize

// Offsets of the fields of a value file's header; see the package doc. The first six are
// those of a segment's.
const (
	valueFileSum = 56
	valueLength  = 64
	valueZero    = 68
	valueHeadSum = valueHeaderSize - 8
)

// valueHeader has the fields of a value file's header.
type valueHeader struct {
	version  uint32
	features uint32 // a set of bits
	storeID  [16]byte
	bucketID uint64
	number   uint64
	seed     Seed
	sum      uint64 // of the value
	size     uint32 // of the value, bytes
}

// The possible damages of a value file.
const (
	errValueMagic  formatError = "file header is not a value's"
	errValueHeader formatError = "checksum of the file header does not match"
	errValueSum    formatError = "checksum of the value does not match"
	errValueOther  formatError = "the file is that of another record"
)

func (h *valueHeader) encode() []byte {
	b := make([]byte, 0, valueHeaderSize)
	b = append(b, valueMagic...)
	b = le.AppendUint32(b, h.version)
	b = le.AppendUint32(b, h.features)
	b = append(b, h.storeID[:]...)
	b = le.AppendUint64(b, h.bucketID)
	b = le.AppendUint64(b, h.number)
	b = le.AppendUint64(b, uint64(h.seed))
	b = le.AppendUint64(b, h.sum)
	b = le.AppendUint32(b, h.size)
	b = b[:valueHeaderSize]
	le.PutUint64(b[valueHeadSum:], xxhash.Sum64(b[:valueHeadSum])) // without the seed, as in a segment's header
	return b
}

// decodeValueHeader decodes the header b, which has valueHeaderSize bytes. The error matches
// kv.ErrCorrupt, or kv.ErrVersion for a sound header of another version or with an unknown
// feature.
func decodeValueHeader(b []byte) (h valueHeader, err error) {
	if string(b[:len(valueMagic)]) != valueMagic {
		return valueHeader{}, errValueMagic
	}
	if xxhash.Sum64(b[:valueHeadSum]) != le.Uint64(b[valueHeadSum:]) {
		return valueHeader{}, errValueHeader
	}
	h.version, h.features = le.Uint32(b[fileVersion:]), le.Uint32(b[fileFeatures:])
	if h.version != version || h.features&^featuresKnown != 0 {
		return valueHeader{}, fmt.Errorf("%w: version %d, features %#x, this program knows %d and %#x; open the store with the program that wrote it",
			kv.ErrVersion, h.version, h.features, version, featuresKnown)
	}
	copy(h.storeID[:], b[fileStoreID:])
	h.bucketID = le.Uint64(b[fileBucketID:])
	h.number = le.Uint64(b[fileNumber:])
	h.seed = Seed(le.Uint64(b[fileSeed:]))
	h.sum = le.Uint64(b[valueFileSum:])
	h.size = le.Uint32(b[valueLength:])
	return h, nil
}

var (
	_ = [1]struct{}{}[valueFileSum-fileSum]
	_ = [1]struct{}{}[valueLength-valueFileSum-8]
	_ = [1]struct{}{}[valueZero-valueLength-4]
)
