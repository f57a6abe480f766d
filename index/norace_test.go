//go:build !race

package index

// many is the size that a test has without the race detector.
func many(n int) int { return n }
