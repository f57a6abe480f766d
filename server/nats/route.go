package nats

import (
	"bytes"

	"kvd/server/nats/wire"
)

var noResponders = []byte("NATS/1.0 503\r\n\r\n")

// publish routes a message: to subscriptions, and to what the server itself answers.
// An error ends the connection.
func (c *conn) publish(o *wire.Operation) error {
	if o.Verb == wire.VerbHPub && !c.options.Headers {
		return wire.ErrMalformed
	}
	if c.options.Pedantic && !wire.IsLiteral(o.Subject) {
		c.warn("Invalid Publish Subject")
		c.ok()
		return nil
	}
	c.ok()
	served := c.route(o) > 0
	if len(o.Subject) > 0 && o.Subject[0] == '$' {
		served = c.serveOwn(o) || served
	} else {
		served = c.publishPlain(o) || served
	}
	if !served && len(o.Reply) > 0 && c.options.NoResponders {
		c.answer(o.Reply, noResponders, nil)
	}
	return nil
}

// serveOwn has the server answer a message to one of its own subjects, and reports
// whether it was one.
func (c *conn) serveOwn(o *wire.Operation) bool {
	switch {
	case bytes.HasPrefix(o.Subject, []byte(wire.KeyPrefix)):
		return c.publishKey(o) || c.publishPlain(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.DirectGetPrefix)):
		c.finishRun() // what was published before is there
		return c.directGet(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.APIPrefix)):
		c.finishRun()
		return c.api(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.AckPrefix)):
		return true // nobody waits for it: consumers need no acknowledgement
	case bytes.HasPrefix(o.Subject, []byte(wire.FlowControlPrefix)):
		c.front.consumers.flowed(string(o.Subject))
		return true
	case bytes.HasPrefix(o.Subject, []byte(wire.SystemPrefix)):
		return c.system(o) || c.publishPlain(o)
	}
	return c.publishPlain(o)
}

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
