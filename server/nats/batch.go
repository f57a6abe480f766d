package nats

import (
	"context"
	"errors"
	"log/slog"
	"strconv"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// batch is the publishes that a connection has gathered and not submitted. They go to the
// store together, so that one client with many callers fills a commit group. Everything
// else that a client asks for submits the batch first. Its slices are views of the
// connection's input.
type batch struct {
	mutations []kv.Mutation
	entries   []publication // one for each mutation
}

// publication is what a connection knows of a message beside its mutation.
type publication struct {
	stream   *stream
	reply    []byte
	expects  expectation
	msgID    *messageID // reserved until the outcome is known; nil if there is none
	replaces string     // the pattern of the keys whose older records are erased; empty if the store does that
}

const batchMax = 4096 // mutations

// addToBatch adds a message to the batch. A guarded message is a batch of its own, as
// later messages come after it; a stream that refuses the newest message has batches
// without other streams.
func (c *conn) addToBatch(p *publication, m *kv.Mutation) {
	guarded := p.expects.isGuarded()
	if guarded || !c.batch.takes(p.stream) {
		c.submitBatch()
	}
	c.batch.mutations = append(c.batch.mutations, *m)
	c.batch.entries = append(c.batch.entries, *p)
	if guarded || len(c.batch.mutations) >= batchMax {
		c.submitBatch()
	}
}

// takes reports whether a message to the stream can be in the batch.
func (b *batch) takes(s *stream) bool {
	if len(b.entries) == 0 {
		return true
	}
	first := b.entries[0].stream
	return first == s || !first.config.RefusesNewest() && !s.config.RefusesNewest()
}

// submitBatch stores the messages of the batch and acknowledges each, in order.
func (c *conn) submitBatch() {
	b := &c.batch
	if len(b.mutations) == 0 {
		return
	}
	c.EnterStore()
	c.storeBatch(b)
	b.trim(c.ctx, c.Logger())
	c.LeaveStore()
	for i := range b.mutations {
		m, p := &b.mutations[i], &b.entries[i]
		if m.Err != nil {
			c.finishMsgID(p, 0)
			c.acknowledge(p, 0, jsapi.ErrorOf(m.Err))
		} else {
			c.finishMsgID(p, m.Revision)
			c.acknowledge(p, m.Revision, nil)
		}
		if c.out.IsFull() {
			c.out.FlushAndWait()
		}
	}
	clear(b.mutations)
	clear(b.entries)
	b.mutations, b.entries = b.mutations[:0], b.entries[:0]
}

// storeBatch stores the messages of the batch. Each mutation has its error then.
func (c *conn) storeBatch(b *batch) {
	unlock := c.front.messageStreams.lockGates(b)
	defer unlock()
	if b.entries[0].expects.isGuarded() {
		c.storeGuarded(b)
	} else {
		c.submitMutations(b.entries[0].stream, b)
	}
	for i := range b.mutations {
		m, p := &b.mutations[i], &b.entries[i]
		if m.Err == nil && p.replaces != "" {
			_, m.Err = p.stream.erase(c.ctx, p.replaces, m.Revision, 0)
		}
	}
}

// submitMutations has the store carry out the mutations of a batch, whose first message
// is to s. Each mutation has its error then.
func (c *conn) submitMutations(s *stream, b *batch) {
	if s.config.RefusesNewest() {
		c.submitWhileRoom(s, b)
	} else {
		_ = c.front.submitter.Submit(c.ctx, b.mutations) // each mutation has its error
	}
	for i := range b.mutations {
		if m := &b.mutations[i]; m.Err != nil && m.IfLast && m.Last == 0 {
			c.ignoreExpiryMarker(b.entries[i].stream, m)
		}
	}
}

// ignoreExpiryMarker carries out a mutation again that expected no record and found the
// marker of an expiry, in a stream without marker TTL: NATS' clients see no message there.
func (c *conn) ignoreExpiryMarker(s *stream, m *kv.Mutation) {
	if s.config.SubjectDeleteMarkerTTL > 0 || !errors.Is(m.Err, kv.ErrKeyRevisionMismatch) {
		return
	}
	e, err := s.last(c.ctx, m.Key)
	if err != nil || e.Reason != kv.ReasonExpiry {
		return
	}
	again := []kv.Mutation{*m}
	again[0].Last = e.Revision
	_ = c.front.submitter.Submit(c.ctx, again) // the mutation has its error
	m.Revision, m.Err = again[0].Revision, again[0].Err
}

// submitWhileRoom submits as many mutations as the stream has room for, and refuses the
// others. All are to s, whose whole gate is locked: the room is there until the caller
// unlocks it. What a message expects is checked before it is refused for want of room.
func (c *conn) submitWhileRoom(s *stream, b *batch) {
	for at := 0; at < len(b.mutations); {
		st, err := s.bucket.Status(c.ctx)
		rest := b.mutations[at:]
		room := uint64(s.config.MaxMsgs) - min(st.Values, uint64(s.config.MaxMsgs))
		switch {
		case err != nil:
			rest[0].Err = err
			at++
		case room == 0:
			rest[0].Err = jsapi.ErrMaxMessages
			if _, refused := b.entries[at].expects.checkSequences(c.ctx, s, rest[0].Key); refused != nil {
				rest[0].Err = refused
			}
			at++
		default:
			n := min(len(rest), int(min(room, batchMax)))
			_ = c.front.submitter.Submit(c.ctx, rest[:n]) // each mutation has its error
			at += n
		}
	}
}

// trim removes the oldest messages of the streams that the batch stored to and that have
// too many. If that fails, the batch stays stored, and the next one tries again.
func (b *batch) trim(ctx context.Context, log *slog.Logger) {
	var trimmed *stream
	for i := range b.entries {
		s := b.entries[i].stream
		if s == trimmed || b.mutations[i].Err != nil {
			continue
		}
		trimmed = s
		if err := s.trim(ctx); err != nil && !errors.Is(err, kv.ErrBucketNotFound) {
			log.Error("cannot trim a stream", "stream", s.config.Name, "cause", err)
		}
	}
}

// acknowledge answers a message, if its client asked for an answer: with its sequence, or
// with why it was refused.
func (c *conn) acknowledge(p *publication, seq kv.Revision, refused *jsapi.Error) {
	if len(p.reply) == 0 {
		return
	}
	b := c.headerBuf[:0]
	if refused != nil {
		b = append(b, `{"error":`...)
		b = append(b, jsapi.EncodeJSON(refused)...)
		b = append(b, ',')
	} else {
		b = append(b, '{')
	}
	b = append(b, `"stream":`...)
	b = append(b, p.stream.layout.QuotedStream...)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	c.headerBuf = append(b, '}')
	c.answer(p.reply, nil, c.headerBuf)
}
