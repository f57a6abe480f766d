package index

import (
	"math/rand/v2"
	"testing"
)

// Runs are zeroed and do not overlap, whatever was released in between. What was released is used
// again before a page is added.
func TestRuns(t *testing.T) {
	const steps, most = 20_000, 200
	type held struct {
		id    runID
		slots []slot
	}
	rng := rand.New(rand.NewPCG(3, 4))
	r := runs{supply: &supply{large: true}}
	var all []held
	units := 0
	release := func(n int) {
		h := all[n]
		for i, s := range h.slots {
			if s.key != uint32(h.id) {
				t.Fatalf("slot %d of run %d was overwritten: %+v", i, h.id, s)
			}
		}
		units -= len(h.slots) / unitSlots
		r.release(h.id, len(h.slots)/unitSlots)
		all[n] = all[len(all)-1]
		all = all[:len(all)-1]
	}
	for range steps {
		if len(all) > rng.IntN(most) {
			release(rng.IntN(len(all)))
			continue
		}
		n := 1 + rng.IntN(runMax)
		slots, id := r.alloc(n)
		if len(slots) != n*unitSlots || cap(slots) != len(slots) {
			t.Fatalf("%d slots with room for %d, want %d units", len(slots), cap(slots), n)
		}
		for i := range slots {
			if slots[i] != (slot{}) {
				t.Fatalf("slot %d of run %d is %+v", i, id, slots[i])
			}
			slots[i].key = uint32(id)
		}
		all = append(all, held{id, slots})
		units += n
		if want := len(r.pages)*unitsPage - units; r.free != want {
			t.Fatalf("%d units are free, want %d", r.free, want)
		}
	}
	for len(all) > 0 {
		release(0)
	}
	pages := len(r.pages)
	for range pages * (unitsPage / runMax) {
		r.alloc(runMax)
	}
	if len(r.pages) != pages || r.free != 0 {
		t.Errorf("%d pages became %d, with %d units free", pages, len(r.pages), r.free)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		free        uint64
		units, want int
	}{
		{0, 1, 64}, {1, 1, 0}, {1 << 63, 1, 63}, {1 << 63, 2, 64}, {0b1011, 2, 0}, {0b11010, 2, 3},
		{0b111_0110, 3, 4}, {^uint64(0), 16, 0}, {0xffff << 48, 16, 48}, {0xfffe << 48, 16, 64},
		{^uint64(0) &^ (1 << 20), 43, 21}, {^uint64(0) &^ (1 << 20), 44, 64},
	} {
		if got := fit(c.free, c.units); got != c.want {
			t.Errorf("%d units of %b: at %d, want %d", c.units, c.free, got, c.want)
		}
	}
}

// A bin has room for one more key than it was made for, and no more room than a key in two needs.
func TestRoomFor(t *testing.T) {
	for n := range 5000 {
		size := roomFor(n)
		if limit(size) <= n {
			t.Errorf("%d keys fill a bin of %d slots", n, size)
		}
		if size >= unitSlots && size <= runMax*unitSlots && size%unitSlots != 0 {
			t.Errorf("a bin of %d slots is no run", size)
		}
		if n >= keysABin && n < 2*keysABin && float64(n)/float64(size) < 0.66 {
			t.Errorf("%d keys have a bin of %d slots", n, size)
		}
	}
}
