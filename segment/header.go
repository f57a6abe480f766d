package segment

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// HeaderSize is the size of a file's header in bytes. The records begin after it.
const HeaderSize = 64

const version = 2

// featuresKnown are the features that this program knows; none is defined yet.
const featuresKnown = 0

// Magics begin a file and a page of an index block; on disk, never change.
const (
	fileMagic = "kvdSEGM\n"
	pageMagic = "kvdINDX\n"
)

// Offsets of the fields of a file's header; see the package doc.
const (
	fileVersion  = 8
	fileFeatures = 12
	fileStoreID  = 16
	fileBucketID = 32
	fileNumber   = 40
	fileSeed     = 48
	fileSum      = 56
)

// fileHeader has the fields of a segment file's header.
type fileHeader struct {
	version  uint32
	features uint32 // a set of bits
	storeID  [16]byte
	bucketID uint64
	number   uint64
	seed     Seed // of the store: of all other checksums in the file
}

const (
	errFileMagic formatError = "file header is not a segment's"
	errFileSum   formatError = "checksum of the file header does not match"
)

// appendFileHeader appends the encoding of h to dst.
func appendFileHeader(dst []byte, h *fileHeader) []byte {
	start := len(dst)
	dst = append(dst, fileMagic...)
	dst = le.AppendUint32(dst, h.version)
	dst = le.AppendUint32(dst, h.features)
	dst = append(dst, h.storeID[:]...)
	dst = le.AppendUint64(dst, h.bucketID)
	dst = le.AppendUint64(dst, h.number)
	dst = le.AppendUint64(dst, uint64(h.seed))
	// The checksum does not use the store's seed, so that a file of another store is
	// recognized and does not look damaged.
	return le.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

// decodeFileHeader decodes the file header at the start of b, which must have at least
// HeaderSize bytes. The error matches kv.ErrCorrupt, or kv.ErrVersion for a sound header
// of another version or with an unknown feature.
func decodeFileHeader(b []byte) (h fileHeader, err error) {
	if string(b[:len(fileMagic)]) != fileMagic {
		return fileHeader{}, errFileMagic
	}
	if xxhash.Sum64(b[:fileSum]) != le.Uint64(b[fileSum:]) {
		return fileHeader{}, errFileSum
	}
	h = fileHeaderFields(b)
	switch {
	case h.version < version:
		return fileHeader{}, fmt.Errorf("%w: %d, of a program before the first release; only that program can read the store: copy the data out with it",
			kv.ErrVersion, h.version)
	case h.version > version:
		return fileHeader{}, fmt.Errorf("%w: %d, this program knows %d; open the store with the program that wrote it", kv.ErrVersion, h.version, version)
	case h.features&^featuresKnown != 0:
		return fileHeader{}, fmt.Errorf("%w: features %#x, this program knows %#x; open the store with the program that wrote it",
			kv.ErrVersion, h.features, featuresKnown)
	}
	return h, nil
}

// fileHeaderFields returns what the header b says, be it sound or not.
func fileHeaderFields(b []byte) (h fileHeader) {
	h.version, h.features = le.Uint32(b[fileVersion:]), le.Uint32(b[fileFeatures:])
	copy(h.storeID[:], b[fileStoreID:])
	h.bucketID = le.Uint64(b[fileBucketID:])
	h.number = le.Uint64(b[fileNumber:])
	h.seed = Seed(le.Uint64(b[fileSeed:]))
	return h
}

var _ = [1]struct{}{}[fileSum+8-HeaderSize]
