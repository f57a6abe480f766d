package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// Answers to a direct get without a message.
var (
	statusNotFound   = []byte("NATS/1.0 404 Message Not Found\r\n\r\n")
	statusNoResults  = []byte("NATS/1.0 404 No Results\r\n\r\n")
	statusEmpty      = []byte("NATS/1.0 408 Empty Request\r\n\r\n")
	statusMalformed  = []byte("NATS/1.0 408 Malformed Request\r\n\r\n")
	statusBadRequest = []byte("NATS/1.0 408 Bad Request\r\n\r\n")
	statusLevel      = []byte("NATS/1.0 412 Required Api Level\r\n\r\n")
	statusTooMany    = []byte("NATS/1.0 413 Too Many Results\r\n\r\n")
	statusBusy       = []byte("NATS/1.0 429 Too Many Requests\r\n\r\n")
)

// directGet answers DIRECT.GET, and reports whether there is a stream of that name which
// allows it.
func (c *conn) directGet(o *wire.Operation) bool {
	name, subject, bySubject := bytes.Cut(o.Subject[len(wire.DirectGetPrefix):], []byte{'.'})
	grants, ok := streamconfig.GrantsOf(view.String(name))
	if !ok {
		return false
	}
	if !c.May(server.MayGet, grants) { // before anything tells whether the stream exists
		c.sendPublishViolation(o)
		return false
	}
	s := c.streamNamed(name)
	if s == nil || !s.config.AllowDirect {
		return false
	}
	if requiresHigherLevel(o.Header, apiLevel) {
		c.answer(o.Reply, statusLevel, nil)
		return true
	}
	if !bySubject {
		return c.directGetBody(o, s)
	}
	if key, ok := s.layout.Key(subject); ok && len(o.Payload) == 0 && !s.layout.OnePerMessage && kv.CheckKey(key) == nil {
		if c.PermitKey(server.MayGet, s.layout.Grants, key) != nil {
			c.sendPublishViolation(o)
			return false
		}
		c.directGetKey(o, s, key)
		return true
	}
	return c.directGetSubject(o, s, string(subject))
}

// directGetSubject answers a direct get whose subject ends in that of the message. Its body
// may have no_hdr. It reports false if that is not granted.
func (c *conn) directGetSubject(o *wire.Operation, s *stream, subject string) bool {
	var ask getRequest
	switch {
	case len(o.Payload) > 0 && json.Unmarshal(o.Payload, &ask) != nil:
		c.answer(o.Reply, statusMalformed, nil)
	case !ask.hasOnlyNoHeader():
		c.answer(o.Reply, statusBadRequest, nil)
	default:
		ask.LastFor = subject
		return c.directGetRequest(o, s, &ask)
	}
	return true
}

// directGetBody answers a direct get whose criteria are in its body. It reports false if
// that is not granted.
func (c *conn) directGetBody(o *wire.Operation, s *stream) bool {
	var ask getRequest
	switch {
	case len(o.Payload) == 0:
		c.answer(o.Reply, statusEmpty, nil)
	case json.Unmarshal(o.Payload, &ask) != nil:
		c.answer(o.Reply, statusMalformed, nil)
	case ask.isEmpty():
		c.answer(o.Reply, statusEmpty, nil)
	case ask.contradicts():
		c.answer(o.Reply, statusBadRequest, nil)
	case ask.isForMany():
		return c.directGetMany(o, s, &ask)
	default:
		return c.directGetRequest(o, s, &ask)
	}
	return true
}

// directGetRequest answers a direct get of one message. It reports false if that is not
// granted.
func (c *conn) directGetRequest(o *wire.Operation, s *stream, ask *getRequest) bool {
	var e kv.Entry
	var err error
	c.InStore(func() { e, err = c.findPermitted(s, ask) })
	var refused *jsapi.Error
	if errors.As(err, &refused) {
		c.sendPublishViolation(o)
		return false
	}
	c.answerMessage(o.Reply, s, &e, err, ask.NoHeader)
	return true
}

// directGetKey answers a direct get of a key, the most frequent read. It allocates nothing
// if the key has a value.
func (c *conn) directGetKey(o *wire.Operation, s *stream, key string) {
	c.EnterStore()
	buf, e, err := s.bucket.GetAppend(c.ctx, c.valueBuf[:0], key)
	if errors.Is(err, kv.ErrKeyNotFound) { // perhaps its newest record is a marker
		e, err = s.last(c.ctx, key)
	}
	c.LeaveStore()
	if c.valueBuf = buf; cap(c.valueBuf) > 2*wire.FlushSize {
		c.valueBuf = nil
	}
	c.answerMessage(o.Reply, s, &e, err, false)
}

// findMessage returns the record that a request for one message asks for.
func (s *stream) findMessage(ctx context.Context, ask *getRequest) (kv.Entry, error) {
	from, err := ask.start(ctx, s)
	if err != nil {
		return kv.Entry{}, err
	}
	switch {
	case ask.NextFor != "":
		pattern, ok := s.layout.Pattern(ask.NextFor)
		if !ok {
			return kv.Entry{}, kv.ErrKeyNotFound
		}
		return s.next(ctx, pattern, max(from, 1))
	case from > 0:
		return s.at(ctx, from)
	case wire.IsLiteral([]byte(ask.LastFor)):
		return s.lastOfSubject(ctx, []byte(ask.LastFor))
	}
	pattern, ok := s.layout.Pattern(ask.LastFor)
	if !ok {
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	return s.lastMatching(ctx, pattern)
}

// answerMessage answers a direct get with a record, or with the error.
func (c *conn) answerMessage(reply []byte, s *stream, e *kv.Entry, err error, noHeader bool) {
	switch {
	case err != nil:
		c.answer(reply, statusOf(err), nil)
	case noHeader:
		c.answer(reply, nil, e.Value)
	default:
		c.headerBuf = append(s.appendDirectHeader(c.headerBuf[:0], e), wire.HeaderEnd...)
		c.answer(reply, c.headerBuf, e.Value)
	}
}

// statusOf returns the header block of an error's status. Clients would take 503 for a server
// that is not there.
func statusOf(err error) []byte {
	if errors.Is(err, kv.ErrKeyNotFound) || errors.Is(err, kv.ErrInvalidKey) || errors.Is(err, kv.ErrBucketNotFound) {
		return statusNotFound
	}
	return []byte("NATS/1.0 500 " + oneLine(err.Error()) + "\r\n\r\n")
}

// oneLine replaces control characters, which a header must not have, by blanks.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// appendDirectHeader appends the header block of an answer to a direct get: the message's
// headers, then its origin. The empty line at its end is missing.
func (s *stream) appendDirectHeader(dst []byte, e *kv.Entry) []byte {
	return s.appendOrigin(wire.AppendHeader(dst, e, s.status.Config.MarkerTTL), e)
}

// appendOrigin appends header fields: the stream, subject, sequence and time of a record.
func (s *stream) appendOrigin(dst []byte, e *kv.Entry) []byte {
	dst = append(dst, "Nats-Stream: "...)
	dst = append(dst, s.layout.Stream...)
	dst = append(dst, "\r\nNats-Subject: "...)
	dst = s.layout.AppendSubject(dst, e.Key)
	dst = append(dst, "\r\nNats-Sequence: "...)
	dst = strconv.AppendUint(dst, uint64(e.Revision), 10)
	dst = append(dst, "\r\nNats-Time-Stamp: "...)
	dst = wire.AppendTime(dst, e.Created)
	return append(dst, wire.HeaderEnd...)
}
