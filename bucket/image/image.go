package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Dir is the directory of the files, in that of the store.
const Dir = "index"

// ErrStale is returned by [Open] for a file that belongs to another state of the bucket, or was
// written by another version.
var ErrStale = errors.New("the image is of another state of the bucket")

// ErrDamaged is matched by the errors for a file whose checksums fail, or that is cut off.
var ErrDamaged = errors.New("the image is damaged")

// Key is the state of a bucket that a file belongs to.
type Key struct {
	StoreID    [16]byte
	Bucket     uint64 // the id in the manifest
	Descriptor uint64 // the hash of what the manifest says of the bucket
}

const (
	version    = 2
	headerSize = 64
	blockSize  = 256 << 10
	sumSize    = 8

	extension = ".image"
	unready   = ".new"
)

var magic = []byte("kvdindex")

// FileName returns the name of a bucket's file: 16 hex digits and ".image".
func FileName(bucket uint64) string { return fmt.Sprintf("%016x%s", bucket, extension) }

// ParseFileName returns the bucket in a name that FileName made. ok is false for any other name.
func ParseFileName(name string) (bucket uint64, ok bool) {
	if len(name) != 16+len(extension) {
		return 0, false
	}
	bucket, err := strconv.ParseUint(name[:16], 16, 64)
	return bucket, err == nil && name == FileName(bucket)
}

func pathOf(dir string, bucket uint64) string { return path.Join(dir, FileName(bucket)) }

// header returns the header of a file with so many bytes of content.
func (k *Key) header(length int64) []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, version)
	b = append(b, k.StoreID[:]...)
	b = binary.LittleEndian.AppendUint64(b, k.Bucket)
	b = binary.LittleEndian.AppendUint64(b, k.Descriptor)
	b = binary.LittleEndian.AppendUint64(b, uint64(length))
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

// sums makes the checksums of the blocks of a file, in order.
type sums struct {
	key    uint64
	blocks uint64
	digest xxhash.Digest
}

func newSums(k *Key) sums { return sums{key: xxhash.Sum64(k.header(0)[:headerSize-sumSize])} }

// next returns the checksum of the next block.
func (s *sums) next(block []byte) uint64 {
	var first [16]byte
	binary.LittleEndian.PutUint64(first[:], s.key)
	binary.LittleEndian.PutUint64(first[8:], s.blocks)
	s.blocks++
	s.digest.Reset()
	_, _ = s.digest.Write(first[:]) // never fails
	_, _ = s.digest.Write(block)
	return s.digest.Sum64()
}
