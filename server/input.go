package server

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	smallSize    = 1 << 10 // bytes of the buffer that an idle connection keeps
	strangerSize = 4 << 10 // most bytes of the buffer before the login
	// InputSize is the size of the buffer of a busy connection, bytes. One large
	// command may need more.
	InputSize = 64 << 10
	// InputIdleTime is the time without input after which a connection gives up that
	// buffer.
	InputIdleTime = time.Second
	// quickTime is how soon input must have come for the next read to let other goroutines
	// run first. Meanwhile the client's next command arrives, and the read finds it instead
	// of parking the goroutine, which costs more than the turn: 1.1 to 1.2 times the gets of
	// 1 to 64 connections with one command in flight each. For slower clients the turn would
	// be wasted: 1.3 times the processor time, for a get every millisecond.
	quickTime = 500 * time.Microsecond
)

// Input is the bytes that have arrived on a connection and were not consumed:
// buf[start:end]. Only the serving goroutine calls its methods.
type Input struct {
	conn  *Conn
	small []byte
	buf   []byte
	start int
	end   int
	timed bool // a read deadline is set by Expect
	full  bool // the last read filled the buffer: more input is likely
	quick bool // the last read took less than quickTime
	grows bool // see Grow

	idleUntil time.Time // the read deadline while no command is due; zero: none
}

// mediums are buffers of InputSize.
var mediums = sync.Pool{New: func() any { b := make([]byte, InputSize); return &b }}

// Init sets the connection to read from.
func (in *Input) Init(conn *Conn) {
	in.conn = conn
	in.small = make([]byte, smallSize)
	in.buf = in.small
}

// Bytes returns the bytes that have arrived. They stay valid until the next read.
func (in *Input) Bytes() []byte { return in.buf[in.start:in.end] }

// Consume removes the first n bytes.
func (in *Input) Consume(n int) {
	in.start += n
	if in.start == in.end {
		in.start, in.end = 0, 0
	}
}

// Read waits for input and reads at least one byte. While it waits it gives up a buffer
// that is not needed.
func (in *Input) Read() error {
	switch {
	case in.end == 0 && len(in.buf) > InputSize:
		in.use(in.small)
	case in.full && in.grows && len(in.buf) < InputSize:
		in.use(*mediums.Get().(*[]byte))
	}
	idle := in.end == 0 && len(in.buf) == InputSize && !in.timed
	begin := time.Now()
	in.rest(begin, idle)
	if in.quick && !in.full {
		runtime.Gosched() // see quickTime
	}
	n, err := in.conn.Read(in.buf[in.end:])
	in.quick = time.Since(begin) < quickTime
	if idle && n == 0 && IsTimeout(err) && !in.conn.Draining() {
		in.rest(time.Now(), false)
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

// Reserve makes room for a command of so many bytes. Memory for a large payload is
// taken as the payload arrives, so that an announced length alone costs nothing.
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

// use moves the input into another buffer.
func (in *Input) use(buf []byte) {
	n := copy(buf, in.Bytes())
	if len(in.buf) == InputSize {
		old := in.buf
		mediums.Put(&old)
	}
	in.buf, in.start, in.end = buf, 0, n
}

// Expect sets the time by which the rest of a command must arrive. The zero time means
// no limit.
func (in *Input) Expect(until time.Time) {
	if !in.timed && until.IsZero() {
		return
	}
	in.timed = !until.IsZero()
	in.idleUntil = time.Time{}
	_ = in.conn.SetReadDeadline(until)
}

// rest lets a read end after half of InputIdleTime up to all of it, if no command is
// due. It does not set the deadline for each read, because that would wake the poller
// of the runtime each time.
func (in *Input) rest(now time.Time, idle bool) {
	switch {
	case idle && in.idleUntil.Sub(now) < InputIdleTime/2:
		in.idleUntil = now.Add(InputIdleTime)
		_ = in.conn.SetReadDeadline(in.idleUntil)
	case !idle && !in.idleUntil.IsZero():
		in.idleUntil = time.Time{}
		_ = in.conn.SetReadDeadline(time.Time{})
	}
}

// Grow allows a large buffer. It is called after the login: before, a client must not
// cost more than one command needs.
func (in *Input) Grow() { in.grows = true }

// Skip discards the next n bytes, and reads those that have not arrived yet.
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

// Release gives up the buffer. The Input is not used afterwards.
func (in *Input) Release() {
	in.start, in.end = 0, 0
	in.use(nil)
}

// IsTimeout reports whether a read or write ended because of its deadline.
func IsTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
