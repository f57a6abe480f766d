package line

import (
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// run is a row of writes of one connection that nothing else interrupts: they go
// to the store together, so that one pipelining client fills a commit group.
type run struct {
	mutations []kv.Mutation
	options   [2]kv.WriteOption // scratch
}

const runMax = 4096 // mutations

var runs = sync.Pool{New: func() any { return new(run) }}

func getRun() *run  { return runs.Get().(*run) }
func putRun(r *run) { runs.Put(r) }

var mutationOps = [...]kv.MutationOp{
	lineproto.VerbPut:    kv.MutatePut,
	lineproto.VerbCreate: kv.MutateCreate,
	lineproto.VerbUpdate: kv.MutateUpdate,
	lineproto.VerbTouch:  kv.MutateTouch,
	lineproto.VerbDelete: kv.MutateDelete,
	lineproto.VerbPurge:  kv.MutatePurge,
}

// write adds a command to the run. What a front end keeps for itself is for nobody else
// to write to: it relies on that.
func (c *conn) write(cmd *lineproto.Command) {
	if err := kv.CheckUnreserved(cmd.Bucket); err != nil {
		c.finishRun()
		c.fail(err, cmd.Bucket)
		return
	}
	if cmd.BucketID != 0 {
		if _, err := c.bucket(cmd); err != nil {
			c.finishRun()
			c.fail(err, cmd.Bucket)
			return
		}
	}
	c.run.mutations = append(c.run.mutations, kv.Mutation{
		Bucket: c.name(cmd.Bucket), Op: mutationOps[cmd.Verb], Key: cmd.Key, Value: cmd.Value,
		Last: cmd.Revision, IfLast: cmd.HasRevision, TTL: cmd.TTL,
	})
	if len(c.run.mutations) >= runMax {
		c.finishRun()
	}
}

// finishRun carries out the run and answers it.
func (c *conn) finishRun() {
	r := c.run
	if len(r.mutations) == 0 {
		return
	}
	if c.protocol.submitter != nil && len(r.mutations) > 1 {
		c.EnterStore()
		_ = c.protocol.submitter.Submit(c.ctx, r.mutations) // each mutation has its error
		c.LeaveStore()
	} else {
		for i := range r.mutations {
			c.single(&r.mutations[i])
		}
	}
	for i := range r.mutations {
		if m := &r.mutations[i]; m.Err != nil {
			c.fail(m.Err, m.Key)
		} else {
			c.replies.b = lineproto.AppendNumber(c.replies.b, uint64(m.Revision))
		}
		c.full()
	}
	clear(r.mutations)
	r.mutations = r.mutations[:0]
}

// single carries out one mutation through its bucket: shorter than Submit for one,
// and the only way where the store has no Submit.
func (c *conn) single(m *kv.Mutation) {
	if m.Err = c.lookup(m.Bucket); m.Err != nil {
		return
	}
	b := c.last.bucket
	o := c.run.options[:0]
	isMarker := m.Op == kv.MutateDelete || m.Op == kv.MutatePurge
	switch {
	case m.TTL != 0 && isMarker:
		o = append(o, kv.PurgeTTL(m.TTL))
	case m.TTL != 0:
		o = append(o, kv.KeyTTL(m.TTL))
	}
	if m.IfLast && isMarker {
		o = append(o, kv.LastRevision(m.Last))
	}
	c.EnterStore()
	switch m.Op {
	case kv.MutatePut:
		m.Revision, m.Err = b.Put(c.ctx, m.Key, m.Value, o...)
	case kv.MutateCreate:
		m.Revision, m.Err = b.Create(c.ctx, m.Key, m.Value, o...)
	case kv.MutateUpdate:
		m.Revision, m.Err = b.Update(c.ctx, m.Key, m.Value, m.Last, o...)
	case kv.MutateTouch:
		m.Revision, m.Err = b.Touch(c.ctx, m.Key, o...)
	case kv.MutateDelete:
		m.Revision, m.Err = b.Delete(c.ctx, m.Key, o...)
	case kv.MutatePurge:
		m.Revision, m.Err = b.Purge(c.ctx, m.Key, o...)
	}
	c.LeaveStore()
}
