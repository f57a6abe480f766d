package patterns

import (
	"iter"
	"strings"
)

// stepsMax bounds the nodes that a search for overlaps visits: some 0.3 s of work. A
// wildcard leads into every branch, so lists can be made for which the steps grow with the
// square of their length.
const stepsMax = 1 << 22

// FirstOverlap returns two patterns of a list that some name matches both; the second comes
// later in the list. It reports false if there are none. The patterns must be valid.
// exhausted is true if the list was too large to find out.
func FirstOverlap(list []string) (p, q string, found, exhausted bool) {
	var t Trie[string]
	steps := stepsMax
	for _, q := range list {
		if p, found := t.root.overlapping(q, &steps); found {
			return p, q, true, false
		}
		if steps < 0 {
			return "", "", false, true
		}
		t.Add(q, q)
	}
	return "", "", false, false
}

// AnyOverlap reports whether some name matches a pattern of both lists. The patterns must be
// valid. exhausted is true if the lists were too large to find out.
func AnyOverlap(a, b []string) (found, exhausted bool) {
	var t Trie[string]
	for _, p := range a {
		t.Add(p, p)
	}
	steps := stepsMax
	for _, q := range b {
		if _, found := t.root.overlapping(q, &steps); found || steps < 0 {
			return found, !found
		}
	}
	return false, false
}

// overlapping returns a value of the node whose pattern overlaps with pattern. It gives up
// when no steps are left.
func (n *node[T]) overlapping(pattern string, steps *int) (v T, found bool) {
	if *steps--; *steps < 0 {
		return v, false
	}
	if len(n.rest) > 0 {
		return n.rest[0], true
	}
	token, rest, more := strings.Cut(pattern, ".")
	if token == ">" && !more {
		return n.any()
	}
	for next := range n.branches(token) {
		if more {
			v, found = next.overlapping(rest, steps)
		} else if len(next.ends) > 0 {
			v, found = next.ends[0], true
		}
		if found {
			return v, true
		}
	}
	return v, false
}

// branches yields the nodes to which a token of a pattern leads: all of them for "*".
func (n *node[T]) branches(token string) iter.Seq[*node[T]] {
	return func(yield func(*node[T]) bool) {
		if n.star != nil && !yield(n.star) {
			return
		}
		if token != "*" {
			if next := n.literal[token]; next != nil {
				yield(next)
			}
			return
		}
		for _, next := range n.literal {
			if !yield(next) {
				return
			}
		}
	}
}

// any returns a value below the node, and false if there is none.
func (n *node[T]) any() (v T, found bool) {
	for next := range n.branches("*") {
		switch {
		case len(next.ends) > 0:
			return next.ends[0], true
		case len(next.rest) > 0:
			return next.rest[0], true
		}
		if v, found = next.any(); found {
			return v, true
		}
	}
	return v, false
}
