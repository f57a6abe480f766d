package nats

import (
	"errors"
	"fmt"
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

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
	if ask.Batch > 0 || ask.MaxBytes > 0 || !ask.namesOne() || ask.contradictsOne() {
		return nil, jsapi.ErrBadRequest
	}
	s, refused := c.findStream(r, server.MayGet)
	if refused != nil {
		return nil, refused
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
	if wire.HasHeader(&e) && !ask.NoHeader {
		answer.Message.Header = append(wire.AppendHeader(nil, &e, s.status.Config.MarkerTTL), wire.HeaderEnd...)
	}
	return answer, nil
}

// messageDelete answers STREAM.MSG.DELETE. A store removes a record only together with the
// older records of its key, so the message must be its subject's oldest.
func (c *conn) messageDelete(r *request) (any, *jsapi.Error) {
	var ask struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"` // has no effect: what is removed is not overwritten
	}
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, refused := c.findStream(r, server.MayDel)
	if refused != nil {
		return nil, refused
	}
	switch {
	case s.config.Sealed:
		return nil, jsapi.ErrSealed
	case s.config.DenyDelete:
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
