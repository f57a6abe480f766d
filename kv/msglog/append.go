package msglog

import (
	"strconv"

	"kvd/kv"
)

// Append is the [kv.Mutation] Op of a message. It puts Value under a key of its own:
// Key, a dot and the suffix that [AppendSuffix] makes of the revision it gets. Key and
// AppendedKeySize together are at most kv.MaxKeySize bytes. It takes no condition but
// IfNewest, no TTL and no Rollup.
const Append kv.MutationOp = 7

// AppendedKeySize is how many bytes [Append] adds to Key: a dot and the suffix.
const AppendedKeySize = 1 + suffixSize

const suffixSize = 16

// AppendSuffix appends 16 lower-case hexadecimal digits of ^revision to dst. So the
// newest of the keys with one beginning is the first in ascending order.
func AppendSuffix(dst []byte, r kv.Revision) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[^r>>shift&15])
	}
	return dst
}

// AppendedRevision returns the revision in the suffix of a key that [Append] made. It
// reports false for another key.
func AppendedRevision(key string) (kv.Revision, bool) {
	n := len(key) - AppendedKeySize
	if n <= 0 || key[n] != '.' {
		return 0, false
	}
	inverse, err := strconv.ParseUint(key[n+1:], 16, 64)
	r := kv.Revision(^inverse)
	return r, err == nil && string(AppendSuffix(nil, r)) == key[n+1:]
}
