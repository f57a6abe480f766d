package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// The file header, one page. See the package documentation for the diagram.
const (
	headerMagic   = "kvd.wal\n"
	formatVersion = 2 // of files and mark

	headerVersionAt  = 8
	headerFeaturesAt = 12
	headerFileIDAt   = 16
	headerNumberAt   = 24
	headerSizeAt     = 32
	headerSaltAt     = 40
	headerStoreAt    = 48
	headerPrevAt     = 64
	headerAfterAt    = 72
	headerWordsAt    = 80
	headerBeganAt    = headerWordsAt + wordsSize
	headerZeroAt     = headerBeganAt + 8
	headerSumAt      = pageSize - 8

	pagesOfHeaders = 2
	fileSizeMin    = (pagesOfHeaders + 2) * pageSize // a frame and a vouching frame
	fileSizeMax    = 1 << 30
)

var _ = [1]struct{}{}[headerWordsAt-headerAfterAt-8]

// header is a file's header. Number 0 makes its file a spare.
type header struct {
	fileID uint64 // the number in the file's name
	number uint64 // of this use of the file; higher than that of every earlier use of any file
	size   int64  // of the file, bytes
	salt   uint64
	store  [16]byte
	prev   uint64 // number of the file before; 0: none
	after  LSN    // final LSN of the file before; this file's frames follow it
	words  Words  // of the first frame of this file
	began  LSN    // after, in the header of the file before; 0: there is none
}

// identity is the part of a header that the checksums of frames cover.
func (h header) identity() identity { return identity{salt: h.salt, number: h.number} }

// end returns the offset at which the frames must end: that of the last header.
func (h header) end() int64 { return h.size - pageSize }

// encode writes h into page for its place at offset.
func (h header) encode(page *[pageSize]byte, offset int64) {
	clear(page[:])
	copy(page[:], headerMagic)
	le := binary.LittleEndian
	le.PutUint32(page[headerVersionAt:], formatVersion)
	le.PutUint64(page[headerFileIDAt:], h.fileID)
	le.PutUint64(page[headerNumberAt:], h.number)
	le.PutUint64(page[headerSizeAt:], uint64(h.size))
	le.PutUint64(page[headerSaltAt:], h.salt)
	copy(page[headerStoreAt:], h.store[:])
	le.PutUint64(page[headerPrevAt:], h.prev)
	le.PutUint64(page[headerAfterAt:], uint64(h.after))
	h.words.encode(page[headerWordsAt:])
	le.PutUint64(page[headerBeganAt:], uint64(h.began))
	le.PutUint64(page[headerSumAt:], headerSum(page, offset))
}

// decodeHeader is the inverse of encode for the page at offset of the file with that id.
// The error matches kv.ErrVersion for a header of another version, or with a feature that
// is not known. Any other error says why the page is not a header.
func decodeHeader(page *[pageSize]byte, fileID uint64, offset int64) (header, error) {
	le := binary.LittleEndian
	if string(page[:len(headerMagic)]) != headerMagic {
		return header{}, fmt.Errorf("no magic number")
	}
	if got, want := le.Uint64(page[headerSumAt:]), headerSum(page, offset); got != want {
		return header{}, fmt.Errorf("header checksum is %016x, computed %016x", got, want)
	}
	if err := checkVersion(le.Uint32(page[headerVersionAt:]), le.Uint32(page[headerFeaturesAt:])); err != nil {
		return header{}, err
	}
	h := header{
		fileID: le.Uint64(page[headerFileIDAt:]),
		number: le.Uint64(page[headerNumberAt:]),
		size:   int64(le.Uint64(page[headerSizeAt:])),
		salt:   le.Uint64(page[headerSaltAt:]),
		store:  [16]byte(page[headerStoreAt:headerPrevAt]),
		prev:   le.Uint64(page[headerPrevAt:]),
		after:  LSN(le.Uint64(page[headerAfterAt:])),
		words:  decodeWords(page[headerWordsAt:]),
		began:  LSN(le.Uint64(page[headerBeganAt:])),
	}
	return h, h.check(page, fileID, offset)
}

// featuresKnown is the set of features that this package can read, one bit each.
const featuresKnown = 0

// checkVersion returns an error that matches kv.ErrVersion unless this package can read
// the version with those features.
func checkVersion(version, features uint32) error {
	switch {
	case version == 1:
		return fmt.Errorf("%w: the log has format 1, which was never released: start with an empty directory, and copy the data with the program that wrote it", kv.ErrVersion)
	case version != formatVersion:
		return fmt.Errorf("%w: the log has format %d, known is %d", kv.ErrVersion, version, formatVersion)
	case features&^featuresKnown != 0:
		return fmt.Errorf("%w: the log uses features %#x, which this program does not know", kv.ErrVersion, features&^featuresKnown)
	}
	return nil
}

// check returns an error for values that encode never writes.
func (h header) check(page *[pageSize]byte, fileID uint64, offset int64) error {
	switch {
	case h.fileID != fileID:
		return fmt.Errorf("header is that of %s", fileName(h.fileID))
	case h.size < fileSizeMin || h.size > fileSizeMax || h.size%pageSize != 0:
		return fmt.Errorf("header names a file size of %d", h.size)
	case offset != 0 && offset != h.end():
		return fmt.Errorf("header of a file of %d bytes", h.size)
	case h.number == 0 && h.prev != 0 || h.number != 0 && h.prev >= h.number:
		return fmt.Errorf("header of file number %d names %d as the one before", h.number, h.prev)
	case h.began > h.after:
		return fmt.Errorf("header names LSN %d as the final one of the file before, which began after LSN %d", h.after, h.began)
	case !allZero(page[headerZeroAt:headerSumAt]):
		return fmt.Errorf("header has bytes that version %d keeps zero", formatVersion)
	}
	return nil
}

// headerSum covers the whole page except itself, and the page's offset, so that one copy
// is not valid in the place of the other.
func headerSum(page *[pageSize]byte, offset int64) uint64 {
	var d xxhash.Digest
	d.Reset()
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	d.Write(at[:])
	d.Write(page[:headerSumAt])
	return d.Sum64()
}
