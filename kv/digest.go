package kv

import (
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Digest is a sum over a set of records, mod 2^128: of a number for each record that depends
// on its key, revision, time and operation. Package kv/digest has the numbers. The zero value
// is the digest of no records. Two buckets with equal digests have the same records.
//
// A revision of a bucket names one value, and values have checksums of their own. So the
// digest does not depend on values.
type Digest struct{ High, Low uint64 }

// Add returns the digest of the records of both.
func (d Digest) Add(e Digest) Digest {
	low, carry := bits.Add64(d.Low, e.Low, 0)
	high, _ := bits.Add64(d.High, e.High, carry)
	return Digest{high, low}
}

// Sub returns the digest of the records of d without those of e.
func (d Digest) Sub(e Digest) Digest {
	low, borrow := bits.Sub64(d.Low, e.Low, 0)
	high, _ := bits.Sub64(d.High, e.High, borrow)
	return Digest{high, low}
}

// digestText is the length of a digest as text: two hexadecimal digits a byte.
const digestText = 32

// String returns the digest as 32 hexadecimal digits.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.High, d.Low) }

// ParseDigest reads what String returns, upper or lower case.
func ParseDigest(text string) (Digest, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(text) != digestText {
		return Digest{}, fmt.Errorf("%w: digest %.64q, must be %d hexadecimal digits", ErrInvalidOption, text, digestText)
	}
	var d Digest
	for i, digit := range b {
		half := &d.High
		if i >= len(b)/2 {
			half = &d.Low
		}
		*half = *half<<8 | uint64(digit)
	}
	return d, nil
}

// DigestError refuses to commit an import whose records are not those that were to be
// imported. It matches ErrDigestMismatch.
type DigestError struct {
	Bucket string
	Want   Digest // given
	Got    Digest // of the records that the bucket has
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%v: bucket %q has %s, expected %s: records are missing or other ones were written; discard the import and begin anew",
		ErrDigestMismatch, e.Bucket, e.Got, e.Want)
}

// Is matches ErrDigestMismatch.
func (e *DigestError) Is(target error) bool { return target == ErrDigestMismatch }
