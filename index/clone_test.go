package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"kvd/kv"
)

// heldClone is an open snapshot and what its clone held when it was taken: the
// leaves, with their contents, and the separators between them.
type heldClone struct {
	s          *Snapshot
	keys       []string
	leaves     []*leaf
	contents   []leaf
	separators []string
}

func holdClone(x *Index) heldClone {
	h := heldClone{s: x.Snapshot()}
	h.s.Ascend("", func(key []byte, _ Version) bool {
		h.keys = append(h.keys, string(key))
		return true
	})
	h.s.leaves.Ascend(func(i item) bool {
		l := i.leaf()
		h.leaves, h.contents = append(h.leaves, l), append(h.contents, *l)
		if l.high != 0 {
			h.separators = append(h.separators, strings.Clone(x.keys.text(l.high)))
		}
		return true
	})
	return h
}

// check expects that nothing which the clone reaches was changed or freed.
func (h heldClone) check(t *testing.T) {
	t.Helper()
	n := 0
	h.s.leaves.Ascend(func(i item) bool {
		l := i.leaf()
		if l != h.leaves[n] || *l != h.contents[n] {
			t.Errorf("leaf %d of %d was changed under the clone", n, len(h.leaves))
			return false
		}
		if l.high != 0 && h.s.x.keys.text(l.high) != h.separators[n] {
			t.Errorf("separator %q is now %q", h.separators[n], h.s.x.keys.text(l.high))
			return false
		}
		n++
		return true
	})
	if n != len(h.leaves) {
		t.Errorf("the clone has %d leaves, had %d", n, len(h.leaves))
	}
	var keys []string
	h.s.Ascend("", func(key []byte, _ Version) bool {
		keys = append(keys, string(key))
		return true
	})
	if !slices.Equal(keys, h.keys) {
		t.Errorf("the clone has %d keys, had %d", len(keys), len(h.keys))
	}
	for i := 0; i < len(h.keys); i += 50 {
		if _, ok := h.s.Newest(h.keys[i]); !ok {
			t.Errorf("the clone does not find %q", h.keys[i])
		}
	}
}

// TestClonesKeepLeavesThatSplitAndJoin holds clones of several moments while the
// leaves that they reach split, join and are emptied.
func TestClonesKeepLeavesThatSplitAndJoin(t *testing.T) {
	for _, prefix := range []string{"", "service.eu.orders.", strings.Repeat("long/", 30)} {
		t.Run(fmt.Sprintf("prefix=%d", len(prefix)), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, uint64(len(prefix))))
			n := many(12_000)
			key := func(i int) string { return fmt.Sprintf("%s%05d", prefix, i) }
			x := New()
			rev := kv.Revision(0)
			var held []heldClone
			const rounds = 8
			for round := range rounds {
				for _, i := range rng.Perm(n) {
					rev++
					put(x, key(i), rev)
					if i == n/2 {
						held = append(held, holdClone(x)) // half of the leaves are still to split
					}
				}
				grown := x.tree.leaves.Len()
				held = append(held, holdClone(x))
				for _, i := range rng.Perm(n)[:n-1-n/(round+2)] {
					drop(x, key(i))
				}
				if round == rounds-1 && x.tree.leaves.Len() >= grown {
					t.Fatalf("%d leaves are left of %d", x.tree.leaves.Len(), grown)
				}
				checkTree(t, x)
				for _, h := range held {
					h.check(t)
				}
				for len(held) > 3 { // neither the oldest first nor the newest
					i := rng.IntN(len(held))
					held[i].s.Release()
					held = slices.Delete(held, i, i+1)
				}
			}
			for _, h := range held {
				h.check(t)
				h.s.Release()
			}
		})
	}
}

// TestSeparatorsAreFreedAfterTheirClones drops all keys under a clone. Their leaves
// join, so their separators are retired, and may be freed once the clone is gone,
// but not before: other keys would take their room.
func TestSeparatorsAreFreedAfterTheirClones(t *testing.T) {
	n := many(10_000)
	prefix := strings.Repeat("long/", 9) // separators that differ behind what an item holds
	x := New()
	for i := range n {
		put(x, fmt.Sprintf("%s%d", prefix, i), kv.Revision(i+1))
	}
	h := holdClone(x)
	held := x.keys.held
	for i := range n {
		drop(x, fmt.Sprintf("%s%d", prefix, i))
	}
	if got := x.tree.leaves.Len(); got != 1 {
		t.Fatalf("%d leaves without a key", got)
	}
	if x.keys.held < held {
		t.Fatalf("%d units of keys were freed under a clone", held-x.keys.held)
	}
	for i := range n {
		put(x, fmt.Sprintf("%s%x", strings.ToUpper(prefix), i), kv.Revision(n+i+1))
	}
	h.check(t)
	h.s.Release()
	for i := range n {
		drop(x, fmt.Sprintf("%s%x", strings.ToUpper(prefix), i))
	}
	for !x.queue.empty() {
		x.drain()
	}
	if x.keys.held != 0 {
		t.Fatalf("%d units of keys are held without a key or a clone", x.keys.held)
	}
}

// TestIndexesShareFreeNodes grows and empties two indexes beside each other, each
// under clones of its own, so that nodes which one gives back are the other's next.
// Under the race detector it finds a node that two of them use.
func TestIndexesShareFreeNodes(t *testing.T) {
	var writers sync.WaitGroup
	indexes := []*Index{New(), New()}
	for seed, x := range indexes {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(seed), 5))
			rev := kv.Revision(0)
			for range 4 {
				const n = 8000 // more than a hundred leaves: three nodes and a root
				for _, i := range rng.Perm(n) {
					rev++
					put(x, fmt.Sprint(seed, i), rev)
				}
				h := holdClone(x)
				var reader sync.WaitGroup
				reader.Go(func() { h.check(t) }) // without a lock, as readers do
				for _, i := range rng.Perm(n) {
					drop(x, fmt.Sprint(seed, i))
				}
				reader.Wait()
				h.check(t)
				h.s.Release()
			}
		})
	}
	writers.Wait()
	for _, x := range indexes {
		checkTree(t, x)
		if got := x.tree.leaves.Len(); got != 1 {
			t.Errorf("%d leaves without a key", got)
		}
	}
}
