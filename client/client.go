package client

import (
	"context"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// Client is a connection to a server, kept alive. It implements [kv.Store] and
// [kv.Submitter]. All methods are safe for concurrent use.
type Client struct {
	// Immutable after Dial.
	address string
	opts    Options

	store struct {
		once sync.Once
		id   [16]byte // zeros: unknown
	}

	link    link       // the connection that calls share
	watches watchConns // the connections that watches share
	spare   spare      // idle connections for listings and watches
	calls   callPool
}

var (
	_ kv.Store     = (*Client)(nil)
	_ kv.Submitter = (*Client)(nil)
	_ kv.Bucket    = (*Bucket)(nil)
)

// Dial connects to the server at address, a host and a port. It makes one attempt
// and returns the context's error, an error matching kv.ErrInvalidConfig for bad
// options, or a *ConnError. The context has no effect after Dial has returned.
func Dial(ctx context.Context, address string, opts Options) (*Client, error) {
	opts, err := opts.withDefaults(address)
	if err != nil {
		return nil, err
	}
	c := &Client{address: address, opts: opts}
	c.watches.init(c)
	c.link.maxWait = opts.MaxWait
	c.link.backoff = c.newBackoff()
	c.link.connect = c.connectShared
	c.link.ctx, c.link.end = context.WithCancel(context.Background())
	if err := c.link.open(ctx); err != nil {
		c.link.end()
		return nil, err
	}
	return c, nil
}

func (c *Client) newBackoff() backoff {
	return backoff{min: c.opts.BackoffMin, max: c.opts.BackoffMax}
}

// connectShared makes the connection that calls share.
func (c *Client) connectShared(ctx context.Context) (*conn, error) {
	w, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newConn(w, c.address, &c.calls, c.link.lost), nil
}

// Close ends all connections. Calls under way return kv.ErrClosed; the error of writes
// that were sent also matches kv.ErrOutcomeUnknown. Watches end with kv.ErrClosed. When
// Close returns, no goroutine of the client is left. Every later call, including
// another Close, returns kv.ErrClosed.
func (c *Client) Close() error {
	if !c.link.close() {
		return kv.ErrClosed
	}
	return nil
}

// attempts is how often a call is sent at most: a command that may have broken three
// connections must not break a fourth.
const attempts = 3

// do executes k on the current connection. It repeats k on the next one if the command
// was certainly not executed, or if executing it twice does no harm. If do returns nil,
// k has the answer and the caller frees it; otherwise do has freed it.
func (c *Client) do(ctx context.Context, k *call) error {
	err := ctx.Err()
	writes := changes(k.command.Verb)
	for n := 0; err == nil && n < attempts; n++ {
		var conn *conn
		if conn, err = c.link.get(ctx); err != nil {
			break
		}
		o := conn.do(ctx, k)
		switch {
		case o.fate == fateAnswered && o.err == nil:
			return nil
		case o.fate == fateAnswered:
			err = o.err
		case o.fate == fateAbandoned && writes:
			return unknown(o.err)
		case o.fate == fateAbandoned:
			return o.err
		case o.fate == fateLost && writes:
			err = unknown(o.err)
		case n+1 == attempts:
			err = o.err
		default:
			err = ctx.Err()
			k.again()
		}
	}
	k.free()
	return err
}

// changes reports whether executing a command twice differs from executing it once.
func changes(v lineproto.Verb) bool {
	switch v {
	case lineproto.VerbAdd, lineproto.VerbEdit, lineproto.VerbRemove, lineproto.VerbPurgeDeletes, lineproto.VerbTxn:
		return true
	}
	return v.Writes()
}

// Ping returns nil if the server answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.run(ctx, c.calls.get(lineproto.VerbPing))
}

// run is do for a call whose answer has no content.
func (c *Client) run(ctx context.Context, k *call) error {
	err := c.do(ctx, k)
	if err == nil {
		k.free()
	}
	return err
}
