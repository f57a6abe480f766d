package nats

import (
	"strconv"
	"sync"
	"time"

	"kvd/server"
)

const (
	flushSize  = 64 << 10         // bytes gathered before they are written, while there is more
	roomSize   = 1 << 20          // bytes that wait for a writer before producers do too
	pendingMax = 8 << 20          // bytes of others' messages that may wait for a client
	writeSize  = 256 << 10        // bytes written at once at most: a client has writeTime for each
	writeTime  = 10 * time.Second // for a client to take what is written at once
)

// output is what is on its way to a client. Any goroutine appends; whoever flushes
// writes what is there by then, or leaves it to the one who is writing already.
type output struct {
	conn *server.Conn
	most int // bytes of others' messages that may wait

	mu       sync.Mutex // guards the fields below
	idle     sync.Cond  // a write ended
	buf      []byte     // nil while there is nothing
	writing  bool
	broken   bool // past writing to
	deadline time.Time
}

func (o *output) init(c *server.Conn, most int) {
	o.conn, o.most = c, most
	o.idle.L = &o.mu
}

// outputs are buffers that hold what waits to be written.
var outputs = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func newOutput() []byte { return *outputs.Get().(*[]byte) }

// lock begins an append to buf; unlock ends it.
func (o *output) lock() {
	o.mu.Lock()
	if o.buf == nil {
		o.buf = newOutput()
	}
}

func (o *output) unlock() { o.mu.Unlock() }

// text appends as it is.
func (o *output) text(s string) {
	o.lock()
	o.buf = append(o.buf, s...)
	o.unlock()
}

// flush writes what has been appended. It waits for the client, but not for one that
// has stopped reading: that ends the connection. If another goroutine is writing,
// that one writes this too.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) > 0 && !o.writing && !o.broken {
		b := o.buf
		o.buf, o.writing = nil, true
		o.extendLocked()
		o.mu.Unlock()
		err := o.write(b)
		putOutput(b)
		o.mu.Lock()
		o.writing = false
		o.broken = o.broken || err != nil
		o.idle.Broadcast()
	}
}

// write writes in parts, none of which may take longer than writeTime.
func (o *output) write(b []byte) error {
	for {
		part := b[:min(len(b), writeSize)]
		if _, err := o.conn.Write(part); err != nil {
			o.conn.Close()
			if server.IsTimeout(err) {
				o.conn.Logger().Warn("client does not read: closed", "remote", o.conn.RemoteAddr())
			}
			return err
		}
		if b = b[len(part):]; len(b) == 0 {
			return nil
		}
		o.mu.Lock()
		o.extendLocked()
		o.mu.Unlock()
	}
}

func putOutput(b []byte) {
	if cap(b) <= 2*flushSize {
		b = b[:0]
		outputs.Put(&b)
	}
}

// extendLocked sees to it that a write has between half of writeTime and all of it.
// Setting the deadline for each would cost a fair part of a small write.
func (o *output) extendLocked() {
	now := time.Now()
	if o.deadline.Sub(now) < writeTime/2 {
		o.deadline = now.Add(writeTime)
		_ = o.conn.SetWriteDeadline(o.deadline)
	}
}

// settle flushes, and where another goroutine is writing waits until it has caught
// up: what produces output must not outrun the client. It reports whether the client
// can be written to.
func (o *output) settle() bool {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && len(o.buf) > roomSize && !o.broken {
		o.idle.Wait()
	}
	return !o.broken
}

// drain flushes and waits for the last byte to be written.
func (o *output) drain() bool {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && !o.broken {
		o.idle.Wait()
	}
	return !o.broken
}

// full reports whether it is time to flush in the middle of work.
func (o *output) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf) >= flushSize
}

// kick has what others appended written, by a goroutine of its own, which ends when
// it is. It must not be the appender's: a client that does not read would hold it up.
func (o *output) kick() {
	o.mu.Lock()
	start := len(o.buf) > 0 && !o.writing && !o.broken
	overrun := len(o.buf) > o.most && !o.broken
	if overrun {
		o.broken = true
		o.idle.Broadcast()
	}
	o.mu.Unlock()
	if overrun {
		o.conn.Logger().Warn("client reads too slowly: closed", "remote", o.conn.RemoteAddr())
		o.conn.Close()
		return
	}
	if start {
		go o.flush()
	}
}

// appendMessage appends MSG or, where there is a header block, HMSG.
func appendMessage(dst, subject []byte, sid string, reply, header, payload []byte) []byte {
	if len(header) > 0 {
		dst = append(dst, 'H')
	}
	dst = append(dst, "MSG "...)
	dst = append(dst, subject...)
	dst = append(dst, ' ')
	dst = append(dst, sid...)
	dst = append(dst, ' ')
	if len(reply) > 0 {
		dst = append(dst, reply...)
		dst = append(dst, ' ')
	}
	if len(header) > 0 {
		dst = strconv.AppendInt(dst, int64(len(header)), 10)
		dst = append(dst, ' ')
	}
	dst = strconv.AppendInt(dst, int64(len(header)+len(payload)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, header...)
	dst = append(dst, payload...)
	return append(dst, "\r\n"...)
}

// message appends a message.
func (o *output) message(subject []byte, sid string, reply, header, payload []byte) {
	o.lock()
	o.buf = appendMessage(o.buf, subject, sid, reply, header, payload)
	o.unlock()
}

// give appends messages that were gathered in a buffer of outputs, and takes the buffer.
func (o *output) give(b []byte) {
	o.mu.Lock()
	taken := o.buf == nil && len(b) > 0 // who has nothing to write holds no buffer
	if taken {
		o.buf = b
	} else {
		o.buf = append(o.buf, b...)
	}
	o.mu.Unlock()
	if !taken {
		putOutput(b)
	}
}
