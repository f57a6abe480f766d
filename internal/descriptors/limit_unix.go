//go:build unix

package descriptors

import (
	"math"
	"syscall"
)

// Limit returns how many descriptors the process may have open. Package os has raised the soft
// limit to the hard one.
func Limit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt
	}
	return int(min(uint64(limit.Cur), math.MaxInt)) //nolint:unconvert // Cur is signed on some systems
}
