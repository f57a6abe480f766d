package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	statusEmpty      = []byte("NATS/1.0 408 Empty Request\r\n\r\n")
	statusMalformed  = []byte("NATS/1.0 408 Malformed Request\r\n\r\n")
	statusBadRequest = []byte("NATS/1.0 408 Bad Request\r\n\r\n")
	statusLevel      = []byte("NATS/1.0 412 Required Api Level\r\n\r\n")
)

// getRequest is the body of a request for one message.
type getRequest struct {
	Seq       uint64          `json:"seq"`
	LastFor   string          `json:"last_by_subj"`
	NextFor   string          `json:"next_by_subj"`
	NoHeader  bool            `json:"no_hdr"`
	Batch     int             `json:"batch"`
	MultiLast json.RawMessage `json:"multi_last"`
	UpTo      uint64          `json:"up_to_seq"`
	UpToTime  json.RawMessage `json:"up_to_time"`
	StartTime json.RawMessage `json:"start_time"`
}

// unsupported reports whether the request has a field that kvd does not support.
func (r *getRequest) unsupported() bool {
	return r.Batch != 0 || r.UpTo != 0 || jsapi.IsGiven(r.MultiLast) || jsapi.IsGiven(r.UpToTime) || jsapi.IsGiven(r.StartTime)
}

// criteria returns how many criteria the request has, which must be one.
func (r *getRequest) criteria() int {
	n := 0
	for _, given := range [...]bool{r.LastFor != "", r.NextFor != "", r.Seq != 0 && r.NextFor == ""} {
		if given {
			n++
		}
	}
	return n
}

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
	if requiresHigherLevel(o.Header) {
		c.answer(o.Reply, statusLevel, nil)
		return true
	}
	if !bySubject {
		return c.directGetBody(o, s)
	}
	if key, ok := s.layout.Key(subject); ok && !s.layout.OnePerMessage && kv.CheckKey(key) == nil {
		if c.PermitKey(server.MayGet, s.layout.Grants, key) != nil {
			c.sendPublishViolation(o)
			return false
		}
		c.directGetKey(o, s, key)
		return true
	}
	return c.directGetRequest(o, s, &getRequest{LastFor: string(subject)})
}

// directGetBody answers a direct get whose criterion is in its body. It reports false if
// that is not granted.
func (c *conn) directGetBody(o *wire.Operation, s *stream) bool {
	var ask getRequest
	switch {
	case len(o.Payload) == 0:
		c.answer(o.Reply, statusEmpty, nil)
	case json.Unmarshal(o.Payload, &ask) != nil:
		c.answer(o.Reply, statusMalformed, nil)
	case ask.unsupported() || ask.criteria() > 1:
		c.answer(o.Reply, statusBadRequest, nil)
	case ask.criteria() == 0:
		c.answer(o.Reply, statusEmpty, nil)
	default:
		return c.directGetRequest(o, s, &ask)
	}
	return true
}

// directGetRequest answers a direct get with one criterion. It reports false if that is not
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

// findMessage returns the record that a request with one criterion asks for.
func (s *stream) findMessage(ctx context.Context, ask *getRequest) (kv.Entry, error) {
	switch {
	case ask.NextFor != "":
		pattern, ok := s.layout.Pattern(ask.NextFor)
		if !ok {
			return kv.Entry{}, kv.ErrKeyNotFound
		}
		return s.next(ctx, pattern, kv.Revision(max(ask.Seq, 1)))
	case ask.LastFor != "":
		if wire.IsLiteral([]byte(ask.LastFor)) {
			return s.lastOfSubject(ctx, []byte(ask.LastFor))
		}
		pattern, ok := s.layout.Pattern(ask.LastFor)
		if !ok {
			return kv.Entry{}, kv.ErrKeyNotFound
		}
		return s.lastMatching(ctx, pattern)
	}
	return s.at(ctx, kv.Revision(ask.Seq))
}

// answerMessage answers a direct get with a record, or with the error.
func (c *conn) answerMessage(reply []byte, s *stream, e *kv.Entry, err error, noHeader bool) {
	switch {
	case errors.Is(err, kv.ErrKeyNotFound), errors.Is(err, kv.ErrInvalidKey):
		c.answer(reply, statusNotFound, nil)
	case err != nil: // 503 would be taken for a server that is not there
		c.answer(reply, []byte("NATS/1.0 500 "+oneLine(err.Error())+"\r\n\r\n"), nil)
	case noHeader:
		c.answer(reply, nil, e.Value)
	default:
		c.headerBuf = s.appendDirectHeader(c.headerBuf[:0], e)
		c.answer(reply, c.headerBuf, e.Value)
	}
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
// headers, then its stream, subject, sequence and time.
func (s *stream) appendDirectHeader(dst []byte, e *kv.Entry) []byte {
	dst = wire.AppendHeader(dst, e, s.status.Config.MarkerTTL)
	dst = append(dst, "Nats-Stream: "...)
	dst = append(dst, s.layout.Stream...)
	dst = append(dst, "\r\nNats-Subject: "...)
	dst = s.layout.AppendSubject(dst, e.Key)
	dst = append(dst, "\r\nNats-Sequence: "...)
	dst = strconv.AppendUint(dst, uint64(e.Revision), 10)
	dst = append(dst, "\r\nNats-Time-Stamp: "...)
	dst = wire.AppendTime(dst, e.Created)
	return append(dst, "\r\n\r\n"...)
}

// message is a message in the answer to STREAM.MSG.GET.
type message struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs,omitempty"`
	Data    []byte    `json:"data,omitempty"`
	Time    time.Time `json:"time"`
}

// messageGet answers STREAM.MSG.GET.
func (c *conn) messageGet(r *request) (any, *jsapi.Error) {
	var ask getRequest
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, refused := c.findStream(r, server.MayGet)
	if refused != nil {
		return nil, refused
	}
	if ask.unsupported() || ask.criteria() != 1 {
		return nil, jsapi.ErrBadRequest
	}
	e, err := c.findPermitted(s, &ask)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	var answer struct {
		Message message `json:"message"`
	}
	answer.Message = message{
		Subject: string(s.layout.AppendSubject(nil, e.Key)), Seq: uint64(e.Revision), Data: e.Value, Time: e.Created.UTC(),
	}
	if wire.HasHeader(&e) {
		answer.Message.Header = append(wire.AppendHeader(nil, &e, s.status.Config.MarkerTTL), wire.HeaderEnd...)
	}
	return answer, nil
}

// messageDelete answers STREAM.MSG.DELETE. A store removes a record only together with the
// older records of its key, so the message must be its subject's oldest.
func (c *conn) messageDelete(r *request) (any, *jsapi.Error) {
	var ask struct {
		Seq uint64 `json:"seq"`
	}
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, refused := c.findStream(r, server.MayDel)
	if refused != nil {
		return nil, refused
	}
	if s.config.DenyDelete {
		return nil, jsapi.ErrNoMessageDelete
	}
	e, err := s.at(c.ctx, kv.Revision(ask.Seq))
	switch {
	case errors.Is(err, kv.ErrKeyNotFound):
		return nil, s.cannotDelete(ask.Seq)
	case err != nil:
		return nil, jsapi.ErrorOf(err)
	}
	if refused := c.permitKey(server.MayDel, s, e.Key); refused != nil {
		return nil, refused
	}
	for oldest, err := range s.bucket.History(c.ctx, e.Key) {
		if err != nil {
			return nil, jsapi.ErrorOf(err)
		}
		if oldest.Revision != e.Revision {
			return nil, jsapi.NewError(500, 10057, "message delete not permitted: the message is not the oldest of its subject")
		}
		break
	}
	if _, err := s.erase(c.ctx, e.Key, e.Revision+1, 0); err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	c.front.consumers.purged(s.name)
	return success{Success: true}, nil
}

// cannotDelete returns nats-server's error for the deletion of a message that does not
// exist.
func (s *stream) cannotDelete(seq uint64) *jsapi.Error {
	switch {
	case seq == 0:
		return jsapi.NewError(500, 10057, jsapi.ErrNoMessage.Description)
	case seq > uint64(s.status.Revision):
		return jsapi.NewError(500, 10057, "stream store EOF")
	}
	return jsapi.NewError(400, 10043, fmt.Sprintf("sequence %d not found", seq))
}
