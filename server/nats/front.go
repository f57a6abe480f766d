package nats

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
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

	connMemoryDefault = 64 << 20
	// clientVersion is the version of nats-server that INFO claims: clients look at it to
	// decide which features to use. A suffix names kvd's own version.
	clientVersion = "2.12.0"
)

// Options configures a front end. The zero value is usable.
type Options struct {
	// MaxPayload is the largest message, header and payload, bytes: 1 to 64 MiB. 0 stands
	// for 1 MiB.
	MaxPayload int

	// ConnMemory is the memory that the subscriptions and consumers of one connection may
	// take, bytes, by an estimate from above. 0 stands for 64 MiB.
	ConnMemory int64

	// Version is the program's version, for INFO. Empty if there is none.
	Version string

	// Logger receives the durable consumers that could not be brought back. Nil discards them.
	Logger *slog.Logger
}

// Front serves the buckets of a store to NATS' clients. It implements [server.Protocol].
// All methods are safe for concurrent use.
//
// The store must not keep the keys and bucket names of a call after it returns, as
// kv.Submitter demands: they are views of a connection's buffer.
type Front struct {
	// Immutable.
	store      kv.Store
	submitter  kv.Submitter
	maxPayload int
	connMemory int64
	version    string
	id         string // 56 characters, like nats-server's

	subs           subjectTree[*subscription]
	consumers      consumers
	durables       durables
	messageStreams messageStreams
	republishers   republishers
	configs        streamconfig.Cache
	firstRecords   firstRecords
	subjectCounts  subjectCounts
	msgIDs         messageIDs
	clients        atomic.Uint64                         // number of connections so far
	api            struct{ total, errors atomic.Uint64 } // numbers of requests to the API

	inProcess struct {
		sync.Mutex
		server *server.Server // nil before the first connection
	}
}

var _ server.Upgrader = (*Front)(nil)

// New returns a front end of a store, which must implement [kv.Submitter]. The front end is
// not closed with the store: call Close before.
func New(store kv.Store, opts Options) (*Front, error) {
	f := &Front{store: store, maxPayload: opts.MaxPayload, version: clientVersion, id: newID()}
	if f.maxPayload == 0 {
		f.maxPayload = payloadDefault
	}
	if f.maxPayload < 0 || f.maxPayload > payloadLimit {
		return nil, fmt.Errorf("nats: maximum payload of %d bytes: 1 to %d are allowed", f.maxPayload, payloadLimit)
	}
	if f.connMemory = opts.ConnMemory; f.connMemory <= 0 {
		f.connMemory = connMemoryDefault
	}
	if opts.Version != "" {
		f.version += "-kvd." + semanticSuffix(opts.Version)
	}
	var ok bool
	if f.submitter, ok = kv.As[kv.Submitter](store); !ok {
		return nil, errors.New("nats: the store does not implement kv.Submitter")
	}
	f.republishers.front, f.republishers.log = f, opts.Logger
	if err := f.load(context.Background()); err != nil {
		return nil, fmt.Errorf("nats: find the streams: %w", err)
	}
	f.msgIDs.started = time.Now()
	f.consumers.init(f)
	f.durables.init(f, opts.Logger)
	f.durables.load(kv.WithStale(context.Background()))
	return f, nil
}

// load finds the message streams of the store, and the streams that are republished.
func (f *Front) load(ctx context.Context) error {
	for st, err := range f.store.Buckets(ctx) {
		if err != nil {
			return err
		}
		name := st.Config.Bucket
		cfg := streamconfig.FromBucket(&st.Config)
		f.messageStreams.set(name, cfg.Subjects)
		if cfg.Republish == nil {
			continue
		}
		s, err := f.stream(ctx, name)
		if err == nil {
			err = f.republishers.set(ctx, s)
		}
		if err != nil && !errors.Is(err, kv.ErrBucketNotFound) {
			return err
		}
	}
	return nil
}

// semanticSuffix replaces the bytes that the pre-release part of a semantic version must
// not have.
func semanticSuffix(version string) string {
	b := []byte(version)
	for i, c := range b {
		if !(c == '.' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			b[i] = '-'
		}
	}
	return string(b)
}

// newID returns a random id in the form of nats-server's: N and 55 characters of base32.
func newID() string {
	var b [35]byte
	_, _ = rand.Read(b[:]) // never fails
	return "N" + base32.StdEncoding.EncodeToString(b[:])[:55]
}

// UpgradesTLS tells the server that a connection begins without TLS, with INFO.
func (f *Front) UpgradesTLS() {}

// Refusal returns the message for a client that exceeds the limit of connections.
func (f *Front) Refusal(error) []byte { return []byte("-ERR 'maximum connections exceeded'\r\n") }

// Serve serves one connection until it ends.
func (f *Front) Serve(ctx context.Context, sc *server.Conn) {
	c := newConn(ctx, f, sc)
	defer c.end()
	c.serve()
}

// InProcessConn returns a connection to the front end within the process, without a socket
// and without a login. It is the method of nats.InProcessConnProvider.
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

// Close closes the connections of InProcessConn, as the server's Shutdown does the others,
// removes all consumers, and stores the positions of the durable ones.
func (f *Front) Close(ctx context.Context) error {
	f.inProcess.Lock()
	s := f.inProcess.server
	f.inProcess.Unlock()
	var err error
	if s != nil {
		err = s.Shutdown(ctx)
	}
	f.republishers.stopAll()
	return errors.Join(err, f.consumers.stopAll())
}
