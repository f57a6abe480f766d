//go:build !unix

package descriptors

import "math"

// Limit returns how many descriptors the process may have open: here no limit is known.
func Limit() int { return math.MaxInt }
