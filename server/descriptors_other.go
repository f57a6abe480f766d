//go:build !unix

package server

import "math"

// descriptors returns how many files and connections the process may have open:
// here no limit is known.
func descriptors() int { return math.MaxInt }
