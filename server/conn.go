package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	handshakeTime = 2 * time.Second
	// LoginTime is how long a client has, from its connection on, to log in.
	LoginTime = 2 * time.Second

	lingerTime = time.Second
	lingerSize = 256 << 10 // bytes
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// Conn is a connection being served. Unless it says otherwise, a method is the
// serving goroutine's own.
type Conn struct {
	net.Conn // encrypted where the server has TLS

	plain    net.Conn // below the encryption
	server   *Server
	from     netip.Prefix
	draining atomic.Bool
	session  atomic.Pointer[session] // nil: not logged in
	inStore  bool
}

// HasTLS reports whether the server encrypts its connections.
func (c *Conn) HasTLS() bool { return c.server.opts.TLS != nil }

// WritePlain writes below the encryption: what an [Upgrader] says before StartTLS.
func (c *Conn) WritePlain(b []byte) error {
	_ = c.plain.SetWriteDeadline(time.Now().Add(handshakeTime))
	_, err := c.plain.Write(b)
	return err
}

// StartTLS does TLS's handshake, where the server has TLS. Only an [Upgrader] calls
// it.
func (c *Conn) StartTLS(ctx context.Context) error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	err := t.HandshakeContext(ctx)
	if err != nil {
		c.Logger().Debug("TLS handshake", "remote", c.RemoteAddr(), "cause", err)
	}
	return err
}

// Logger is the server's.
func (c *Conn) Logger() *slog.Logger { return c.server.opts.Logger }

// drain makes reads fail from now on: the protocol finishes what it has.
func (c *Conn) drain() {
	c.draining.Store(true)
	_ = c.Conn.SetReadDeadline(past)
}

// Draining reports whether the server is shutting down: a read that timed out
// may have done so for this. Safe for concurrent use.
func (c *Conn) Draining() bool { return c.draining.Load() }

// SetReadDeadline is net.Conn's, except that it does not undo draining.
func (c *Conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.draining.Load() { // before or after drain set its own: either way it stays past
		return c.Conn.SetReadDeadline(past)
	}
	return err
}

// InStore runs a call of the store: a panic in it is not the connection's alone.
func (c *Conn) InStore(call func()) {
	c.EnterStore()
	call()
	c.LeaveStore() // not deferred: it must not have happened when a panic passes
}

// EnterStore says that a call of the store begins, LeaveStore that it ended.
func (c *Conn) EnterStore() { c.inStore = true }

// LeaveStore is the end of EnterStore.
func (c *Conn) LeaveStore() { c.inStore = false }

// Recover is deferred in a goroutine that the protocol started for the
// connection: a panic closes the connection and does nothing else.
func (c *Conn) Recover() {
	if r := recover(); r != nil {
		c.logPanic(r)
		c.Conn.Close()
	}
}

func (c *Conn) logPanic(r any) {
	c.Logger().Error("panic while serving a connection", "remote", c.RemoteAddr(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// Linger ends a connection whose last words the client should read. Closing while
// there is input would make the system drop them; so it stops writing, and for a
// second at most reads on and throws away.
func (c *Conn) Linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, lingerSize)
}

// Login checks a name and a password. It returns an error matching ErrLogin; the
// failure is counted against the address.
func (c *Conn) Login(ctx context.Context, name, password string) error {
	user, err := c.server.login.check(ctx, c.from, name, password)
	if err != nil {
		c.logFailure(name, err)
		return err
	}
	c.session.Store(user)
	return nil
}

// logFailure logs each password that was wrong. Attempts that were refused without
// a look at the password cost a client next to nothing, and have one line together.
func (c *Conn) logFailure(name string, err error) {
	log := c.Logger().With("remote", c.RemoteAddr(), "user", name, "cause", err)
	if errors.Is(err, errWrong) {
		log.Warn("login failed")
		return
	}
	if n, ok := c.server.turnedAway.pass(); ok {
		log.Warn("login not tried", "unlogged", n)
	}
}

// NeedsLogin reports whether the client has to log in before anything else.
func (c *Conn) NeedsLogin() bool {
	return c.session.Load() == nil && c.server.login.users.Load() != nil
}

// HasUsers reports whether the server has users.
func (c *Conn) HasUsers() bool { return c.server.login.users.Load() != nil }

// User returns the name of who has logged in; it is empty where nobody has.
func (c *Conn) User() string {
	if s := c.session.Load(); s != nil {
		return s.name
	}
	return ""
}

// May reports whether the client has the permission in the bucket. Safe for
// concurrent use.
func (c *Conn) May(p Permission, bucket string) bool {
	users := c.server.login.users.Load()
	if users == nil {
		return true
	}
	s := c.session.Load()
	if s == nil {
		return false
	}
	if s.users != users {
		s = s.renew(users)
		c.session.Store(s)
	}
	return s.user.may(p, bucket)
}
