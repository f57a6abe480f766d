// Package patterns finds the values whose patterns match a name. Watches use it to
// match keys, subscriptions and streams use it to match subjects.
//
// Names and patterns consist of tokens with dots between them, with the syntax of
// [kvd/kv.Match]: "*" matches one token, and ">" at the end matches one or more.
package patterns

import "strings"

// Trie stores values by their patterns, with a node for each token. The time of a lookup
// depends on the tokens of the name and on the values found, not on the number of
// patterns. A lookup allocates nothing if the caller's slice has room.
//
// The zero value is empty. Several goroutines may call Match at the same time. Add and
// Remove must not run beside any other call.
type Trie[T comparable] struct{ root node[T] }

// node stands for the common beginning of one or more patterns.
type node[T comparable] struct {
	literal map[string]*node[T] // by the next token
	star    *node[T]            // where the next token is "*"
	ends    []T                 // values of the patterns that end here
	rest    []T                 // values of the patterns that end here with ">"
}

// Add makes Match find v for the names that match pattern. The pattern must be valid:
// ">" only stands at its end, and no token is empty. A value may have several patterns.
func (t *Trie[T]) Add(pattern string, v T) {
	n := &t.root
	for more := true; more; {
		var token string
		token, pattern, more = strings.Cut(pattern, ".")
		if token == ">" {
			n.rest = append(n.rest, v)
			return
		}
		n = n.child(token)
	}
	n.ends = append(n.ends, v)
}

// child returns the node that a token of a pattern leads to. It makes the node if there
// is none.
func (n *node[T]) child(token string) *node[T] {
	if token == "*" {
		if n.star == nil {
			n.star = &node[T]{}
		}
		return n.star
	}
	next := n.literal[token]
	if next == nil {
		if n.literal == nil {
			n.literal = make(map[string]*node[T])
		}
		next = &node[T]{}
		n.literal[token] = next
	}
	return next
}

// Remove undoes one Add of the same pattern and value, and reports whether there was one.
func (t *Trie[T]) Remove(pattern string, v T) bool { return t.root.remove(pattern, v) }

// remove removes v below a node, and the nodes that have become empty.
func (n *node[T]) remove(pattern string, v T) bool {
	token, rest, more := strings.Cut(pattern, ".")
	if token == ">" {
		return without(&n.rest, v)
	}
	next := n.star
	if token != "*" {
		next = n.literal[token]
	}
	if next == nil {
		return false
	}
	var removed bool
	if more {
		removed = next.remove(rest, v)
	} else {
		removed = without(&next.ends, v)
	}
	if next.isEmpty() {
		if token == "*" {
			n.star = nil
		} else {
			delete(n.literal, token)
		}
	}
	return removed
}

// without removes v from a list, which it may reorder. It reports whether v was there.
func without[T comparable](list *[]T, v T) bool {
	for i, other := range *list {
		if other == v {
			last := len(*list) - 1
			(*list)[i] = (*list)[last]
			clear((*list)[last:])
			*list = (*list)[:last]
			return true
		}
	}
	return false
}

// IsEmpty reports whether the trie has no value.
func (t *Trie[T]) IsEmpty() bool { return t.root.isEmpty() }

func (n *node[T]) isEmpty() bool {
	return len(n.literal) == 0 && n.star == nil && len(n.ends) == 0 && len(n.rest) == 0
}

// Match appends to found the values whose patterns match name, in no order. A value with
// several patterns is appended once for each that matches. The name is not kept.
func (t *Trie[T]) Match(found []T, name string) []T { return t.root.match(found, name) }

func (n *node[T]) match(found []T, name string) []T {
	for {
		if len(n.rest) > 0 {
			found = append(found, n.rest...)
		}
		token, rest := name, ""
		dot := strings.IndexByte(name, '.')
		if dot >= 0 {
			token, rest = name[:dot], name[dot+1:]
		}
		if n.star != nil {
			if dot >= 0 {
				found = n.star.match(found, rest)
			} else {
				found = append(found, n.star.ends...)
			}
		}
		next := n.literal[token]
		if next == nil {
			return found
		}
		if dot < 0 {
			return append(found, next.ends...)
		}
		n, name = next, rest
	}
}
