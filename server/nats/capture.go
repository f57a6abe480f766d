package nats

import (
	"bytes"
	"errors"
	"strings"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// A message belongs to a stream by its subject and its user. The subjects $KV.<bucket>.> are
// those of the key/value bucket, and grants on the bucket are about them. Any other subject is
// captured by message streams, of which a user sees those in which there is a grant. So the
// streams of users who do not see each other's may capture the same subjects.

// publishKey publishes a message to a key, $KV.<bucket>.<key>. It reports whether there is
// such a bucket. A user without any grant in the bucket is refused whether it exists or not,
// unless a message stream captures the subject.
func (c *conn) publishKey(o *wire.Operation) bool {
	name, _, ok := wire.CutKey(o.Subject)
	if !ok || bytes.HasPrefix(name, []byte(msglog.ReservedBucket)) {
		return false
	}
	if !c.May(server.MayAny, view.String(name)) {
		return c.publishMessage(o) || c.refuseKey(o, string(name))
	}
	s, err := c.stream(name)
	if err != nil {
		return false
	}
	c.publishTo(s, o)
	return true
}

// refuseKey refuses a message to a key of a bucket in which the user has no grant. It reports
// false if no bucket can have that name.
func (c *conn) refuseKey(o *wire.Operation, bucket string) bool {
	if kv.CheckBucketName(bucket) != nil {
		return false
	}
	s := &stream{name: bucket, layout: streamconfig.NewLayout(bucket, false)}
	var h wire.PublishHeaders
	if len(o.Header) > 0 {
		wire.ReadPublishHeaders(o.Header, &h)
	}
	key, _ := s.layout.Key(o.Subject)
	c.refuse(&publication{stream: s, reply: o.Reply}, c.permitPublish(s, key, &h))
	return true
}

// publishMessage publishes a message to the user's message stream that captures its subject.
// It reports whether there is one.
func (c *conn) publishMessage(o *wire.Operation) bool {
	s := c.capturing(o.Subject)
	if s == nil {
		return false
	}
	c.publishTo(s, o)
	return true
}

// capturing returns the message stream that stores the user's messages to a subject, or nil.
// Of several it is the one that was created first, among those to which the user may write if
// there are any.
func (c *conn) capturing(subject []byte) (chosen *stream) {
	var room [4]string
	found := c.front.messageStreams.capturing(room[:0], subject)
	mayPut := false
	for _, bucket := range found {
		s, err := c.stream(view.Bytes(bucket))
		if err != nil || !c.May(server.MayAny, s.layout.Grants) || c.isHidden(s) {
			continue
		}
		if len(found) == 1 {
			return s
		}
		key, _ := s.layout.Key(subject)
		may := c.PermitKey(server.MayPut, s.layout.Grants, key) == nil
		if chosen == nil || may && !mayPut || may == mayPut && s.isOlder(chosen) {
			chosen, mayPut = s, may
		}
	}
	return chosen
}

// isHidden reports whether a message stream has the name of a key/value bucket's stream.
func (c *conn) isHidden(s *stream) bool {
	if s.layout.Grants == s.name {
		return false
	}
	_, err := c.stream(view.Bytes(s.layout.Grants))
	return err == nil
}

// isOlder reports whether the stream was created before another one.
func (s *stream) isOlder(than *stream) bool {
	if order := s.status.Created.Compare(than.status.Created); order != 0 {
		return order < 0
	}
	return s.status.ID < than.status.ID
}

// checkCaptures refuses a stream whose subjects overlap with those of another stream that the
// user sees, or belong to a bucket that the user may not administrate. A stream whose bucket
// was deleted by kvd's own tools does not count and is removed. The caller has locked changing.
func (c *conn) checkCaptures(cfg *streamconfig.Config) *jsapi.Error {
	if refused := c.permitCaptures(cfg); refused != nil {
		return refused
	}
	for _, other := range c.front.messageStreams.overlapping(cfg.Subjects, cfg.Bucket()) {
		if _, err := c.front.store.Bucket(c.ctx, other); errors.Is(err, kv.ErrBucketNotFound) {
			c.front.messageStreams.remove(other)
		} else if _, visible := c.visibleStream(other); visible {
			return jsapi.ErrSubjectsOverlap
		}
	}
	if !cfg.IsMessageStream() { // key/value buckets do not overlap with each other
		return nil
	}
	for name, err := range c.front.store.BucketNames(c.ctx) {
		if err != nil {
			return jsapi.ErrorOf(err)
		}
		if !strings.HasPrefix(name, msglog.ReservedBucket) && anyOverlap(cfg.Subjects, []string{streamconfig.SubjectsOf(name)}) {
			return jsapi.ErrSubjectsOverlap
		}
	}
	return nil
}

// permitCaptures refuses a message stream with subjects of buckets that the user may not
// administrate, whether they exist or not.
func (c *conn) permitCaptures(cfg *streamconfig.Config) *jsapi.Error {
	if !cfg.IsMessageStream() {
		return nil
	}
	for _, subject := range cfg.Subjects {
		bucket, ofKeys := streamconfig.KeysCaptured(subject)
		if !ofKeys {
			continue
		}
		if refused := c.permit(server.MayAdmin, bucket); refused != nil {
			return refused
		}
	}
	return nil
}

// visibleStream returns the name of a bucket's stream. It reports false if the bucket has no
// stream that the user sees.
func (c *conn) visibleStream(bucket string) (stream string, ok bool) {
	stream, ok = streamconfig.StreamOf(bucket)
	if !ok {
		return "", false
	}
	grants, ok := streamconfig.GrantsOf(stream)
	if !ok || !c.May(server.MayAny, grants) {
		return "", false
	}
	if grants == bucket {
		return stream, true
	}
	_, err := c.front.store.Bucket(c.ctx, grants)
	return stream, err != nil // otherwise the key/value bucket's stream has the name
}
