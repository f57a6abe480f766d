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

// reserveMsgID reserves the message's id, and reports whether it did. If another message
// has the id, this one is answered instead: as the duplicate that it is, or refused if the
// sequences are not as it expects. If the ids of earlier messages cannot be read, it is
// refused too.
func (c *conn) reserveMsgID(p *publication, key, id string) bool {
	if err := c.recall(p.stream); err != nil {
		c.refuse(p, jsapi.ErrorOf(err))
		return false
	}
	for {
		reserved, existing := c.front.ids.reserve(p.stream, id)
		if existing == nil {
			p.msgID = reserved
			return true
		}
		c.submitBatch() // the other message may be in it
		select {
		case <-existing.done:
		case <-c.ctx.Done():
			return false
		}
		if existing.seq == 0 {
			continue // it was not stored: the id is free
		}
		c.answerDuplicate(p, key, existing.seq)
		return false
	}
}

// answerDuplicate answers a message whose id was stored before, with the sequence seq.
func (c *conn) answerDuplicate(p *publication, key string, seq uint64) {
	if unmet := c.unmetSequenceOr(p, key, nil); unmet != nil {
		c.refuse(p, unmet)
		return
	}
	c.answer(p.reply, nil, fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate": true}`, p.stream.config.Name, seq))
}

// finishMsgID records the outcome of a message, if it reserved an id: the sequence, or 0
// if it was not stored.
func (c *conn) finishMsgID(p *publication, seq kv.Revision) {
	if p.msgID != nil {
		c.front.ids.settle(p.msgID, uint64(seq))
	}
}
