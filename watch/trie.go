package watch

import "strings"

// trie finds the topics whose patterns match a key: a node for each token that a
// pattern has at that depth, so that a look-up costs the key's tokens and what
// matches, not the number of patterns.
type trie struct {
	root node
	// Scratch of match: the nodes that the tokens so far lead to.
	here, next []*node
}

// node is where one or more patterns agree up to a token.
type node struct {
	tokens map[string]*node // by literal token
	any    *node            // by "*"
	ends   []*topic         // of patterns that end here
	rest   []*topic         // of patterns that end here with ">"
}

func (n *node) empty() bool {
	return len(n.tokens) == 0 && n.any == nil && len(n.ends) == 0 && len(n.rest) == 0
}

// add makes keys that match pattern find t. The pattern is valid.
func (x *trie) add(pattern string, t *topic) {
	n := &x.root
	for more := true; more; {
		var token string
		token, pattern, more = strings.Cut(pattern, ".")
		if token == ">" {
			n.rest = append(n.rest, t)
			return
		}
		n = n.child(token)
	}
	n.ends = append(n.ends, t)
}

// child returns the node that a token of a pattern leads to, and makes it.
func (n *node) child(token string) *node {
	if token == "*" {
		if n.any == nil {
			n.any = &node{}
		}
		return n.any
	}
	kid := n.tokens[token]
	if kid == nil {
		if n.tokens == nil {
			n.tokens = make(map[string]*node)
		}
		kid = &node{}
		n.tokens[token] = kid
	}
	return kid
}

// remove undoes add, and drops the nodes that nothing needs any more.
func (x *trie) remove(pattern string, t *topic) {
	tokens := strings.Split(pattern, ".")
	path := []*node{&x.root}
	for _, token := range tokens {
		if token == ">" {
			break
		}
		path = append(path, path[len(path)-1].child(token))
	}
	last := path[len(path)-1]
	if tokens[len(tokens)-1] == ">" {
		last.rest = without(last.rest, t)
	} else {
		last.ends = without(last.ends, t)
	}
	for i := len(path) - 1; i > 0 && path[i].empty(); i-- {
		if parent := path[i-1]; parent.any == path[i] {
			parent.any = nil
		} else {
			delete(parent.tokens, tokens[i-1])
		}
	}
}

func without(topics []*topic, t *topic) []*topic {
	for i := range topics {
		if topics[i] == t {
			last := len(topics) - 1
			topics[i], topics[last] = topics[last], nil
			return topics[:last]
		}
	}
	return topics
}

// match calls fn for every pattern that matches key: more than once for a topic
// of which several do.
func (x *trie) match(key string, fn func(*topic)) {
	x.here = append(x.here[:0], &x.root)
	for more := true; more && len(x.here) > 0; {
		var token string
		token, key, more = strings.Cut(key, ".")
		x.next = x.next[:0]
		for _, n := range x.here {
			for _, t := range n.rest {
				fn(t)
			}
			if kid := n.tokens[token]; kid != nil {
				x.next = append(x.next, kid)
			}
			if n.any != nil {
				x.next = append(x.next, n.any)
			}
		}
		x.here, x.next = x.next, x.here
	}
	for _, n := range x.here {
		for _, t := range n.ends {
			fn(t)
		}
	}
}
