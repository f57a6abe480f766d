package patterns

import "strings"

// Covers reports whether a pattern matches every name that another pattern matches. Both
// must be valid. A name is a pattern that matches itself. Covers allocates nothing.
func Covers(pattern, other string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		o, oRest, oMore := strings.Cut(other, ".")
		switch {
		case p == ">":
			return true
		case o == ">", p != "*" && p != o, pMore != oMore:
			return false
		case !pMore:
			return true
		}
		pattern, other = pRest, oRest
	}
}
