package conformance_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	natsfront "kvd/server/nats"
)

// startDurable serves a stream S of s.> in a directory, and makes a durable push consumer d
// that delivers to a subject.
func startDurable(t *testing.T, dir string) (*front, nats.JetStreamContext) {
	t.Helper()
	f := start(t, dir, natsfront.Options{})
	stream, err := f.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	config := &nats.ConsumerConfig{Durable: "d", DeliverSubject: "to.d", AckPolicy: nats.AckNonePolicy, DeliverPolicy: nats.DeliverAllPolicy}
	if _, err := stream.AddConsumer("S", config); err != nil {
		t.Fatal(err)
	}
	return f, stream
}

// receiveNumbers expects the messages of two sequences and those between.
func receiveNumbers(t *testing.T, sub *nats.Subscription, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) != fmt.Sprint(n) || meta.Sequence.Consumer != uint64(n) {
			t.Fatalf("message %d is %s, with number %d of the consumer", n, m.Data, meta.Sequence.Consumer)
		}
	}
}

// A durable push consumer waits for its subscription, and goes on after a restart where it
// was.
func TestDurableConsumer(t *testing.T) {
	dir := t.TempDir()
	f, _ := startDurable(t, dir)
	f.publishNumbers(t, 1, 30)
	sub, err := f.conn.SubscribeSync("to.d")
	if err != nil {
		t.Fatal(err)
	}
	receiveNumbers(t, sub, 1, 30)
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	f.publishNumbers(t, 31, 40)
	f.stop(t)

	f, stream := startDurable(t, dir) // as a client does that does not know whether it is there
	f.publishNumbers(t, 41, 50)
	if sub, err = f.conn.SubscribeSync("to.d"); err != nil {
		t.Fatal(err)
	}
	receiveNumbers(t, sub, 31, 50)
	info, err := stream.ConsumerInfo("S", "d")
	if err != nil || info.Delivered.Consumer != 50 || info.Delivered.Stream != 50 || info.Config.Durable != "d" || info.Config.InactiveThreshold != 0 {
		t.Errorf("%+v: %v", info, err)
	}
}

// What was deleted does not come back: a consumer, and one of a stream that was deleted, also
// where there is a stream of that name again.
func TestDeletedDurableConsumer(t *testing.T) {
	dir := t.TempDir()
	f, stream := startDurable(t, dir)
	if err := stream.DeleteConsumer("S", "d"); err != nil {
		t.Fatal(err)
	}
	f.stop(t)

	f = start(t, dir, natsfront.Options{})
	stream, err := f.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.ConsumerInfo("S", "d"); err == nil {
		t.Error("a deleted consumer is there after a restart")
	}
	f.stop(t)

	f, stream = startDurable(t, dir)
	if err := stream.DeleteStream("S"); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	f.stop(t)

	f = start(t, dir, natsfront.Options{})
	if stream, err = f.conn.JetStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.ConsumerInfo("S", "d"); err == nil {
		t.Error("the consumer of a deleted stream is there after a restart")
	}
	for name := range stream.StreamNames() {
		if name != "S" {
			t.Errorf("there is a stream %q", name)
		}
	}
}
