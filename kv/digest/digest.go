// Package digest computes the numbers of which a [kv.Digest] is the sum: 128 bits for each
// record. An exporter sums them up over the records that it sends, and the store over those
// that it has.
//
// # The number of a record
//
// All arithmetic is mod 2^64. A record is three words:
//
//	h = XXH64 of the key with seed 0
//	x = revision · 4 + operation     operation: 1 put, 2 delete, 3 purge
//	t = time of creation, Unix time in ns
//
// and the two halves of its number are
//
//	low  = mix(mix(h xor x) + t)
//	high = mix(mix(h + x · 0x9e3779b97f4a7c15) xor t)
//
// where mix is the last step of SplitMix64:
//
//	z = (z xor z>>30) · 0xbf58476d1ce4e5b9
//	z = (z xor z>>27) · 0x94d049bb133111eb
//	mix = z xor z>>31
//
// The number of the put of key "a" at revision 1 and time 0 is
// 24902d8a5bfe7bcbd2b70508ab359640.
//
// # Why
//
// A sum can be kept while records come and go, in any order, at the same cost for each
// change. The mixing is needed because sums of words do not change when two records swap
// their times or revisions. The number is no protection against somebody who chooses keys to make
// digests equal: XXH64 is not made for that.
//
// Both halves use one hash of the key, which a store has anyway. A second one with another seed
// would keep two keys apart that the first confuses, one pair of 2^64. It took 30 to 50 ns for a key
// of 16 bytes, and everything else of a put takes 25.
package digest

import (
	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// Of returns the digest of one record. created is Unix time in ns.
func Of(key string, revision kv.Revision, created int64, op kv.Operation) kv.Digest {
	return OfHash(xxhash.Sum64String(key), revision, created, op)
}

// OfEntry returns the digest of the record of an entry.
func OfEntry(e *kv.Entry) kv.Digest {
	return Of(e.Key, e.Revision, e.Created.UnixNano(), e.Operation)
}

// OfHash is Of for a key with that XXH64 of seed 0.
func OfHash(hash uint64, revision kv.Revision, created int64, op kv.Operation) kv.Digest {
	const odd = 0x9e3779b97f4a7c15
	x, t := uint64(revision)<<2+uint64(op), uint64(created)
	return kv.Digest{High: mix(mix(hash+x*odd) ^ t), Low: mix(mix(hash^x) + t)}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
