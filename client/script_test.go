package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// script is a server that plays sessions one after the other, each on a connection of its
// own. Connections are pipes, so two writes arrive in two reads. It is the Dialer of the
// client under test.
type script struct {
	t        *testing.T
	ends     sync.WaitGroup
	mu       sync.Mutex
	sessions []func(*session)
	dialed   int
}

var errRefused = errors.New("connection refused")

// play returns a script that refuses connections after the last session. At its end the
// test waits for all sessions that began.
func play(t *testing.T, sessions ...func(*session)) *script {
	s := &script{t: t, sessions: sessions}
	t.Cleanup(s.ends.Wait)
	return s
}

func (s *script) DialContext(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialed++
	if len(s.sessions) == 0 {
		return nil, errRefused
	}
	here, there := net.Pipe()
	run := s.sessions[0]
	s.sessions = s.sessions[1:]
	s.ends.Go(func() {
		defer there.Close()
		run(&session{Conn: there, t: s.t, r: bufio.NewReader(there)})
	})
	return here, nil
}

// then adds sessions to the script.
func (s *script) then(sessions ...func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, sessions...)
}

// connections returns the number of times that the client has dialed.
func (s *script) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialed
}

const scriptAddress = "server.test:5830"

// client returns a client of the script, each watch of which has a connection of its own. It
// is closed when the test ends.
func (s *script) client(opts Options) *Client {
	s.t.Helper()
	c := s.sharing(opts)
	c.watches.usual = 0
	return c
}

// sharing returns a client of the script whose watches share connections.
func (s *script) sharing(opts Options) *Client {
	s.t.Helper()
	opts.Dialer = s
	c, err := Dial(s.t.Context(), scriptAddress, opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { closeClient(s.t, c) })
	return c
}

// bucket returns a handle of a bucket, of a client that is connected to the script's
// first session.
func (s *script) bucket(opts Options) *Bucket {
	s.t.Helper()
	return &Bucket{client: s.client(opts), name: "b", id: 7}
}

// session is the server's end of a connection.
type session struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// want reads these lines. Anything else ends the session and fails the test.
func (s *session) want(lines ...string) {
	for _, want := range lines {
		got, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Errorf("the server waits for %q: %v", want, err)
			runtime.Goexit()
		}
		if got != want+"\r\n" {
			s.t.Errorf("the server read %q, want %q", got, want)
			runtime.Goexit()
		}
	}
}

// line reads any line.
func (s *session) line() (string, bool) {
	got, err := s.r.ReadString('\n')
	return strings.TrimSuffix(got, "\r\n"), err == nil
}

// say sends a line.
func (s *session) say(format string, args ...any) {
	s.raw(fmt.Sprintf(format, args...) + "\r\n")
}

// raw sends text as it is. A client that has hung up does not matter.
func (s *session) raw(text string) { _, _ = s.Write([]byte(text)) }

const helloReply = "+HELLO 1 server=test store=000102030405060708090a0b0c0d0e0f sync=always auth=no"

// hello answers the greeting.
func (s *session) hello() {
	s.want("HELLO")
	s.say(helloReply)
}

// silence reads until the client hangs up, and fails the test if the client sends
// anything more.
func (s *session) silence() {
	if line, ok := s.line(); ok {
		s.t.Errorf("the server read %q, want nothing", line)
	}
}

// answering returns a session that answers the greeting, and then answers each line with
// the result of reply.
func answering(reply func(line string) string) func(*session) {
	return func(s *session) {
		s.hello()
		for line, ok := s.line(); ok; line, ok = s.line() {
			s.raw(reply(line))
		}
	}
}

const created = "2026-11-22T18:00:00.123456789Z"

// entryReply is the +ENTRY of a put.
func entryReply(key string, revision int, value string) string {
	return fmt.Sprintf("+ENTRY %s %d PUT %s %d\r\n%s\r\n", key, revision, created, len(value), value)
}
