package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Protocol serves the connections of a server.
type Protocol interface {
	// Serve serves a connection until the client or an error ends it; the server then
	// closes the connection. Serve returns soon after the connection begins to drain,
	// and at once when the context ends.
	Serve(ctx context.Context, c *Conn)

	// Refusal returns the bytes that a client gets whose connection is refused.
	Refusal(err error) []byte
}

// Upgrader is a [Protocol] whose connections begin without TLS, also on a server with
// TLS: Serve sends its greeting and then calls [Conn.StartTLS].
type Upgrader interface {
	Protocol
	UpgradesTLS()
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("server is closed")

// Server accepts connections, which a protocol serves. All methods are safe for
// concurrent use.
type Server struct {
	// Immutable after New.
	opts       Options
	protocol   Protocol
	logins     *Logins
	conns      admission
	ctx        context.Context // for all connections
	cutOff     context.CancelFunc
	refused    throttle
	turnedAway throttle
	accepted   atomic.Uint64 // connections
	overLimit  atomic.Uint64

	serving sync.WaitGroup // a count for each connection

	mu        sync.Mutex // guards the fields below
	closing   bool
	listeners map[net.Listener]struct{}
	open      map[*Conn]struct{}
}

// New returns a server of the protocol. It serves nothing yet.
func New(p Protocol, opts Options) (*Server, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, protocol: p, logins: opts.Logins,
		listeners: map[net.Listener]struct{}{}, open: map[*Conn]struct{}{},
	}
	s.conns.max, s.conns.maxPerAddr, s.conns.together = opts.MaxConns, opts.MaxConnsPerAddr, opts.Together
	s.conns.byAddr = map[netip.Prefix]int{}
	s.ctx, s.cutOff = context.WithCancel(context.Background())
	return s, nil
}

// Conns returns the number of connections being served.
func (s *Server) Conns() int { return s.conns.count() }

// SetUsers is that of the server's Logins.
func (s *Server) SetUsers(users *Users) error { return s.logins.SetUsers(users) }

// Serve accepts connections until the listener fails or Shutdown is called, and
// closes the listener. It returns ErrServerClosed after Shutdown.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	var pause acceptPause
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause.reset()
			s.start(conn)
		case s.isClosing():
			return ErrServerClosed
		case !passes(err):
			return fmt.Errorf("server: %w", err)
		default:
			if pause.first() {
				s.opts.Logger.Warn("accepting connections paused", "addr", l.Addr().String(), "cause", err)
			}
			pause.wait(s.ctx)
		}
	}
}

// ServeConn serves a connection that no listener has accepted, such as one end of a
// pipe. It returns at once. Shutdown ends the connection like any other. After
// Shutdown, and over a limit, the connection is closed.
func (s *Server) ServeConn(nc net.Conn) { s.start(nc) }

// passes reports whether an error of accept is temporary.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// acceptPause returns the time to wait before the next accept: 5 ms after the first
// error in a row, twice as long after each further one, at most a second.
type acceptPause struct{ last time.Duration }

func (p *acceptPause) reset()      { p.last = 0 }
func (p *acceptPause) first() bool { return p.last == 0 }

func (p *acceptPause) wait(ctx context.Context) {
	p.last = min(max(5*time.Millisecond, 2*p.last), time.Second)
	t := time.NewTimer(p.last)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// start serves a connection in a new goroutine, or refuses it.
func (s *Server) start(nc net.Conn) {
	from := addressOf(nc.RemoteAddr())
	if err := s.conns.enter(from); err != nil {
		s.refuse(nc, err)
		return
	}
	c := &Conn{Conn: nc, plain: nc, server: s, id: connIDs.Add(1), since: time.Now(), from: from}
	if s.opts.TLS != nil {
		c.Conn = tls.Server(nc, s.opts.TLS) // writes nothing before the handshake
	}
	if !s.addConn(c) {
		s.conns.leave(from)
		nc.Close()
		return
	}
	s.accepted.Add(1)
	go s.run(c)
}

// refuse sends the reason to a client and closes the connection. It does not wait: the
// send buffer of a new connection has room.
func (s *Server) refuse(nc net.Conn, err error) {
	s.overLimit.Add(1)
	if n, ok := s.refused.pass(); ok {
		s.opts.Logger.Warn("connection refused", "remote", nc.RemoteAddr().String(), "cause", err, "unlogged", n)
	}
	if s.opts.TLS == nil {
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write(s.protocol.Refusal(err))
	}
	nc.Close()
}

// run is the goroutine of a connection. start starts it, it ends with Serve of the
// protocol, and Shutdown waits for it.
func (s *Server) run(c *Conn) {
	defer s.serving.Done()
	defer s.conns.leave(c.from)
	defer s.removeConn(c)
	defer c.Conn.Close()
	defer s.recoverFrom(c)
	ctx, cancel := context.WithCancel(context.WithValue(s.ctx, originKey{}, c))
	defer cancel()
	if _, ok := s.protocol.(Upgrader); !ok {
		if err := c.StartTLS(ctx); err != nil {
			return
		}
	}
	s.protocol.Serve(ctx, c)
}

// recoverFrom ends a connection after a panic, unless the panic came from the store.
func (s *Server) recoverFrom(c *Conn) {
	r := recover()
	if r == nil {
		return
	}
	if c.inStore {
		panic(fmt.Sprintf("server: panic in the store: %v", r))
	}
	c.logPanic(r)
}

// Shutdown stops accepting, lets every connection finish the commands that it has read,
// and returns when all are closed. If the context ends first, Shutdown closes the
// others at once and returns the error of the context.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.open {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last connection
		s.serving.Wait()
		close(done)
	}()
	defer s.cutOff()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cutOff()
	s.mu.Lock()
	for c := range s.open {
		c.Conn.Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[l] = struct{}{}
	}
	return !s.closing
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) addConn(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.open[c] = struct{}{}
		s.serving.Add(1)
	}
	return !s.closing
}

func (s *Server) removeConn(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// throttle lets one log line pass every ten seconds and counts the others.
type throttle struct {
	mu   sync.Mutex
	last time.Time
	held int
}

func (t *throttle) pass() (held int, ok bool) {
	const pace = 10 * time.Second
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.last.IsZero() || now.Sub(t.last) >= pace {
		held, t.held, t.last = t.held, 0, now
		return held, true
	}
	t.held++
	return 0, false
}
