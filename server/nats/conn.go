package nats

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kvd/server"
	"kvd/server/nats/wire"
)

const (
	commandTime  = 10 * time.Second // for an operation to arrive, from its first byte on
	payloadRate  = 128 << 10        // bytes of payload that allow another second
	pingInterval = 2 * time.Minute
	pingsMax     = 2    // without an answer
	subsMax      = 8192 // of a connection
)

// conn is one connection. Its goroutine, which the server starts and waits for, reads
// operations, carries them out and answers them. Other goroutines append to out: pumps, and
// connections that publish to its subscriptions.
type conn struct {
	*server.Conn
	front *Front
	ctx   context.Context
	id    uint64

	in           server.Input
	out          wire.Output
	op           wire.Operation
	options      connectOptions
	headers      atomic.Bool        // the client accepts HMSG; read by other goroutines
	nonce        string             // for a user with a key to sign; empty once it was used
	user         string             // empty if the server has no users
	batch        batch              // has views of the input, so it is submitted before more is read
	streams      map[string]*stream // that were looked up in this round
	matched      []*subscription    // scratch of route and answer
	peersToFlush map[*conn]struct{} // connections that got messages in this round
	valueBuf     []byte             // scratch: values from the store
	headerBuf    []byte             // scratch: header blocks and acknowledgements
	partialSince time.Time          // when the first byte of the incomplete operation came; zero if there is none
	randomState  uint64             // of randomBelow

	subsMu sync.Mutex // guards subs, which other goroutines remove at their maximum of deliveries
	subs   map[string]*subscription

	pump      pump
	gets      getQueue
	transfers transfers
	memory    account
	pings     atomic.Int32 // without an answer
	pinger    *time.Timer
}

// errQuit ends a round after which the connection is closed.
var errQuit = errors.New("quit")

func newConn(ctx context.Context, f *Front, sc *server.Conn) *conn {
	c := &conn{Conn: sc, front: f, ctx: ctx, id: f.clients.Add(1), options: defaultConnectOptions}
	c.in.Init(sc)
	c.out.Init(sc, wire.PendingMax+f.maxPayload)
	c.pump.conn, c.gets.conn, c.transfers.conn = c, c, c
	c.memory.max = f.connMemory
	c.streams = make(map[string]*stream)
	c.subs = make(map[string]*subscription)
	return c
}

// end releases the resources of the connection.
func (c *conn) end() {
	c.Close() // first: a pump may be writing to a client that does not read
	if c.pinger != nil {
		c.pinger.Stop()
	}
	c.transfers.end()
	for _, s := range c.allSubs() {
		c.unsubscribe(s)
	}
	c.in.Release()
}

// serve sends INFO, then runs rounds until the client or the server closes the connection.
func (c *conn) serve() {
	if err := c.sendInfo(); err != nil {
		return
	}
	if c.NeedsLogin() {
		c.in.Expect(time.Now().Add(server.LoginTime))
	} else {
		c.in.Grow()
	}
	c.pinger = time.AfterFunc(pingInterval, c.ping)
	for {
		if err := c.round(); err != nil {
			c.closeWith(err)
			return
		}
	}
}

// closeWith sends the client the error that closes its connection, if there is one to send,
// and everything that is still to be written.
func (c *conn) closeWith(err error) {
	var protocol wire.ProtocolError
	switch {
	case server.IsTimeout(err) && c.Draining(), !server.IsTimeout(err) && !errors.As(err, &protocol):
		c.out.Drain()
		return
	case server.IsTimeout(err) && c.NeedsLogin():
		protocol = wire.ErrAuthTimeout
	case server.IsTimeout(err):
		protocol = wire.ErrLate
	}
	c.sendError(string(protocol))
	if c.out.Drain() {
		c.Linger()
	}
}

// round carries out every complete operation in the buffer, writes the answers with one
// write, and waits for more input.
func (c *conn) round() error {
	need, err := c.operations()
	c.submitBatch()
	clear(c.streams)
	c.flushPeers()
	alive := c.out.FlushAndWait()
	switch {
	case err != nil:
		return err
	case !alive, c.Draining():
		return errQuit
	}
	return c.await(need)
}

// operations carries out the complete operations in the buffer. It returns the least size
// of the incomplete operation at the end of the buffer, and 0 if the buffer is empty.
func (c *conn) operations() (need int, err error) {
	for {
		if len(c.in.Bytes()) == 0 {
			return 0, nil
		}
		n, err := wire.Parse(c.in.Bytes(), c.front.maxPayload, &c.op)
		if c.NeedsLogin() && c.op.Verb != wire.VerbConnect && c.op.Verb != wire.VerbNone {
			return 0, wire.ErrAuthorization
		}
		if errors.Is(err, wire.ErrIncomplete) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if err := c.execute(&c.op); err != nil {
			return 0, err
		}
		c.in.Consume(n)
		c.partialSince = time.Time{}
		if c.out.IsFull() && !c.out.FlushAndWait() {
			return 0, errQuit
		}
	}
}

// await waits until the buffer has need bytes, of an operation that has begun. With need 0
// it waits for the first byte of an operation.
func (c *conn) await(need int) error {
	size := c.op.Size
	c.op = wire.Operation{} // its views would keep the old buffer
	stranger := c.NeedsLogin()
	if need == 0 {
		if !stranger {
			c.in.Expect(time.Time{})
		}
		return c.in.Read()
	}
	if c.partialSince.IsZero() {
		c.partialSince = time.Now()
	}
	if !stranger {
		c.in.Expect(c.partialSince.Add(commandTime + time.Duration(max(size, 0))*time.Second/payloadRate))
	}
	for len(c.in.Bytes()) < need {
		c.in.Reserve(need)
		if err := c.in.Read(); err != nil {
			return err
		}
	}
	return nil
}

// execute carries out an operation, or adds it to the batch. An error ends the connection.
func (c *conn) execute(o *wire.Operation) error {
	switch o.Verb {
	case wire.VerbPub, wire.VerbHPub:
		return c.publish(o)
	case wire.VerbSub:
		c.subscribe(o)
	case wire.VerbUnsub:
		c.unsub(o)
	case wire.VerbPing:
		c.submitBatch() // PONG means that earlier operations are carried out
		c.out.AppendText("PONG\r\n")
		return nil
	case wire.VerbPong:
		c.pings.Store(0)
		return nil
	case wire.VerbConnect:
		if err := c.connect(o.JSON); err != nil {
			return err
		}
	default:
		return nil
	}
	c.sendOK()
	return nil
}

// sendOK acknowledges an operation if the client is verbose.
func (c *conn) sendOK() {
	if c.options.Verbose {
		c.out.AppendText("+OK\r\n")
	}
}

// sendError tells the client of an error that does not end the connection.
func (c *conn) sendError(text string) { c.out.AppendText("-ERR '" + text + "'\r\n") }

// ping sends PING, and ends the connection if two earlier ones were not answered. The timer
// calls it.
func (c *conn) ping() {
	defer c.Recover()
	if c.pings.Add(1) > pingsMax {
		c.out.AppendText("-ERR '" + string(wire.ErrStale) + "'\r\n")
		c.out.Flush()
		c.Close()
		return
	}
	c.out.AppendText("PING\r\n")
	c.out.Flush()
	c.pinger.Reset(pingInterval)
}

// flushPeers has the messages written that this round delivered to other connections.
func (c *conn) flushPeers() {
	for other := range c.peersToFlush {
		other.out.FlushAsync()
	}
	clear(c.peersToFlush)
}
