// Package digest computes the numbers of which a [kv.Digest] is the sum: 128 bits for each
// record. An exporter sums them up over the records that it sends, and the store over those
// that it has.
//
// # The number of a record
//
// All arithmetic is mod 2^64. x is the record as the words
//
//	x = revision · 4 + operation     operation: 1 put, 2 delete, 3 purge
//	t = time of creation, Unix time in ns
//
// and the two halves of its number are
//
//	low  = mix(mix(XXH64(key, seed 0) xor x) + t)
//	high = mix(mix(XXH64(key, seed 1) xor x) + t)
//
// where mix is the last step of SplitMix64:
//
//	z = (z xor z>>30) · 0xbf58476d1ce4e5b9
//	z = (z xor z>>27) · 0x94d049bb133111eb
//	mix = z xor z>>31
//
// The number of the put of key "a" at revision 1 and time 0 is
// 75d422ec6cda2a35d2b70508ab359640.
//
// # Why
//
// A sum can be kept while records come and go, in any order, at the same cost for each
// change. The mixing is needed because sums of words do not change when two records swap
// their times or revisions. Two halves of different hashes of the key keep two keys apart that
// one hash confuses. The number is no protection against somebody who chooses keys to make
// digests equal: XXH64 is not made for that.
package digest

import (
	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// seed is the seed of the second hash of a key.
const seed = 1

// Of returns the digest of one record. created is Unix time in ns.
func Of(key string, revision kv.Revision, created int64, op kv.Operation) kv.Digest {
	return OfKey(xxhash.Sum64String(key), key).Record(revision, created, op)
}

// OfEntry returns the digest of the record of an entry.
func OfEntry(e *kv.Entry) kv.Digest {
	return Of(e.Key, e.Revision, e.Created.UnixNano(), e.Operation)
}

// Key is what all records of one key have in common.
type Key struct{ low, high uint64 }

// OfKey returns the part of a key. hash is its XXH64 with seed 0.
func OfKey(hash uint64, key string) Key {
	var h xxhash.Digest
	h.ResetWithSeed(seed)
	_, _ = h.WriteString(key) // never fails
	return Key{hash, h.Sum64()}
}

// Record returns the digest of one record of the key. created is Unix time in ns.
func (k Key) Record(revision kv.Revision, created int64, op kv.Operation) kv.Digest {
	x := uint64(revision)<<2 + uint64(op)
	return kv.Digest{High: mix(mix(k.high^x) + uint64(created)), Low: mix(mix(k.low^x) + uint64(created))}
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
