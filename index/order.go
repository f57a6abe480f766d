package index

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
)

// order is the tree of all keys: one item a key, whatever its history, so that
// only a key's first and last version touch it.
type order struct {
	tree   *btree.BTreeG[item]
	keys   *arena
	pivots sync.Map // ref from pivotBase on → string: where iterations begin
	last   atomic.Uint32
}

// item is 12 bytes and pointer-free: the key's first eight bytes as a number,
// in two halves so that no padding follows, and its entry.
type item struct {
	high, low uint32
	key       uint32
}

const (
	// treeDegree: 127 items of 12 bytes fill a size class of 1,536. With 32 a
	// put beside a snapshot copies half as much, but the collector sees twice
	// the nodes.
	treeDegree = 64
	nodeItems  = 2*treeDegree - 1

	pivotBase  = 1<<32 - maxPivots // refs from here on are no entries
	maxPivots  = 1 << 16
	prefixSize = 8
)

func newOrder(keys *arena) *order {
	o := &order{keys: keys}
	o.tree = btree.NewG(treeDegree, o.less)
	return o
}

func itemOf[K string | []byte](key K, ref uint32) item {
	p := prefixOf(key)
	return item{high: uint32(p >> 32), low: uint32(p), key: ref}
}

// prefixOf returns the first eight bytes of key as a number; what is missing
// counts as zero.
func prefixOf[K string | []byte](key K) uint64 {
	var b [prefixSize]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func (i item) prefix() uint64 { return uint64(i.high)<<32 | uint64(i.low) }

// less looks into the arena only where two keys agree in eight bytes.
func (o *order) less(a, b item) bool {
	if p, q := a.prefix(), b.prefix(); p != q {
		return p < q
	}
	return a.key != b.key && bytes.Compare(o.bytes(a.key), o.bytes(b.key)) < 0
}

func (o *order) bytes(ref uint32) []byte {
	if ref >= pivotBase {
		pivot, _ := o.pivots.Load(ref)
		return pivot.([]byte)
	}
	return o.keys.key(ref)
}

func (o *order) insert(i item) { o.tree.ReplaceOrInsert(i) }

func (o *order) remove(i item) { o.tree.Delete(i) }

// pivot gives a key that need not exist a ref, until done is called. Safe for
// concurrent use.
func (o *order) pivot(key string) (i item, done func()) {
	for {
		ref := pivotBase + o.last.Add(1)%maxPivots
		if _, taken := o.pivots.LoadOrStore(ref, []byte(key)); !taken {
			return itemOf(key, ref), func() { o.pivots.Delete(ref) }
		}
	}
}

// treeNodeOverhead is a node's header, its share of its parent's children and
// the allocator's rounding, bytes.
const treeNodeOverhead = 64 + 8 + 16

// memory estimates the tree's bytes, which the library does not tell: nodes
// are between half full and full, 0.69 on average, in an array of full size.
func (o *order) memory() int64 {
	const itemSize = 12
	nodes := int64(o.tree.Len())*100/(69*nodeItems) + 1
	return nodes * (itemSize*(nodeItems+1) + treeNodeOverhead)
}
