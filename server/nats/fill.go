package nats

import (
	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// A stream that refuses the newest message where there are as many as may be is filled
// by one connection at a time, which has its whole gate: what there is room for when a
// run begins is there until it ends.

// fill stores as many of a run's messages as the stream has room for, and refuses the
// others. What a message expects comes before that refusal.
func (c *conn) fill(s *stream, r *run) {
	for at := 0; at < len(r.mutations); {
		st, err := s.bucket.Status(c.ctx)
		rest := r.mutations[at:]
		room := uint64(s.config.MaxMsgs) - min(st.Values, uint64(s.config.MaxMsgs))
		switch {
		case err != nil:
			rest[0].Err = err
			at++
		case room == 0:
			rest[0].Err = c.refuse(&r.entries[at], &rest[0])
			at++
		default:
			n := min(len(rest), int(min(room, runMax)))
			_ = c.front.submitter.Submit(c.ctx, rest[:n]) // each mutation has its error
			at += n
		}
	}
}

// refuse returns why a message is not stored for which there is no room.
func (c *conn) refuse(p *publication, m *kv.Mutation) error {
	if _, unmet := c.unmet(p, m); unmet != nil {
		return unmet
	}
	return jsapi.ErrMaxMessages
}
