package index

import (
	"slices"
	"unsafe"

	"kvd/kv"
)

// build is what was loaded and is not yet in the tree: entries marked
// entryPending. One whose key is removed meanwhile is marked entryDead, and
// freed when its turn comes.
type build struct {
	pending []uint32
	next    int // in pending; ascending, because keys loaded in order fill nodes best
}

// buildAll is more than any number of keys.
const buildAll = 1 << 40

// Grow prepares an empty index for n keys to be loaded.
func (x *Index) Grow(n int) {
	x.table.reserve(n)
	x.build.pending = slices.Grow(x.build.pending, n)
}

// Load is Apply for what is read when a bucket is opened, in ascending order of
// revisions: it leaves the order of keys to [Index.BuildTree], and returns false
// and changes nothing if v is not newer than what the key has. The key is not
// kept. No snapshot may be open, and BuildTree must not have been called.
func (x *Index) Load(hash uint64, key []byte, v Version, floor kv.Revision) bool {
	name := unsafe.String(unsafe.SliceData(key), len(key)) // nothing keeps it
	s := x.table.find(hash, name, &x.keys)
	if s == nil {
		ref := x.add(hash, name, v)
		*x.keys.length(ref) |= entryPending
		x.build.pending = append(x.build.pending, ref)
		return true
	}
	if x.rows.revision(s.row) >= v.Revision {
		return false
	}
	x.supersede(s, v, floor, nil)
	return true
}

// Ready reports whether every key is in the tree. A read.
func (x *Index) Ready() bool { return x.build.next == len(x.build.pending) }

// BuildTree puts up to n loaded keys into the tree and reports whether all are.
// Any other method but Load may be called between two calls.
func (x *Index) BuildTree(n int) (done bool) {
	b := &x.build
	for ; n > 0 && !x.Ready(); n-- {
		x.insertLoaded(b.pending[b.next])
		b.next++
	}
	if x.Ready() {
		*b = build{}
		return true
	}
	return false
}

func (x *Index) insertLoaded(ref uint32) {
	length := x.keys.length(ref)
	if *length&entryDead != 0 {
		x.keys.drop(ref)
		return
	}
	*length &^= entryPending
	x.tree.insert(x.keys.text(ref), ref)
}

// bury marks the entry of a key that is gone and reports true, if it is not in
// the tree yet: it is dropped when its turn comes.
func (a *arena) bury(ref uint32) bool {
	length := a.length(ref)
	if *length&entryPending == 0 {
		return false
	}
	*length |= entryDead
	return true
}

func (b *build) memory() int64 { return int64(cap(b.pending)) * 4 }
