package jetstream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
	"kvd/kv/kvtest"
	"kvd/kv/kvtest/jetstream"
)

// oracle is a store and the nats-server of its own behind it.
type oracle struct {
	kv.Store
	js     js.JetStream
	conn   *nats.Conn
	server *server.Server
	dir    string
}

// TestConformance proves that what kvtest states are the semantics of a real
// nats-server, but for the differences named here.
func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store { return start(t, t.TempDir()) },
		Reopen: func(t *testing.T, s kv.Store) kv.Store {
			o := s.(*oracle)
			o.stop()
			return start(t, o.dir)
		},
		Differs: map[kvtest.Difference]string{
			kvtest.ShorterBucketNames:    "a stream's name is the bucket's with KV_ before it, and has at most 255 bytes",
			kvtest.NarrowKeys:            "the client checks keys more strictly than servers do",
			kvtest.HandlesFollowNames:    "clients address a bucket by its name alone",
			kvtest.ConditionsCountInSize: "conditions are headers, and a message's headers count in its size",
			kvtest.DeletesNeedRoom:       "a marker is a message like any other to a full stream",
			kvtest.ReasonsHidden:         "the client shows a marker's operation, not its other headers",
			kvtest.HistoryRaisesTTLs:     "the server writes a marker only for the last message of a subject, and keeps values until it may go",
			kvtest.ListingsDrift:         "the server picks each key's newest message when it comes to send it",
			kvtest.EntriesDrift:          "the server picks each key's newest message when it comes to send it",
			kvtest.DeltasDrift:           "a delta counts the messages that match; markers are left out by the client",
			kvtest.EndsForgotten:         "a sequence that is gone is passed over",
			kvtest.FutureResumes:         "a watch from a sequence above the next waits for it",
			kvtest.WatchesOutliveBuckets: "clients address a bucket by its name alone, and a consumer ends without a word",
		},
	})
}

// start runs a nats-server on dir until the test ends.
func start(t *testing.T, dir string) *oracle {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, MaxPayload: 16 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server does not accept connections")
	}
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{Store: jetstream.New(stream), js: stream, conn: conn, server: srv, dir: dir}
	t.Cleanup(o.stop)
	return o
}

// stop ends server and connection. A second time it does nothing.
func (o *oracle) stop() {
	o.conn.Close()
	o.server.Shutdown()
	o.server.WaitForShutdown()
}
