package client

import (
	"context"
	"sync"
	"sync/atomic"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// watchConn is a connection that watches share. Its reader hands each event to the seat of
// its watch, and never waits for a consumer.
type watchConn struct {
	// Immutable.
	conns *watchConns
	conn  *conn

	taken   int          // seats; guarded by conns.mu
	waiting atomic.Int64 // bytes of the events that wait at the seats

	mu struct { // guards the fields inside
		sync.Mutex
		seats  map[uint64]*seat
		newest uint64 // number of a watch
		lost   error  // why no more watches are taken
	}
}

func newWatchConn(cs *watchConns, w *wire) *watchConn {
	c := &watchConn{conns: cs}
	c.mu.seats = make(map[uint64]*seat)
	c.conn = newConn(w, cs.client.address, &cs.client.calls, c.onLost)
	c.conn.onEvent = c.event
	return c
}

// begin begins the watch of a seat, at the seat's position.
func (c *watchConn) begin(ctx context.Context, s *seat) error {
	if err := c.add(s); err != nil {
		return err
	}
	err := c.ask(ctx, s)
	if err != nil {
		s.leave()
	}
	return err
}

// ask sends INFO and WATCH.
func (c *watchConn) ask(ctx context.Context, s *seat) error {
	calls := c.conn.calls
	info := calls.get(0)
	info.command = s.infoCommand()
	if err := c.do(ctx, s, info); err != nil {
		return err
	}
	s.mu.Lock()
	from := s.mu.next
	s.mu.begin(info.status.Revision, s.options.UpdatesOnly)
	s.mu.Unlock()
	info.free()
	watch := calls.get(0)
	watch.command = s.command(s.number, from)
	err := c.do(ctx, s, watch)
	if err == nil {
		watch.free()
	}
	return err
}

// do executes a command. If it returns nil, k has the answer and the caller frees it.
func (c *watchConn) do(ctx context.Context, s *seat, k *call) error {
	o := c.conn.do(ctx, k)
	switch {
	case o.fate == fateAnswered && o.err == nil:
		return nil
	case o.fate == fateAnswered:
		k.free()
		c.ended(s)
		return s.refused(o.err)
	case o.fate != fateAbandoned:
		k.free()
	}
	return o.err
}

// add gives a seat its number.
func (c *watchConn) add(s *seat) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.lost != nil {
		return c.mu.lost
	}
	c.mu.newest++
	s.conn, s.number = c, c.mu.newest
	c.mu.seats[s.number] = s
	return nil
}

// remove ends the watch of a seat, unless it has ended. The seat is free for another watch
// once UNWATCH is on its way.
func (c *watchConn) remove(s *seat) {
	if !c.forget(s) {
		return
	}
	k := c.conn.calls.get(lineproto.VerbUnwatch)
	k.command.Watch = s.number
	c.conn.post(k)
	c.conns.release(c)
}

// ended frees the seat of a watch that the server has ended.
func (c *watchConn) ended(s *seat) {
	if c.forget(s) {
		c.conns.release(c)
	}
}

// forget has later lines of the watch skipped. It reports whether they were not yet.
func (c *watchConn) forget(s *seat) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := c.mu.seats[s.number] == s
	delete(c.mu.seats, s.number)
	return there
}

// event hands on a line of a watch. Lines of a watch that was removed may still come.
func (c *watchConn) event(r *lineproto.Reply) error {
	c.mu.Lock()
	s, known := c.mu.seats[r.Watch], r.Watch <= c.mu.newest
	c.mu.Unlock()
	switch {
	case !known:
		return errUnasked
	case s != nil:
		s.take(r)
	}
	return nil
}

// onLost ends every watch of a connection that broke. It returns the error for calls.
func (c *watchConn) onLost(cause error) error {
	if c.conns.client.link.ctx.Err() != nil {
		cause = kv.ErrClosed
	}
	c.conns.drop(c)
	c.mu.Lock()
	c.mu.lost = cause
	seats := c.mu.seats
	c.mu.seats = nil
	c.mu.Unlock()
	for _, s := range seats {
		s.end(cause)
	}
	return cause
}
