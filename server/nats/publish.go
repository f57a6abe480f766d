package nats

import (
	"bytes"
	"fmt"
	"strings"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// A publish goes through four files: conn.go reads it from the socket, capture.go finds the
// stream, this one checks the message step by step, and batch.go stores and acknowledges it.

var noResponders = []byte("NATS/1.0 503\r\n\r\n")

// publish carries out PUB or HPUB: the message goes to the subscriptions that its subject
// reaches, and to the part of the server that the subject belongs to. An error ends the
// connection.
func (c *conn) publish(o *wire.Operation) error {
	if o.Verb == wire.VerbHPub && !c.options.Headers {
		return wire.ErrMalformed
	}
	if c.options.Pedantic && !wire.IsLiteral(o.Subject) {
		c.sendError("Invalid Publish Subject")
		c.sendOK()
		return nil
	}
	c.sendOK()
	served := c.route(o) > 0
	if len(o.Subject) > 0 && o.Subject[0] == '$' {
		served = c.serveSystem(o) || served
	} else {
		served = c.publishMessage(o) || served
	}
	if !served && len(o.Reply) > 0 && c.options.NoResponders {
		c.answer(o.Reply, noResponders, nil)
	}
	return nil
}

// serveSystem serves a message to a subject that begins with "$", and reports whether the
// server has anything of that subject.
func (c *conn) serveSystem(o *wire.Operation) bool {
	switch {
	case bytes.HasPrefix(o.Subject, []byte(wire.KeyPrefix)):
		return c.publishKey(o) || c.publishMessage(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.DirectGetPrefix)):
		c.submitBatch() // a get sees what was published before
		return c.directGet(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.APIPrefix)):
		c.submitBatch()
		return c.api(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.AckPrefix)):
		return c.acknowledgement(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.FlowControlPrefix)):
		c.front.consumers.flowReplied(c.user, string(o.Subject))
		return true
	case bytes.HasPrefix(o.Subject, []byte(wire.SnapshotPrefix)):
		return c.transfers.serve(o)
	case bytes.HasPrefix(o.Subject, []byte(wire.SystemPrefix)):
		return c.system(o) || c.publishMessage(o)
	}
	return c.publishMessage(o)
}

// publishTo checks a message to a stream and adds it to the batch. Each step lets the
// message pass or refuses it, which ends the publish. The steps are in the order of
// nats-server: it decides which refusal the client gets.
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

	if refused := c.checkPublish(s, o, key, &h); refused != nil {
		c.refuse(&p, refused)
		return
	}
	if refused := p.expects.parse(&h, o.Subject, s.layout.OnePerMessage); refused != nil {
		c.refuse(&p, refused)
		return
	}
	p.expects.applyTo(&m)
	if h.Schedule {
		c.refuse(&p, c.unmetSequenceOr(&p, m.Key, jsapi.ErrScheduleDisabled))
		return
	}
	if len(h.MsgID) > 0 && !c.reserveMsgID(&p, m.Key, string(h.MsgID)) {
		return // answered: a message with that id was stored before
	}
	if refused := c.applyHeaders(&p, o, &h, &m); refused != nil {
		c.refuse(&p, c.unmetOr(&p, m.Key, refused))
		return
	}
	c.addToBatch(&p, &m)
}

// refuse answers a message that is not stored. Acknowledgements come in the order of the
// messages, so the batch is submitted first.
func (c *conn) refuse(p *publication, refused *jsapi.Error) {
	c.submitBatch()
	c.finishMsgID(p, 0)
	c.acknowledge(p, 0, refused)
}

// checkPublish checks permissions and sizes, and the headers that are refused whatever the
// message expects.
func (c *conn) checkPublish(s *stream, o *wire.Operation, key string, h *wire.PublishHeaders) *jsapi.Error {
	if refused := c.permitPublish(s, key, h); refused != nil {
		return refused
	}
	isMarker := h.IsMarker() && len(o.Payload) == 0 && !s.layout.IsMessageStream()
	switch {
	case s.config.Sealed:
		return jsapi.ErrSealed
	case int64(len(o.Header)+len(o.Payload)) > s.config.SizeLimit() && !isMarker: // a key can always be deleted
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

// permitPublish checks the user's permission on the key: del for markers, put for other
// messages. What the message expects of other subjects needs it on those too.
func (c *conn) permitPublish(s *stream, key string, h *wire.PublishHeaders) *jsapi.Error {
	p := server.MayPut
	if h.IsMarker() && !s.layout.IsMessageStream() {
		p = server.MayDel
	}
	if err := c.PermitKey(p, s.layout.Grants, key); err != nil {
		return jsapi.PermissionDenied(err)
	}
	if other := h.ExpectedLastSubjectSequenceSubject; len(other) > 0 {
		return c.permitFilter(p|server.MayGet, s, string(other))
	}
	return nil
}

// applyHeaders gives the mutation the operation, the TTL and the headers of the message.
func (c *conn) applyHeaders(p *publication, o *wire.Operation, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	if refused := c.applyRollup(p, h, m); refused != nil {
		return refused
	}
	if refused := applyTTL(p.stream, h, m); refused != nil {
		return refused
	}
	m.Headers = wire.StoredHeader(o.Header, m.Op)
	return nil
}

// applyRollup gives the mutation the operation that KV-Operation and Nats-Rollup ask for,
// and the publication the pattern of the older records that the message replaces.
func (c *conn) applyRollup(p *publication, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	switch value := strings.ToLower(string(h.Rollup)); {
	case value == "":
	case !p.stream.config.AllowRollup || p.stream.config.DenyPurge:
		return jsapi.ErrNoRollup
	case value == "all":
		if refused := c.permit(server.MayAdmin, p.stream.layout.Grants); refused != nil { // as for a purge of the stream
			return refused
		}
		p.replaces = ">"
	case value != "sub":
		return jsapi.NewError(500, 10111, fmt.Sprintf("rollup value invalid: %q", value))
	case p.stream.layout.OnePerMessage:
		p.replaces = m.Key + ".*"
	}
	if p.replaces != "" { // nothing is stored if the older messages cannot be told
		if err := p.stream.checkDoubt(c.ctx); err != nil {
			return jsapi.ErrorOf(err)
		}
	}
	if p.stream.layout.IsMessageStream() { // it has no markers
		m.Rollup = len(h.Rollup) > 0 && !p.stream.layout.OnePerMessage
		return nil
	}
	marker := h.IsMarker()
	switch {
	case marker && len(m.Value) > 0:
		return jsapi.UnsupportedRequest("a marker with a payload is not supported")
	case marker && len(h.Rollup) > 0:
		m.Op = kv.MutatePurge
	case marker:
		m.Op = kv.MutateDelete
	default:
		m.Rollup = len(h.Rollup) > 0
	}
	return nil
}

// applyTTL gives the mutation the TTL of the message.
func applyTTL(s *stream, h *wire.PublishHeaders, m *kv.Mutation) *jsapi.Error {
	ttl, valid := wire.ParseTTL(string(h.TTL))
	switch {
	case !valid:
		return jsapi.ErrInvalidTTL
	case ttl.Never && s.config.MaxAge > 0:
		return jsapi.UnsupportedRequest("a message that never expires is not supported in a bucket with a max_age")
	case ttl.TTL > 0 && m.Op == kv.MutateDelete && s.config.MaxMsgsPerSubject > 1:
		return jsapi.UnsupportedRequest("the TTL of a delete marker is not supported in a bucket with a history: purge the key with a TTL")
	case ttl.TTL > 0 && m.Op == kv.MutateDelete:
		m.Op = kv.MutatePurge // without a history it is the same
	}
	m.TTL = ttl.TTL
	return nil
}
