package line

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"kvd/internal/lineproto"
	"kvd/server"
)

// cutConn is a connection whose client sends some bytes in two pieces and then hangs up.
type cutConn struct {
	replayConn
	pieces [][]byte
	answer bytes.Buffer
	once   sync.Once
}

func (c *cutConn) Read(b []byte) (int, error) {
	for len(c.pieces) > 0 && len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.pieces[0])
	c.pieces[0] = c.pieces[0][n:]
	return n, nil
}

func (c *cutConn) Write(b []byte) (int, error) { return c.answer.Write(b) }

func (c *cutConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// converse returns the replies to bytes that arrive in these pieces.
func converse(t *testing.T, pieces ...[]byte) string {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := newServer(t, openStore(t), server.Options{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	c := &cutConn{pieces: pieces}
	c.done = make(chan struct{})
	l.conns <- c
	<-c.done
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-served
	return withoutEvents(t, c.answer.Bytes())
}

// withoutEvents removes the events of watches. Their places between the replies depend on
// timing, and some may be missing at the end.
func withoutEvents(t *testing.T, answer []byte) string {
	t.Helper()
	var replies strings.Builder
	for len(answer) > 0 {
		var r lineproto.Reply
		n, err := lineproto.ParseReply(answer, &r)
		if err != nil {
			t.Fatalf("%.200q: %v", answer, err)
		}
		if r.Kind < lineproto.ReplyEvent {
			replies.Write(answer[:n])
		}
		answer = answer[n:]
	}
	return replies.String()
}

// FuzzServe sends any bytes to a new store, in one piece and in two: the server
// does not panic and answers the same.
func FuzzServe(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(session, "\n", "\r\n")), uint16(300))
	f.Add([]byte("ADD b\r\nPUT b k 3\r\nabc\r\nGET b k\r\nPUT b k 3\r\nabcd"), uint16(17))
	f.Add([]byte("ADD b history=64 max-value-size=2\r\nPUT b k 3\r\nabc\r\nWATCH 1 b >\r\nGET / HTTP/1.1\r\n\r\n"), uint16(60))
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		cut := min(int(at), len(text))
		whole := converse(t, bytes.Clone(text))
		parts := converse(t, bytes.Clone(text[:cut]), bytes.Clone(text[cut:]))
		if whole != parts {
			t.Errorf("%q answers\n%s\ncut at %d it answers\n%s", text, whole, cut, parts)
		}
	})
}
