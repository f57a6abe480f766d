package index

import (
	"math/bits"
	"strings"
	"unsafe"

	"github.com/google/btree"
)

// leaves are the leaves of a [tree] in order.
type leaves = btree.BTreeG[item]

// item is what google/btree orders: a leaf by the separator above its keys, or a
// probe by its key. The first 24 bytes of separator or key stand in the item as
// numbers, so a search nearly always decides without a look at memory elsewhere.
//
// An item has four words: two fit into registers when btree compares them.
type item struct {
	first, second, third uint64
	of                   *bounds
}

// itemOf returns the item of a leaf or probe with that text.
func itemOf(of *bounds, text string) item {
	return item{
		first:  prefixOf(text, 0),
		second: prefixOf(text, prefixSize),
		third:  prefixOf(text, 2*prefixSize),
		of:     of,
	}
}

// lastItem returns the item of the last leaf, which no separator is above.
func lastItem(l *leaf) item {
	const most = 1<<64 - 1
	return item{first: most, second: most, third: most, of: &l.bounds}
}

func (i item) leaf() *leaf { return (*leaf)(unsafe.Pointer(i.of)) }

// probe is what a search compares with leaves. It stands right behind its key: the
// first item above it is the leaf between whose bounds the key lies.
type probe struct {
	bounds // high is ofProbe
	key    string
}

const ofProbe = 1 // no entry of the arena begins there

// set makes p the probe of key and returns its item.
func (p *probe) set(key string) item {
	p.high, p.key = ofProbe, key
	return itemOf(&p.bounds, key)
}

// lessIn returns the order of items whose separators are in keys. It is a closure
// and no method value, which would cost another call in every comparison.
func lessIn(keys *arena) btree.LessFunc[item] {
	return func(i, j item) bool {
		if i.first != j.first {
			return i.first < j.first
		}
		return keys.lessBehind(i, j)
	}
}

// lessBehind is the order of items whose first numbers are equal. It subtracts
// because a branch that depends on a key is mispredicted half of the time.
func (a *arena) lessBehind(i, j item) bool {
	_, borrow := bits.Sub64(i.third, j.third, 0)
	_, borrow = bits.Sub64(i.second, j.second, borrow)
	if i.second^j.second|i.third^j.third == 0 {
		return a.lessByText(i.of, j.of)
	}
	return borrow != 0
}

// lessByText is less for items whose first 24 bytes are equal.
func (a *arena) lessByText(i, j *bounds) bool {
	switch {
	case i.high == j.high || i.high == 0:
		return false
	case j.high == 0:
		return true
	case i.high == ofProbe:
		return (*probe)(unsafe.Pointer(i)).key < a.text(j.high)
	case j.high == ofProbe:
		return a.text(i.high) <= (*probe)(unsafe.Pointer(j)).key
	}
	return strings.Compare(a.text(i.high), a.text(j.high)) < 0
}

const (
	treeDegree = 64 // a node of btree has at most 127 items
	itemMemory = 56 // bytes, with the room that nodes leave and the pointers between them
)

// freeNodes are nodes of btree that wait to be used again. All indexes share the
// list, so that it holds 32 nodes, some 160 KiB, for all buckets together. Its lock
// is taken when a node is made or given back: at one in some dozens of splits of
// leaves, and when the first change after a snapshot copies a node.
var freeNodes = btree.NewFreeListG[item](btree.DefaultFreeListSize)

func newLeaves(keys *arena) *leaves {
	return btree.NewWithFreeListG(treeDegree, lessIn(keys), freeNodes)
}
