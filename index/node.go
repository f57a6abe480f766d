package index

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// node is a leaf or an inner node of a [tree]. Its items are keys in ascending
// order: a leaf's are the bucket's, an inner node's separate its kids, kid i
// holding the keys below item i and kid i+1 the others. All begin with the same
// skip bytes, and prefixes hold the eight after those as numbers, so a search
// reads the keys themselves only where two agree in skip+8 bytes.
//
// Prefixes and references lie in arrays of their own because a search reads only
// the former.
type node struct {
	epoch    uint64 // in which it was made
	count    uint16
	skip     uint16
	inner    bool // it is the node of an inner
	prefixes [nodeItems]uint64
	refs     [nodeItems]uint32
}

// inner is a node with kids. Leaves, nearly all nodes, are plain ones: without
// room for pointers, so that the collector never looks inside.
type inner struct {
	node
	list [nodeItems + 1]*node
}

// A leaf of 126 keys fills Go's size class of 1,536 bytes.
const (
	nodeItems   = 126
	nodeMin     = nodeItems / 4     // a node with fewer tries to merge
	nodeMerged  = nodeItems * 3 / 4 // and does if the result has at most so many
	leafMemory  = 1536
	innerMemory = 2688 // the size class of an inner
	prefixSize  = 8
)

var (
	_ = [1]struct{}{}[unsafe.Sizeof(node{})-(leafMemory-8)]
	_ = [innerMemory - unsafe.Sizeof(inner{})]struct{}{}
)

// kids returns the kids of an inner node, one more than it has items.
func (n *node) kids() *[nodeItems + 1]*node { return &(*inner)(unsafe.Pointer(n)).list }

// prefixOf returns the eight bytes of key from skip on as a number; what is
// missing counts as zero.
func prefixOf(key string, skip uint16) uint64 {
	if len(key) >= int(skip)+prefixSize {
		return binary.BigEndian.Uint64(unsafe.Slice(unsafe.StringData(key), len(key))[skip:])
	}
	var b [prefixSize]byte
	if len(key) > int(skip) {
		copy(b[:], key[skip:])
	}
	return binary.BigEndian.Uint64(b[:])
}

func (n *node) copy() *node {
	if n.inner {
		c := *(*inner)(unsafe.Pointer(n))
		return &c.node
	}
	c := *n
	return &c
}

func (n *node) full() bool { return n.count == nodeItems }

// search returns the first item that is not below key, and whether it equals
// key. key must lie between the node's fences.
func (n *node) search(keys *arena, key string) (at int, found bool) {
	p := prefixOf(key, n.skip)
	at = n.below(p)
	end := at
	for end < int(n.count) && n.prefixes[end] == p {
		end++
	}
	for at < end {
		middle := (at + end) / 2
		switch c := strings.Compare(keys.text(n.refs[middle]), key); {
		case c == 0:
			return middle, true
		case c < 0:
			at = middle + 1
		default:
			end = middle
		}
	}
	return at, false
}

// below returns how many items have a prefix below p. It looks at one item a
// cache line first: those loads do not wait for each other, while a binary
// search waits for memory in every step.
func (n *node) below(p uint64) int {
	const line = 8
	prefixes := n.prefixes[:n.count]
	at := 0
	for at+line <= len(prefixes) && prefixes[at+line-1] < p {
		at += line
	}
	for at < len(prefixes) && prefixes[at] < p {
		at++
	}
	return at
}

// kid returns which kid holds key.
func (n *node) kid(keys *arena, key string) int {
	at, found := n.search(keys, key)
	if found {
		at++
	}
	return at
}

func (n *node) insert(at int, prefix uint64, ref uint32) {
	copy(n.prefixes[at+1:n.count+1], n.prefixes[at:n.count])
	copy(n.refs[at+1:n.count+1], n.refs[at:n.count])
	n.prefixes[at], n.refs[at] = prefix, ref
	n.count++
}

func (n *node) append(keys *arena, ref uint32) {
	n.prefixes[n.count] = prefixOf(keys.text(ref), n.skip)
	n.refs[n.count] = ref
	n.count++
}

// insertKid makes room among the kids, before the separator is inserted.
func (n *node) insertKid(at int, kid *node) {
	kids := n.kids()
	copy(kids[at+1:n.count+2], kids[at:n.count+1])
	kids[at] = kid
}

func (n *node) remove(at int) {
	copy(n.prefixes[at:n.count-1], n.prefixes[at+1:n.count])
	copy(n.refs[at:n.count-1], n.refs[at+1:n.count])
	n.count--
}

// removeKid takes a kid out, before its separator is removed.
func (n *node) removeKid(at int) {
	kids := n.kids()
	copy(kids[at:n.count], kids[at+1:n.count+1])
	kids[n.count] = nil
}

// rekey changes how many bytes are skipped.
func (n *node) rekey(keys *arena, skip uint16) {
	if n.skip == skip {
		return
	}
	n.skip = skip
	for i, ref := range n.refs[:n.count] {
		n.prefixes[i] = prefixOf(keys.text(ref), skip)
	}
}

// ascend calls fn for every key from from on and reports whether it came to the
// end.
func (n *node) ascend(keys *arena, from string, fn func(ref uint32) bool) bool {
	at := 0
	if !n.inner {
		if from != "" {
			at, _ = n.search(keys, from)
		}
		for _, ref := range n.refs[at:n.count] {
			if !fn(ref) {
				return false
			}
		}
		return true
	}
	if from != "" {
		at = n.kid(keys, from)
	}
	for _, kid := range n.kids()[at : n.count+1] {
		if !kid.ascend(keys, from, fn) {
			return false
		}
		from = "" // the kids that follow hold larger keys only
	}
	return true
}

// find returns the entry of key, 0 if it is not in the tree.
func (n *node) find(keys *arena, key string) uint32 {
	for n.inner {
		n = n.kids()[n.kid(keys, key)]
	}
	if at, found := n.search(keys, key); found {
		return n.refs[at]
	}
	return 0
}
