package line

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// conn is one connection. Its goroutine reads commands, executes them and answers. Only
// watches have further goroutines.
type conn struct {
	*server.Conn
	protocol *Protocol
	ctx      context.Context

	in  server.Input
	out output
	cmd lineproto.Command
	run *run

	replies *buffer           // of this round; nil between rounds
	names   map[string]string // names of buckets, so that each is allocated once
	last    handle            // in this round
	watches watches
	imports imports
	txn     *openTxn  // nil: none is open
	read    int       // bytes consumed before the login
	wrote   int       // bytes of replies; limited before the login
	since   time.Time // when the first byte of an incomplete command came; zero: there is none
}

// errQuit ends a round after which the connection is closed.
var errQuit = errors.New("quit")

func newConn(ctx context.Context, p *Protocol, sc *server.Conn) *conn {
	c := &conn{Conn: sc, protocol: p, ctx: ctx}
	c.in.Init(sc)
	c.out.init(sc)
	c.watches.init(c)
	return c
}

// end releases what the connection holds.
func (c *conn) end() {
	c.Close() // first: a watch may be writing to a client that does not read
	c.watches.stopAll()
	c.imports.discardAll(c)
	c.dropTxn()
	c.in.Release()
}

// serve runs rounds until the client or the server ends the connection.
func (c *conn) serve() {
	if c.NeedsLogin() {
		c.in.Expect(time.Now().Add(server.LoginTime))
	} else {
		c.in.Grow()
	}
	for {
		if err := c.round(); err != nil {
			c.finish(err)
			return
		}
	}
}

// finish sends the reason for the end of the connection, unless the client ended it.
func (c *conn) finish(err error) {
	var last []byte
	switch {
	case c.Draining():
		c.watches.endAll(lineproto.ErrShutdown)
		last = lineproto.AppendError(nil, lineproto.ErrShutdown, "")
	case errors.Is(err, errQuit):
	case errors.Is(err, lineproto.ErrSyntax), errors.Is(err, kv.ErrTxnTooLarge), errors.Is(err, lineproto.ErrAuthRequired), errors.Is(err, lineproto.ErrAuthFailed):
		last = lineproto.AppendError(nil, err, "")
	case server.IsTimeout(err) && c.NeedsLogin():
		last = lineproto.AppendError(nil, fmt.Errorf("%w: log in within %v", lineproto.ErrTimeout, server.LoginTime), "")
	case server.IsTimeout(err):
		last = lineproto.AppendError(nil, fmt.Errorf("%w: the command did not arrive in time", lineproto.ErrTimeout), "")
	default:
		return
	}
	if c.out.write(last) {
		c.Linger()
	}
}

// round executes every complete command in the buffer, writes the replies with one
// write, and waits for more.
func (c *conn) round() error {
	c.replies, c.run = getBuffer(), getRun()
	need, err := c.commands()
	c.finishRun()
	c.flush()
	putRun(c.run)
	putBuffer(c.replies)
	c.replies, c.run, c.last = nil, nil, handle{}
	switch {
	case err != nil:
		return err
	case c.out.broken.Load(), c.Draining():
		return errQuit
	}
	return c.await(need)
}

// commands executes commands until the next one is incomplete. It returns the least
// number of bytes that this one needs; 0 if nothing of it has arrived.
func (c *conn) commands() (need int, err error) {
	for {
		if len(c.in.Bytes()) == 0 {
			return 0, nil
		}
		n, err := lineproto.ParseCommand(c.in.Bytes(), &c.cmd)
		if err == lineproto.ErrIncomplete {
			return n, c.spend(len(c.in.Bytes()), false)
		}
		if err != nil {
			return 0, c.refuseBroken(err)
		}
		if err := c.spend(n, true); err != nil {
			return 0, err
		}
		if c.cmd.Verb == lineproto.VerbTxn && c.since.IsZero() {
			c.since = time.Now() // of the whole transaction
		}
		if err := c.execute(&c.cmd); err != nil {
			return 0, err
		}
		c.in.Consume(n)
		if c.txn == nil {
			c.since = time.Time{}
		}
	}
}

// spend counts input before the login.
func (c *conn) spend(n int, consumed bool) error {
	if !c.NeedsLogin() {
		return nil
	}
	if c.read+n > loginBudget || c.cmd.Verb != 0 && c.cmd.Length > 0 {
		return lineproto.ErrAuthRequired
	}
	if consumed {
		c.read += n
	}
	return nil
}

// await waits for more of a command of at least need bytes, or for the first byte
// of one. A command that will be refused anyway is answered now, and its payload is
// discarded.
func (c *conn) await(need int) error {
	cmd := c.cmd
	c.cmd = lineproto.Command{}   // its views would keep the buffer
	beforeLogin := c.NeedsLogin() // then the deadline is that of the login
	if need == 0 && c.txn != nil {
		c.in.Expect(commandUntil(c.since, c.txn.payloads))
		return c.in.Read()
	}
	if need == 0 {
		if !beforeLogin {
			c.in.Expect(time.Time{})
		}
		return c.in.Read()
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	switch {
	case beforeLogin:
	case c.txn != nil:
		c.in.Expect(commandUntil(c.since, c.txn.payloads+max(0, cmd.Length)))
	default:
		c.in.Expect(commandUntil(c.since, cmd.Length))
	}
	if cmd.Verb != 0 && c.txn == nil { // a line of a transaction is answered with the others
		if beforeLogin {
			return lineproto.ErrAuthRequired
		}
		if err := c.precheck(&cmd); err != nil {
			return c.refuse(&cmd, err)
		}
	}
	c.in.Reserve(need)
	return c.in.Read() // only once: the new bytes may show that the payload is wrong
}

// commandUntil returns the time by which a command must be complete with its payload.
// first is when its first byte came; the length is -1 while it is unknown.
func commandUntil(first time.Time, length int) time.Time {
	return first.Add(commandTime + time.Duration(max(length, 0))*time.Second/payloadRate)
}

// refuse answers a command whose payload is still arriving, and skips the payload.
func (c *conn) refuse(cmd *lineproto.Command, cause error) error {
	size, length := cmd.HeaderSize+cmd.Length, cmd.Length // reads overwrite what cmd refers to
	c.since = time.Time{}
	if !c.out.write(lineproto.AppendError(nil, wireError(cause), cmd.Key)) {
		return errQuit
	}
	if err := c.in.Skip(size); err != nil {
		return err
	}
	return c.skipPayloadEnd(length)
}

// skipPayloadEnd discards the CRLF after a payload of that length.
func (c *conn) skipPayloadEnd(length int) error {
	const size = len("\r\n")
	for {
		if err := lineproto.CheckPayloadEnd(c.in.Bytes(), length); err != nil {
			return err
		}
		if len(c.in.Bytes()) >= size {
			c.in.Consume(size)
			return nil
		}
		c.in.Reserve(size)
		if err := c.in.Read(); err != nil {
			return err
		}
	}
}

// refuseBroken answers a command that would be refused and has no CRLF after its payload
// with the refusal first, as it would be if the payload had come later. It returns the error
// that ends the connection; broken is that of parsing.
func (c *conn) refuseBroken(broken error) error {
	if c.cmd.Verb == 0 {
		return broken
	}
	if c.NeedsLogin() {
		return lineproto.ErrAuthRequired
	}
	if c.txn != nil {
		return broken
	}
	if err := c.precheck(&c.cmd); err != nil {
		c.finishRun() // which came first
		c.fail(err, c.cmd.Key)
	}
	return broken
}

// flush writes the gathered replies, and starts the watches whose +OK is written.
func (c *conn) flush() {
	if len(c.replies.b) > 0 {
		c.wrote += len(c.replies.b)
		c.out.write(c.replies.b)
		c.replies.b = c.replies.b[:0]
		if cap(c.replies.b) > 2*flushSize { // a large value was in it
			c.replies.b = nil
		}
	}
	c.watches.begin()
}

// full flushes within a round if the replies have reached flushSize.
func (c *conn) full() {
	if len(c.replies.b) >= flushSize {
		c.flush()
	}
}

// fail answers with an error.
func (c *conn) fail(err error, key string) {
	c.replies.b = lineproto.AppendError(c.replies.b, wireError(err), key)
}

// name returns the name of a bucket in memory of its own, the same string for every
// command.
func (c *conn) name(view string) string {
	const namesMax = 64
	if c.last.name == view {
		return c.last.name
	}
	if name, ok := c.names[view]; ok {
		return name
	}
	if c.names == nil || len(c.names) >= namesMax {
		c.names = make(map[string]string)
	}
	name := strings.Clone(view)
	c.names[name] = name
	return name
}

// handle is the bucket of the last command, so that a pipeline looks it up once. If it
// is deleted meanwhile, its methods return an error. Commands that have already arrived
// may miss a new bucket of the same name.
type handle struct {
	name   string
	bucket kv.Bucket
	id     uint64 // 0: not known yet
}

// bucket returns the bucket that a command means.
func (c *conn) bucket(cmd *lineproto.Command) (kv.Bucket, error) {
	err := c.lookup(cmd.Bucket)
	if err == nil && cmd.BucketID != 0 {
		err = c.checkID(cmd.BucketID)
	}
	if err != nil {
		return nil, err
	}
	return c.last.bucket, nil
}

// lookup makes the bucket of that name the last.
func (c *conn) lookup(name string) (err error) {
	if c.last.bucket != nil && c.last.name == name {
		return nil
	}
	h := handle{name: c.name(name)}
	c.InStore(func() { h.bucket, err = c.protocol.store.Bucket(c.ctx, h.name) })
	if err == nil {
		c.last = h
	}
	return err
}

// checkID returns kv.ErrBucketNotFound if the last bucket has another id.
func (c *conn) checkID(want uint64) (err error) {
	h := &c.last
	if h.id == 0 {
		c.InStore(func() { h.id, err = bucketID(c.ctx, h.bucket) })
	}
	if err == nil && h.id != want {
		err = fmt.Errorf("%w: %q with id %d; the one of that name has id %d", kv.ErrBucketNotFound, h.name, want, h.id)
	}
	return err
}

// bucketID returns the id of a bucket, without a full status if possible.
func bucketID(ctx context.Context, b kv.Bucket) (uint64, error) {
	if i, ok := kv.As[interface{ ID() uint64 }](b); ok {
		return i.ID(), nil
	}
	st, err := b.Status(ctx)
	return st.ID, err
}
