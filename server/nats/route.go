package nats

import (
	"kvd/server/nats/wire"
)

// route delivers a message to the subscriptions that its subject reaches, one of each
// Queue group, and returns how many they are.
func (c *conn) route(o *wire.Operation) int {
	c.found = c.front.subs.match(c.found[:0], o.Subject)
	n := 0
	for i := range c.found {
		if s := c.found[i]; !c.reaches(s) || s.queue != "" && !c.drawn(i) {
			continue
		}
		n++
		c.deliver(c.found[i], o.Subject, o.Reply, o.Header, o.Payload)
	}
	clear(c.found)
	return n
}

// reaches reports whether what this client publishes may come to the subscription:
// users are strangers to each other, and some clients do not want to hear themselves.
func (c *conn) reaches(s *subscription) bool {
	return s.user == c.user && (s.conn != c || c.options.Echo)
}

// drawn reports whether the subscription at i, the first of its queue group in found
// that has not been looked at, stands for the group: then the member that the draw
// falls on is moved there. The others are never looked at again.
func (c *conn) drawn(i int) bool {
	s := c.found[i]
	for _, before := range c.found[:i] {
		if before.queue == s.queue && c.reaches(before) {
			return false
		}
	}
	members := 1
	for j := i + 1; j < len(c.found); j++ {
		other := c.found[j]
		if other.queue != s.queue || !c.reaches(other) {
			continue
		}
		members++
		if c.draw(members) == 0 {
			c.found[i], c.found[j] = c.found[j], c.found[i]
		}
	}
	return true
}

// draw returns a number below n, each as likely as the others.
func (c *conn) draw(n int) int {
	c.draws = c.draws*6364136223846793005 + 1442695040888963407
	return int((c.draws >> 33) % uint64(n))
}

// answer delivers a message of the server to whoever asked: to a subscription of the
// same user.
func (c *conn) answer(subject, header, payload []byte) {
	if len(subject) == 0 {
		return
	}
	c.found = c.front.subs.match(c.found[:0], subject)
	for _, s := range c.found {
		if s.user == c.user {
			c.deliver(s, subject, nil, header, payload)
		}
	}
	clear(c.found)
}

// deliver appends a message to a subscription's connection.
func (c *conn) deliver(s *subscription, subject, reply, header, payload []byte) {
	if !s.take() {
		return
	}
	if !s.conn.headers.Load() {
		header = nil
	}
	s.conn.out.AppendMessage(subject, s.sid, reply, header, payload)
	if s.conn != c {
		c.touch(s.conn)
	}
	if s.exhausted() {
		s.conn.unsubscribe(s)
	}
}

// touch notes that another connection has something to write.
func (c *conn) touch(other *conn) {
	if c.touched == nil {
		c.touched = make(map[*conn]struct{})
	}
	c.touched[other] = struct{}{}
}

// violation tells a client that it published what its user may not.
func (c *conn) violation(o *wire.Operation) {
	c.warn(`Permissions Violation for Publish to "` + string(o.Subject) + `"`)
}
