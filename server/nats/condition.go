package nats

import (
	"errors"
	"strconv"

	"kvd/kv"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// guard is what a message expects of its stream that the store cannot check by
// itself: it is looked up, and the message is stored if nothing else was since. In a
// plain stream its gate sees to that, in a bucket the store.
type guard struct {
	subject  string      // whose newest message has the sequence, wildcards allowed; empty: any has
	sequence kv.Revision // 0: there is none
	own      bool        // it is about the message's own subject alone
	id       string      // Of the stream's newest message; empty: any is right
	pinned   bool        // the stream's sequence is expected by the client too
}

// guardTries is how often a guarded message is tried while others are stored between
// the look and the store.
const guardTries = 64

// condition gives the mutation, or its publication, what the message expects of the
// stream.
func condition(o *wire.Operation, h *wire.PublishHeaders, m *kv.Mutation, p *publication) *jsapi.Error {
	if len(h.ExpectedLastSequence) > 0 {
		m.Newest, m.IfNewest = parseSequence(h.ExpectedLastSequence), true
	}
	s, subject := p.stream, o.Subject
	if len(h.ExpectedLastSubjectSequenceSubject) > 0 {
		subject = h.ExpectedLastSubjectSequenceSubject
	}
	guarded := len(h.ExpectedLastSubjectSequence) > 0 && (s.layout.OnePerMessage || string(subject) != string(o.Subject))
	if guarded || len(h.ExpectedLastMsgID) > 0 {
		p.guard = &guard{id: string(h.ExpectedLastMsgID), pinned: m.IfNewest}
	}
	switch {
	case len(h.ExpectedLastSubjectSequence) == 0 && len(h.ExpectedLastSubjectSequenceSubject) > 0:
		return jsapi.ErrMissingSequence
	case len(h.ExpectedLastSubjectSequence) == 0:
	case guarded:
		p.guard.subject, p.guard.sequence = string(subject), parseSequence(h.ExpectedLastSubjectSequence)
		p.guard.own = len(h.ExpectedLastMsgID) == 0 && string(subject) == string(o.Subject)
	default:
		m.Op, m.Last, m.IfLast = kv.MutateUpdate, parseSequence(h.ExpectedLastSubjectSequence), true
	}
	return nil
}

// parseSequence reads an expected sequence. What is no number is one that never
// matches, and the refusal says what would have.
func parseSequence(text []byte) kv.Revision {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 1<<64 - 1
	}
	return kv.Revision(n)
}

// unmet looks up whether the sequences are those that a message expects, and returns
// that of the stream.
func (c *conn) unmet(p *publication, m *kv.Mutation) (newest kv.Revision, failure *jsapi.Error) {
	st, err := p.stream.bucket.Status(c.ctx)
	if err != nil {
		return 0, jsapi.ErrorOf(err)
	}
	if m.IfLast {
		if last := p.stream.lastSequence(c.ctx, m.Key); last != m.Last {
			return 0, jsapi.WrongLastSequence(last)
		}
	}
	if g := p.guard; g != nil && g.subject != "" {
		e, err := c.findMessage(p.stream, &getRequest{LastFor: g.subject})
		if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
			return 0, jsapi.ErrorOf(err)
		}
		if e.Revision != g.sequence {
			return 0, jsapi.WrongLastSequence(e.Revision)
		}
	}
	if m.IfNewest && m.Newest != st.Revision {
		return 0, jsapi.WrongLastSequence(st.Revision)
	}
	return st.Revision, nil
}

// unmetOr returns what the sequences that a message expects say against it, or else the
// failure.
func (c *conn) unmetOr(p *publication, m *kv.Mutation, failure *jsapi.Error) *jsapi.Error {
	c.finishRun() // what was published before counts
	c.InStore(func() {
		if _, unmet := c.unmet(p, m); unmet != nil {
			failure = unmet
		}
	})
	return failure
}

// hold looks up all that a message expects. A guarded one is then to be stored only if
// nothing was since.
func (c *conn) hold(p *publication, m *kv.Mutation) *jsapi.Error {
	newest, failure := c.unmet(p, m)
	if failure != nil || p.guard == nil {
		return failure
	}
	if p.guard.id != "" {
		e, err := p.stream.at(c.ctx, newest)
		if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
			return jsapi.ErrorOf(err)
		}
		if id := wire.HeaderField(e.Headers, "Nats-Msg-Id"); string(id) != p.guard.id {
			return jsapi.WrongLastMsgID(string(id))
		}
	}
	m.Newest, m.IfNewest = newest, true
	return nil
}

// refuses looks up what the only message of a run to a plain stream expects, and reports
// whether that is a reason not to store it. The stream's gate is held.
func (c *conn) refuses(r *run) bool {
	p, m := &r.entries[0], &r.mutations[0]
	if p.guard == nil || !p.stream.layout.IsMessageStream() {
		return false
	}
	newest, pinned := m.Newest, m.IfNewest
	failure := c.hold(p, m)
	m.Newest, m.IfNewest = newest, pinned
	if failure != nil {
		m.Err = failure
	}
	return failure != nil
}

// insist carries a guarded message out again for as long as what was stored meanwhile
// is all that stands against it.
func (c *conn) insist(p *publication, m *kv.Mutation) {
	var mismatch *kv.RevisionMismatchError
	for n := 0; n < guardTries && !p.guard.pinned && errors.As(m.Err, &mismatch) && mismatch.Key == ""; n++ {
		m.IfNewest = false
		if failure := c.hold(p, m); failure != nil {
			m.Err = failure
			return
		}
		again := []kv.Mutation{*m}
		_ = c.front.submitter.Submit(c.ctx, again) // the mutation has its error
		m.Revision, m.Err = again[0].Revision, again[0].Err
	}
}
