package nats

import (
	"strings"
	"sync/atomic"
)

// account is the memory that a connection has the server keep for it: its subscriptions and
// consumers. Buffers are not in it; they have limits of their own. Safe for concurrent use.
type account struct {
	max  int64 // bytes
	used atomic.Int64
}

// charge adds so many bytes, unless that exceeds the maximum: then it returns false.
func (a *account) charge(bytes int64) bool {
	if a.used.Add(bytes) > a.max {
		a.used.Add(-bytes)
		return false
	}
	return true
}

// release undoes a charge.
func (a *account) release(bytes int64) { a.used.Add(-bytes) }

// Bytes that patterns of subjects cost, in the tree that finds them and elsewhere:
// TestChargesCoverTheMemory measures them.
const (
	patternCost = 256 // and its text, which is kept up to three times
	tokenCost   = 400
)

// costOf returns the bytes that a pattern costs, at most; 0 for no pattern.
func costOf(pattern string) int64 {
	if pattern == "" {
		return 0
	}
	return patternCost + 3*int64(len(pattern)) + tokenCost*int64(1+strings.Count(pattern, "."))
}
