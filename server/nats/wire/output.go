package wire

import (
	"strconv"
	"sync"
	"time"

	"kvd/server"
)

const (
	// FlushSize is how many bytes are gathered, at most, before they are written although
	// there is more to come.
	FlushSize = 64 << 10
	// PendingMax is how many bytes of other connections' messages may wait for a client,
	// beside one message of the largest size.
	PendingMax = 8 << 20

	backlogMax = 1 << 20          // bytes that may wait while another goroutine writes, before FlushAndWait waits
	writeSize  = 256 << 10        // bytes of one write at most
	writeTime  = 10 * time.Second // for a client to take one write
)

// Output is the buffer of what is sent to a client. Any goroutine may append. Flush
// writes everything that has been appended, unless another goroutine is writing: then
// that goroutine writes it. All methods but Init are safe for concurrent use.
type Output struct {
	// Immutable after Init.
	conn       *server.Conn
	pendingMax int

	mu       sync.Mutex     // guards the fields below
	written  sync.Cond      // signals the end of a write
	buf      []byte         // from buffers; nil while there is nothing to write
	writing  bool           // a goroutine is in Flush, without mu
	broken   bool           // no more can be written
	deadline time.Time      // of the connection's writes
	whenRoom map[any]func() // see WhenRoom; nil if there are none
}

// Init prepares an output to c. FlushAsync closes the connection when more than
// pendingMax bytes wait.
func (o *Output) Init(c *server.Conn, pendingMax int) {
	o.conn, o.pendingMax = c, pendingMax
	o.written.L = &o.mu
}

// buffers hold the memory of outputs that have nothing to write.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// NewBuffer returns an empty buffer for AppendBuffer.
func NewBuffer() []byte { return *buffers.Get().(*[]byte) }

// recycle returns a buffer to buffers, unless it has grown too large.
func recycle(b []byte) {
	if cap(b) <= 2*FlushSize {
		b = b[:0]
		buffers.Put(&b)
	}
}

// lock begins an append to buf; unlock ends it.
func (o *Output) lock() {
	o.mu.Lock()
	if o.buf == nil {
		o.buf = NewBuffer()
	}
}

func (o *Output) unlock() { o.mu.Unlock() }

// AppendText appends s as it is.
func (o *Output) AppendText(s string) {
	o.lock()
	o.buf = append(o.buf, s...)
	o.unlock()
}

// AppendMessage appends a message, as the function of that name does.
func (o *Output) AppendMessage(subject []byte, sid string, reply, header, payload []byte) {
	o.lock()
	o.buf = AppendMessage(o.buf, subject, sid, reply, header, payload)
	o.unlock()
}

// AppendBuffer appends a buffer of NewBuffer. The caller must not use it any more.
func (o *Output) AppendBuffer(b []byte) {
	o.mu.Lock()
	taken := o.buf == nil && len(b) > 0 // an output with nothing to write holds no buffer
	if taken {
		o.buf = b
	} else {
		o.buf = append(o.buf, b...)
	}
	o.mu.Unlock()
	if !taken {
		recycle(b)
	}
}

// AppendMessage appends a message to dst: MSG, or HMSG if there is a header block. A nil
// reply stands for none.
func AppendMessage(dst, subject []byte, sid string, reply, header, payload []byte) []byte {
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

// Flush writes what has been appended. If another goroutine is writing, Flush returns at
// once and that goroutine writes it. A client that takes longer than 10 s for a write has
// its connection closed.
func (o *Output) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) > 0 && !o.writing && !o.broken {
		b := o.buf
		o.buf, o.writing = nil, true
		waiting := o.whenRoom
		o.whenRoom = nil
		o.extendLocked()
		o.mu.Unlock()
		for _, fn := range waiting {
			fn()
		}
		err := o.write(b)
		recycle(b)
		o.mu.Lock()
		o.writing = false
		o.broken = o.broken || err != nil
		o.written.Broadcast()
	}
}

// write writes b in parts, none of which may take longer than writeTime.
func (o *Output) write(b []byte) error {
	for {
		part := b[:min(len(b), writeSize)]
		if _, err := o.conn.Write(part); err != nil {
			o.conn.Close()
			if server.IsTimeout(err) {
				o.conn.Logger().Warn("client does not read: closed", "remote", o.conn.RemoteAddr().String())
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

// extendLocked gives the next write between half of writeTime and all of it. Setting the
// deadline for each write would be a fair part of the cost of a small one.
func (o *Output) extendLocked() {
	now := time.Now()
	if o.deadline.Sub(now) < writeTime/2 {
		o.deadline = now.Add(writeTime)
		_ = o.conn.SetWriteDeadline(o.deadline)
	}
}

// FlushAndWait flushes. If another goroutine is writing, it waits until no more than
// 1 MiB is left, so that the caller does not produce output faster than the client reads.
// It reports whether the client can still be written to.
func (o *Output) FlushAndWait() bool {
	o.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && len(o.buf) > backlogMax && !o.broken {
		o.written.Wait()
	}
	return !o.broken
}

// Drain flushes and waits until the last byte is written. It reports whether the client
// can still be written to.
func (o *Output) Drain() bool {
	o.Flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && !o.broken {
		o.written.Wait()
	}
	return !o.broken
}

// IsFull reports whether FlushSize bytes or more wait, which a producer should flush.
func (o *Output) IsFull() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf) >= FlushSize
}

// WhenRoom has fn called once, when the output is not full any more, unless the connection
// ends before. It reports false, and fn is not called, if the output is not full now.
// Another call with the same key, before fn is called, does nothing. The goroutine that
// writes calls fn, which must be quick and must not wait for the output.
func (o *Output) WhenRoom(key any, fn func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) < FlushSize {
		return false
	}
	if o.whenRoom == nil {
		o.whenRoom = make(map[any]func())
	}
	o.whenRoom[key] = fn
	return true
}

// FlushAsync starts a goroutine that flushes, and ends when everything is written. For a
// goroutine that serves another client: this client might not read. If more than
// pendingMax bytes wait, FlushAsync closes the connection instead.
func (o *Output) FlushAsync() {
	o.mu.Lock()
	start := len(o.buf) > 0 && !o.writing && !o.broken
	overrun := len(o.buf) > o.pendingMax && !o.broken
	if overrun {
		o.broken = true
		o.written.Broadcast()
	}
	o.mu.Unlock()
	if overrun {
		o.conn.Logger().Warn("client reads too slowly: closed", "remote", o.conn.RemoteAddr().String())
		o.conn.Close()
		return
	}
	if start {
		go o.Flush()
	}
}
