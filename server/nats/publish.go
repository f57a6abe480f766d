package nats

import (
	"bytes"
	"strconv"
	"strings"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
)

// publishKey stores a message to a bucket's key, and reports whether there is such a
// bucket.
func (c *conn) publishKey(o *op) bool {
	name, _, ok := cutKey(o.subject)
	if !ok || bytes.HasPrefix(name, []byte(msglog.ReservedBucket)) {
		return false
	}
	s, err := c.stream(name)
	if err != nil {
		return false
	}
	c.publishTo(s, o)
	return true
}

// publishPlain stores a message to a subject of a plain stream, and reports whether
// there is one that captures it. For a user who may do nothing with it there is none.
func (c *conn) publishPlain(o *op) bool {
	bucket := c.front.plains.capturing(o.subject)
	if bucket == "" || !c.May(server.MayAny, bucket) {
		return false
	}
	s, err := c.stream([]byte(bucket))
	if err != nil {
		return false
	}
	c.publishTo(s, o)
	return true
}

// publishTo stores a message, or refuses it.
func (c *conn) publishTo(s *stream, o *op) {
	var h publishHeaders
	if len(o.header) > 0 {
		readPublishHeaders(o.header, &h)
	}
	key, _ := s.layout.key(o.subject)
	m := kv.Mutation{Bucket: s.name, Op: kv.MutatePut, Key: key, Value: o.payload}
	if s.layout.apart {
		m.Op = msglog.Append
	}
	p := publication{stream: s, reply: o.reply}
	failure := c.admit(s, o, &h)
	if failure == nil {
		failure = condition(o, &h, &m, &p)
	}
	if failure == nil && h.schedule {
		failure = c.unmetOr(&p, &m, errScheduleDisabled)
	}
	if failure == nil {
		if len(h.msgID) > 0 && !c.reserveID(&p, string(h.msgID), &m) {
			return
		}
		failure = c.shape(&p, o, &h, &m)
	}
	if failure != nil {
		c.finishRun() // acknowledgements come in the order of the messages
		c.settleID(&p, &m)
		c.acknowledge(o.reply, s, 0, failure)
		return
	}
	c.endRunBefore(s)
	c.run.mutations = append(c.run.mutations, m)
	c.run.entries = append(c.run.entries, p)
	if len(c.run.mutations) >= runMax || p.guard != nil { // what stands behind a guarded message comes after it
		c.finishRun()
	}
}

// admit checks what comes before a message's condition.
func (c *conn) admit(s *stream, o *op, h *publishHeaders) *apiError {
	if err := c.mayPublish(s, h); err != nil {
		return err
	}
	switch {
	case int64(len(o.header)+len(o.payload)) > s.config.sizeLimit():
		return errMessageTooLarge
	case len(o.header) > kv.MaxHeadersSize:
		return errHeaderTooLarge
	case h.batch:
		return errBatchDisabled
	case h.increment:
		return errCounterDisabled
	case len(h.stream) > 0 && string(h.stream) != s.config.Name:
		return errExpectedStream
	}
	if len(h.ttl) > 0 && !s.config.AllowMsgTTL {
		if _, valid := parseTTL(string(h.ttl)); valid {
			return errTTLDisabled
		}
	}
	return nil
}

// shape makes the mutation what the operation, rollup and TTL headers say. What the
// message expects comes before its refusals.
func (c *conn) shape(p *publication, o *op, h *publishHeaders, m *kv.Mutation) *apiError {
	failure := c.rollup(p, h, m)
	if failure == nil {
		failure = lifetime(p.stream, h, m)
	}
	if failure != nil || p.guard != nil {
		c.finishRun() // what was published before counts
	}
	if failure != nil || p.guard != nil && !p.stream.layout.isPlain() {
		c.InStore(func() {
			if unmet := c.hold(p, m); unmet != nil {
				failure = unmet
			}
		})
	}
	m.Headers = storedHeader(o.header, m.Op)
	return failure
}

// lifetime gives the mutation its TTL.
func lifetime(s *stream, h *publishHeaders, m *kv.Mutation) *apiError {
	ttl, valid := parseTTL(string(h.ttl))
	switch {
	case !valid:
		return errInvalidTTL
	case ttl.never && s.config.MaxAge > 0:
		return badRequest("a message that never expires in a bucket where all do is not supported")
	case ttl.ttl > 0 && m.Op == kv.MutateDelete && s.config.MaxMsgsPerSubject > 1:
		return badRequest("the TTL of a delete marker is not supported where a history is kept: a purge marker has one")
	case ttl.ttl > 0 && m.Op == kv.MutateDelete:
		m.Op = kv.MutatePurge // without a history it is the same
	}
	m.TTL = ttl.ttl
	return nil
}

// isMarker reports whether the message deletes or purges its key.
func (h *publishHeaders) isMarker() bool {
	return string(h.operation) == operationDel || string(h.operation) == operationPurge
}

// mayPublish checks the user's permission to write.
func (c *conn) mayPublish(s *stream, h *publishHeaders) *apiError {
	if h.isMarker() && !s.layout.isPlain() {
		return c.may(server.MayDel, "del", s.name)
	}
	return c.may(server.MayPut, "put", s.name)
}

// rollup makes the mutation what the operation and the rollup headers say.
func (c *conn) rollup(p *publication, h *publishHeaders, m *kv.Mutation) *apiError {
	switch value := strings.ToLower(string(h.rollup)); {
	case value == "":
	case !p.stream.config.AllowRollup || p.stream.config.DenyPurge:
		return errNoRollup
	case value == "all":
		if err := c.may(server.MayAdmin, "admin", p.stream.name); err != nil { // as for a purge of the stream
			return err
		}
		p.replaces = ">"
	case value != "sub":
		return &apiError{500, 10111, "rollup value invalid: " + strconv.Quote(value)}
	case p.stream.layout.apart:
		p.replaces = m.Key + ".*"
	}
	if p.stream.layout.isPlain() { // nothing of its messages is a marker
		m.Rollup = len(h.rollup) > 0 && !p.stream.layout.apart
		return nil
	}
	marker := h.isMarker()
	switch {
	case marker && len(m.Value) > 0:
		return badRequest("a marker with a payload is not supported")
	case marker && len(h.rollup) > 0:
		m.Op = kv.MutatePurge
	case marker:
		m.Op = kv.MutateDelete
	default:
		m.Rollup = len(h.rollup) > 0
	}
	return nil
}

// acknowledge answers a publish.
func (c *conn) acknowledge(reply []byte, s *stream, seq uint64, failure *apiError) {
	if len(reply) == 0 {
		return
	}
	b := c.header[:0]
	if failure != nil {
		b = append(b, `{"error":`...)
		b = append(b, encodeJSON(failure)...)
		b = append(b, ',')
	} else {
		b = append(b, '{')
	}
	b = append(b, `"stream":`...)
	b = append(b, s.layout.quoted...)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	c.header = append(b, '}')
	c.answer(reply, nil, c.header)
}
