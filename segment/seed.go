package segment

import "github.com/cespare/xxhash/v2"

// Seed is the store's random salt. Every checksum of a record or index block begins with it, so
// that bytes chosen by a client are never valid as a record or block.
type Seed uint64

// sum returns the seeded xxhash64 of b.
func (s Seed) sum(b []byte) uint64 {
	var d xxhash.Digest // on the stack: xxhash.Sum64 has no seed, NewWithSeed may allocate
	d.ResetWithSeed(uint64(s))
	_, _ = d.Write(b) // never fails
	return d.Sum64()
}
