package conformance_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
	natsfront "kvd/server/nats"
)

// TestLoginWithAKey logs in as NATS' client does it.
func TestLoginWithAKey(t *testing.T) {
	store, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	users, err := server.ParseUsers(strings.NewReader("kim " + key + " b/app.>=read-only\n"))
	if err != nil {
		t.Fatal(err)
	}
	front, err := natsfront.New(store, natsfront.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close(t.Context())
	srv, err := server.New(front, server.Options{Users: users})
	if err != nil {
		t.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Shutdown(t.Context())

	conn, err := nats.Connect("nats://"+l.Addr().String(), nats.Nkey(key, pair.Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	values, err := stream.KeyValue("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := values.Put("app.k", nil); err == nil || !strings.Contains(err.Error(), `needs "put" in bucket "b"`) {
		t.Errorf("a put with the right to read: %v", err)
	}
	if _, err := values.WatchAll(); err == nil || !strings.Contains(err.Error(), `needs "get" or "watch" in bucket "b" for the keys ">"`) {
		t.Errorf("a watch of all keys: %v", err)
	}
	w, err := values.Watch("app.>")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.Updates(); e != nil {
		t.Errorf("the bucket is empty, and has %v", e)
	}

	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := nats.Connect("nats://"+l.Addr().String(), nats.Nkey(key, other.Sign)); err == nil {
		conn.Close()
		t.Error("another key's signature is accepted")
	}
}
