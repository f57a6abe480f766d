package client

import (
	"context"
	"errors"
	"slices"
	"sync"
)

const (
	// connsUsual is how many connections watches share, while each has seatsFew at least.
	connsUsual = 2
	seatsFew   = 64
	// seatsMax is how many watches a connection can have; the server allows no more.
	seatsMax = 1024
)

// errAlone is why no connection is shared.
var errAlone = errors.New("client: each watch has a connection of its own")

// watchConns are the connections that watches share. One of them is kept when it has no
// watch, for the next one.
type watchConns struct {
	// Immutable after Dial.
	client     *Client
	usual      int // connections; 0: none is shared
	waitingMax int // bytes at a seat

	dialing chan struct{} // capacity 1: held by the watch that dials, so that others use its connection

	mu struct { // guards the fields inside; it comes before the lock of the link
		sync.Mutex
		conns []*watchConn
	}
}

func (cs *watchConns) init(c *Client) {
	cs.client, cs.usual, cs.waitingMax, cs.dialing = c, connsUsual, waitingMax, make(chan struct{}, 1)
}

// seat begins the watch of a seat.
func (cs *watchConns) seat(ctx context.Context, s *seat) error {
	c, err := cs.get(ctx)
	if err != nil {
		return err
	}
	return c.begin(ctx, s)
}

// get returns a connection on which a seat is taken.
func (cs *watchConns) get(ctx context.Context) (*watchConn, error) {
	if cs.usual == 0 {
		return nil, errAlone
	}
	if c := cs.take(cs.usual); c != nil {
		return c, nil
	}
	select {
	case cs.dialing <- struct{}{}:
		defer func() { <-cs.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := cs.take(cs.usual); c != nil { // which another watch has made meanwhile
		return c, nil
	}
	c, err := cs.dial(ctx)
	if err != nil {
		if c := cs.take(0); c != nil {
			return c, nil
		}
	}
	return c, err
}

// take takes a seat on the connection with the fewest. It returns nil if all are full, or
// if there should be another: each has seatsFew, and there are fewer than usual.
func (cs *watchConns) take(usual int) *watchConn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.mu.conns) == 0 {
		return nil
	}
	c := slices.MinFunc(cs.mu.conns, func(a, b *watchConn) int { return a.taken - b.taken })
	if c.taken >= seatsMax || c.taken >= seatsFew && len(cs.mu.conns) < usual {
		return nil
	}
	c.taken++
	return c
}

// dial makes a connection on which a seat is taken.
func (cs *watchConns) dial(ctx context.Context) (*watchConn, error) {
	w, err := cs.client.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newWatchConn(cs, w)
	c.taken = 1
	if err := cs.add(c); err != nil {
		c.conn.close()
		return nil, err
	}
	return c, nil
}

// add adds a connection that is served: it ends the calls of every watch that takes a seat. If the
// connection breaks at once, it is dropped behind that.
func (cs *watchConns) add(c *watchConn) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if err := cs.client.link.serve(c.conn); err != nil {
		return err
	}
	cs.mu.conns = append(cs.mu.conns, c)
	return nil
}

// release gives a seat back. A connection without a seat is closed if there are others.
func (cs *watchConns) release(c *watchConn) {
	cs.mu.Lock()
	c.taken--
	spare := c.taken == 0 && len(cs.mu.conns) > 1
	if spare {
		cs.dropLocked(c)
	}
	cs.mu.Unlock()
	if spare {
		c.conn.close()
	}
}

// drop forgets a connection: it gets no more watches.
func (cs *watchConns) drop(c *watchConn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.dropLocked(c)
}

func (cs *watchConns) dropLocked(c *watchConn) {
	cs.mu.conns = slices.DeleteFunc(cs.mu.conns, func(other *watchConn) bool { return other == c })
}
