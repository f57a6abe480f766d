package client

import (
	"errors"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/kvtest"
)

// remote is a client with the server that it talks to.
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
		Differs: engineDiffers(t),

		ShortestTTL: 20 * time.Millisecond,
	})
}

// engineDiffers returns what the store behind the server refuses.
func engineDiffers(t *testing.T) map[kvtest.Difference]string {
	t.Helper()
	store := openStore(t, t.TempDir())
	defer store.Close()
	differs := make(map[kvtest.Difference]string)
	for d, cfg := range map[kvtest.Difference]kv.Config{
		kvtest.NoCompression: {Bucket: "compressed", Compression: true},
	} {
		if _, err := store.CreateBucket(t.Context(), cfg); errors.Is(err, kv.ErrNotSupported) {
			differs[d] = "the engine behind the server does not have it"
		}
	}
	return differs
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
