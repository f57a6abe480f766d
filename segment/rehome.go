package segment

import (
	"fmt"

	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// Rehome gives the header of a segment file, at the start of b, another store id. It reports whether
// the header was sound; a damaged one stays as it is. Nothing else of a segment depends on the id.
func Rehome(b []byte, storeID [16]byte) bool {
	if len(b) < HeaderSize {
		return false
	}
	if _, err := decodeFileHeader(b); err != nil {
		return false
	}
	copy(b[fileStoreID:], storeID[:])
	le.PutUint64(b[fileSum:], xxhash.Sum64(b[:fileSum]))
	return true
}

// RehomeValue is Rehome for a value file.
func RehomeValue(b []byte, storeID [16]byte) bool {
	if len(b) < valueHeaderSize {
		return false
	}
	if _, err := decodeValueHeader(b); err != nil {
		return false
	}
	copy(b[fileStoreID:], storeID[:])
	le.PutUint64(b[valueHeadSum:], xxhash.Sum64(b[:valueHeadSum]))
	return true
}

// ValueFileBytes returns how many bytes of a value file belong to it, by the size of its value as
// stored.
func ValueFileBytes(value uint32) int64 { return valueHeaderSize + int64(value) }

// IsValueFileBytes reports whether a value file may have that many bytes.
func IsValueFileBytes(n int64) bool {
	return n >= ValueFileBytes(ValueFileMin) && n <= ValueFileBytes(kv.MaxValueSizeLimit)
}

// ValueCheck verifies a value file that is written to it from the beginning: its header, and the
// value by the checksum that the header has.
type ValueCheck struct {
	header []byte
	sum    xxhash.Digest
	seed   Seed
	read   int64
}

// NewValueCheck returns a check of a value file of the store with that seed.
func NewValueCheck(seed Seed) *ValueCheck {
	c := &ValueCheck{seed: seed}
	c.sum.ResetWithSeed(uint64(seed))
	return c
}

// Write adds bytes of the file. It never fails.
func (c *ValueCheck) Write(p []byte) (int, error) {
	n := min(len(p), valueHeaderSize-len(c.header))
	c.header = append(c.header, p[:n]...)
	_, _ = c.sum.Write(p[n:]) // never fails
	c.read += int64(len(p))
	return len(p), nil
}

// Err returns nil if all bytes that belong to the file were written and are sound, and otherwise what
// is wrong with them.
func (c *ValueCheck) Err() error {
	if len(c.header) < valueHeaderSize {
		return formatError(fmt.Sprintf("the file has %d bytes, less than its header", c.read))
	}
	switch h, err := decodeValueHeader(c.header); {
	case err != nil:
		return err
	case h.seed != c.seed || ValueFileBytes(h.size) != c.read:
		return errValueOther
	case h.sum != c.sum.Sum64():
		return errValueSum
	}
	return nil
}
