package nats

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/archive"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

const (
	chunkDefault  = 128 << 10 // bytes of a chunk
	chunkMin      = 1 << 10
	chunkMax      = 1 << 20
	windowDefault = 8 << 20 // bytes of the chunks that are not acknowledged
	windowMax     = 32 << 20
	chunkPatience = 5 * time.Second // for an acknowledgement
	subPatience   = 2 * time.Second // for a subscription to the very subject of the chunks
	packSize      = 1 << 20         // bytes of messages that are packed in one turn of the pump
)

// snapshot is a backup of a stream that is sent to the client who asked for it, chunk by chunk. It
// is a cursor: a chunk is made when the client has acknowledged enough of those before. The
// connection's pump makes and sends them. nats stream backup writes them to a file.
type snapshot struct {
	// Immutable.
	conn    *conn
	user    string // who asked: a later CONNECT changes conn.user
	stream  *stream
	id      string
	deliver []byte // the subject of the chunks
	ack     string // begins the subjects of their acknowledgements
	chunk   int    // bytes
	window  uint64 // chunks that may be without acknowledgement
	state   streamState
	source  kv.Poller
	timer   *time.Timer // sets late

	// Owned by the pump's goroutine.
	archive *archive.Writer
	packed  bytes.Buffer // of the archive, not sent yet
	seen    uint64       // messages
	whole   bool         // all of the archive is in packed
	waiting bool         // for the client: the timer runs
	anySub  bool         // a subscription with wildcards will do

	queued, late, ended atomic.Bool
	sent, acked         atomic.Uint64 // chunks
}

var (
	errChanged     = errors.New("messages were superseded and removed before they were read: try again")
	errNoInterest  = errors.New("408 No Interest")
	errNoFlow      = errors.New("408 No Flow Response")
	statusComplete = []byte("NATS/1.0 204\r\n\r\n")
)

// snapshotRequest is the body of STREAM.SNAPSHOT.
type snapshotRequest struct {
	DeliverSubject string `json:"deliver_subject"`
	NoConsumers    bool   `json:"no_consumers"` // has no effect: there are none in a backup
	ChunkSize      int    `json:"chunk_size"`
	WindowSize     int    `json:"window_size"`
	Check          bool   `json:"jsck"` // has no effect: checksums are checked in any case
}

// streamSnapshot answers STREAM.SNAPSHOT, and has the backup sent.
func (c *conn) streamSnapshot(r *request) (any, *jsapi.Error) {
	s, refused := c.findStream(r, server.MayAdmin)
	if refused == nil {
		refused = c.permitBackup(s)
	}
	if refused != nil {
		return nil, refused
	}
	var ask snapshotRequest
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	if !wire.IsLiteral([]byte(ask.DeliverSubject)) {
		return nil, jsapi.ErrSnapshotSubject
	}
	id, refused := c.transfers.newID()
	if refused != nil {
		return nil, refused
	}
	n := &snapshot{
		conn: c, user: c.user, stream: s, id: id, deliver: []byte(ask.DeliverSubject),
		ack: wire.SnapshotPrefix + "ACK." + s.config.Name + "." + id + ".",
	}
	n.chunk, n.window = c.front.chunks(&ask)
	if err := n.open(); err != nil {
		api := jsapi.ErrorOf(err)
		return nil, jsapi.NewError(500, 10064, "snapshot failed: "+api.Description)
	}
	c.transfers.addSnapshot(n) // api wakes it
	var answer struct {
		Config *streamconfig.Config `json:"config"`
		State  streamState          `json:"state"`
	}
	answer.Config, answer.State = s.config, n.state
	return answer, nil
}

// permitBackup checks that the user may administrate a stream and read all of it.
func (c *conn) permitBackup(s *stream) *jsapi.Error {
	if refused := c.permit(server.MayAdmin, s.layout.Grants); refused != nil {
		return refused
	}
	return c.permit(server.MayGet, s.layout.Grants)
}

// chunks returns the bytes of a chunk, and how many may be without acknowledgement.
func (f *Front) chunks(ask *snapshotRequest) (size int, window uint64) {
	size, bytes := ask.ChunkSize, ask.WindowSize
	if size == 0 {
		size = chunkDefault
	}
	if bytes == 0 {
		bytes = windowDefault
	}
	size = min(max(size, chunkMin), chunkMax, f.maxPayload)
	return size, uint64(max(min(bytes, windowMax), size) / size)
}

// open selects the messages: those of one moment, which is that of the call.
func (s *snapshot) open() error {
	c, from := s.conn, s.stream
	state := c.front.state(c.ctx, from) // before the selection: no message of it is below the first
	w, err := from.bucket.Watch(c.ctx, nil, kv.IncludeHistory(), msglog.PassForgotten(), kv.Notify(s.wake))
	if err != nil {
		return err
	}
	var ok bool
	if s.source, ok = kv.As[kv.Poller](w); !ok {
		_ = w.Stop() // which returns nil
		return kv.ErrNotSupported
	}
	st, err := from.bucket.Status(c.ctx)
	if err == nil {
		s.state = state.of(s.source.Pending(), st.Revision)
		s.archive, err = archive.NewWriter(&s.packed, jsapi.EncodeJSON(&s.state), now())
	}
	if err != nil {
		_ = s.source.Stop() // which returns nil
		return err
	}
	s.timer = time.AfterFunc(chunkPatience, s.expire)
	s.timer.Stop()
	return nil
}

// of returns the state with so many messages and that last sequence. It has no consumers.
func (st streamState) of(messages uint64, last kv.Revision) streamState {
	st.Messages, st.LastSeq, st.Consumers = messages, uint64(last), 0
	switch {
	case messages == 0 && last > 0:
		st.FirstSeq, st.FirstTime, st.NumSubjects = st.LastSeq+1, time.Time{}, 0
	case messages > 0 && st.FirstSeq == 0: // it was empty just before, or its first message is not known
		st.FirstSeq = 1
	}
	st.NumDeleted = 0
	if messages > 0 {
		st.NumDeleted = st.LastSeq - st.FirstSeq + 1 - messages
	}
	return st
}

// wake has the pump look at the snapshot.
func (s *snapshot) wake() {
	if !s.queued.Swap(true) {
		s.conn.pump.add(s)
	}
}

// expire is called by the timer.
func (s *snapshot) expire() {
	s.late.Store(true)
	s.wake()
}

// acknowledged counts the chunks up to one as acknowledged. The client acknowledges them in
// their order.
func (s *snapshot) acknowledged(chunk string) {
	if n, err := strconv.ParseUint(chunk, 10, 64); err == nil && s.acked.Load() < n && n <= s.sent.Load() {
		s.acked.Store(n)
		s.late.Store(false)
		s.wake()
	}
}

// end ends the snapshot. A second time it does nothing.
func (s *snapshot) end() {
	if s.ended.Swap(true) {
		return
	}
	s.timer.Stop()
	_ = s.source.Stop() // which returns nil
	s.conn.transfers.remove(s.id)
}

// pollBy sends the next chunk, if the client can have it.
func (s *snapshot) pollBy(p *pump) {
	s.queued.Store(false)
	if s.ended.Load() {
		return
	}
	to := s.target()
	if to == nil || s.sent.Load()-s.acked.Load() >= s.window {
		s.await(p, to)
		return
	}
	if s.waiting {
		s.waiting = false
		s.timer.Stop()
		s.late.Store(false)
	}
	more, err := s.pack()
	switch {
	case err != nil:
		s.finish(p, to, err)
	case s.packed.Len() >= s.chunk || s.whole && s.packed.Len() > 0:
		s.send(p, to)
		s.wake()
	case s.whole:
		s.finish(p, to, nil)
	case more:
		s.wake()
	}
}

// target returns the connection's subscription to the chunks, or nil. Clients ask with an inbox
// that they subscribe to when they have the answer. Another subscription of theirs, which is for the
// answers to all their requests, matches it before.
func (s *snapshot) target() (found *subscription) {
	for _, t := range s.conn.front.subscriptionsTo(s.user, s.deliver) {
		exact := t.subject == string(s.deliver)
		if t.conn == s.conn && (exact || s.anySub) {
			found = t
		}
		if t.conn == s.conn && exact {
			break
		}
	}
	return found
}

// await waits for the client, or ends the snapshot if that takes too long.
func (s *snapshot) await(p *pump, to *subscription) {
	patience := chunkPatience
	if to == nil {
		patience = subPatience
	}
	switch {
	case !s.waiting:
		s.waiting = true
		s.late.Store(false)
		s.timer.Reset(patience)
	case s.late.Load() && to == nil && !s.anySub:
		s.anySub, s.waiting = true, false
		s.wake()
	case s.late.Load() && to == nil:
		s.finish(p, nil, errNoInterest)
	case s.late.Load():
		s.finish(p, to, errNoFlow)
	}
}

// pack packs messages until there is a chunk, for one turn at most. It reports whether there may
// be more messages now.
func (s *snapshot) pack() (more bool, err error) {
	if refused := s.conn.permitBackup(s.stream); refused != nil { // its user may have other grants now
		return false, refused
	}
	if s.whole || s.packed.Len() >= s.chunk {
		return true, nil
	}
	size, atEnd := 0, false
	var failed error
	more, err = s.source.Poll(func(u kv.Update) bool {
		if atEnd = u.Entry == nil; atEnd {
			return false
		}
		if failed = s.add(&u); failed != nil {
			return false
		}
		size += len(u.Entry.Value) + len(u.Entry.Headers)
		return size < packSize && s.packed.Len() < s.chunk
	})
	switch {
	case failed != nil:
		return false, failed
	case err != nil:
		return false, err
	case atEnd && s.seen != s.state.Messages:
		return false, errChanged
	case atEnd:
		s.whole = true
		return true, s.archive.Close()
	}
	return more, nil
}

// add packs a message. An update that is not one of those which were selected is there because one
// of these is missing.
func (s *snapshot) add(u *kv.Update) error {
	e := u.Entry
	s.seen++
	if s.seen > s.state.Messages || e.Revision > kv.Revision(s.state.LastSeq) || e.Delta != s.state.Messages-s.seen {
		return errChanged
	}
	if u.Err != nil {
		return u.Err
	}
	return s.archive.Write(&archive.Message{
		Subject: string(s.stream.layout.AppendSubject(nil, e.Key)), Sequence: uint64(e.Revision), Time: e.Created,
		Header: archivedHeader(e, s.stream.status.Config.MarkerTTL), Payload: e.Value,
	})
}

// archivedHeader returns the header block of a record's message, nil if there is none. A TTL that
// no NATS client gave is in it too, in whole seconds.
func archivedHeader(e *kv.Entry, markerTTL time.Duration) []byte {
	if !wire.HasHeader(e) && e.Deadline.IsZero() {
		return nil
	}
	b := wire.AppendHeader(nil, e, markerTTL)
	if !e.Deadline.IsZero() && len(wire.HeaderField(b, wire.TTLField)) == 0 {
		ttl := e.Deadline.Sub(e.Created) + time.Second - 1
		b = wire.AppendField(b, wire.TTLField, ttl.Truncate(time.Second).String())
	}
	return append(b, wire.HeaderEnd...)
}

// send sends a chunk.
func (s *snapshot) send(p *pump, to *subscription) {
	b := s.packed.Next(s.chunk)
	number := s.sent.Add(1)
	s.deliverTo(p, to, fmt.Appendf(nil, "%s%d.%d", s.ack, len(b), number), nil, b)
}

// finish sends the status for an error, nil for none, and ends the snapshot.
func (s *snapshot) finish(p *pump, to *subscription, err error) {
	if to != nil {
		s.deliverTo(p, to, nil, statusOfSnapshot(err), nil)
	}
	s.conn.Audit("backup sent", s.stream.name, err)
	s.end()
}

func (s *snapshot) deliverTo(p *pump, to *subscription, reply, header, payload []byte) {
	if !to.countDelivery() {
		return
	}
	if !s.conn.headers.Load() {
		header = nil
	}
	p.buf = wire.AppendMessage(p.buf, s.deliver, to.sid, reply, header, payload)
	if to.exhausted() {
		s.conn.unsubscribe(to)
	}
}

// statusOfSnapshot returns the header block that tells a client that its backup is complete, or
// why it has failed.
func statusOfSnapshot(err error) []byte {
	if err == nil {
		return statusComplete
	}
	text := err.Error()
	if !strings.HasPrefix(text, "408 ") {
		text = "500 " + strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
	}
	return []byte("NATS/1.0 " + text + "\r\n\r\n")
}
