package nats

import (
	"fmt"
	"sync"
	"time"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// duplicates remembers the ids of messages for the duplicate windows of their streams,
// in memory. Of what was published before it was made, the records tell: see recall.go.
type duplicates struct {
	since time.Time // when it was made

	mu      sync.Mutex // guards the fields below, and those of windows and ids
	streams map[string]*window
}

// window is the ids of one stream, in one life of its name.
type window struct {
	bucket    uint64     // its id
	recalling sync.Mutex // held by who reads what was published before; comes before duplicates.mu

	// Guarded by duplicates.mu.
	recalled bool // that was read
	ids      map[string]*messageID
	order    []*messageID // by age, the oldest first
}

// messageID is the id of a message that was published.
type messageID struct {
	window *window // nil: its outcome was known from the beginning
	id     string
	at     time.Time
	seq    uint64        // 0: the outcome is not known, or is that it was not stored
	done   chan struct{} // closed when it is known: then seq is read without a lock
}

// idsMax is how many ids a stream remembers at most; the oldest make room.
const idsMax = 1 << 20

// windowLocked returns the window of a stream. That of another life of its name is
// forgotten: kvd's tools, too, delete buckets and make them again.
func (d *duplicates) windowLocked(s *stream) *window {
	w := d.streams[s.name]
	if w == nil || w.bucket != s.status.ID {
		if d.streams == nil {
			d.streams = make(map[string]*window)
		}
		w = &window{bucket: s.status.ID, ids: make(map[string]*messageID)}
		d.streams[s.name] = w
	}
	return w
}

// reserve takes an id for a message about to be stored, or returns the message that
// has it. Whoever took one says by settle what became of the message.
func (d *duplicates) reserve(s *stream, id string) (taken, held *messageID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windowLocked(s)
	now := time.Now()
	w.forget(now.Add(-s.config.DuplicateWindow))
	if held = w.ids[id]; held != nil {
		return nil, held
	}
	taken = &messageID{window: w, id: id, at: now, done: make(chan struct{})}
	w.add(taken)
	return taken, nil
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

// FlushAndWait says what became of the message that took the id: its sequence, 0 where it was
// not stored.
func (d *duplicates) settle(m *messageID, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.seq = seq; seq == 0 && m.window.ids[m.id] == m {
		delete(m.window.ids, m.id)
	}
	close(m.done)
}

// Remove forgets a stream.
func (d *duplicates) drop(stream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.streams, stream)
}

// reserveID takes the message's id. It reports false where another message has it:
// then this one is answered, as the duplicate that it is, or refused for its
// condition, which counts first. Where the ids of before cannot be read, it is refused.
func (c *conn) reserveID(p *publication, id string, m *kv.Mutation) bool {
	if err := c.recall(p.stream); err != nil {
		c.finishRun()
		c.acknowledge(p.reply, p.stream, 0, jsapi.ErrorOf(err))
		return false
	}
	for {
		taken, held := c.front.ids.reserve(p.stream, id)
		if held == nil {
			p.id = taken
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

// settleID says what became of the message, if it took an id.
func (c *conn) settleID(p *publication, m *kv.Mutation) {
	switch {
	case p.id == nil:
	case m.Err != nil:
		c.front.ids.settle(p.id, 0)
	default:
		c.front.ids.settle(p.id, uint64(m.Revision))
	}
}

func (c *conn) answerDuplicate(p *publication, m *kv.Mutation, seq uint64) {
	if failure := c.unmetOr(p, m, nil); failure != nil {
		c.acknowledge(p.reply, p.stream, 0, failure)
		return
	}
	c.answer(p.reply, nil, fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate": true}`, p.stream.config.Name, seq))
}
