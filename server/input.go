package server

import (
	"errors"
	"net"
	"sync"
	"time"
)

const (
	smallSize    = 1 << 10 // bytes of the buffer that an idle connection keeps
	strangerSize = 4 << 10 // bytes of the buffer of one that must not grow, once it needs that
	// InputSize is what the buffer of a busy connection holds, bytes, unless one
	// command needs more.
	InputSize = 64 << 10
	// InputIdleTime is how long a busy connection's buffer outlives its last input.
	InputIdleTime = time.Second
)

// Input is what has arrived on a connection and was not consumed: buf[start:end].
// Its methods are the serving goroutine's own.
type Input struct {
	conn  *Conn
	small []byte
	buf   []byte
	start int
	end   int
	timed bool // a read deadline is set by Expect
	full  bool // the last read filled the buffer: there is more, and room for it pays
	grows bool // see Grow

	idleUntil time.Time // the read deadline of one that has nothing due; zero: none
}

// mediums are buffers of InputSize.
var mediums = sync.Pool{New: func() any { b := make([]byte, InputSize); return &b }}

// Init gives the connection whose input it is.
func (in *Input) Init(conn *Conn) {
	in.conn = conn
	in.small = make([]byte, smallSize)
	in.buf = in.small
}

// Bytes returns what is there. It stays valid until the next read.
func (in *Input) Bytes() []byte { return in.buf[in.start:in.end] }

// Consume drops the first n bytes.
func (in *Input) Consume(n int) {
	in.start += n
	if in.start == in.end {
		in.start, in.end = 0, 0
	}
}

// Read reads what has arrived, at least one byte, waiting for it. A buffer that
// is not needed while it waits is given back.
func (in *Input) Read() error {
	switch {
	case in.end == 0 && len(in.buf) > InputSize:
		in.use(in.small)
	case in.full && in.grows && len(in.buf) < InputSize:
		in.use(*mediums.Get().(*[]byte))
	}
	idle := in.end == 0 && len(in.buf) == InputSize && !in.timed
	in.rest(idle)
	n, err := in.conn.Read(in.buf[in.end:])
	if idle && n == 0 && IsTimeout(err) && !in.conn.Draining() {
		in.rest(false)
		in.use(in.small)
		n, err = in.conn.Read(in.buf)
	}
	in.end += n
	in.full = in.end == len(in.buf)
	if n > 0 {
		return nil
	}
	return err
}

// Reserve makes room for at least so many bytes from the first one on, or for as
// many as there is reason to expect: memory for a large payload is taken as it
// arrives, so that announcing one costs the server nothing.
func (in *Input) Reserve(need int) {
	have := in.end - in.start
	size := min(need, max(InputSize, 2*have))
	switch {
	case len(in.buf)-in.start >= size && in.end < len(in.buf):
		return
	case size <= len(in.buf) && have < len(in.buf):
		copy(in.buf, in.Bytes())
		in.start, in.end = 0, have
	case size <= strangerSize && !in.grows:
		in.use(make([]byte, strangerSize))
	case size <= InputSize:
		in.use(*mediums.Get().(*[]byte))
	default:
		in.use(make([]byte, size))
	}
}

// use moves what is there into another buffer.
func (in *Input) use(buf []byte) {
	n := copy(buf, in.Bytes())
	if len(in.buf) == InputSize {
		old := in.buf
		mediums.Put(&old)
	}
	in.buf, in.start, in.end = buf, 0, n
}

// Expect gives the rest of a command until then to arrive; the zero time lets it
// take any time.
func (in *Input) Expect(until time.Time) {
	if !in.timed && until.IsZero() {
		return
	}
	in.timed = !until.IsZero()
	in.idleUntil = time.Time{}
	_ = in.conn.SetReadDeadline(until)
}

// rest sees to it that a read for which nothing is due ends after half of
// InputIdleTime to all of it, and no other read does. Setting the deadline for each
// would wake the runtime's poller each time.
func (in *Input) rest(idle bool) {
	switch now := time.Now(); {
	case idle && in.idleUntil.Sub(now) < InputIdleTime/2:
		in.idleUntil = now.Add(InputIdleTime)
		_ = in.conn.SetReadDeadline(in.idleUntil)
	case !idle && !in.idleUntil.IsZero():
		in.idleUntil = time.Time{}
		_ = in.conn.SetReadDeadline(time.Time{})
	}
}

// Grow lets the buffer become larger than one command needs: a client that has not
// logged in yet must not cost more.
func (in *Input) Grow() { in.grows = true }

// Skip drops the next n bytes, reading what is not there yet.
func (in *Input) Skip(n int) error {
	for {
		here := min(n, in.end-in.start)
		in.Consume(here)
		if n -= here; n == 0 {
			return nil
		}
		if err := in.Read(); err != nil {
			return err
		}
	}
}

// Release gives the buffer back for good.
func (in *Input) Release() {
	in.start, in.end = 0, 0
	in.use(nil)
}

// IsTimeout reports whether a read or write ended because of its deadline.
func IsTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
