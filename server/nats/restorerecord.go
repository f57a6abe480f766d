package nats

import (
	"bytes"
	"errors"
	"fmt"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/archive"
	"kvd/server/nats/wire"
)

// record returns the record of a message of a backup. Its slices are those of the message.
func (r *restore) record(m *archive.Message) (kv.Entry, error) {
	subject := []byte(m.Subject)
	key, ok := r.layout.Key(subject)
	if !ok || !wire.IsLiteral(subject) {
		return kv.Entry{}, fmt.Errorf("the subject %.64q is none of stream %q", m.Subject, r.config.Name)
	}
	e := kv.Entry{Key: key, Value: m.Payload, Revision: kv.Revision(m.Sequence), Created: m.Time, Operation: kv.Put}
	if r.layout.OnePerMessage {
		e.Key = key + "." + string(msglog.AppendSuffix(nil, e.Revision))
	}
	if len(m.Header) == 0 {
		return e, nil
	}
	if !wire.IsHeaderBlock(m.Header) {
		return e, errors.New("its header block is malformed")
	}
	e.Headers = m.Header
	if r.layout.IsMessageStream() {
		return e, nil
	}
	return e, r.applyHeaders(&e)
}

// applyHeaders gives a record the operation and the deadline that its headers ask for.
func (r *restore) applyHeaders(e *kv.Entry) error {
	var h wire.PublishHeaders
	wire.ReadPublishHeaders(e.Headers, &h)
	reason := wire.HeaderField(e.Headers, wire.MarkerReasonField)
	op := kv.MutatePut
	switch {
	case len(reason) > 0 && len(e.Value) == 0: // of the server: the subject has nothing else
		op, e.Operation, e.Reason = kv.MutatePurge, kv.Purge, kv.ReasonClient
		if bytes.Equal(reason, []byte("MaxAge")) {
			e.Reason = kv.ReasonExpiry
		}
	case h.IsMarker() && len(h.Rollup) > 0:
		op, e.Operation, e.Reason = kv.MutatePurge, kv.Purge, kv.ReasonClient
	case h.IsMarker():
		op, e.Operation, e.Reason = kv.MutateDelete, kv.Delete, kv.ReasonClient
	}
	ttl, valid := wire.ParseTTL(string(h.TTL))
	switch {
	case !valid && e.Reason == kv.ReasonExpiry: // the marker TTL of a bucket of kvd may be less than a second
		ttl.TTL = r.bucket.MarkerTTL
	case !valid:
		return fmt.Errorf("its TTL %.64q is not valid", h.TTL)
	case ttl.Never && r.bucket.TTL > 0:
		return errors.New("a message that never expires is not supported in a bucket with a max_age")
	case ttl.TTL > 0 && e.Operation == kv.Delete && r.bucket.History > 1:
		return errors.New("the TTL of a delete marker is not supported in a bucket with a history")
	case ttl.TTL > 0 && e.Operation == kv.Delete:
		e.Operation = kv.Purge // without a history it is the same
	}
	if ttl.TTL > 0 {
		e.Deadline = e.Created.Add(ttl.TTL)
	}
	e.Headers = wire.StoredHeader(e.Headers, op)
	return nil
}
