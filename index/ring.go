package index

import (
	"math/bits"
	"unsafe"

	"kvd/kv"
)

// ring lists the rows of a long chain, so that the rows at its old end are found without a
// walk: each step of a walk waits for memory, and a put to a key with a full history looks
// for the oldest versions that stay. A ring holds the chain as it is at present, without
// what only snapshots see. Reads may use it beside each other.
//
// It is a cache. Where a chain changes in another way than at its two ends, its ring is
// removed, and the next put that walks the chain makes another.
type ring struct {
	*ringHead
	rows []uint32 // a power of two; the newest is at first+count-1
}

type ringHead struct {
	count uint32
	first uint32 // where in rows the oldest is
}

// Shorter chains are walked. A chain that is longer than ringMost is walked too: the engine
// keeps no more than 64 versions of a key.
const (
	ringLeast = 16
	ringMost  = kv.MaxHistory
)

// rings finds the rings of keys by their entries. The rings lie in the arena of the keys.
type rings map[uint32]ringRef

type ringRef struct{ at, size uint32 }

// ringUnits returns the units of a ring with room for size rows.
func ringUnits(size uint32) uint32 { return 1 + size/2 }

// ringOf returns the ring of a key. ok is false if it has none.
func (x *Index) ringOf(key uint32) (r ring, ok bool) {
	if len(x.rings) == 0 {
		return ring{}, false
	}
	ref, ok := x.rings[key]
	if !ok {
		return ring{}, false
	}
	return x.keys.ring(ref), true
}

func (a *arena) ring(ref ringRef) ring {
	return ring{(*ringHead)(a.unit(ref.at)), unsafe.Slice((*uint32)(a.unit(ref.at+1)), ref.size)}
}

// at returns the n-th row, 0 is the newest.
func (r ring) at(n uint32) uint32 {
	return r.rows[(r.first+r.count-1-n)%uint32(len(r.rows))]
}

// divide is [Index.divide] of the ring's chain.
func (r ring) divide(rows *rows, floor kv.Revision) division {
	c := division{stay: r.count}
	for c.stay > 0 && rows.revision(r.at(c.stay-1)) < floor {
		c.stay--
	}
	if c.stay > 0 {
		c.last = r.at(c.stay - 1)
	}
	if c.left = r.count - c.stay; c.left > 0 {
		c.rest = r.at(c.stay)
	}
	return c
}

// keep removes all rows but the newest stay.
func (r ring) keep(stay uint32) {
	r.first += r.count - stay
	r.count = stay
}

// extendRing brings the ring of a key to its chain, whose newest stay rows stay, behind a
// new row. It makes a ring if the chain became long.
func (x *Index) extendRing(key, stay, row uint32) {
	r, ok := x.ringOf(key)
	switch {
	case ok && stay >= ringLeast && stay < uint32(len(r.rows)):
		r.keep(stay)
		r.count++
		r.rows[(r.first+stay)%uint32(len(r.rows))] = row
	case ok || stay >= ringLeast:
		x.removeRing(key)
		x.makeRing(key, row, stay+1)
	}
}

// makeRing makes the ring of a chain that begins with row, if its length allows.
func (x *Index) makeRing(key, row, count uint32) {
	if count <= ringLeast || count > ringMost {
		return
	}
	if x.rings == nil {
		x.rings = make(rings)
	}
	ref := ringRef{size: 1 << bits.Len32(count-1)}
	ref.at = x.keys.alloc(ringUnits(ref.size))
	x.rings[key] = ref
	r := x.keys.ring(ref)
	r.count, r.first = count, 0
	for n := range count {
		r.rows[count-1-n] = row
		row = x.rows.older(row)
	}
}

// removeRing removes the ring of a key, if it has one.
func (x *Index) removeRing(key uint32) {
	ref, ok := x.rings[key]
	if !ok {
		return
	}
	delete(x.rings, key)
	x.keys.free(ref.at, ringUnits(ref.size))
}

// memory returns about how many bytes the map takes. The rings are the arena's.
func (r rings) memory() int64 {
	const entry = 16 // with the room that a map leaves
	return int64(len(r)) * entry
}
