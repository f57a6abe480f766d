package index

import (
	"slices"
	"unsafe"

	"kvd/kv"
)

// build holds the loaded entries that are not yet in the tree. They are marked
// entryPending. If a key is removed meanwhile, its entry is freed when its turn comes, so that
// [Index.Order] can read all of them beside a writer.
type build struct {
	pending []uint32
	next    int  // in pending; ascending, because keys loaded in order fill leaves best
	ordered bool // pending is ascending
	removed map[uint32]struct{}
}

// buildAll is more than any number of keys.
const buildAll = 1 << 40

// Grow prepares an empty index for n keys to be loaded.
func (x *Index) Grow(n int) {
	x.table.reserve(n)
	x.build.pending = slices.Grow(x.build.pending, n)
}

// Load is Apply for the versions that are read when a bucket is opened, in ascending
// order of revisions. It does not put the key into the tree: [Index.BuildTree] does.
// It returns false and changes nothing if the key has a version as new as v or newer.
// The key is not kept. No snapshot may be open, and BuildTree must not have been
// called.
func (x *Index) Load(hash uint64, key []byte, v Version, floor kv.Revision) bool {
	name := unsafe.String(unsafe.SliceData(key), len(key)) // nothing keeps it
	s := x.table.find(hash, name, &x.keys)
	c := change{hash: hash}
	if s == nil {
		ref := x.add(hash, name, v, &c)
		*x.keys.length(ref) |= entryPending
		x.build.pending = append(x.build.pending, ref)
		return true
	}
	if x.rows.revision(s.row) >= v.Revision {
		return false
	}
	x.supersede(s, v, floor, &c)
	return true
}

// ready reports whether every key is in the tree. A read.
func (x *Index) ready() bool { return x.build.next == len(x.build.pending) }

// Order is the loaded keys of an index in ascending order.
type Order struct{ refs []uint32 }

// Order sorts the loaded keys, which takes 16 bytes a key for as long. BuildTree must not have
// been called. Order may run beside reads and beside any write but Load, BuildTree and Snapshot.
func (x *Index) Order() Order { return Order{sortKeys(&x.keys, x.build.pending)} }

// UseOrder lets [Index.BuildTree] take the loaded keys in that order, which is faster than in
// the order of their first revisions.
func (x *Index) UseOrder(o Order) {
	if x.build.next == 0 && len(o.refs) == len(x.build.pending) {
		x.build.pending, x.build.ordered = o.refs, true
	}
}

// BuildTree puts up to n loaded keys into the tree and reports whether all are.
// Any other method but Load may be called between two calls.
func (x *Index) BuildTree(n int) (done bool) {
	b := &x.build
	ahead := b.pending[b.next:min(b.next+min(n, windowKeys), len(b.pending))]
	for _, ref := range ahead {
		x.keys.prefetch(ref)
	}
	var last *leaf // with the key before as its last one; nil: it is elsewhere
	for ; n > 0 && !x.ready(); n-- {
		last = x.insertLoaded(b.pending[b.next], last)
		b.next++
	}
	if x.ready() {
		*b = build{}
		return true
	}
	return false
}

// insertLoaded puts a loaded key into the tree: behind the last key of a leaf, if one is given
// and the key belongs there. It returns the leaf in which the key is the last one, if the keys
// come in order; else nil.
func (x *Index) insertLoaded(ref uint32, last *leaf) *leaf {
	if _, removed := x.build.removed[ref]; removed {
		x.keys.remove(ref)
		return last
	}
	*x.keys.length(ref) &^= entryPending
	key := x.keys.text(ref)
	if last != nil && x.tree.append(last, key, ref) {
		return last
	}
	if l, at := x.tree.insert(key, ref); x.build.ordered && at == int(l.count)-1 {
		return l
	}
	return nil
}

// removeLoaded reports whether the entry of a removed key is not in the tree yet. Then it is
// freed when its turn comes.
func (x *Index) removeLoaded(ref uint32) bool {
	if *x.keys.length(ref)&entryPending == 0 {
		return false
	}
	if x.build.removed == nil {
		x.build.removed = make(map[uint32]struct{})
	}
	x.build.removed[ref] = struct{}{}
	return true
}

func (b *build) memory() int64 { return int64(cap(b.pending)) * 4 }
