package nats

import (
	"fmt"
	"sync"
	"time"

	"kvd/kv"
)

// duplicates remembers the ids of messages for the duplicate windows of their streams,
// in memory. Of what was published before it was made, the records tell: see recall.go.
type duplicates struct {
	since time.Time // when it was made

	mu      sync.Mutex // guards the fields below
	streams map[string]*window
}

// window is the ids of one stream.
type window struct {
	recalling sync.Mutex // held by who reads what was published before; comes before duplicates.mu

	// Guarded by duplicates.mu.
	recalled bool // that was read
	ids      map[string]*messageID
	order    []*messageID // by age, the oldest first
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

// windowLocked returns the window of a stream.
func (d *duplicates) windowLocked(stream string) *window {
	w := d.streams[stream]
	if w == nil {
		if d.streams == nil {
			d.streams = make(map[string]*window)
		}
		w = &window{ids: make(map[string]*messageID)}
		d.streams[stream] = w
	}
	return w
}

// reserve takes an id for a message about to be stored, or returns the message that
// has it.
func (d *duplicates) reserve(stream, id string, age time.Duration) (held *messageID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windowLocked(stream)
	now := time.Now()
	w.forget(now.Add(-age))
	if held = w.ids[id]; held != nil {
		return held
	}
	w.add(&messageID{id: id, at: now, done: make(chan struct{})})
	return nil
}

// add notes an id, the newest.
func (w *window) add(m *messageID) {
	w.ids[m.id] = m
	w.order = append(w.order, m)
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
// condition, which counts first. Where the ids of before cannot be read, it is refused.
func (c *conn) reserveID(p *publication, id string, m *kv.Mutation) bool {
	if err := c.recall(p.stream); err != nil {
		c.finishRun()
		c.acknowledge(p.reply, p.stream, 0, refusal(err))
		return false
	}
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
	if failure := c.unmetOr(p, m, nil); failure != nil {
		c.acknowledge(p.reply, p.stream, 0, failure)
		return
	}
	c.answer(p.reply, nil, fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate": true}`, p.stream.config.Name, seq))
}
