package line

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
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
	return converseWith(t, server.Options{}, pieces...)
}

// converseWith is converse with a server that has these options.
func converseWith(t *testing.T, opts server.Options, pieces ...[]byte) string {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := newServer(t, openStore(t), opts)
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
	f.Add([]byte("ADD b\r\nTXN 1 1 1\r\nIF b k is=value 1\r\nx\r\nPUT b k 1\r\nx\r\nGET b k\r\nTXN 0 1 0\r\nPING\r\n"), uint16(40))
	f.Add([]byte("ADD b\r\nTXN 1025 0 0\r\n"), uint16(20))
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		cut := min(int(at), len(text))
		whole := converse(t, bytes.Clone(text))
		parts := converse(t, bytes.Clone(text[:cut]), bytes.Clone(text[cut:]))
		if whole != parts {
			t.Errorf("%q answers\n%s\ncut at %d it answers\n%s", text, whole, cut, parts)
		}
	})
}

// What a command with a payload answers does not depend on where the connection cuts it:
// not when it is refused, nor when there is no CRLF after its payload, nor before a login.
func TestAnswersDoNotDependOnCuts(t *testing.T) {
	large := strings.Repeat("v", 2*server.InputSize)
	put := func(command, after string) string {
		return fmt.Sprintf("%s %d\r\n%s%s", command, len(large), large, after)
	}
	const made = "ADD b history=64 max-value-size=2\r\nPUT b k 1\r\nx\r\n"
	for name, c := range map[string]struct {
		text  string
		login bool
		wants []string
	}{
		"refused":                   {made + "PUT b k color=red 3\r\nabc\r\nPING\r\n", false, []string{"+OK", "+OK 1", "-ERR INVALID_OPTION", "+OK"}},
		"refused, no CRLF":          {made + "PUT b k color=red 3\r\nabcd", false, []string{"+OK", "+OK 1", "-ERR INVALID_OPTION", "-ERR SYNTAX"}},
		"refused, half of CRLF":     {made + "PUT b k color=red 3\r\nabc\rd", false, []string{"+OK", "+OK 1", "-ERR INVALID_OPTION", "-ERR SYNTAX"}},
		"refused, no end":           {made + "PUT b k color=red 3\r\nabc\r", false, []string{"+OK", "+OK 1", "-ERR INVALID_OPTION"}},
		"refused ADD, no CRLF":      {"ADD b color=red 2\r\n{}x", false, []string{"-ERR SYNTAX"}},
		"no CRLF":                   {made + "PUT b k 2\r\nabcd", false, []string{"+OK", "+OK 1", "-ERR SYNTAX"}},
		"too large":                 {made + "PUT b k 3\r\nabc\r\nPING\r\n", false, []string{"+OK", "+OK 1", "-ERR VALUE_TOO_LARGE", "+OK"}},
		"much too large":            {made + put("PUT b k", "\r\nPING\r\n"), false, []string{"+OK", "+OK 1", "-ERR VALUE_TOO_LARGE", "+OK"}},
		"much too large, bad key":   {made + put("PUT b k..k", "\r\nPING\r\n"), false, []string{"+OK", "+OK 1", "-ERR VALUE_TOO_LARGE", "+OK"}},
		"much too large, no CRLF":   {made + put("PUT b k", "x"), false, []string{"+OK", "+OK 1", "-ERR VALUE_TOO_LARGE", "-ERR SYNTAX"}},
		"line of a TXN, no CRLF":    {made + "TXN 0 1 0\r\nPUT b k color=red 1\r\nxy", false, []string{"+OK", "+OK 1", "-ERR SYNTAX"}},
		"line of a TXN, too large":  {made + "TXN 0 2 0\r\n" + put("PUT b k", "\r\nGET b k\r\nPING\r\n"), false, []string{"+OK", "+OK 1", "-ERR VALUE_TOO_LARGE", "+OK"}},
		"no bucket, large":          {put("PUT b k", "\r\nPING\r\n"), false, []string{"-ERR BUCKET_NOT_FOUND", "+OK"}},
		"reserved bucket, large":    {put("PUT _kvd_x k", "\r\nPING\r\n"), false, []string{"-ERR BUCKET_NOT_FOUND", "+OK"}},
		"before a login":            {"PUT b k 1\r\nx\r\nPING\r\n", true, []string{"-ERR AUTH_REQUIRED"}},
		"before a login, empty":     {"PUT b k 0\r\n\r\nPING\r\n", true, []string{"-ERR AUTH_REQUIRED"}},
		"before a login, no CRLF":   {"PUT b k 0\r\nxx", true, []string{"-ERR AUTH_REQUIRED"}},
		"before a login, refused":   {"PUT b k color=red 0\r\n\r\n", true, []string{"-ERR AUTH_REQUIRED"}},
		"before a login, no end":    {"PING\r\nPUT b k 0\r\n", true, []string{"+OK", "-ERR AUTH_REQUIRED"}},
		"before a login, half CRLF": {"PUT b k color=red 0\r\n\r", true, []string{"-ERR AUTH_REQUIRED"}},
	} {
		t.Run(name, func(t *testing.T) {
			var opts server.Options
			if c.login {
				opts.Users = users(t, "alice *=get")
			}
			text := []byte(c.text)
			for cut := range text {
				if near := cut < 100 || cut > len(text)-20; !near && cut%4096 != 0 {
					continue // within a large payload a few cuts will do
				}
				got := converseWith(t, opts, bytes.Clone(text[:cut]), bytes.Clone(text[cut:]))
				lines := strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n")
				if !slices.EqualFunc(lines, c.wants, func(line, want string) bool {
					return line == want || want[0] == '-' && strings.HasPrefix(line, want+" ")
				}) {
					t.Fatalf("cut at %d it answers\n%s\nwant %q", cut, got, c.wants)
				}
			}
		})
	}
}
