package client

import (
	"context"
	"sync"
)

// spareMax is how many idle connections are kept for listings.
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
	c.spare.Lock()
	if n := len(c.spare.wires); n > 0 {
		w := c.spare.wires[n-1]
		c.spare.wires = c.spare.wires[:n-1]
		c.spare.Unlock()
		return w, nil
	}
	c.spare.Unlock()
	return c.dial(ctx)
}

// putSpare keeps a connection whose listing is complete, up to spareMax.
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
