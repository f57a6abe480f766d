package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets the clock of a synctest bubble advance; it takes no real time.
func pass(d time.Duration) { <-time.After(d) }

// echo is a protocol that sends back the bytes that it reads, and panics on request.
type echo struct{}

func (echo) Serve(_ context.Context, c *Conn) {
	buf := make([]byte, 100)
	for {
		n, err := c.Read(buf)
		if err != nil {
			if c.Draining() {
				_, _ = c.Write([]byte("bye"))
				c.Linger()
			}
			return
		}
		if string(buf[:n]) == "panic" {
			panic("as asked")
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (echo) Refusal(err error) []byte { return []byte(err.Error()) }

// fakeListener returns from Accept the connections and errors that a test gives it.
type fakeListener struct {
	next   chan any
	closed chan struct{}
	once   sync.Once
}

func newFakeListener() *fakeListener {
	return &fakeListener{next: make(chan any), closed: make(chan struct{})}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case n := <-l.next:
		if err, ok := n.(error); ok {
			return nil, err
		}
		return n.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.UnixAddr{Name: "fake"} }

// pipeFrom is a pipe whose client seems to have that address.
type pipeFrom struct {
	net.Conn
	addr net.Addr
}

func (p pipeFrom) RemoteAddr() net.Addr { return p.addr }

// dial connects a client with that address; nil: one of this machine.
func (l *fakeListener) dial(from net.IP) net.Conn {
	client, conn := net.Pipe()
	l.next <- pipeFrom{conn, &net.TCPAddr{IP: from, Port: 1}}
	return client
}

// serve starts a server of the echo protocol.
func serve(t *testing.T, opts Options) (*Server, *fakeListener) {
	t.Helper()
	s, err := New(echo{}, opts)
	if err != nil {
		t.Fatal(err)
	}
	l := newFakeListener()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, l
}

// echoes reports whether the connection is served.
func echoes(c net.Conn) bool {
	go func() { _, _ = c.Write([]byte("x")) }()
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	return err == nil && string(buf[:n]) == "x"
}

func TestLimits(t *testing.T) {
	s, l := serve(t, Options{MaxConns: 8, MaxConnsPerAddr: 2})
	local, one, two, six := net.IP{127, 0, 0, 1}, net.IP{192, 0, 2, 1}, net.IP{192, 0, 2, 2}, net.ParseIP("2001:db8::1")
	var open []net.Conn
	admit := func(from net.IP, want bool) net.Conn {
		t.Helper()
		c := l.dial(from)
		if want {
			if !echoes(c) {
				t.Fatalf("a connection from %v is not served, with %d open", from, s.Conns())
			}
			open = append(open, c)
			return c
		}
		text, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(text), "too many connections") {
			t.Fatalf("a connection from %v is told %q, with %d open", from, text, s.Conns())
		}
		return c
	}
	admit(one, true)
	first := admit(one, true)
	admit(one, false)
	admit(two, true)
	admit(six, true)
	admit(net.ParseIP("2001:db8::2"), true) // of the same /64
	admit(net.ParseIP("2001:db8::3"), false)
	admit(one.To16(), false)
	for range 3 { // loopback has no limit of its own
		admit(local, true)
	}
	admit(local, false)
	admit(net.ParseIP("2001:db8:1::1"), false)
	closeAndWait(t, s, first)
	admit(one, true)
	admit(one, false)
	for _, c := range open {
		if c != first {
			closeAndWait(t, s, c)
		}
	}
	if len(s.conns.byAddr) != 0 || s.Conns() != 0 {
		t.Errorf("%d connections from %d addresses are left", s.Conns(), len(s.conns.byAddr))
	}
}

// closeAndWait closes a client that is being served and waits until the server no longer
// counts it.
func closeAndWait(t *testing.T, s *Server, c net.Conn) {
	t.Helper()
	before := s.Conns()
	c.Close()
	for deadline := time.Now().Add(10 * time.Second); s.Conns() == before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still counted")
		}
	}
}

// Two servers with one ConnLimit serve as many connections together as it allows.
func TestServersShareALimit(t *testing.T) {
	limit := NewConnLimit(2)
	one, l := serve(t, Options{Together: limit})
	_, other := serve(t, Options{Together: limit})
	first, second := l.dial(nil), other.dial(nil)
	if !echoes(first) || !echoes(second) {
		t.Fatal("connections within the limit are not served")
	}
	for _, l := range []*fakeListener{l, other} {
		if text, _ := io.ReadAll(l.dial(nil)); !strings.HasPrefix(string(text), "too many connections: all servers") {
			t.Errorf("a connection over the limit is told %q", text)
		}
	}
	closeAndWait(t, one, first)
	if third := other.dial(nil); !echoes(third) {
		t.Error("a connection in the place of a closed one is not served")
	}
}

func TestDefaultLimits(t *testing.T) {
	o, err := Options{}.withDefaults()
	if err != nil || o.MaxConns < 1 || o.MaxConns > connsDefault || o.MaxConnsPerAddr != connsPerAddrDefault {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := New(echo{}, Options{MaxConns: -1}); err == nil {
		t.Error("a negative limit is taken")
	}
}

// TestAcceptingPauses makes accept fail with temporary errors.
func TestAcceptingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		_, l := serve(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c := l.dial(nil)
		for round := range 2 {
			start := time.Now()
			var pauses []time.Duration
			for range 12 {
				before := time.Now()
				l.next <- fmt.Errorf("accept: %w", syscall.EMFILE)
				pauses = append(pauses, time.Since(before)) // the pause after the previous error
			}
			if !echoes(c) {
				t.Error("a connection that was there is not served")
			}
			if pauses[1] != 5*time.Millisecond || pauses[2] != 10*time.Millisecond || pauses[11] != time.Second {
				t.Errorf("the pauses are %v", pauses)
			}
			other := l.dial(nil) // waits for the last pause
			if took := time.Since(start); took < 4*time.Second || took > 7*time.Second {
				t.Errorf("all took %v", took)
			}
			if !echoes(other) {
				t.Error("a connection after the pause is not served")
			}
			other.Close()
			if n := strings.Count(log.String(), "accepting connections paused"); n != round+1 {
				t.Errorf("it is logged %d times after %d bursts", n, round+1)
			}
		}
		c.Close()
	})
}

func TestAListenerThatFails(t *testing.T) {
	s, err := New(echo{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := newFakeListener()
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	l.next <- io.ErrUnexpectedEOF
	if err := <-served; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("serve: %v", err)
	}
	<-l.closed
}

func TestShutdown(t *testing.T) {
	s, l := serve(t, Options{})
	c := l.dial(nil)
	if !echoes(c) {
		t.Fatal("not served")
	}
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	text, _ := io.ReadAll(c)
	if string(text) != "bye" {
		t.Errorf("the last words are %q", text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Serve(newFakeListener()); !errors.Is(err, ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestShutdownThatMayNotWait(t *testing.T) {
	s, l := serve(t, Options{})
	c := l.dial(nil) // reads nothing: the server's last message cannot be written
	if !echoes(c) {
		t.Fatal("not served")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection ended with %v", err)
	}
}

// TestADrainingConnectionCannotBeRevived sets deadlines before and after the connection
// drains.
func TestADrainingConnectionCannotBeRevived(t *testing.T) {
	client, conn := net.Pipe()
	defer client.Close()
	c := &Conn{Conn: conn}
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	c.drain()
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	_ = c.SetReadDeadline(time.Time{})
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() || !c.Draining() {
		t.Errorf("read: %v", err)
	}
}

func TestAPanicClosesItsConnectionAlone(t *testing.T) {
	var log bytes.Buffer
	s, l := serve(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c, other := l.dial(nil), l.dial(nil)
	if _, err := c.Write([]byte("panic")); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
	if !echoes(other) {
		t.Error("the other connection is not served")
	}
	closeAndWait(t, s, other) // the log is written by then
	if !strings.Contains(log.String(), "panic while serving") || !strings.Contains(log.String(), "as asked") {
		t.Errorf("the log is %s", log.String())
	}
}

// TestAPanicOfTheStoreIsPassedOn panics inside and outside of calls of the store.
func TestAPanicOfTheStoreIsPassedOn(t *testing.T) {
	s, err := New(echo{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	outcome := func(f func(c *Conn)) (passed any) {
		_, conn := net.Pipe()
		defer func() { passed = recover() }()
		c := &Conn{Conn: conn, server: s}
		func() {
			defer s.recoverFrom(c)
			f(c)
		}()
		return nil
	}
	if p := outcome(func(c *Conn) { c.InStore(func() {}); panic("outside") }); p != nil {
		t.Errorf("a panic outside is passed on: %v", p)
	}
	if p := outcome(func(c *Conn) { c.InStore(func() { panic("inside") }) }); fmt.Sprint(p) != "server: panic in the store: inside" {
		t.Errorf("a panic inside is not passed on: %v", p)
	}
	if p := outcome(func(c *Conn) { c.EnterStore(); panic("inside") }); p == nil {
		t.Error("a panic inside is not passed on")
	}
	if p := outcome(func(c *Conn) { defer c.Recover(); panic("in a goroutine") }); p != nil {
		t.Errorf("a panic of another goroutine is passed on: %v", p)
	}
}

func TestAHandshakeHasTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := serve(t, Options{TLS: &tls.Config{}})
		c, start := l.dial(nil), time.Now()
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != handshakeTime {
			t.Errorf("it ended after %v", took)
		}
	})
}

func TestTheThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var th throttle
		for i, want := range []bool{true, false, false} {
			if _, ok := th.pass(); ok != want {
				t.Errorf("line %d passes: %v", i, ok)
			}
		}
		pass(10 * time.Second)
		if n, ok := th.pass(); !ok || n != 2 {
			t.Errorf("after ten seconds: %v, %d were held", ok, n)
		}
	})
}
