package nats

import (
	"errors"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// run is a row of publishes of one connection that nothing else interrupts: they go to
// the store together, so that one client with many callers fills a commit group.
type run struct {
	mutations []kv.Mutation
	entries   []publication // one for each mutation
}

// publication is what is to be done with a mutation's outcome.
type publication struct {
	stream *stream
	reply  []byte
	id     *messageID // held until the outcome is known; nil: none
	guard  *guard     // nil: the store knows what the message expects

	replaces string // the pattern of the keys whose records before it the message takes the place of; empty: the store does that
}

const runMax = 4096 // mutations

// endRunBefore ends the run if a message to the stream cannot be in it: a stream that may
// be full has runs of its own.
func (c *conn) endRunBefore(s *stream) {
	if len(c.run.entries) == 0 {
		return
	}
	if first := c.run.entries[0].stream; first != s && (first.config.RefusesNewest() || s.config.RefusesNewest()) {
		c.finishRun()
	}
}

// finishRun has the store carry out the run, and answers it.
func (c *conn) finishRun() {
	r := &c.run
	if len(r.mutations) == 0 {
		return
	}
	c.EnterStore()
	c.store(r)
	r.trim(c.ctx, c.Logger())
	c.LeaveStore()
	for i := range r.mutations {
		m, p := &r.mutations[i], &r.entries[i]
		c.settleID(p, m)
		if m.Err != nil {
			c.acknowledge(p.reply, p.stream, 0, jsapi.ErrorOf(m.Err))
		} else {
			c.acknowledge(p.reply, p.stream, uint64(m.Revision), nil)
		}
		if c.out.IsFull() {
			c.out.FlushAndWait()
		}
	}
	clear(r.mutations)
	clear(r.entries)
	r.mutations, r.entries = r.mutations[:0], r.entries[:0]
}

// store has the store carry out the run: each mutation has its error then.
func (c *conn) store(r *run) {
	leave := c.front.plains.enter(r)
	defer leave()
	switch s := r.entries[0].stream; {
	case c.refuses(r):
	case s.config.RefusesNewest():
		c.fill(s, r)
	default:
		_ = c.front.submitter.Submit(c.ctx, r.mutations) // each mutation has its error
	}
	for i := range r.mutations {
		m, p := &r.mutations[i], &r.entries[i]
		if m.Err != nil && m.IfLast && m.Last == 0 {
			c.overlook(p.stream, m)
		}
		if m.Err != nil && p.guard != nil {
			c.insist(p, m)
		}
		if m.Err == nil && p.replaces != "" {
			_, m.Err = p.stream.erase(c.ctx, p.replaces, m.Revision, 0)
		}
	}
}

// overlook carries out a mutation that expected no record and found the marker of an
// expiry, in a stream that would have none: there NATS' clients find nothing.
func (c *conn) overlook(s *stream, m *kv.Mutation) {
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
