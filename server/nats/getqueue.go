package nats

import (
	"sync"
)

// getQueue holds the direct gets of many messages whose answers go to a connection, in the
// order of the requests. The connection's pump serves the first until it ends. So of all
// requests that wait, one alone has a cursor.
type getQueue struct {
	conn *conn

	mu    sync.Mutex // guards queue
	queue []*batchGet
}

// add adds a get, and has it served.
func (q *getQueue) add(g *batchGet) {
	q.mu.Lock()
	q.queue = append(q.queue, g)
	first := len(q.queue) == 1
	q.mu.Unlock()
	if first {
		q.conn.pump.add(q)
	}
}

// first returns the get that is served, or nil.
func (q *getQueue) first() *batchGet {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	return q.queue[0]
}

// remove removes the get that was served, and reports whether others wait.
func (q *getQueue) remove() (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue[0] = nil
	if q.queue = q.queue[1:]; len(q.queue) == 0 {
		q.queue = nil
		return false
	}
	return true
}

// pollBy has the pump deliver some messages of the first get.
func (q *getQueue) pollBy(p *pump) {
	g := q.first()
	ended, more := false, true
	if p.buf, ended = g.poll(p.buf); ended {
		g.end()
		q.conn.memory.release(g.cost)
		more = q.remove()
	}
	if more {
		p.add(q)
	}
}
