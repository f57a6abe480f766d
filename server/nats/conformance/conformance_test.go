package conformance_test

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/kvtest"
	"kvd/kv/kvtest/jetstream"
	"kvd/server"
	natsfront "kvd/server/nats"
)

// front is a store behind a front end, and a client of nats.go.
type front struct {
	kv.Store
	js     js.JetStream
	conn   *nats.Conn
	front  *natsfront.Front
	server *server.Server
	engine *bucket.Store
	dir    string
	once   sync.Once
}

// TestConformance runs the suite of kvtest, which a real nats-server passes too, through
// nats.go and the front end.
func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store { return start(t, t.TempDir(), large) },
		Reopen: func(t *testing.T, s kv.Store) kv.Store {
			f := s.(*front)
			f.stop(t)
			return start(t, f.dir, large)
		},
		Differs: map[kvtest.Difference]string{
			kvtest.ShorterBucketNames:    "a stream's name is the bucket's with KV_ before it, and has at most 255 bytes",
			kvtest.NarrowKeys:            "the client checks keys more strictly than servers do",
			kvtest.HandlesFollowNames:    "clients address a bucket by its name alone",
			kvtest.ConditionsCountInSize: "conditions are headers, and a message's headers count in its size",
			kvtest.ReasonsHidden:         "the client shows a marker's operation, not its other headers",
			kvtest.DeltasDrift:           "a delta counts the messages that match; markers are left out by the client",
			kvtest.EndsForgotten:         "a sequence that is gone is passed over",
			kvtest.FutureResumes:         "a watch from a sequence above the next waits for it",
			kvtest.WatchesOutliveBuckets: "clients address a bucket by its name alone, and a consumer ends without a word",
		},
	})
}

// large has room for the suite's largest values.
var large = natsfront.Options{MaxPayload: 16 << 20}

// start serves a directory until the test ends.
func start(t testing.TB, dir string, opts natsfront.Options) *front {
	t.Helper()
	engine, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &front{engine: engine, dir: dir}
	if f.front, err = natsfront.New(engine, opts); err != nil {
		t.Fatal(err)
	}
	if f.server, err = server.New(f.front, server.Options{}); err != nil {
		t.Fatal(err)
	}
	l, err := f.server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	go f.server.Serve(l)
	if f.conn, err = nats.Connect("nats://" + l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if f.js, err = js.New(f.conn); err != nil {
		t.Fatal(err)
	}
	f.Store = jetstream.New(f.js)
	t.Cleanup(func() { f.stop(t) })
	return f
}

// stop ends client, server and store. A second time it does nothing.
func (f *front) stop(t testing.TB) { f.once.Do(func() { f.end(t) }) }

func (f *front) end(t testing.TB) {
	f.conn.Close()
	if err := f.server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := f.front.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := f.engine.Close(); err != nil {
		t.Error(err)
	}
}
