package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
	"kvd/server/line"
)

// realServer is the server of the line protocol over a store.
type realServer struct {
	t     testing.TB
	addr  string
	opts  server.Options
	store kv.Store
	close func() error // of the store

	server *server.Server
	served chan error
}

// serve starts a server of a store on a free port.
func serve(t testing.TB, store kv.Store, closeStore func() error) *realServer {
	t.Helper()
	s := &realServer{t: t, addr: "127.0.0.1:0", store: store, close: closeStore}
	s.start()
	return s
}

// serveDir starts a server of the engine on a directory.
func serveDir(t testing.TB, dir string) *realServer {
	t.Helper()
	store := openStore(t, dir)
	return serve(t, store, store.Close)
}

func openStore(t testing.TB, dir string) *bucket.Store {
	t.Helper()
	store, err := bucket.Open(dir, bucket.Options{LogFileSize: 1 << 20, ReserveSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// start listens at addr. A later start uses the address of the first.
func (s *realServer) start() {
	s.t.Helper()
	opts := s.opts
	opts.Addr = s.addr
	srv, err := server.New(line.New(s.store, "test"), opts)
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr, s.server, s.served = l.Addr().String(), srv, make(chan error, 1)
	go func() { s.served <- srv.Serve(l) }()
}

// stop ends the server in an orderly way; the store stays open.
func (s *realServer) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	<-s.served
}

// kill closes all connections at once.
func (s *realServer) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.server.Shutdown(ctx)
	<-s.served
}

// dial returns a client of the server. It is closed when the test ends.
func (s *realServer) dial(t testing.TB, opts Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeClient(t, c) })
	return c
}

func closeClient(t testing.TB, c *Client) {
	t.Helper()
	if err := c.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

// newBucket makes a bucket.
func newBucket(t testing.TB, c *Client, cfg kv.Config) *Bucket {
	t.Helper()
	b, err := c.CreateBucket(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*Bucket)
}
