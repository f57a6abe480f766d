package index

import (
	"slices"
	"unsafe"

	"kvd/kv"
)

// build holds the loaded entries that are not yet in the tree. They are marked
// entryPending. If a key is removed meanwhile its entry is marked entryRemoved, and
// freed when its turn comes.
type build struct {
	pending []uint32
	next    int // in pending; ascending, because keys loaded in order fill leaves best
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

// ready reports whether every key is in the tree. A read.
func (x *Index) ready() bool { return x.build.next == len(x.build.pending) }

// BuildTree puts up to n loaded keys into the tree and reports whether all are.
// Any other method but Load may be called between two calls.
func (x *Index) BuildTree(n int) (done bool) {
	b := &x.build
	for ; n > 0 && !x.ready(); n-- {
		x.insertLoaded(b.pending[b.next])
		b.next++
	}
	if x.ready() {
		*b = build{}
		return true
	}
	return false
}

func (x *Index) insertLoaded(ref uint32) {
	length := x.keys.length(ref)
	if *length&entryRemoved != 0 {
		x.keys.remove(ref)
		return
	}
	*length &^= entryPending
	x.tree.insert(x.keys.text(ref), ref)
}

// markRemoved marks the entry of a removed key and reports true, if the entry is not
// in the tree yet. It is freed when its turn comes.
func (a *arena) markRemoved(ref uint32) bool {
	length := a.length(ref)
	if *length&entryPending == 0 {
		return false
	}
	*length |= entryRemoved
	return true
}

func (b *build) memory() int64 { return int64(cap(b.pending)) * 4 }
