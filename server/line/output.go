package line

import (
	"sync"
	"sync/atomic"
	"time"

	"kvd/server"
)

const (
	flushSize = 64 << 10  // bytes of replies or events gathered at most
	writeSize = 256 << 10 // bytes written at once at most: a client has writeTime for each
)

// output writes to the connection, for its goroutine and for the pump of its watches.
//
// A client must read its replies: if it takes too long, the connection is closed.
// Events can wait without a limit. But a reply waits for the events that are being
// written, so while a reply waits, events have the same time limit.
type output struct {
	conn *server.Conn

	broken atomic.Bool // a write has failed; not guarded by writing, which is held while a client does not read

	writing lock // held for a write

	due struct { // guards the fields inside, and the connection's write deadline; taken under writing or alone
		sync.Mutex
		replies  int  // that are being written, or wait to be
		events   bool // are being written, or wait to be
		deadline time.Time
	}
}

func (o *output) init(conn *server.Conn) { o.conn, o.writing = conn, newLock() }

// write writes a whole reply; no other bytes come between. If the client stops reading,
// it ends the connection.
func (o *output) write(b []byte) bool {
	o.hurry()
	defer o.replied()
	return o.writeAll(b)
}

// writeEvents writes all of b; no other bytes come between. It waits for a client that
// does not read, without a limit until a reply waits too. Only the holder of the watches' turn
// calls it.
func (o *output) writeEvents(b []byte) bool {
	o.setEvents(true)
	defer o.setEvents(false)
	return o.writeAll(b)
}

func (o *output) setEvents(there bool) {
	o.due.Lock()
	defer o.due.Unlock()
	o.due.events = there
}

func (o *output) writeAll(b []byte) bool {
	o.writing.take()
	defer o.writing.release()
	for len(b) > 0 && !o.broken.Load() {
		o.pace()
		part := b[:min(len(b), writeSize)]
		o.writePart(part)
		b = b[len(part):]
	}
	return !o.broken.Load()
}

func (o *output) writePart(part []byte) {
	_, err := o.conn.Write(part)
	if err == nil {
		return
	}
	o.broken.Store(true)
	o.conn.Close()
	if server.IsTimeout(err) {
		o.conn.Logger().Warn("client does not read: closed", "remote", o.conn.RemoteAddr().String())
	}
}

// hurry sets the time limit of a reply for the current and the next writes, until
// replied is called.
func (o *output) hurry() {
	o.due.Lock()
	defer o.due.Unlock()
	o.due.replies++
	o.extendLocked()
}

// replied ends the effect of hurry, also for events that are being written.
func (o *output) replied() {
	o.due.Lock()
	defer o.due.Unlock()
	if o.due.replies--; o.due.replies == 0 && o.due.events {
		o.relaxLocked()
	}
}

// pace sets the time limit for the next part of a write: none, unless a reply waits.
func (o *output) pace() {
	o.due.Lock()
	defer o.due.Unlock()
	switch {
	case o.due.replies > 0:
		o.extendLocked()
	default:
		o.relaxLocked()
	}
}

// relaxLocked removes the time limit of a write.
func (o *output) relaxLocked() {
	if !o.due.deadline.IsZero() {
		o.due.deadline = time.Time{}
		_ = o.conn.SetWriteDeadline(time.Time{})
	}
}

// extendLocked gives a write between half of writeTime and all of it. It does not set
// the deadline for each write, which would cost a good part of a small write.
func (o *output) extendLocked() {
	now := time.Now()
	if o.due.deadline.Sub(now) < writeTime/2 {
		o.due.deadline = now.Add(writeTime)
		_ = o.conn.SetWriteDeadline(o.due.deadline)
	}
}

// lock is a mutex that may be held for long. It is a channel, because in the synctest
// bubbles of tests time passes while goroutines wait for a channel.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) take()    { l <- struct{}{} }
func (l lock) release() { <-l }

// buffer gathers replies or events.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 4<<10)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

// putBuffer returns a buffer to the pool, unless a large value made it large.
func putBuffer(b *buffer) {
	if cap(b.b) <= 2*flushSize {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}
