package nats

import (
	"bytes"
	"strconv"
	"strings"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// publishKey stores a message to a bucket's key, and reports whether there is such a
// bucket.
func (c *conn) publishKey(o *wire.Operation) bool {
	name, _, ok := wire.CutKey(o.Subject)
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
func (c *conn) publishPlain(o *wire.Operation) bool {
	bucket := c.front.plains.capturing(o.Subject)
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
func (c *conn) publishTo(s *stream, o *wire.Operation) {
	var h wire.PublishHeaders
	if len(o.Header) > 0 {
		wire.ReadPublishHeaders(o.Header, &h)
	}
	key, _ := s.layout.Key(o.Subject)
	m := kv.Mutation{Bucket: s.name, Op: kv.MutatePut, Key: key, Value: o.Payload}
	if s.layout.OnePerMessage {
		m.Op = msglog.Append
	}
	p := publication{stream: s, reply: o.Reply}
	failure := c.admit(s, o, &h)
	if failure == nil {
		failure = condition(o, &h, &m, &p)
	}
	if failure == nil && h.Schedule {
		failure = c.unmetOr(&p, &m, jsapi.ErrScheduleDisabled)
	}
	if failure == nil {
		if len(h.MsgID) > 0 && !c.reserveID(&p, string(h.MsgID), &m) {
			return
		}
		failure = c.shape(&p, o, &h, &m)
	}
	if failure != nil {
		c.finishRun() // acknowledgements come in the order of the messages
		c.settleID(&p, &m)
		c.acknowledge(o.Reply, s, 0, failure)
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
func (c *conn) admit(s *stream, o *wire.Operation, h *wire.PublishHeaders) *jsapi.Error {
	if err := c.mayPublish(s, h); err != nil {
		return err
	}
	switch {
	case int64(len(o.Header)+len(o.Payload)) > s.config.SizeLimit():
		return jsapi.ErrMessageTooLarge
	case len(o.Header) > kv.MaxHeadersSize:
		return jsapi.ErrHeaderTooLarge
	case h.Batch:
		return jsapi.ErrBatchDisabled
	case h.Increment:
		return jsapi.ErrCounterDisabled
	case len(h.ExpectedStream) > 0 && string(h.ExpectedStream) != s.config.Name:
		return jsapi.ErrExpectedStream
	}
	if len(h.TTL) > 0 && !s.config.AllowMsgTTL {
		if _, valid := wire.ParseTTL(string(h.TTL)); valid {
			return jsapi.ErrTTLDisabled
		}
	}
	return nil
}

// shape makes the mutation what the operation, rollup and TTL headers say. What the
// AppendMessage expects comes before its refusals.
func (c *conn) shape(p *publication, o *wire.Operation, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	failure := c.rollup(p, h, m)
	if failure == nil {
		failure = lifetime(p.stream, h, m)
	}
	if failure != nil || p.guard != nil {
		c.finishRun() // what was published before counts
	}
	if failure != nil || p.guard != nil && !p.stream.layout.IsMessageStream() {
		c.InStore(func() {
			if unmet := c.hold(p, m); unmet != nil {
				failure = unmet
			}
		})
	}
	m.Headers = wire.StoredHeader(o.Header, m.Op)
	return failure
}

// lifetime gives the mutation its TTL.
func lifetime(s *stream, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	ttl, valid := wire.ParseTTL(string(h.TTL))
	switch {
	case !valid:
		return jsapi.ErrInvalidTTL
	case ttl.Never && s.config.MaxAge > 0:
		return jsapi.BadRequest("a message that never expires in a bucket where all do is not supported")
	case ttl.TTL > 0 && m.Op == kv.MutateDelete && s.config.MaxMsgsPerSubject > 1:
		return jsapi.BadRequest("the TTL of a delete marker is not supported where a history is kept: a purge marker has one")
	case ttl.TTL > 0 && m.Op == kv.MutateDelete:
		m.Op = kv.MutatePurge // without a history it is the same
	}
	m.TTL = ttl.TTL
	return nil
}

// mayPublish checks the user's permission to write.
func (c *conn) mayPublish(s *stream, h *wire.PublishHeaders) *jsapi.Error {
	if h.IsMarker() && !s.layout.IsMessageStream() {
		return c.may(server.MayDel, "del", s.name)
	}
	return c.may(server.MayPut, "put", s.name)
}

// Rollup makes the mutation what the operation and the rollup headers say.
func (c *conn) rollup(p *publication, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	switch value := strings.ToLower(string(h.Rollup)); {
	case value == "":
	case !p.stream.config.AllowRollup || p.stream.config.DenyPurge:
		return jsapi.ErrNoRollup
	case value == "all":
		if err := c.may(server.MayAdmin, "admin", p.stream.name); err != nil { // as for a purge of the stream
			return err
		}
		p.replaces = ">"
	case value != "sub":
		return jsapi.NewError(500, 10111, "rollup value invalid: "+strconv.Quote(value))
	case p.stream.layout.OnePerMessage:
		p.replaces = m.Key + ".*"
	}
	if p.stream.layout.IsMessageStream() { // nothing of its messages is a marker
		m.Rollup = len(h.Rollup) > 0 && !p.stream.layout.OnePerMessage
		return nil
	}
	marker := h.IsMarker()
	switch {
	case marker && len(m.Value) > 0:
		return jsapi.BadRequest("a marker with a payload is not supported")
	case marker && len(h.Rollup) > 0:
		m.Op = kv.MutatePurge
	case marker:
		m.Op = kv.MutateDelete
	default:
		m.Rollup = len(h.Rollup) > 0
	}
	return nil
}

// acknowledge answers a publish.
func (c *conn) acknowledge(reply []byte, s *stream, seq uint64, failure *jsapi.Error) {
	if len(reply) == 0 {
		return
	}
	b := c.header[:0]
	if failure != nil {
		b = append(b, `{"error":`...)
		b = append(b, jsapi.EncodeJSON(failure)...)
		b = append(b, ',')
	} else {
		b = append(b, '{')
	}
	b = append(b, `"stream":`...)
	b = append(b, s.layout.QuotedStream...)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	c.header = append(b, '}')
	c.answer(reply, nil, c.header)
}
