package admin

import (
	"sync"
	"sync/atomic"
)

// counter is a number that all processors raise without waiting for each other.
// A shared one costs a read of 0.7 µs another 0.1 µs as soon as two count in it.
type counter [cells]cell

// cells is how many processors may count at once before two share a cell.
const cells = 8

// cell has a cache line of its own.
type cell struct {
	n atomic.Uint64
	_ [56]byte
}

// place is the number of a cell. A sync.Pool keeps one for each processor, which
// is nearer to "the cell of this processor" than the language gets otherwise.
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
