package line

import (
	"sync"
	"time"

	"kvd/server"
)

const (
	smallSize  = 1 << 10  // bytes of the buffer that an idle connection keeps
	mediumSize = 64 << 10 // bytes of one that is busy
	idleTime   = time.Second
)

// input is what has arrived and was not consumed: buf[start:end].
type input struct {
	conn  *server.Conn
	small []byte
	buf   []byte
	start int
	end   int
	timed bool // a read deadline is set
	full  bool // the last read filled the buffer: there is more, and room for it pays
	grows bool // it may take more than the small buffer
}

// mediums are buffers of mediumSize.
var mediums = sync.Pool{New: func() any { b := make([]byte, mediumSize); return &b }}

func (in *input) init(conn *server.Conn) {
	in.conn = conn
	in.small = make([]byte, smallSize)
	in.buf = in.small
}

// bytes returns what is there. It stays valid until the next read.
func (in *input) bytes() []byte { return in.buf[in.start:in.end] }

// consume drops the first n bytes.
func (in *input) consume(n int) {
	in.start += n
	if in.start == in.end {
		in.start, in.end = 0, 0
	}
}

// read reads what has arrived, at least one byte, waiting for it. A buffer that
// is not needed while it waits is given back.
func (in *input) read() error {
	switch {
	case in.end == 0 && len(in.buf) > mediumSize:
		in.use(in.small)
	case in.full && in.grows && len(in.buf) < mediumSize:
		in.use(*mediums.Get().(*[]byte))
	}
	idle := in.end == 0 && len(in.buf) == mediumSize && !in.timed
	if idle {
		_ = in.conn.SetReadDeadline(time.Now().Add(idleTime))
	}
	n, err := in.conn.Read(in.buf[in.end:])
	if idle {
		_ = in.conn.SetReadDeadline(time.Time{})
		if n == 0 && isTimeout(err) && !in.conn.Draining() {
			in.use(in.small)
			n, err = in.conn.Read(in.buf)
		}
	}
	in.end += n
	in.full = in.end == len(in.buf)
	if n > 0 {
		return nil
	}
	return err
}

// reserve makes room for at least so many bytes from the first one on, or for as
// many as there is reason to expect: memory for a large payload is taken as it
// arrives, so that announcing one costs the server nothing.
func (in *input) reserve(need int) {
	have := in.end - in.start
	size := min(need, max(mediumSize, 2*have))
	switch {
	case len(in.buf)-in.start >= size && in.end < len(in.buf):
		return
	case size <= len(in.buf) && have < len(in.buf):
		copy(in.buf, in.bytes())
		in.start, in.end = 0, have
	case size <= mediumSize:
		in.use(*mediums.Get().(*[]byte))
	default:
		in.use(make([]byte, size))
	}
}

// use moves what is there into another buffer.
func (in *input) use(buf []byte) {
	n := copy(buf, in.bytes())
	if len(in.buf) == mediumSize {
		old := in.buf
		mediums.Put(&old)
	}
	in.buf, in.start, in.end = buf, 0, n
}

// expect gives the rest of a command until then to arrive; the zero time lets it
// take any time.
func (in *input) expect(until time.Time) {
	if !in.timed && until.IsZero() {
		return
	}
	in.timed = !until.IsZero()
	_ = in.conn.SetReadDeadline(until)
}

// commandUntil is when a command whose first byte came at that time must be there
// with its payload, whose length is -1 while it is not known.
func commandUntil(first time.Time, length int) time.Time {
	return first.Add(commandTime + time.Duration(max(length, 0))*time.Second/payloadRate)
}

// skip drops the next n bytes, reading what is not there yet.
func (in *input) skip(n int) error {
	for {
		here := min(n, in.end-in.start)
		in.consume(here)
		if n -= here; n == 0 {
			return nil
		}
		if err := in.read(); err != nil {
			return err
		}
	}
}

// release gives the buffer back for good.
func (in *input) release() {
	in.start, in.end = 0, 0
	in.use(nil)
}
