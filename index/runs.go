package index

import (
	"math/bits"
	"unsafe"
)

// runs holds the slots of the bins of a large index: pages, in units of 64 slots. A bin has a run of
// units within a page.
type runs struct {
	supply *supply
	pages  []runPage
	from   [runMax + 1]int // by a run's length: no page before has room for it
	free   int             // units
}

type runPage struct {
	slots *[pageBytes / slotSize]slot
	free  uint64 // bit n: unit n
}

const (
	unitSlots = 64
	unitsPage = pageBytes / slotSize / unitSlots
	runMax    = 16 // units of a run; larger bins are in Go's heap
)

var _ = [1]struct{}{}[unitsPage-64] // the bits of runPage.free

// runID names a run: its page and its first unit, plus 1. 0 is none.
type runID uint32

// alloc returns zeroed slots: that many units, at most runMax.
func (r *runs) alloc(units int) ([]slot, runID) {
	page, first := r.room(units)
	p := &r.pages[page]
	p.free &^= runMask(units) << first
	r.free -= units
	slots := p.slots[first*unitSlots : (first+units)*unitSlots : (first+units)*unitSlots]
	clear(slots)
	return slots, runID(page*unitsPage + first + 1)
}

// room finds a run of free units. It adds a page if there is none.
func (r *runs) room(units int) (page, first int) {
	for page = r.from[units]; page < len(r.pages); page++ {
		if first = fit(r.pages[page].free, units); first < unitsPage {
			r.from[units] = page
			return page, first
		}
	}
	p := r.supply.page()
	if p == nil {
		p = unsafe.Pointer(new([pageBytes / slotSize]slot))
	}
	r.pages = append(r.pages, runPage{slots: (*[pageBytes / slotSize]slot)(p), free: 1<<unitsPage - 1})
	r.from[units] = page
	r.free += unitsPage
	return page, 0
}

// release takes a run back.
func (r *runs) release(id runID, units int) {
	page, first := int(id-1)/unitsPage, int(id-1)%unitsPage
	r.pages[page].free |= runMask(units) << first
	r.free += units
	for n := range r.from {
		r.from[n] = min(r.from[n], page)
	}
}

// fit returns the first of so many free units side by side, unitsPage if there are none.
func fit(free uint64, units int) int {
	for have := 1; have < units; {
		step := min(have, units-have)
		free &= free >> step
		have += step
	}
	return bits.TrailingZeros64(free)
}

func runMask(units int) uint64 { return 1<<units - 1 }

// unused returns the bytes of the free units.
func (r *runs) unused() int64 { return int64(r.free) * unitSlots * int64(slotSize) }
