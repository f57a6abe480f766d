package nats

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/streamconfig"
)

const (
	payloadDefault = 1 << 20
	payloadLimit   = kv.MaxValueSizeLimit
	// clientVersion is what the front end claims to be: clients ask for features by
	// nats-server's versions. The suffix says whose it is.
	clientVersion = "2.12.0"
)

// Options changes how a front end serves. The zero value is usable.
type Options struct {
	// MaxPayload bounds a message, header and payload, bytes. Default 1 MiB, at most
	// 64 MiB.
	MaxPayload int

	// Version is the program's, for INFO.
	Version string
}

// Front serves the buckets of a store to NATS' clients. It implements
// [server.Protocol]. All methods are safe for concurrent use.
//
// The store must not keep the keys and bucket names that it is given beyond a call,
// as kv.Submitter says of its own: they are views of a connection's buffer.
type Front struct {
	// Immutable.
	store      kv.Store
	submitter  kv.Submitter
	maxPayload int
	version    string
	id         string // as nats-server's: 56 characters

	subs      subjectTree[*subscription]
	consumers consumers
	plains    plains
	configs   streamconfig.Cache
	firsts    firsts
	counts    subjectCounts
	ids       duplicates
	clients   atomic.Uint64                         // connections there have been
	api       struct{ total, errors atomic.Uint64 } // calls of the API

	inProcess struct {
		sync.Mutex
		server *server.Server // nil before the first connection
	}
}

var _ server.Upgrader = (*Front)(nil)

// New returns the front end of a store, which has to be a [kv.Submitter].
func New(store kv.Store, opts Options) (*Front, error) {
	f := &Front{store: store, maxPayload: opts.MaxPayload, version: clientVersion, id: newID()}
	if f.maxPayload == 0 {
		f.maxPayload = payloadDefault
	}
	if f.maxPayload < 0 || f.maxPayload > payloadLimit {
		return nil, fmt.Errorf("nats: a maximum payload of %d bytes: 1 to %d are allowed", f.maxPayload, payloadLimit)
	}
	if opts.Version != "" {
		f.version += "-kvd." + semanticSuffix(opts.Version)
	}
	var ok bool
	if f.submitter, ok = kv.As[kv.Submitter](store); !ok {
		return nil, errors.New("nats: the store takes no mutations by Submit")
	}
	if err := f.plains.load(context.Background(), store); err != nil {
		return nil, fmt.Errorf("nats: find the streams: %w", err)
	}
	f.ids.since = time.Now()
	f.consumers.init(f)
	return f, nil
}

// semanticSuffix makes a version fit for the pre-release part of another.
func semanticSuffix(version string) string {
	b := []byte(version)
	for i, c := range b {
		if !(c == '.' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			b[i] = '-'
		}
	}
	return string(b)
}

// newID returns a name of the form of nats-server's: N and 55 characters of base32.
func newID() string {
	var b [35]byte
	_, _ = rand.Read(b[:]) // Never fails
	return "N" + base32.StdEncoding.EncodeToString(b[:])[:55]
}

// UpgradesTLS says that a connection begins in the clear, with INFO.
func (f *Front) UpgradesTLS() {}

// Refusal is what a client over a limit of connections reads.
func (f *Front) Refusal(error) []byte { return []byte("-ERR 'maximum connections exceeded'\r\n") }

// Serve serves one connection.
func (f *Front) Serve(ctx context.Context, sc *server.Conn) {
	c := newConn(ctx, f, sc)
	defer c.end()
	c.serve()
}

// InProcessConn returns a connection to the front end within the process, without a
// socket and without a login: what nats.InProcessServer asks for.
func (f *Front) InProcessConn() (net.Conn, error) {
	f.inProcess.Lock()
	defer f.inProcess.Unlock()
	if f.inProcess.server == nil {
		s, err := server.New(f, server.Options{MaxConns: 1 << 16})
		if err != nil {
			return nil, err
		}
		f.inProcess.server = s
	}
	client, own := net.Pipe()
	f.inProcess.server.ServeConn(own)
	return client, nil
}

// Close ends the connections within the process, as the server's Shutdown does the
// others, and the consumers that are left.
func (f *Front) Close(ctx context.Context) error {
	f.inProcess.Lock()
	s := f.inProcess.server
	f.inProcess.Unlock()
	var err error
	if s != nil {
		err = s.Shutdown(ctx)
	}
	f.consumers.stopAll()
	return err
}
