//go:build race

package index

// many shortens tests of one goroutine, to which the race detector adds nothing
// but a factor of ten.
func many(n int) int { return n / 8 }
