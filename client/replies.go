package client

import (
	"errors"
	"fmt"
	"io"

	"kvd/internal/lineproto"
	"kvd/kv"
)

const (
	readSize = 16 << 10 // of an idle connection's buffer, in bytes
	// readKept is how large a buffer may be to stay when it is empty, in bytes.
	readKept = 1 << 20
	// replyMax bounds one reply in bytes.
	replyMax = lineproto.MaxLine + kv.MaxValueSizeLimit + len("\r\n")
)

// replies cuts what a server sends into replies. One goroutine uses it.
type replies struct {
	from       io.Reader
	buf        []byte
	start, end int // of what was read and not handed out, in buf
	reply      lineproto.Reply
}

func newReplies(from io.Reader) *replies {
	return &replies{from: from, buf: make([]byte, readSize)}
}

// next returns the next reply. It is valid until the next call: its strings and its
// value refer to the buffer.
func (rs *replies) next() (*lineproto.Reply, error) {
	for {
		n, err := lineproto.ParseReply(rs.buf[rs.start:rs.end], &rs.reply)
		switch {
		case err == nil:
			rs.start += n
			return &rs.reply, nil
		case !errors.Is(err, lineproto.ErrIncomplete):
			return nil, fmt.Errorf("protocol: %w", err)
		}
		if err := rs.fill(n); err != nil {
			return nil, err
		}
	}
}

// buffered reports whether more was read than handed out.
func (rs *replies) buffered() bool { return rs.start < rs.end }

// fill reads more of a reply of at least n bytes. It returns after each read, because
// the part that has arrived may already be wrong.
func (rs *replies) fill(n int) error {
	if n > replyMax {
		return fmt.Errorf("protocol: a reply of %d bytes: must be at most %d", n, replyMax)
	}
	rs.makeRoom(n)
	for {
		m, err := rs.from.Read(rs.buf[rs.end:])
		rs.end += m
		switch {
		case m > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errHungUp
		case err != nil:
			return err
		}
	}
}

// makeRoom makes room in the buffer for n bytes from start on, and for at least one byte
// more than it has.
func (rs *replies) makeRoom(n int) {
	if rs.start == rs.end {
		rs.start, rs.end = 0, 0
		if len(rs.buf) > readKept {
			rs.buf = make([]byte, readSize)
		}
	}
	if rs.start+n <= len(rs.buf) && rs.end < len(rs.buf) {
		return
	}
	to := rs.buf
	if n > len(to) {
		to = make([]byte, max(n, 2*readSize))
	}
	rs.end = copy(to, rs.buf[rs.start:rs.end])
	rs.start, rs.buf = 0, to
}
