package nats

import (
	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
)

// Grants on a stream are about the bucket that Layout.Grants names. Grants on keys of a
// message stream are on its subjects, in the form of keys: see streamconfig.Layout.

// permit refuses a user without any of the permissions in the bucket as a whole.
func (c *conn) permit(p server.Permission, bucket string) *jsapi.Error {
	return denial(c.Permit(p, bucket))
}

// permitKey refuses a user without any of the permissions on a record's key.
func (c *conn) permitKey(p server.Permission, s *stream, key string) *jsapi.Error {
	return denial(c.PermitKey(p, s.layout.Grants, s.layout.SubjectPart(key)))
}

// permitFilter refuses a user without any of the permissions on every subject that a filter
// can match. A filter that matches no subject of the stream selects nothing, and is allowed.
func (c *conn) permitFilter(p server.Permission, s *stream, filter string) *jsapi.Error {
	pattern, ok := s.layout.SubjectPattern(filter)
	if !ok {
		return nil
	}
	return denial(c.PermitPattern(p, s.layout.Grants, pattern))
}

// permitConsumer refuses a user who may not read what a consumer selects.
func (c *conn) permitConsumer(s *stream, cfg *consumerConfig) *jsapi.Error {
	for _, pattern := range cfg.subjectPatterns(s.layout) {
		if err := c.PermitPattern(server.MayGet|server.MayWatch, s.layout.Grants, pattern); err != nil {
			return jsapi.PermissionDenied(err)
		}
	}
	return nil
}

// permitGet refuses a user who may not read what a request for one message can find. For a
// sequence that is known only when the message is found: see permitKey.
func (c *conn) permitGet(s *stream, ask *getRequest) *jsapi.Error {
	switch {
	case ask.NextFor != "":
		return c.permitFilter(server.MayGet, s, ask.NextFor)
	case ask.LastFor != "":
		return c.permitFilter(server.MayGet, s, ask.LastFor)
	}
	return nil
}

// findPermitted returns the record that a request with one criterion asks for, if the user
// may read it.
func (c *conn) findPermitted(s *stream, ask *getRequest) (kv.Entry, error) {
	if refused := c.permitGet(s, ask); refused != nil {
		return kv.Entry{}, refused
	}
	e, err := s.findMessage(c.ctx, ask)
	if err != nil {
		return e, err
	}
	if refused := c.permitKey(server.MayGet, s, e.Key); refused != nil {
		return kv.Entry{}, refused
	}
	return e, nil
}

// denial returns an error of package server as one of the API; nil stays nil.
func denial(err error) *jsapi.Error {
	if err == nil {
		return nil
	}
	return jsapi.PermissionDenied(err)
}
