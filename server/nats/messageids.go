package nats

import (
	"fmt"
	"sync"
	"time"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// messageIDs holds the ids of the messages that were published in the duplicate windows of
// their streams. It is in memory alone; the ids of messages that were published before it
// was made are read from their records (file storedids.go). Safe for concurrent use.
type messageIDs struct {
	started time.Time // when it was made, which is when the front end was

	mu      sync.Mutex // guards the fields below, and those of streamIDs and messageID that say so
	streams map[string]*streamIDs
}

// streamIDs holds the message ids of one stream, until it is deleted.
type streamIDs struct {
	bucketID uint64     // of the bucket
	loading  sync.Mutex // locked while the stored ids are read; before messageIDs.mu

	// Guarded by messageIDs.mu.
	loaded bool // the stored ids were read
	byID   map[string]*messageID
	order  []*messageID // the oldest first
}

// messageID is the id of a published message.
type messageID struct {
	ids       *streamIDs // that it is in; nil for an id that was read from a record
	id        string
	published time.Time
	seq       uint64        // 0 until the outcome is known, and if the message was not stored
	done      chan struct{} // closed when the outcome is known; seq is read without a lock then
}

// idsMax is how many ids a stream holds; then the oldest are removed.
const idsMax = 1 << 20

// ofStreamLocked returns the ids of a stream. Those of a deleted stream of the same name
// are removed first: kvd's own tools may delete a bucket and create it again.
func (d *messageIDs) ofStreamLocked(s *stream) *streamIDs {
	ids := d.streams[s.name]
	if ids == nil || ids.bucketID != s.status.ID {
		if d.streams == nil {
			d.streams = make(map[string]*streamIDs)
		}
		ids = &streamIDs{bucketID: s.status.ID, byID: make(map[string]*messageID)}
		d.streams[s.name] = ids
	}
	return ids
}

// reserve reserves an id for a message that is about to be stored. If another message has
// the id, reserve returns that one instead. The caller must call finish for an id that it
// reserved.
func (d *messageIDs) reserve(s *stream, id string) (reserved, existing *messageID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.ofStreamLocked(s)
	now := time.Now()
	ids.removeOlder(now.Add(-s.config.DuplicateWindow))
	if existing = ids.byID[id]; existing != nil {
		return nil, existing
	}
	reserved = &messageID{ids: ids, id: id, published: now, done: make(chan struct{})}
	ids.add(reserved)
	return reserved, nil
}

// add adds the newest id.
func (ids *streamIDs) add(m *messageID) {
	ids.byID[m.id] = m
	ids.order = append(ids.order, m)
}

// removeOlder removes the ids from before a time, and the oldest if there are too many.
func (ids *streamIDs) removeOlder(before time.Time) {
	for len(ids.order) > 0 && (ids.order[0].published.Before(before) || len(ids.order) >= idsMax) {
		if m := ids.order[0]; ids.byID[m.id] == m {
			delete(ids.byID, m.id)
		}
		ids.order[0] = nil
		ids.order = ids.order[1:]
	}
}

// finish records the outcome of the message that reserved the id: its sequence, or 0 if it
// was not stored, which frees the id.
func (d *messageIDs) finish(m *messageID, seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.seq = seq; seq == 0 && m.ids.byID[m.id] == m {
		delete(m.ids.byID, m.id)
	}
	close(m.done)
}

// remove removes the ids of a stream.
func (d *messageIDs) remove(stream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.streams, stream)
}

// reserveMsgID reserves the message's id, and reports whether it did. If another message
// has the id, this one is answered instead: as the duplicate that it is, or refused if the
// sequences are not as it expects. If the ids of earlier messages cannot be read, it is
// refused too.
func (c *conn) reserveMsgID(p *publication, key, id string) bool {
	if err := c.loadMsgIDs(p.stream); err != nil {
		c.refuse(p, jsapi.ErrorOf(err))
		return false
	}
	for {
		reserved, existing := c.front.msgIDs.reserve(p.stream, id)
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
		c.front.msgIDs.finish(p.msgID, uint64(seq))
	}
}
