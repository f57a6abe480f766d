package nats

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/bucket"
	"kvd/server"
	front "kvd/server/nats"
)

// peers are the measured servers, in this process.
var peers = []struct {
	name  string
	start func(testing.TB) string // returns its URL
	only  string                  // the benchmarks for this server; empty: all
}{
	{"kvd", startKVD, ""},
	{"nats-sync-always", func(b testing.TB) string { return startNATS(b, true) }, ""},
	{"nats-default", func(b testing.TB) string { return startNATS(b, false) }, ""},
	{"floor", func(b testing.TB) string { return startFloor(b, false) }, "Put Get Snapshot Ls History"},
	{"floor-synced", func(b testing.TB) string { return startFloor(b, true) }, "Put"},
}

// each runs a benchmark on every peer.
func each(b *testing.B, run func(*testing.B, *client)) {
	name, _, _ := strings.Cut(strings.TrimPrefix(b.Name(), "Benchmark"), "/")
	for _, p := range peers {
		if p.name == "nats-sync-always" && strings.Contains(b.Name(), "keys=") {
			continue // it reads like the other nats-server, and takes minutes to fill
		}
		if p.only != "" && !slices.Contains(strings.Fields(p.only), name) {
			continue
		}
		b.Run("server="+p.name, func(b *testing.B) { run(b, connect(b, p.start(b))) })
	}
}

func startKVD(b testing.TB) string {
	store, err := bucket.Open(b.TempDir(), bucket.Options{})
	if err != nil {
		b.Fatal(err)
	}
	f, err := front.New(store, front.Options{})
	if err != nil {
		b.Fatal(err)
	}
	srv, err := server.New(f, server.Options{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(l)
	b.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(srv.Shutdown(ctx), f.Close(ctx), store.Close()); err != nil {
			b.Error(err)
		}
	})
	return "nats://" + l.Addr().String()
}

func startNATS(b testing.TB, always bool) string {
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: b.TempDir(), SyncAlways: always,
	})
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		b.Fatal("nats-server does not accept connections")
	}
	b.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv.ClientURL()
}

// client is a connection and the measured bucket.
type client struct {
	url    string
	conn   *nats.Conn
	js     js.JetStream
	values js.KeyValue
}

func connect(b testing.TB, url string) *client {
	conn, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	stream, err := js.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	values, err := stream.CreateKeyValue(context.Background(), js.KeyValueConfig{Bucket: "b"})
	if err != nil {
		b.Fatal(err)
	}
	return &client{url, conn, stream, values}
}

// fill puts n keys, many in flight at a time.
func (c *client) fill(b testing.TB, n int) {
	const flight = 1000
	stream, err := js.New(c.conn, js.WithPublishAsyncMaxPending(flight))
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if _, err := stream.PublishAsync("$KV.b."+key(i), value[:], js.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-stream.PublishAsyncComplete()
	if st, err := c.values.Status(context.Background()); err != nil || int(st.Values()) != n {
		b.Fatalf("%d keys were put, there are %v: %v", n, st.Values(), err)
	}
}

// value is the value of every put.
var value [128]byte

func key(i int) string { return "service.eu." + strconv.Itoa(i) + ".port" }
