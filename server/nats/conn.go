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
	commandTime   = 10 * time.Second // for an operation to arrive, from its first byte
	payloadRate   = 128 << 10        // bytes of payload for each further second
	pingInterval  = 2 * time.Minute
	pingsMax      = 2    // unanswered
	subsMax       = 8192 // subscriptions of a connection
	consumersMax  = 4096 // that a connection may have made
	subjectsBytes = 1 << 20
)

// conn is one connection: its goroutine reads operations, carries them out and
// answers. What its consumers deliver, and what others publish to its subscriptions,
// comes from other goroutines.
type conn struct {
	*server.Conn
	front *Front
	ctx   context.Context
	id    uint64

	in      server.Input
	out     wire.Output
	op      wire.Operation
	options connectOptions
	headers atomic.Bool        // the client takes HMSG; others deliver too
	user    string             // empty: there are none
	batch   batch              // of views of the input: nothing is read while there is one
	streams map[string]*stream // looked up in this round
	found   []*subscription    // scratch
	touched map[*conn]struct{} // others that got messages in this round
	scratch []byte             // values on their way from the store
	header  []byte             // Header blocks
	since   time.Time          // when the first byte of the operation came that is not all there; zero: none is
	draws   uint64             // members of queue groups drawn

	subsMu sync.Mutex // guards subs: one that reaches its maximum is removed by whoever delivers
	subs   map[string]*subscription

	pump      pump
	consumers atomic.Int64 // that this connection made and are there
	pings     atomic.Int32 // unanswered
	pinger    *time.Timer
}

// errQuit ends a round after which the connection is closed.
var errQuit = errors.New("quit")

func newConn(ctx context.Context, f *Front, sc *server.Conn) *conn {
	c := &conn{Conn: sc, front: f, ctx: ctx, id: f.clients.Add(1), options: defaultConnectOptions}
	c.in.Init(sc)
	c.out.Init(sc, wire.PendingMax+f.maxPayload)
	c.pump.conn = c
	c.streams = make(map[string]*stream)
	c.subs = make(map[string]*subscription)
	return c
}

// end releases what the connection holds.
func (c *conn) end() {
	c.Close() // first: a consumer may be writing to a client that does not read
	if c.pinger != nil {
		c.pinger.Stop()
	}
	for _, s := range c.allSubs() {
		c.unsubscribe(s)
	}
	c.in.Release()
}

// serve greets, then runs rounds until the client or the server has had enough.
func (c *conn) serve() {
	if err := c.greet(); err != nil {
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
			c.finish(err)
			return
		}
	}
}

// finish says goodbye: why the connection is closed, unless its client did.
func (c *conn) finish(err error) {
	var protocol wire.ProtocolError
	switch {
	case server.IsTimeout(err) && c.NeedsLogin() && !c.Draining():
		protocol = wire.ErrAuthTimeout
	case !errors.As(err, &protocol):
		c.out.Drain()
		return
	}
	if protocol != "" {
		c.out.AppendText("-ERR '" + string(protocol) + "'\r\n")
	}
	if c.out.Drain() {
		c.Linger()
	}
}

// round carries out every complete operation in the buffer, writes the answers with
// one write, and waits for more.
func (c *conn) round() error {
	need, err := c.operations()
	c.submitBatch()
	clear(c.streams)
	c.kickTouched()
	alive := c.out.FlushAndWait()
	switch {
	case err != nil:
		return err
	case !alive, c.Draining():
		return errQuit
	}
	return c.await(need)
}

// operations carries out operations until there is none complete, and returns how
// many bytes the one that is not takes at least; 0 if there is nothing of one.
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
		c.since = time.Time{}
		if c.out.IsFull() && !c.out.FlushAndWait() {
			return 0, errQuit
		}
	}
}

// await waits for the rest of an operation of at least need bytes, or for the first
// byte of one.
func (c *conn) await(need int) error {
	size := c.op.Size
	c.op = wire.Operation{} // its views would keep the buffer
	stranger := c.NeedsLogin()
	if need == 0 {
		if !stranger {
			c.in.Expect(time.Time{})
		}
		return c.in.Read()
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if !stranger {
		c.in.Expect(c.since.Add(commandTime + time.Duration(max(size, 0))*time.Second/payloadRate))
	}
	for len(c.in.Bytes()) < need {
		c.in.Reserve(need)
		if err := c.in.Read(); err != nil {
			return err
		}
	}
	return nil
}

// execute carries out an operation, or adds it to the run. An error ends the
// connection.
func (c *conn) execute(o *wire.Operation) error {
	switch o.Verb {
	case wire.VerbPub, wire.VerbHPub:
		return c.publish(o)
	case wire.VerbSub:
		c.subscribe(o)
	case wire.VerbUnsub:
		c.unsub(o)
	case wire.VerbPing:
		c.submitBatch() // the answer says that what came before has been dealt with
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
	c.ok()
	return nil
}

// ok acknowledges an operation to a client that wants that.
func (c *conn) ok() {
	if c.options.Verbose {
		c.out.AppendText("+OK\r\n")
	}
}

// warn tells the client of an error that does not end the connection.
func (c *conn) warn(text string) { c.out.AppendText("-ERR '" + text + "'\r\n") }

// ping asks the client for a sign of life, and ends the connection of one that gave
// none. It is the timer's.
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

// kickTouched has the others' messages of this round written.
func (c *conn) kickTouched() {
	for other := range c.touched {
		other.out.FlushAsync()
	}
	clear(c.touched)
}
