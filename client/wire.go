package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// wire is a connection after its greeting.
type wire struct {
	net     net.Conn
	replies *replies // one goroutine reads at a time
	forget  func() bool
}

// close ends the connection. It may be called more than once and at any time.
func (w *wire) close() {
	w.forget()
	_ = w.net.Close()
}

// write sends commands.
func (w *wire) write(commands ...*lineproto.Command) error {
	var b []byte
	var err error
	for _, c := range commands {
		if b, err = lineproto.AppendCommand(b, c); err != nil {
			return err
		}
	}
	_, err = w.net.Write(b)
	return err
}

// dial makes a connection, for as long as the client is open. It returns the
// context's error, kv.ErrClosed or a *ConnError.
func (c *Client) dial(ctx context.Context) (*wire, error) {
	bounded, cancel := context.WithTimeout(ctx, c.opts.DialTimeout)
	defer cancel()
	defer context.AfterFunc(c.link.ctx, cancel)()
	w, err := c.connect(bounded)
	switch {
	case err == nil:
		return w, nil
	case c.link.ctx.Err() != nil:
		return nil, kv.ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, &ConnError{Addr: c.address, Err: err, refused: final(err)}
}

func (c *Client) connect(ctx context.Context) (*wire, error) {
	nc, err := c.opts.Dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	if c.opts.TLS != nil {
		secure := tls.Client(nc, c.opts.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, err
		}
		nc = secure
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	w := &wire{net: nc, replies: newReplies(nc)}
	err = c.greet(w)
	if !stop() {
		err = ctx.Err() // not the error of the connection
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	w.forget = context.AfterFunc(c.link.ctx, func() { _ = nc.Close() })
	return w, nil
}

// greet checks the server and logs in.
func (c *Client) greet(w *wire) error {
	r, err := w.ask(&lineproto.Command{Verb: lineproto.VerbHello})
	if err != nil {
		return err
	}
	switch {
	case r.Kind != lineproto.ReplyHello:
		return errWrongReply
	case r.Hello.Protocol != lineproto.Version:
		return fmt.Errorf("%w: the server speaks version %d of the protocol, this client version %d", kv.ErrVersion, r.Hello.Protocol, lineproto.Version)
	case !c.sameStore(r.Hello.StoreID):
		return errOtherStore
	case c.opts.User == "" && r.Hello.Auth:
		return ErrAuthRequired
	case c.opts.User == "":
		return nil
	}
	r, err = w.ask(&lineproto.Command{Verb: lineproto.VerbAuth, User: c.opts.User, Password: c.opts.Password})
	if err == nil && r.Kind != lineproto.ReplyOK {
		err = errWrongReply
	}
	return err
}

// sameStore reports whether the store is that of the first connection, if the server
// tells its id. Ids of buckets and revisions have no meaning in another store.
func (c *Client) sameStore(id [16]byte) bool {
	c.store.once.Do(func() { c.store.id = id })
	return c.store.id == id || c.store.id == [16]byte{} || id == [16]byte{}
}

// ask sends a command and returns its one reply, or the error in that reply.
func (w *wire) ask(command *lineproto.Command) (*lineproto.Reply, error) {
	if err := w.write(command); err != nil {
		return nil, err
	}
	r, err := w.replies.next()
	if err == nil {
		err = r.Err(command.Bucket, command.Key)
	}
	return r, err
}

// final reports whether an error of a greeting would come again on the next attempt.
func final(err error) bool {
	for _, e := range []error{ErrAuthRequired, ErrAuthFailed, ErrDenied, kv.ErrVersion, errOtherStore} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
