package client

import (
	"context"
	"sync"
)

// spareMax is how many idle connections are kept for listings and watches.
const spareMax = 2

// spare is idle connections.
type spare struct {
	sync.Mutex
	wires []*wire
}

// takeSpare returns a connection for one listing. A kept connection may be broken: the
// first read shows it.
func (c *Client) takeSpare(ctx context.Context) (*wire, error) {
	if _, err := c.link.get(ctx); err != nil { // waits out a restart, and knows when the client is closed
		return nil, err
	}
	if w := c.keptWire(); w != nil {
		return w, nil
	}
	return c.dial(ctx)
}

// keptWire returns a connection that was kept, nil if there is none.
func (c *Client) keptWire() *wire {
	c.spare.Lock()
	defer c.spare.Unlock()
	n := len(c.spare.wires)
	if n == 0 {
		return nil
	}
	w := c.spare.wires[n-1]
	c.spare.wires = c.spare.wires[:n-1]
	return w
}

// putSpare keeps a connection without a listing and without a watch, up to spareMax.
func (c *Client) putSpare(w *wire) {
	c.spare.Lock()
	kept := len(c.spare.wires) < spareMax
	if kept {
		c.spare.wires = append(c.spare.wires, w)
	}
	c.spare.Unlock()
	if !kept {
		w.close()
	}
}

// dropSpares ends the connections that were kept.
func (c *Client) dropSpares() {
	c.spare.Lock()
	wires := c.spare.wires
	c.spare.wires = nil
	c.spare.Unlock()
	for _, w := range wires {
		w.close()
	}
}
