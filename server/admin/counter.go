package admin

import (
	"sync"
	"sync/atomic"
)

// counter is a number that all processors raise without waiting for each other. With
// one shared number, a read of 0.7 µs takes 0.1 µs more as soon as two processors count.
type counter [cells]cell

// cells is how many processors can count at once before two share a cell.
const cells = 8

// cell has a cache line of its own.
type cell struct {
	n atomic.Uint64
	_ [56]byte
}

// place is the number of a cell. A sync.Pool keeps one for each processor: Go has no
// closer way to a cell of the current processor.
type place struct{ cell uint32 }

var (
	placed atomic.Uint32
	places = sync.Pool{New: func() any { return &place{placed.Add(1) % cells} }}
)

// add counts one.
func (c *counter) add() {
	p := places.Get().(*place)
	c[p.cell].n.Add(1)
	places.Put(p)
}

// sum returns the number.
func (c *counter) sum() (n uint64) {
	for i := range c {
		n += c[i].n.Load()
	}
	return n
}
