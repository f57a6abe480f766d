package bucket

import (
	"math/bits"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// A mutation is judged against the newest state of its key. That state includes the
// records of its own group. They are not in the index yet, so this file finds them.

// newest returns the newest record of the mutation's key, and whether there is one.
// prev is the newest effect of the group on that key, -1 for none. The caller holds the
// bucket's mu.
func (g *group) newest(m *mutation, prev int) (index.Version, bool) {
	floor := g.pendingFloor(prev)
	for ; prev >= 0; prev = g.effects[prev].prev {
		if e := &g.effects[prev]; e.op != segment.Erase {
			return e.version, e.version.Revision >= floor
		}
	}
	v, ok := m.bucket.mu.index.Newest(m.hash, m.key)
	return v, ok && v.Revision >= floor
}

// pendingFloor returns the floor that the group has given a key so far, 0 for none.
// prev is the newest effect of the group on that key, -1 for none.
func (g *group) pendingFloor(prev int) kv.Revision {
	if prev < 0 {
		return 0
	}
	return g.effects[prev].floor
}

// pendingTable finds the newest effect of a group on a key. It is a hash table with open
// addressing over the effects, sized for one group.
type pendingTable struct {
	slots []int32 // effect + 1; 0 is empty
}

func (t *pendingTable) reset() { clear(t.slots) }

// grow makes room for n effects. It empties the table.
func (t *pendingTable) grow(n int) {
	size := 1 << bits.Len(uint(2*n))
	if cap(t.slots) < size {
		t.slots = make([]int32, size)
	}
	t.slots = t.slots[:size]
	clear(t.slots)
}

// find returns the newest effect on the mutation's key, -1 for none.
func (t *pendingTable) find(g *group, m *mutation) int {
	mask := uint64(len(t.slots) - 1)
	for i := m.hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		n := int(t.slots[i] - 1)
		if e := &g.effects[n]; e.hash == m.hash && e.key == m.key && g.parts[e.part].bucket == m.bucket {
			return n
		}
	}
	return -1
}

// has reports whether the group has an effect on the mutation's key.
func (t *pendingTable) has(g *group, m *mutation) bool {
	return len(g.effects) > 0 && t.find(g, m) >= 0
}

// set makes e the newest effect on its key. n is the number that e gets in the group.
func (t *pendingTable) set(n int, e *effect) {
	mask := uint64(len(t.slots) - 1)
	i := e.hash & mask
	for ; t.slots[i] != 0 && t.slots[i] != int32(e.prev+1); i = (i + 1) & mask {
	}
	t.slots[i] = int32(n + 1)
}

// unset takes back the set of effect n, e, which is the last that was made: the effect before it
// is the newest on its key again. Taken back in the reverse order, no probe loses its way.
func (t *pendingTable) unset(n int, e *effect) {
	mask := uint64(len(t.slots) - 1)
	i := e.hash & mask
	for t.slots[i] != int32(n+1) {
		i = (i + 1) & mask
	}
	t.slots[i] = int32(e.prev + 1)
}
