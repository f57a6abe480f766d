package nats

import (
	"kvd/server/nats/wire"
)

// route delivers a message to the subscriptions that its subject reaches, to one of each
// queue group, and returns their number.
func (c *conn) route(o *wire.Operation) int {
	c.matched = c.front.subs.match(c.matched[:0], o.Subject)
	n := 0
	for i := range c.matched {
		if s := c.matched[i]; !c.reaches(s) || s.queue != "" && !c.choosesGroup(i) {
			continue
		}
		n++
		c.deliver(c.matched[i], o.Subject, o.Reply, o.Header, o.Payload)
	}
	clear(c.matched)
	return n
}

// reaches reports whether a message of this client may be delivered to a subscription: it
// must be of the same user, and not of a client that wants no echo of its own messages.
func (c *conn) reaches(s *subscription) bool {
	return s.user == c.user && (s.conn != c || c.options.Echo)
}

// choosesGroup reports whether the subscription at i of matched is the first of its queue
// group. If so, it moves a random member of the group to i, and the others behind it.
func (c *conn) choosesGroup(i int) bool {
	s := c.matched[i]
	for _, before := range c.matched[:i] {
		if before.queue == s.queue && c.reaches(before) {
			return false
		}
	}
	members := 1
	for j := i + 1; j < len(c.matched); j++ {
		other := c.matched[j]
		if other.queue != s.queue || !c.reaches(other) {
			continue
		}
		members++
		if c.randomBelow(members) == 0 {
			c.matched[i], c.matched[j] = c.matched[j], c.matched[i]
		}
	}
	return true
}

// randomBelow returns a random number from 0 to n-1.
func (c *conn) randomBelow(n int) int {
	c.randomState = c.randomState*6364136223846793005 + 1442695040888963407
	return int((c.randomState >> 33) % uint64(n))
}

// answer delivers an answer of the server to the subscriptions of the same user.
func (c *conn) answer(subject, header, payload []byte) {
	if len(subject) == 0 {
		return
	}
	c.matched = c.front.subs.match(c.matched[:0], subject)
	for _, s := range c.matched {
		if s.user == c.user {
			c.deliver(s, subject, nil, header, payload)
		}
	}
	clear(c.matched)
}

// deliver appends a message to the output of a subscription's connection.
func (c *conn) deliver(s *subscription, subject, reply, header, payload []byte) {
	if !s.countDelivery() {
		return
	}
	if !s.conn.headers.Load() {
		header = nil
	}
	s.conn.out.AppendMessage(subject, s.sid, reply, header, payload)
	if s.conn != c {
		c.flushLater(s.conn)
	}
	if s.exhausted() {
		s.conn.unsubscribe(s)
	}
}

// flushLater has another connection's output flushed at the end of the round.
func (c *conn) flushLater(other *conn) {
	if c.peersToFlush == nil {
		c.peersToFlush = make(map[*conn]struct{})
	}
	c.peersToFlush[other] = struct{}{}
}

// sendPublishViolation tells a client that its user must not publish to the subject.
func (c *conn) sendPublishViolation(o *wire.Operation) {
	c.sendError(`Permissions Violation for Publish to "` + string(o.Subject) + `"`)
}
