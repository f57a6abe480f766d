package line

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// Times and sizes of the protocol; the package doc states them.
const (
	commandTime = 10 * time.Second // for a command to arrive, from its first byte
	payloadRate = 128 << 10        // bytes of payload for each further second
	writeTime   = 10 * time.Second // for a client to take what is written at once
	loginBudget = lineproto.MaxLine
	watchesMax  = 1024 // of a connection
)

// Protocol serves a store. It implements [server.Protocol] and is safe for
// concurrent use.
//
// The store must not keep keys and names of buckets beyond a call: they are views of the
// buffer of a connection. For kv.Submitter the contract says the same.
type Protocol struct {
	store     kv.Store
	submitter kv.Submitter
	hello     lineproto.Hello
	txnMemory atomic.Int64 // bytes that unfinished transactions hold
}

// New returns the protocol for a store. The version is that of the program, for HELLO.
func New(store kv.Store, version string) *Protocol {
	p := &Protocol{store: store, submitter: submitterOf(store), hello: lineproto.Hello{Protocol: lineproto.Version, Server: version}}
	if s, ok := kv.As[interface{ ID() [16]byte }](store); ok {
		p.hello.StoreID = s.ID()
	}
	return p
}

// Refusal returns the reply for a client over a limit of connections.
func (p *Protocol) Refusal(err error) []byte {
	return lineproto.AppendError(nil, wireError(err), "")
}

// Serve serves one connection.
func (p *Protocol) Serve(ctx context.Context, sc *server.Conn) {
	c := newConn(ctx, p, sc)
	defer c.end()
	c.serve()
}

// wireError replaces the errors of package server by those of the wire.
func wireError(err error) error {
	switch {
	case errors.Is(err, server.ErrTooManyConns):
		return fmt.Errorf("%w: %s", lineproto.ErrTooMany, strings.TrimPrefix(err.Error(), "too many "))
	case errors.Is(err, server.ErrLogin):
		return fmt.Errorf("%w: %w", lineproto.ErrAuthFailed, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", lineproto.ErrShutdown, err)
	}
	return err
}
