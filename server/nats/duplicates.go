package nats

import (
	"fmt"
	"sync"
	"time"

	"kvd/kv"
)

// duplicates remembers the ids of messages for the duplicate windows of their streams,
// in memory: a window does not outlive the process.
type duplicates struct {
	mu      sync.Mutex
	streams map[string]*window
}

// window is the ids of one stream.
type window struct {
	ids   map[string]*messageID
	order []*messageID // by age, the oldest first
}

// messageID is the id of a message that was published.
type messageID struct {
	id   string
	at   time.Time
	seq  uint64        // 0: the outcome is not known
	done chan struct{} // closed when it is
}

// idsMax is how many ids a stream remembers at most; the oldest make room.
const idsMax = 1 << 20

// reserve takes an id for a message about to be stored, or returns the message that
// has it.
func (d *duplicates) reserve(stream, id string, age time.Duration) (held *messageID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.streams[stream]
	if w == nil {
		if d.streams == nil {
			d.streams = make(map[string]*window)
		}
		w = &window{ids: make(map[string]*messageID)}
		d.streams[stream] = w
	}
	now := time.Now()
	w.forget(now.Add(-age))
	if held = w.ids[id]; held != nil {
		return held
	}
	m := &messageID{id: id, at: now, done: make(chan struct{})}
	w.ids[id] = m
	w.order = append(w.order, m)
	return nil
}

// forget drops the ids that are older than the window.
func (w *window) forget(before time.Time) {
	for len(w.order) > 0 && (w.order[0].at.Before(before) || len(w.order) >= idsMax) {
		if m := w.order[0]; w.ids[m.id] == m {
			delete(w.ids, m.id)
		}
		w.order[0] = nil
		w.order = w.order[1:]
	}
}

// settle says what became of the message that took the id.
func (d *duplicates) settle(stream, id string, seq uint64, stored bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.streams[stream]
	if w == nil {
		return
	}
	m := w.ids[id]
	if m == nil || m.seq != 0 {
		return
	}
	if m.seq = seq; !stored {
		delete(w.ids, id)
	}
	close(m.done)
}

// drop forgets a stream.
func (d *duplicates) drop(stream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.streams[stream]
	if w == nil {
		return
	}
	delete(d.streams, stream)
	for _, m := range w.ids {
		if m.seq == 0 {
			close(m.done) // whoever waits tries again, and finds no stream
		}
	}
}

// reserveID takes the message's id. It reports false where another message has it:
// then this one is answered, as the duplicate that it is, or refused for its
// condition, which counts first.
func (c *conn) reserveID(p *publication, id string, m *kv.Mutation) bool {
	for {
		held := c.front.ids.reserve(p.stream.name, id, p.stream.config.DuplicateWindow)
		if held == nil {
			p.id = id
			return true
		}
		c.finishRun() // the message may be in it; and answers come in order
		select {
		case <-held.done:
		case <-c.ctx.Done():
			return false
		}
		if held.seq == 0 {
			continue // it was not stored: the id is free
		}
		c.answerDuplicate(p, m, held.seq)
		return false
	}
}

// settleID says what became of the message that took an id, if it did.
func (c *conn) settleID(p *publication, revision kv.Revision, stored bool) {
	if p.id != "" {
		c.front.ids.settle(p.stream.name, p.id, uint64(revision), stored)
	}
}

func (c *conn) answerDuplicate(p *publication, m *kv.Mutation, seq uint64) {
	var failure *apiError
	if m.IfLast || m.IfNewest || p.guard != nil {
		c.InStore(func() { _, failure = c.unmet(p, m) })
	}
	if failure != nil {
		c.acknowledge(p.reply, p.stream, 0, failure)
		return
	}
	c.answer(p.reply, nil, fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate": true}`, p.stream.config.Name, seq))
}
