package conformance_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
	natsfront "kvd/server/nats"
)

// TestLegacyClient does the walkthrough with the client that came before package
// jetstream.
func TestLegacyClient(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	stream, err := f.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	values, err := stream.CreateKeyValue(&nats.KeyValueConfig{Bucket: "b", History: 5, Description: "d", Placement: &nats.Placement{Cluster: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := values.WatchAll()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.Updates(); e != nil {
		t.Fatalf("a watch of an empty bucket begins with %v", e)
	}
	first, err := values.PutString("k", "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := values.Update("k", []byte("2"), first); err != nil {
		t.Fatal(err)
	}
	if _, err := values.Create("k", nil); !errors.Is(err, nats.ErrKeyExists) {
		t.Errorf("create over a value: %v", err)
	}
	if err := values.Delete("k"); err != nil {
		t.Fatal(err)
	}
	if _, err := values.Get("k"); !errors.Is(err, nats.ErrKeyNotFound) {
		t.Errorf("get of a deleted key: %v", err)
	}
	if _, err := values.Create("k", []byte("3")); err != nil {
		t.Fatal(err)
	}
	if err := values.Purge("gone"); err != nil {
		t.Fatal(err)
	}
	var seen, history []string
	for len(seen) < 5 {
		e := <-w.Updates()
		seen = append(seen, fmt.Sprint(e.Revision(), e.Operation()))
	}
	all, err := values.History("k")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		history = append(history, fmt.Sprint(e.Revision(), e.Operation()))
	}
	want := []string{"1 KeyValuePutOp", "2 KeyValuePutOp", "3 KeyValueDeleteOp", "4 KeyValuePutOp"}
	if !slices.Equal(history, want) || !slices.Equal(seen, append(want, "5 KeyValuePurgeOp")) {
		t.Errorf("history is %q, the watch saw %q", history, seen)
	}
	if keys, err := values.Keys(); err != nil || !slices.Equal(keys, []string{"k"}) {
		t.Errorf("keys are %q: %v", keys, err)
	}
	if err := values.PurgeDeletes(nats.DeleteMarkersOlderThan(-1)); err != nil {
		t.Error(err)
	}
	if st, err := values.Status(); err != nil || st.History() != 5 || st.Values() != 4 {
		t.Errorf("status is %v: %v", st, err)
	}
	if err := stream.DeleteKeyValue("b"); err != nil {
		t.Error(err)
	}
}

// TestOneBucketTwoDoors writes through the store and reads through NATS, and the reverse.
func TestOneBucketTwoDoors(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	ctx := t.Context()
	own, err := f.engine.CreateBucket(ctx, kv.Config{Bucket: "b", History: 3, TTL: time.Hour, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	values, err := f.js.KeyValue(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if st, err := values.Status(ctx); err != nil || st.History() != 3 || st.TTL() != time.Hour || st.LimitMarkerTTL() != kv.MarkerTTLDefault {
		t.Errorf("status is %v: %v", st, err)
	}
	rev, err := own.Put(ctx, "k", []byte("own"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := values.Get(ctx, "k")
	if err != nil || string(e.Value()) != "own" || e.Revision() != uint64(rev) {
		t.Fatalf("%v: %v", e, err)
	}
	second, err := values.Update(ctx, "k", []byte("nats"), e.Revision())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := own.Get(ctx, "k"); err != nil || string(got.Value) != "nats" || got.Revision != kv.Revision(second) {
		t.Errorf("%v: %v", got, err)
	}
	if _, err := own.Purge(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if all, err := values.History(ctx, "k"); err != nil || len(all) != 1 || all[0].Operation() != js.KeyValuePurge {
		t.Errorf("history is %v: %v", all, err)
	}
	if err := values.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	got := []kv.Operation{}
	for e, err := range own.History(ctx, "k") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Operation)
	}
	if !slices.Equal(got, []kv.Operation{kv.Purge, kv.Delete}) {
		t.Errorf("operations are %v", got)
	}
}

// TestABucketOfKvdIsMadeAgain creates buckets with stock clients that kvd's own tools have
// made before.
func TestABucketOfKvdIsMadeAgain(t *testing.T) {
	f := start(t, t.TempDir(), large)
	ctx := t.Context()
	if _, err := f.engine.CreateBucket(ctx, kv.Config{Bucket: "b", History: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b", History: 3}); err != nil {
		t.Error(err)
	}
	if _, err := f.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b", History: 4}); !errors.Is(err, js.ErrBucketExists) {
		t.Errorf("with another history: %v", err)
	}
	if _, err := f.js.CreateOrUpdateKeyValue(ctx, js.KeyValueConfig{Bucket: "b", History: 4}); err != nil {
		t.Error(err)
	}
	legacy, err := f.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := legacy.CreateKeyValue(&nats.KeyValueConfig{Bucket: "b", History: 4}); err != nil {
		t.Error(err)
	}
	if out, err := exec.CommandContext(ctx, buildCLI(t), "--server", f.conn.ConnectedUrl(), "kv", "add", "b", "--history", "4").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestHeadersComeBack stores headers of every kind, and reads them in every way.
func TestHeadersComeBack(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	ctx := t.Context()
	if _, err := f.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b", History: 2}); err != nil {
		t.Fatal(err)
	}
	sent := nats.Header{"X-One": {"a", "b"}, "x-two": {""}}
	if _, err := f.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV.b.k", Header: sent, Data: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	s, err := f.js.Stream(ctx, "KV_b")
	if err != nil {
		t.Fatal(err)
	}
	check := func(how string, h nats.Header, err error) {
		t.Helper()
		if err != nil || !slices.Equal(h["X-One"], []string{"a", "b"}) || !slices.Equal(h["x-two"], []string{""}) {
			t.Errorf("%s: %v: %v", how, h, err)
		}
	}
	last, err := s.GetLastMsgForSubject(ctx, "$KV.b.k")
	check("newest", last.Header, err)
	one, err := s.GetMsg(ctx, 1)
	check("by sequence", one.Header, err)
	reply, err := f.conn.Request("$JS.API.STREAM.MSG.GET.KV_b", []byte(`{"seq":1}`), time.Minute)
	if err != nil || !strings.Contains(string(reply.Data), `"hdrs":"`) {
		t.Errorf("by the API: %s: %v", reply.Data, err)
	}
	sub, err := f.conn.SubscribeSync("d")
	if err != nil {
		t.Fatal(err)
	}
	body := `{"stream_name":"KV_b","config":{"deliver_policy":"all","ack_policy":"none","deliver_subject":"d","headers_only":true}}`
	if _, err := f.conn.Request("$JS.API.CONSUMER.CREATE.KV_b", []byte(body), time.Minute); err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	check("consumer", msg.Header, err)
	if msg.Header.Get("Nats-Msg-Size") != "1" || len(msg.Data) != 0 {
		t.Errorf("without its value: %v %q", msg.Header, msg.Data)
	}
}
