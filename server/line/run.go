package line

import (
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
)

// run is consecutive writes of one connection. They go to the store in one Submit, so
// that one pipelining client fills a commit group.
type run struct {
	mutations []kv.Mutation
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

// write adds a command to the run. Clients cannot write to buckets that a front end
// reserves for itself, because the front end relies on what it stored there.
func (c *conn) write(cmd *lineproto.Command) {
	if err := msglog.CheckUnreserved(cmd.Bucket); err != nil {
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
	c.run.mutations = append(c.run.mutations, mutationOf(c.name(cmd.Bucket), cmd))
	if len(c.run.mutations) >= runMax {
		c.finishRun()
	}
}

// mutationOf returns the mutation of a command that writes.
func mutationOf(bucket string, cmd *lineproto.Command) kv.Mutation {
	return kv.Mutation{
		Bucket: bucket, Op: mutationOps[cmd.Verb], Key: cmd.Key, Value: cmd.Value,
		Last: cmd.Revision, IfLast: cmd.HasRevision, TTL: cmd.TTL,
	}
}

// finishRun carries out the run and answers it.
func (c *conn) finishRun() {
	r := c.run
	if len(r.mutations) == 0 {
		return
	}
	c.EnterStore()
	_ = c.protocol.submitter.Submit(c.ctx, r.mutations) // each mutation has its error
	c.LeaveStore()
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
