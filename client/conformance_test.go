package client

import (
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/kvtest"
)

// remote is a client together with its server.
type remote struct {
	*Client
	server *realServer
	dir    string
}

// TestConformance runs the suite of kv.Store over TCP.
func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store { return openRemote(t, t.TempDir()) },
		Reopen: func(t *testing.T, s kv.Store) kv.Store {
			r := s.(*remote)
			r.end(t)
			return openRemote(t, r.dir)
		},
		Differs: map[kvtest.Difference]string{
			kvtest.NoBucketConditions: "the line protocol has none",
			kvtest.EntriesDrift:       "All lists the keys, and then reads them",
		},

		ShortestTTL: 20 * time.Millisecond,
	})
}

func openRemote(t *testing.T, dir string) *remote {
	t.Helper()
	r := &remote{server: serveDir(t, dir), dir: dir}
	r.Client = r.server.dial(t, Options{})
	t.Cleanup(func() { r.end(t) })
	return r
}

// end closes the client, the server and the store, once.
func (r *remote) end(t *testing.T) {
	t.Helper()
	if r.server == nil {
		return
	}
	closeClient(t, r.Client)
	r.server.stop()
	if err := r.server.close(); err != nil {
		t.Errorf("close the store: %v", err)
	}
	r.server = nil
}
