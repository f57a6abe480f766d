package conformance_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/jsm.go"

	natsfront "kvd/server/nats"
)

// TestStreamPager reads a stream as "nats stream view" does: by a pull consumer that has a
// durable name, and ends with its inactive_threshold.
func TestStreamPager(t *testing.T) {
	conn := start(t, t.TempDir(), natsfront.Options{}).conn
	ask(conn, `$JS.API.STREAM.CREATE.KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"allow_direct":true}`)
	for _, key := range []string{"x", "y", "z"} {
		ask(conn, "$KV.b."+key+" value of "+key)
	}
	m, err := jsm.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.LoadStream("KV_b")
	if err != nil {
		t.Fatal(err)
	}
	pager, err := s.PageContents(jsm.PagerSize(2), jsm.PagerTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, key := range []string{"x", "y", "z"} {
		msg, _, err := pager.NextMsg(ctx)
		if err != nil || msg == nil || string(msg.Data) != "value of "+key {
			t.Fatalf("%s: %v, %v", key, msg, err)
		}
	}
	if err := pager.Close(); err != nil {
		t.Error(err)
	}
}
