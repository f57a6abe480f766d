package nats

import (
	"strconv"
	"sync/atomic"

	"kvd/server/nats/wire"
)

// subscription is one SUB of a connection.
type subscription struct {
	// Immutable.
	conn    *conn
	user    string // who made it; empty: there are none
	sid     string
	subject string
	queue   string // empty: none

	delivered atomic.Uint64
	max       atomic.Uint64 // remove it after so many deliveries; 0: never
	closed    atomic.Bool
}

// subscribe carries out SUB.
func (c *conn) subscribe(o *wire.Operation) {
	if !wire.ValidSubject(o.Subject) {
		c.warn("Invalid Subject")
		return
	}
	c.subsMu.Lock()
	there, count := c.subs[string(o.SID)] != nil, len(c.subs)
	c.subsMu.Unlock()
	if there {
		return
	}
	if count >= subsMax {
		c.warn("maximum subscriptions exceeded: " + strconv.Itoa(subsMax))
		return
	}
	s := &subscription{conn: c, user: c.user, sid: string(o.SID), subject: string(o.Subject), queue: string(o.Queue)}
	c.subsMu.Lock()
	c.subs[s.sid] = s
	c.subsMu.Unlock()
	c.front.subs.insert(s.subject, s)
	c.front.consumers.interested(s)
}

// unsub carries out UNSUB.
func (c *conn) unsub(o *wire.Operation) {
	c.subsMu.Lock()
	s := c.subs[string(o.SID)]
	c.subsMu.Unlock()
	if s == nil {
		return
	}
	if o.Max > s.delivered.Load() {
		s.max.Store(o.Max)
		if !s.exhausted() { // by what was delivered meanwhile
			return
		}
	}
	c.unsubscribe(s)
}

// unsubscribe removes a subscription. A second time it does nothing.
func (c *conn) unsubscribe(s *subscription) {
	if s.closed.Swap(true) {
		return
	}
	c.subsMu.Lock()
	if c.subs[s.sid] == s {
		delete(c.subs, s.sid)
	}
	c.subsMu.Unlock()
	c.front.subs.remove(s.subject, s)
	c.front.consumers.lost(s)
}

func (c *conn) allSubs() []*subscription {
	c.subsMu.Lock()
	defer c.subsMu.Unlock()
	all := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		all = append(all, s)
	}
	return all
}

// take counts a delivery, and reports whether there may be one.
func (s *subscription) take() bool {
	if s.closed.Load() {
		return false
	}
	n := s.delivered.Add(1)
	limit := s.max.Load()
	return limit == 0 || n <= limit
}

// exhausted reports whether every delivery that the subscription is for was made.
func (s *subscription) exhausted() bool {
	limit := s.max.Load()
	return limit != 0 && s.delivered.Load() >= limit
}
