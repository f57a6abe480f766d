package nats

import (
	"strconv"
	"sync/atomic"

	"kvd/internal/view"
	"kvd/server/nats/wire"
)

// subscription is a subscription of a connection, made by SUB.
type subscription struct {
	// Immutable.
	conn    *conn
	user    string // of conn; empty if the server has no users
	sid     string
	subject string
	queue   string // empty if there is none

	delivered atomic.Uint64
	max       atomic.Uint64 // deliveries after which it is removed; 0 for no limit
	closed    atomic.Bool
}

// subscribe carries out SUB.
func (c *conn) subscribe(o *wire.Operation) {
	if !wire.ValidSubject(o.Subject) {
		c.sendError("Invalid Subject")
		return
	}
	c.subsMu.Lock()
	there, count := c.subs[string(o.SID)] != nil, len(c.subs)
	c.subsMu.Unlock()
	if there {
		return
	}
	if count >= subsMax {
		c.sendError("maximum subscriptions exceeded: " + strconv.Itoa(subsMax))
		return
	}
	if !c.memory.charge(costOf(view.String(o.Subject))) {
		c.sendError("maximum memory of subscriptions and consumers exceeded: " + strconv.FormatInt(c.memory.max, 10) + " bytes")
		return
	}
	s := &subscription{conn: c, user: c.user, sid: string(o.SID), subject: string(o.Subject), queue: string(o.Queue)}
	c.subsMu.Lock()
	c.subs[s.sid] = s
	c.subsMu.Unlock()
	c.front.subs.insert(s.subject, s)
	c.front.consumers.subscriptionAdded(s)
	c.transfers.wake()
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
		if !s.exhausted() { // by deliveries in the meantime
			return
		}
	}
	c.unsubscribe(s)
}

// unsubscribe removes a subscription. It does nothing if that was done before.
func (c *conn) unsubscribe(s *subscription) {
	if s.closed.Swap(true) {
		return
	}
	c.subsMu.Lock()
	if c.subs[s.sid] == s {
		delete(c.subs, s.sid)
	}
	c.subsMu.Unlock()
	c.memory.release(costOf(s.subject))
	c.front.subs.remove(s.subject, s)
	c.front.consumers.subscriptionRemoved(s)
}

// allSubs returns the connection's subscriptions.
func (c *conn) allSubs() []*subscription {
	c.subsMu.Lock()
	defer c.subsMu.Unlock()
	all := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		all = append(all, s)
	}
	return all
}

// countDelivery counts a delivery that is about to be made, and reports whether it may be.
func (s *subscription) countDelivery() bool {
	if s.closed.Load() {
		return false
	}
	n := s.delivered.Add(1)
	limit := s.max.Load()
	return limit == 0 || n <= limit
}

// exhausted reports whether the subscription has had its maximum of deliveries.
func (s *subscription) exhausted() bool {
	limit := s.max.Load()
	return limit != 0 && s.delivered.Load() >= limit
}
