package index

import (
	"bytes"
	"cmp"
	"slices"
	"unsafe"

	"kvd/kv"
)

// build brings loaded keys into order: it sorts them by merging, then inserts
// them into the tree, all in small steps.
type build struct {
	items   []item // loaded and not yet in the tree
	spare   []item // as long, once merging
	started bool
	width   int // length of the sorted runs in items; 0: not begun
	at      int // where the step under way stands: the next run, or the next item to insert
	merge   merge
	pass    int // of the insertion
}

// merge is one merge under way, of items[lo:mid] and items[mid:hi] to spare[lo:].
type merge struct{ i, mid, j, hi int }

const (
	runLength    = 256 // items sorted in one step, 15 µs
	stepsPerKey  = 16  // sorting steps that cost as much as one insertion
	buildAll     = 1 << 40
	insertPasses = 2
)

// Grow prepares an empty index for n keys to be loaded.
func (x *Index) Grow(n int) {
	x.table.reserve(n)
	x.build.items = slices.Grow(x.build.items, n)
}

// Load is Apply for what is read when a bucket is opened, in ascending order of
// revisions: it leaves the order of keys to [Index.BuildTree], and returns false
// and changes nothing if v is not newer than what the key has. The key is not
// kept. No snapshot may be open.
func (x *Index) Load(hash uint64, key []byte, v Version, floor kv.Revision) bool {
	name := unsafe.String(unsafe.SliceData(key), len(key)) // nothing keeps it
	slots, i := x.table.find(hash, name, &x.keys)
	switch {
	case i < 0 && x.build.started:
		x.Apply(hash, name, v, floor, nil)
	case i < 0:
		ref := x.add(hash, name, v)
		*x.keys.length(ref) |= entryPending
		x.build.items = append(x.build.items, itemOf(key, ref))
	case x.rows.revision(slots[i].row) >= v.Revision:
		return false
	default:
		x.supersede(&slots[i], v, floor, nil)
	}
	return true
}

// Ready reports whether every key is in the tree. A read.
func (x *Index) Ready() bool { return len(x.build.items) == 0 }

// BuildTree does the work of inserting n loaded keys into the tree and reports
// whether all are. Other writes may come between the calls, except Load.
func (x *Index) BuildTree(n int) (done bool) {
	b := &x.build
	b.started = true
	for budget := n * stepsPerKey; budget > 0 && !x.Ready(); {
		switch {
		case b.width < runLength:
			budget -= b.sortRun(x.order)
		case b.width < len(b.items):
			budget -= b.mergeRuns(x.order, budget)
		default:
			x.insertLoaded()
			budget -= stepsPerKey
		}
	}
	return x.Ready()
}

func (b *build) sortRun(o *order) (steps int) {
	run := b.items[b.at:min(b.at+runLength, len(b.items))]
	slices.SortFunc(run, o.compare)
	if b.at += runLength; b.at >= len(b.items) {
		b.width, b.at = runLength, 0
	}
	return len(run)
}

// mergeRuns merges up to n items of the pair of runs under way.
func (b *build) mergeRuns(o *order, n int) (steps int) {
	if b.spare == nil {
		b.spare = make([]item, len(b.items))
	}
	m := &b.merge
	if b.at == m.hi {
		m.i, m.mid, m.hi = b.at, min(b.at+b.width, len(b.items)), min(b.at+2*b.width, len(b.items))
		m.j = m.mid
	}
	for ; steps < n && b.at < m.hi; steps++ {
		if m.j == m.hi || m.i < m.mid && o.compare(b.items[m.i], b.items[m.j]) <= 0 {
			b.spare[b.at] = b.items[m.i]
			m.i++
		} else {
			b.spare[b.at] = b.items[m.j]
			m.j++
		}
		b.at++
	}
	if b.at == len(b.items) {
		b.items, b.spare = b.spare, b.items
		b.width *= 2
		b.at, b.merge = 0, merge{}
	}
	return steps
}

// compare is less as slices want it.
func (o *order) compare(a, b item) int {
	if c := cmp.Compare(a.prefix(), b.prefix()); c != 0 {
		return c
	}
	return bytes.Compare(o.keys.key(a.key), o.keys.key(b.key))
}

// insertLoaded inserts the next item. Every other one comes in a second pass:
// ascending insertion leaves nodes half full, and the second pass fills them.
func (x *Index) insertLoaded() {
	b := &x.build
	i := b.items[b.at]
	length := x.keys.length(i.key)
	if *length&entryDead != 0 {
		x.keys.drop(i.key)
	} else {
		*length &^= entryPending
		x.order.insert(i)
	}
	if b.at += insertPasses; b.at >= len(b.items) {
		if b.pass++; b.pass == insertPasses || b.pass >= len(b.items) {
			*b = build{started: true}
			return
		}
		b.at = b.pass
	}
}

// defers marks the entry of a key that is gone and reports true, if it is not
// in the tree yet: it is freed when its turn comes.
func (b *build) defers(keys *arena, key uint32) bool {
	length := keys.length(key)
	if *length&entryPending == 0 {
		return false
	}
	*length |= entryDead
	return true
}

func (b *build) memory() int64 {
	return int64(cap(b.items)+cap(b.spare)) * int64(unsafe.Sizeof(item{}))
}
