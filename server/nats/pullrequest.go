package nats

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"kvd/server/nats/wire"
)

const messageNext = "CONSUMER.MSG.NEXT." // begins a subject of the API, after $JS.API.

// nextRequest is the body of a request for messages.
type nextRequest struct {
	Expires   time.Duration `json:"expires"`
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	NoWait    bool          `json:"no_wait"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
	// Of priority groups, which kvd does not have.
	Group         string `json:"group"`
	MinPending    int64  `json:"min_pending"`
	MinAckPending int64  `json:"min_ack_pending"`
	ID            string `json:"id"`
	Priority      int    `json:"priority"`
}

// parseNext reads the body of a request for messages: nothing, a number or JSON. refused is
// the status of a request that is not valid, and empty for a valid one.
func parseNext(body []byte) (ask nextRequest, refused string) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		ask.Batch = 1
		if n, err := strconv.Atoi(string(body)); err == nil {
			ask.Batch = n
		}
		return ask, ""
	}
	err := json.Unmarshal(body, &ask)
	switch {
	case err != nil:
		return ask, "400 Bad Request - " + err.Error()
	case ask.Heartbeat > 0 && 2*ask.Heartbeat > ask.Expires:
		return ask, "400 Bad Request - heartbeat value too large"
	}
	return ask, ""
}

// check returns the status of a request that exceeds a limit of the consumer, and the empty
// string if there is none.
func (a *nextRequest) check(c *consumerConfig) string {
	switch {
	case c.MaxBatch > 0 && a.Batch > c.MaxBatch:
		return "409 Exceeded MaxRequestBatch of " + strconv.Itoa(c.MaxBatch)
	case c.MaxExpires > 0 && a.Expires > c.MaxExpires:
		return "409 Exceeded MaxRequestExpires of " + c.MaxExpires.String()
	case c.MaxBytes > 0 && a.MaxBytes > c.MaxBytes:
		return "409 Exceeded MaxRequestMaxBytes of " + strconv.Itoa(c.MaxBytes)
	case a.MinPending != 0 || a.MinAckPending != 0:
		return "400 Bad Request - Not a Overflow Priority consumer"
	case a.ID != "":
		return "400 Bad Request - Not a Pinned Client Priority consumer"
	case a.Priority < 0 || a.Priority > 9:
		return "400 Bad Request - Priority must be between 0 and 9"
	}
	return ""
}

// request returns the request to wait, of which the reply subject and its subscriptions are
// still to be set.
func (a *nextRequest) request(now time.Time) *pullRequest {
	r := &pullRequest{messages: a.Batch, bytes: max(a.MaxBytes, 0), noWait: a.NoWait}
	if a.Expires != 0 {
		r.expires = now.Add(a.Expires)
	}
	if a.Heartbeat > 0 {
		r.heartbeat, r.beatDue = a.Heartbeat, now.Add(a.Heartbeat)
	}
	return r
}

// messageNext carries out CONSUMER.MSG.NEXT.<stream>.<consumer>, where names are the last
// two tokens. It reports whether there is such a consumer of the user.
func (c *conn) messageNext(o *wire.Operation, names string) bool {
	stream, name, _ := strings.Cut(names, ".")
	k := c.front.consumers.findNamed(c.user, stream, name)
	switch {
	case k == nil:
		return false
	case len(o.Reply) == 0:
		return true
	case k.pull == nil:
		c.answer(o.Reply, appendStatus(nil, endPush), nil)
		return true
	case requiresHigherLevel(o.Header, apiLevel):
		c.answer(o.Reply, appendStatus(nil, endLevel), nil)
		return true
	}
	c.InStore(func() { k.request(c, o.Reply, o.Payload) })
	return true
}

// request has messages delivered to a reply subject, as the body of a request asks for. The
// goroutine of the connection on calls it.
func (k *consumer) request(on *conn, reply, body []byte) {
	targets := k.front.subscriptionsTo(k.user, reply)
	if targets == nil {
		return // nobody hears the answer
	}
	now := time.Now()
	ask, refused := parseNext(body)
	if refused == "" {
		refused = ask.check(&k.config)
	}
	r := ask.request(now)
	r.reply, r.targets = bytes.Clone(reply), &targets
	k.polling.Lock()
	defer k.polling.Unlock()
	if k.removed.Load() {
		return
	}
	if refused == "" {
		refused = k.admit(r, now)
	}
	if refused != "" {
		k.sendStatus(r, appendStatus(nil, refused))
		return
	}
	if k.pollPull(on) {
		k.schedule()
	}
}

// admit adds a request to those that wait. It returns the status of a request that must not
// wait. The caller holds polling.
func (k *consumer) admit(r *pullRequest, now time.Time) (refused string) {
	p := k.pull
	p.lastActive = now
	if r.noWait && k.acks.isFull() && !p.waiting.isEmpty() && k.pending() < uint64(p.waiting.count()) {
		return endPending
	}
	if p.waiting.isFull() {
		k.sweepRequests(now)
	}
	switch {
	case !p.waiting.isFull():
		p.waiting.add(r)
	case r.heartbeat == 0:
		return endFull
	}
	return "" // one with heartbeats notices that they are missing; after a status it would ask again at once
}
