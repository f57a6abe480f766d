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

// output writes to the connection for its goroutine and the pump of its watches.
//
// A client has to read its replies: one that takes too long is cut off. Events may
// wait for as long as the client is there; but a reply waits for the events that
// are being written, so while one does these have the same time as the reply.
type output struct {
	conn *server.Conn

	broken atomic.Bool // past writing to; not under writing, which is held while a client does not read

	writing lock // who has it may write

	due struct { // guards the fields inside, and the connection's write deadline; taken under writing or alone
		sync.Mutex
		replies  int  // that are being written, or wait to be
		events   bool // are being written, or wait to be
		deadline time.Time
	}
}

func (o *output) init(conn *server.Conn) { o.conn, o.writing = conn, newLock() }

// write writes all of a reply, and no other's bytes between. It waits for the
// client, but not for one that has stopped reading: that ends the connection.
func (o *output) write(b []byte) bool {
	o.hurry()
	defer o.replied()
	return o.writeAll(b)
}

// writeEvents writes all of b, and no other's bytes between. It waits for a client
// that does not read, until a reply waits too. Only the pump calls it.
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
		o.conn.Logger().Warn("client does not read: closed", "remote", o.conn.RemoteAddr())
	}
}

// hurry gives what is being written, and what follows, the time of a reply, until
// replied is called.
func (o *output) hurry() {
	o.due.Lock()
	defer o.due.Unlock()
	o.due.replies++
	o.extendLocked()
}

// replied undoes hurry. Events that began while the reply was just done are not
// bound by its time any more.
func (o *output) replied() {
	o.due.Lock()
	defer o.due.Unlock()
	if o.due.replies--; o.due.replies == 0 && o.due.events {
		o.relaxLocked()
	}
}

// pace gives the next part of what is written its time: any, unless a reply waits.
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

// relaxLocked lets a write take any time.
func (o *output) relaxLocked() {
	if !o.due.deadline.IsZero() {
		o.due.deadline = time.Time{}
		_ = o.conn.SetWriteDeadline(time.Time{})
	}
}

// extendLocked sees to it that a write has between half of writeTime and all of it.
// Setting the deadline for each would cost a fair part of a small reply's write.
func (o *output) extendLocked() {
	now := time.Now()
	if o.due.deadline.Sub(now) < writeTime/2 {
		o.due.deadline = now.Add(writeTime)
		_ = o.conn.SetWriteDeadline(o.due.deadline)
	}
}

// lock is a mutex for what takes as long as a client likes. It is a channel because
// those who wait for one leave time its course in the tests' bubbles.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) take()    { l <- struct{}{} }
func (l lock) release() { <-l }

// buffer gathers replies or events.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 4<<10)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

// putBuffer gives a buffer back, unless a large value made it large.
func putBuffer(b *buffer) {
	if cap(b.b) <= 2*flushSize {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}
