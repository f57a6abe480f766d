package nats

import (
	"context"
	"errors"
	"strconv"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// expectation is what a message expects of its stream, by its headers Nats-Expected-Last-…
// The store checks two kinds by itself: the sequence of the stream, and that of a key. The
// others are looked up before the message is stored; such a message is guarded. Its texts
// are views of the message.
type expectation struct {
	stream expectedSequence // of the stream's newest message
	key    expectedSequence // of the newest record of the message's key

	subject     expectedSequence // of the newest message of subjectName, looked up
	subjectName string           // wildcards allowed
	isOwn       bool             // subjectName is the message's own subject
	msgID       string           // of the stream's newest message, looked up; empty if any will do
}

// expectedSequence is a sequence that a message expects, if it gives one. 0 stands for no message.
type expectedSequence struct {
	given bool
	want  kv.Revision
}

// parseSequence reads an expected sequence. A text that is not a number stands for one
// that no message has; the refusal says the actual sequence.
func parseSequence(text []byte) expectedSequence {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		n = 1<<64 - 1
	}
	return expectedSequence{true, kv.Revision(n)}
}

// parse reads the expectation of a message to the subject own. With onePerMessage no key
// has more than one message, so the sequences of subjects must be looked up.
func (x *expectation) parse(h *wire.PublishHeaders, own []byte, onePerMessage bool) *jsapi.Error {
	x.msgID = view.String(h.ExpectedLastMsgID)
	if len(h.ExpectedLastSequence) > 0 {
		x.stream = parseSequence(h.ExpectedLastSequence)
	}
	subject := own
	if len(h.ExpectedLastSubjectSequenceSubject) > 0 {
		subject = h.ExpectedLastSubjectSequenceSubject
	}
	isOwn := string(subject) == string(own)
	switch {
	case len(h.ExpectedLastSubjectSequence) == 0 && len(h.ExpectedLastSubjectSequenceSubject) > 0:
		return jsapi.ErrMissingSequence
	case len(h.ExpectedLastSubjectSequence) == 0:
	case isOwn && !onePerMessage:
		x.key = parseSequence(h.ExpectedLastSubjectSequence)
	default:
		x.subject, x.subjectName, x.isOwn = parseSequence(h.ExpectedLastSubjectSequence), view.String(subject), isOwn
	}
	return nil
}

// isGuarded reports whether something must be looked up that the store does not check.
func (x *expectation) isGuarded() bool { return x.subject.given || x.msgID != "" }

// isAboutOwnSubject reports whether what must be looked up is about the message's own
// subject alone.
func (x *expectation) isAboutOwnSubject() bool { return x.subject.given && x.isOwn && x.msgID == "" }

// applyTo gives a mutation the conditions that the store checks.
func (x *expectation) applyTo(m *kv.Mutation) {
	if x.stream.given {
		m.Newest, m.IfNewest = x.stream.want, true
	}
	if x.key.given {
		m.Op, m.Last, m.IfLast = kv.MutateUpdate, x.key.want, true
	}
}

// check looks up everything that a message expects, and returns the sequence of the
// stream's newest message, or why the message is refused.
func (x *expectation) check(ctx context.Context, s *stream, key string) (newest kv.Revision, refused *jsapi.Error) {
	newest, refused = x.checkSequences(ctx, s, key)
	if refused != nil || x.msgID == "" {
		return newest, refused
	}
	e, err := s.at(ctx, newest)
	if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
		return newest, jsapi.ErrorOf(err)
	}
	if id := wire.HeaderField(e.Headers, "Nats-Msg-Id"); string(id) != x.msgID {
		return newest, jsapi.WrongLastMsgID(string(id))
	}
	return newest, nil
}

// checkSequences is check without the message id.
func (x *expectation) checkSequences(ctx context.Context, s *stream, key string) (newest kv.Revision, refused *jsapi.Error) {
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return 0, jsapi.ErrorOf(err)
	}
	if x.key.given {
		last, err := s.lastSequence(ctx, key)
		if err != nil {
			return 0, jsapi.ErrorOf(err)
		}
		if last != x.key.want {
			return 0, jsapi.WrongLastSequence(last)
		}
	}
	if x.subject.given {
		e, err := s.findMessage(ctx, &getRequest{LastFor: x.subjectName})
		if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
			return 0, jsapi.ErrorOf(err)
		}
		if e.Revision != x.subject.want {
			return 0, jsapi.WrongLastSequence(e.Revision)
		}
	}
	if x.stream.given && x.stream.want != st.Revision {
		return 0, jsapi.WrongLastSequence(st.Revision)
	}
	return st.Revision, nil
}

// unmetOr returns why a message is refused that is not stored for another reason. What it
// expects and does not find comes first. Earlier messages count, so the batch is submitted.
func (c *conn) unmetOr(p *publication, key string, refused *jsapi.Error) *jsapi.Error {
	c.submitBatch()
	c.InStore(func() {
		if _, unmet := p.expects.check(c.ctx, p.stream, key); unmet != nil {
			refused = unmet
		}
	})
	return refused
}

// unmetSequenceOr is unmetOr without the message id.
func (c *conn) unmetSequenceOr(p *publication, key string, refused *jsapi.Error) *jsapi.Error {
	c.submitBatch()
	c.InStore(func() {
		if _, unmet := p.expects.checkSequences(c.ctx, p.stream, key); unmet != nil {
			refused = unmet
		}
	})
	return refused
}

// guardTries is how often a guarded message is tried again when other messages are stored
// between the lookup and the store.
const guardTries = 64

// storeGuarded stores the only message of a batch, which is guarded. In a message stream
// the gate keeps other messages away between the lookup and the store. In a key/value
// bucket, where others write too, the message is pinned: it is stored only if the
// bucket's newest revision is still the one that was looked up. If it is not, the lookup
// and the store are repeated.
func (c *conn) storeGuarded(b *batch) {
	p, m := &b.entries[0], &b.mutations[0]
	for range 1 + guardTries {
		newest, refused := p.expects.check(c.ctx, p.stream, m.Key)
		if refused != nil {
			m.Err = refused
			return
		}
		if !p.stream.layout.IsMessageStream() {
			m.Newest, m.IfNewest = newest, true
		}
		c.submitMutations(p.stream, b)
		var mismatch *kv.RevisionMismatchError
		if !errors.As(m.Err, &mismatch) || mismatch.Key != "" || p.expects.stream.given {
			return // stored, or refused for another reason than what was stored meanwhile
		}
	}
}
