package line

import (
	"sync"
	"sync/atomic"
	"time"

	"kvd/server"
)

const (
	flushSize = 64 << 10  // bytes of replies gathered at most
	writeSize = 256 << 10 // bytes written at once at most: a client has writeTime for each
)

// output writes to the connection for its goroutine and its watches'.
type output struct {
	conn *server.Conn

	broken atomic.Bool // past writing to; not under mu, which is held while a client does not read

	mu       sync.Mutex // guards writing, and the field below
	deadline time.Time
}

// write writes all of b, and no other's bytes between. It waits for the client,
// but not for one that has stopped reading: that ends the connection.
func (o *output) write(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(b) > 0 && !o.broken.Load() {
		o.extendLocked()
		part := b[:min(len(b), writeSize)]
		if _, err := o.conn.Write(part); err != nil {
			o.broken.Store(true)
			o.conn.Close()
			if server.IsTimeout(err) {
				o.conn.Logger().Warn("client does not read: closed", "remote", o.conn.RemoteAddr())
			}
		}
		b = b[len(part):]
	}
	return !o.broken.Load()
}

// extendLocked sees to it that a write has between half of writeTime and all of it.
// Setting the deadline for each would cost a fair part of a small reply's write.
func (o *output) extendLocked() {
	now := time.Now()
	if o.deadline.Sub(now) < writeTime/2 {
		o.deadline = now.Add(writeTime)
		_ = o.conn.SetWriteDeadline(o.deadline)
	}
}

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
