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
	// LoginTime is the time that a client has to log in after it has connected.
	LoginTime = 2 * time.Second

	lingerTime = time.Second
	lingerSize = 256 << 10 // bytes
)

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// Conn is a connection being served. Only the serving goroutine calls its methods,
// unless they say otherwise.
type Conn struct {
	net.Conn // encrypted where the server has TLS

	plain    net.Conn // below the encryption
	server   *Server
	id       uint64 // of ConnInfo
	since    time.Time
	from     netip.Prefix
	draining atomic.Bool
	session  atomic.Pointer[session] // nil: not logged in
	inStore  bool
}

// HasTLS reports whether the server encrypts its connections.
func (c *Conn) HasTLS() bool { return c.server.opts.TLS != nil }

// WritePlain writes below the encryption. An [Upgrader] calls it before StartTLS.
func (c *Conn) WritePlain(b []byte) error {
	_ = c.plain.SetWriteDeadline(time.Now().Add(handshakeTime))
	_, err := c.plain.Write(b)
	return err
}

// StartTLS does the TLS handshake, if the server has TLS. Only an [Upgrader] calls it.
func (c *Conn) StartTLS(ctx context.Context) error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	err := t.HandshakeContext(ctx)
	if err != nil {
		c.Logger().Debug("TLS handshake", "remote", c.RemoteAddr().String(), "cause", err)
	}
	return err
}

// Logger returns the logger of the server.
func (c *Conn) Logger() *slog.Logger { return c.server.opts.Logger }

// drain makes reads fail from now on, so that the protocol finishes the commands that
// it has read.
func (c *Conn) drain() {
	c.draining.Store(true)
	_ = c.Conn.SetReadDeadline(past)
}

// Draining reports whether the server is shutting down, which also makes reads time
// out. Safe for concurrent use.
func (c *Conn) Draining() bool { return c.draining.Load() }

// SetReadDeadline is that of net.Conn, but does not undo draining.
func (c *Conn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.draining.Load() { // drain has set a deadline in the past, which must stay
		return c.Conn.SetReadDeadline(past)
	}
	return err
}

// InStore runs a call of the store. A panic in it ends the process, not only the
// connection.
func (c *Conn) InStore(call func()) {
	c.EnterStore()
	call()
	c.LeaveStore() // not deferred: a panic must find inStore set
}

// EnterStore marks the begin of a call of the store, LeaveStore its end.
func (c *Conn) EnterStore() { c.inStore = true }

// LeaveStore marks the end of a call of the store.
func (c *Conn) LeaveStore() { c.inStore = false }

// Recover is deferred in a goroutine that the protocol started for the connection. A
// panic there closes the connection and is logged.
func (c *Conn) Recover() {
	if r := recover(); r != nil {
		c.logPanic(r)
		c.Conn.Close()
	}
}

func (c *Conn) logPanic(r any) {
	c.Logger().Error("panic while serving a connection", "remote", c.RemoteAddr().String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// Linger ends a connection so that the client can read the last reply. If a connection
// is closed with unread input, the system discards that reply. So Linger stops writing,
// and discards input for a second at most.
func (c *Conn) Linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, lingerSize)
}

// Login checks a name and a password. A failure is an error matching ErrLogin, and
// counts for the user and the address.
func (c *Conn) Login(ctx context.Context, name, password string) error {
	s, err := c.server.logins.password(ctx, c.from, name, password)
	c.server.logins.count(err)
	if err != nil {
		c.logFailure(name, err)
		return err
	}
	c.session.Store(s)
	return nil
}

// LoginKey logs in the user with that public key, who signed the nonce. A failure is an error
// matching ErrLogin.
func (c *Conn) LoginKey(publicKey string, nonce, signature []byte) error {
	s, err := c.server.logins.key(publicKey, nonce, signature)
	c.server.logins.count(err)
	if err != nil {
		c.logFailure(publicKey[:min(len(publicKey), userNameMax)], err)
		return err
	}
	c.session.Store(s)
	return nil
}

// logFailure logs each wrong password. Attempts that were refused without a check of
// the password cost a client nothing, so many of them share one line.
func (c *Conn) logFailure(name string, err error) {
	log := c.Logger().With("remote", c.RemoteAddr().String(), "user", name, "cause", err)
	if errors.Is(err, errWrong) {
		log.Warn("login failed")
		return
	}
	if n, ok := c.server.turnedAway.pass(); ok {
		log.Warn("login refused", "unlogged", n)
	}
}

// NeedsLogin reports whether the client has to log in before anything else.
func (c *Conn) NeedsLogin() bool {
	return c.session.Load() == nil && c.server.logins.users.Load() != nil
}

// HasUsers reports whether the server has users.
func (c *Conn) HasUsers() bool { return c.server.logins.HasUsers() }

// User returns the name of the user who has logged in; empty before the login.
func (c *Conn) User() string {
	if s := c.session.Load(); s != nil {
		return s.name
	}
	return ""
}
