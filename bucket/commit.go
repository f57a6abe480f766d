package bucket

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// committer forms groups of the mutations that callers queue. It has no goroutine: the
// caller that finds the path idle leads in its own goroutine, which saves a lone writer
// two handoffs (13–18 % of its rate). A leader leads until its own request is answered,
// and then passes the lead to the first request in the queue.
type committer struct {
	store    *Store
	requests sync.Pool // of *request: of one store, because a channel made in a bubble of testing/synctest stays there

	mu          sync.Mutex // guards the fields up to the blank line
	queue       []*request // in order of arrival
	lowPriority []*request // requests of low priority, in order of arrival
	leading     bool       // a request leads, or is about to lead

	queued atomic.Int64 // len(queue), for the leader to watch without the lock

	// Owned by the leader.
	group  group
	rejoin rejoinWindow
	share  share
}

// request is one caller's mutations on their way through the commit path.
type request struct {
	mutations   []mutation
	single      [1]mutation // what mutations points to where there is one
	wake        chan bool   // true: lead; false: answered. Holds both.
	lowPriority bool        // no client waits for it: each group takes only a share of it

	taken int  // mutations[:taken] are in a group, or past it. Owned by the leader.
	at    int  // of group.mutations: where those of the group at hand begin. Owned by the leader.
	done  bool // answered. Owned by the leader.

	leads     bool  // the request leads or is about to lead. Guarded by committer.mu.
	cancelled error // the context's, for the mutations not taken then. Guarded by committer.mu.
}

// newRequest returns a request for one mutation, which free returns to the pool.
func (c *committer) newRequest() *request {
	r, ok := c.requests.Get().(*request)
	if !ok {
		r = &request{wake: make(chan bool, 2)}
	}
	r.mutations = r.single[:]
	return r
}

// free returns a request to the pool. No other reference to it may exist.
func (c *committer) free(r *request) {
	r.mutations, r.lowPriority, r.taken, r.done, r.leads, r.cancelled = nil, false, 0, false, false, nil
	r.single[0] = mutation{}
	c.requests.Put(r)
}

func (c *committer) init(s *Store) {
	c.store = s
	c.group.store, c.group.number, c.group.filesMax = s, 1, s.warm.max-1
}

// do carries the request through the commit path and returns when every
// mutation has an outcome. If the context ends before all mutations were taken, the
// others get its error, and do returns it.
func (c *committer) do(ctx context.Context, r *request) error {
	if c.enqueue(r) {
		c.lead(r)
		return nil
	}
	var lead bool
	if ctx.Done() == nil {
		lead = <-r.wake
	} else {
		select {
		case lead = <-r.wake:
		case <-ctx.Done():
			if c.withdraw(r, ctx.Err()) {
				return ctx.Err()
			}
			lead = <-r.wake
		}
	}
	if lead {
		c.lead(r)
	}
	return r.cancelled
}

// enqueue appends the request and reports whether its caller must lead.
func (c *committer) enqueue(r *request) (lead bool) {
	c.mu.Lock()
	if r.lowPriority {
		c.lowPriority = append(c.lowPriority, r)
	} else {
		c.queue = append(c.queue, r)
		c.queued.Add(1)
	}
	lead = !c.leading
	c.leading = true
	c.mu.Unlock()
	return lead
}

// withdraw removes a request whose context has ended from the queue. It reports whether
// none of its mutations was taken; then a lead that was passed to it goes to the next
// request. If a group has taken some of them, the others are cut off, and the caller has
// to wait for the answer.
func (c *committer) withdraw(r *request, cause error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue := &c.queue
	if r.lowPriority {
		queue = &c.lowPriority
	}
	i := slices.Index(*queue, r)
	if i < 0 {
		return false
	}
	r.cancelled = cause
	if r.taken > 0 {
		return false
	}
	*queue = slices.Delete(*queue, i, i+1)
	c.queued.Store(int64(len(c.queue)))
	r.cutOff()
	if r.leads {
		<-r.wake // the order to lead, sent under mu
		c.passOnLocked()
	}
	return true
}

// cutOff sets the context's error for the mutations that were not taken.
func (r *request) cutOff() {
	for ; r.taken < len(r.mutations); r.taken++ {
		r.mutations[r.taken].err = r.cancelled
	}
}

// lead commits groups until the leader's own request is answered.
func (c *committer) lead(self *request) {
	for !self.done {
		c.rejoin.wait(&c.queued)
		c.step(self)
		c.rejoin.expect(int(c.queued.Load()))
	}
	c.mu.Lock()
	c.passOnLocked()
	c.mu.Unlock()
}

// busy reports whether there is a leader, or a request that is about to lead.
func (c *committer) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leading
}

// passOnLocked passes the lead to the first request in the queue, else to the first of
// low priority. If there is none, the path is idle.
func (c *committer) passOnLocked() {
	var next *request
	switch {
	case len(c.queue) > 0:
		next = c.queue[0]
	case len(c.lowPriority) > 0:
		next = c.lowPriority[0]
	default:
		c.leading = false
		return
	}
	next.leads = true
	next.wake <- true
}

// step takes a group, commits it and answers its members.
func (c *committer) step(self *request) {
	g := &c.group
	g.leader = self
	c.take(g)
	c.store.commitGroup(g)
	for _, r := range g.members {
		if r != nil {
			g.answer(r)
		}
	}
	c.rejoin.answered = min(g.answered, len(g.effects))
	if g.lowPriority == c.share.mutations() {
		c.share.adapt(g.worked, g.synced)
	}
	g.reset()
}

// take moves mutations into the group, in order: from the queue as many as fit one frame,
// then a share of those of low priority. Room in the frame is kept for that share, so
// writers that fill every frame do not stop the sweep.
func (c *committer) take(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := framePayloadMax
	if len(c.lowPriority) > 0 {
		limit -= shareRoom
	}
	c.queue = g.takeFrom(c.queue, math.MaxInt, limit)
	c.queued.Store(int64(len(c.queue)))
	before := len(g.mutations)
	c.lowPriority = g.takeFrom(c.lowPriority, c.share.mutations(), framePayloadMax)
	g.lowPriority = len(g.mutations) - before
}

// takeFrom moves at most count mutations, whose records have at most limit bytes, into
// the group, and returns the rest of the queue. A request that was moved in part stays
// at its head.
func (g *group) takeFrom(queue []*request, count, limit int) []*request {
	n := 0
	for _, r := range queue {
		if r.cancelled != nil {
			r.cutOff()
		}
		r.at = len(g.mutations)
		for ; r.taken < len(r.mutations) && count > 0 && g.add(&r.mutations[r.taken], limit); count-- {
			r.taken++
		}
		if r.taken < len(r.mutations) {
			break
		}
		g.members = append(g.members, r)
		n++
	}
	rest := copy(queue, queue[n:])
	clear(queue[rest:])
	return queue[:rest]
}
