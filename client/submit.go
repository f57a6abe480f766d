package client

import (
	"context"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
)

// A Submit is sent in runs of mutations, so that the first are on their way while the
// last are encoded, and the buffer stays bounded.
const (
	runCount = 1024
	runBytes = 1 << 20 // of keys and values; one mutation may be larger
)

// verbs are the commands of the mutations.
var verbs = [...]lineproto.Verb{
	kv.MutatePut:    lineproto.VerbPut,
	kv.MutateCreate: lineproto.VerbCreate,
	kv.MutateUpdate: lineproto.VerbUpdate,
	kv.MutateDelete: lineproto.VerbDelete,
	kv.MutatePurge:  lineproto.VerbPurge,
	kv.MutateTouch:  lineproto.VerbTouch,
}

// setMutation makes the command that of a checked mutation.
func setMutation(c *lineproto.Command, m *kv.Mutation) {
	*c = lineproto.Command{Verb: verbs[m.Op], Bucket: m.Bucket, Key: m.Key, Value: m.Value, TTL: m.TTL}
	switch m.Op {
	case kv.MutateUpdate:
		c.Revision, c.HasRevision = m.Last, true
	case kv.MutateDelete, kv.MutatePurge:
		c.Revision, c.HasRevision = m.Last, m.IfLast
	}
}

// checkMutation returns why a mutation cannot be sent.
func checkMutation(m *kv.Mutation) error {
	if m.Op == msglog.Append {
		return fmt.Errorf("%w: appending over the line protocol", kv.ErrNotSupported)
	}
	if m.Op == 0 || int(m.Op) >= len(verbs) {
		return fmt.Errorf("%w: %v", kv.ErrInvalidOption, m.Op)
	}
	if err := kv.CheckBucketName(m.Bucket); err != nil {
		return err
	}
	if err := kv.CheckKey(m.Key); err != nil {
		return err
	}
	if len(m.Value) > kv.MaxValueSizeLimit {
		return &kv.LimitError{What: "value size", Got: int64(len(m.Value)), Max: kv.MaxValueSizeLimit, Err: kv.ErrValueTooLarge}
	}
	if m.TTL < 0 {
		return &kv.LimitError{What: "TTL", Got: int64(m.TTL), Min: 1, Duration: true, Err: kv.ErrInvalidOption}
	}
	if m.Headers != nil || m.Rollup {
		return fmt.Errorf("%w: headers and rollups over the line protocol", kv.ErrNotSupported)
	}
	if m.IfNewest {
		return fmt.Errorf("%w: a condition on the whole bucket over the line protocol", kv.ErrNotSupported)
	}
	if m.TTL > 0 && m.Op == kv.MutateDelete {
		return fmt.Errorf("%w: a TTL does not apply to %v", kv.ErrInvalidOption, m.Op)
	}
	return nil
}

// Submit carries out many mutations in order; see [kv.Submitter].
//
// If the connection breaks, mutations that were sent and not answered have an error
// matching kv.ErrOutcomeUnknown. Later ones have the *ConnError: they are not sent, since
// they could be executed before the others. Submit then also returns the first of these
// errors.
func (c *Client) Submit(ctx context.Context, mutations []kv.Mutation) error {
	rest := make([]*kv.Mutation, 0, len(mutations))
	for i := range mutations {
		m := &mutations[i]
		m.Revision = 0
		if m.Err = kv.NameKey(m.Bucket, m.Key, checkMutation(m)); m.Err == nil {
			rest = append(rest, m)
		}
	}
	err, fault := ctx.Err(), error(nil)
	for n := 0; err == nil && fault == nil && len(rest) > 0; n++ {
		var conn *conn
		if conn, err = c.link.get(ctx); err != nil {
			break
		}
		before := len(rest)
		rest, err, fault = conn.submit(ctx, rest)
		if len(rest) < before {
			n = 0
		}
		if fault == nil && n+1 < attempts {
			err = ctx.Err()
		}
	}
	setErrors(rest, err)
	if fault != nil {
		return fault
	}
	return err
}

// part is a run of mutations that was sent, with its outcome.
type part struct {
	run  []*kv.Mutation
	call *call
	outcome
}

// submit sends mutations and waits for their outcomes. It returns the mutations that
// were not executed, and why. fault is the error of those whose outcome is unknown; nil
// if there are none.
func (c *conn) submit(ctx context.Context, mutations []*kv.Mutation) (rest []*kv.Mutation, err, fault error) {
	var parts []part
	next := 0 // of mutations, to be sent
	for next < len(mutations) {
		k := c.calls.get(0)
		k.run = mutations[next : next+runLength(mutations[next:])]
		if err = c.send(ctx, k); err != nil {
			k.free()
			break
		}
		parts = append(parts, part{run: k.run, call: k})
		next += len(k.run)
	}
	// Wait for the last one first: if the context ends, no run must be withdrawn while a
	// later one is sent.
	for i := range parts {
		p := &parts[len(parts)-1-i]
		p.outcome = c.wait(ctx, p.call)
	}
	settled := 0
	for i := range parts {
		p := &parts[i]
		open := p.run[p.answered:]
		if p.fate != fateAbandoned {
			p.call.free()
		}
		switch p.fate {
		case fateUnsent: // and nothing behind it was sent
			return mutations[settled+p.answered:], p.err, fault
		case fateLost, fateAbandoned:
			err = p.err
			if fault == nil {
				fault = unknown(p.err)
			}
			setErrors(open, fault)
		case fateAnswered:
			setErrors(open, p.err) // none are open, unless they could not be encoded
		}
		settled += len(p.run)
	}
	return mutations[settled:], err, fault
}

func setErrors(mutations []*kv.Mutation, err error) {
	for _, m := range mutations {
		m.Revision, m.Err = 0, kv.NameKey(m.Bucket, m.Key, err)
	}
}

// runLength returns how many of the mutations go together.
func runLength(mutations []*kv.Mutation) int {
	size := 0
	for i, m := range mutations {
		size += len(m.Key) + len(m.Value)
		if i == runCount || i > 0 && size > runBytes {
			return i
		}
	}
	return len(mutations)
}
