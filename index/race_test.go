//go:build race

package index

// many shortens tests under the race detector, where they take ten times as long.
func many(n int) int { return n / 8 }
