package conformance_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	natsfront "kvd/server/nats"
)

// Message streams exist beside buckets, which listings of buckets show alone. After a
// restart they have the same messages and capture the same subjects.
func TestMessageStreams(t *testing.T) {
	dir := t.TempDir()
	f := start(t, dir, natsfront.Options{})
	ctx := t.Context()
	if _, err := f.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	s, err := f.js.CreateStream(ctx, js.StreamConfig{Name: "my_orders", Subjects: []string{"orders.*", "$KV.c.>"}, MaxMsgs: 1000, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 1500
	for n := range messages {
		if ack, err := f.js.Publish(ctx, fmt.Sprintf("orders.o:%d", n%7), fmt.Append(nil, n)); err != nil || ack.Stream != "my_orders" || ack.Sequence != uint64(n+1) {
			t.Fatalf("message %d: %+v %v", n, ack, err)
		}
	}
	names := func(f *front) (all []string) {
		for name := range f.js.KeyValueStoreNames(ctx).Name() {
			all = append(all, name)
		}
		return all
	}
	if got := names(f); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the buckets are %q", got)
	}
	f.stop(t)
	f = start(t, dir, natsfront.Options{})
	if got := names(f); !slices.Equal(got, []string{"b"}) {
		t.Errorf("after a restart the buckets are %q", got)
	}
	if s, err = f.js.Stream(ctx, "my_orders"); err != nil {
		t.Fatal(err)
	}
	if st := s.CachedInfo().State; st.Msgs != 1000 || st.FirstSeq != messages-999 || st.LastSeq != messages || st.NumSubjects != 7 {
		t.Errorf("after a restart the stream has %+v", st)
	}
	last, err := s.GetLastMsgForSubject(ctx, "orders.o:3")
	if err != nil || last.Sequence%7 != 4 || last.Sequence <= messages-7 {
		t.Errorf("the last message of a subject is %+v: %v", last, err)
	}
	if ack, err := f.js.Publish(ctx, "$KV.c.k", nil); err != nil || ack.Stream != "my_orders" {
		t.Errorf("after a restart a message is stored in %+v: %v", ack, err)
	}
}

// An ordered push consumer of a message stream gets every message in order, also those that
// were published while it was disconnected.
func TestMessageStreamIsConsumed(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	stream, err := f.conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	const messages = 3000
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			if _, err := stream.PublishAsync(fmt.Sprintf("s.a.%d", n%3), fmt.Append(nil, n)); err != nil {
				t.Fatal(err)
			}
		}
		<-stream.PublishAsyncComplete()
	}
	publish(0, messages/2)
	all, err := stream.SubscribeSync("s.>", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	some, err := stream.SubscribeSync("s.*.1", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	half, err := stream.GetMsg("S", messages/2)
	if err != nil {
		t.Fatal(err)
	}
	publish(messages/2, messages)
	subscribe := func(subject string, from nats.SubOpt) *nats.Subscription {
		sub, err := stream.SubscribeSync(subject, nats.OrderedConsumer(), from)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	since := subscribe("s.>", nats.StartTime(half.Time))
	before := int(half.Sequence) - 1 // messages of one commit may have one time
	for m, err := stream.GetMsg("S", uint64(before)); err == nil && m.Time.Equal(half.Time); m, err = stream.GetMsg("S", uint64(before)) {
		before--
	}
	for _, c := range []struct {
		sub         *nats.Subscription
		first, step int
	}{{all, 0, 1}, {some, 1, 3}, {since, before, 1}, {subscribe("s.*.1", nats.DeliverLast()), messages - 2, 3}, {subscribe("s.>", nats.StartSequence(messages)), messages - 1, 1}} {
		for n := c.first; n < messages; n += c.step {
			m, err := c.sub.NextMsg(patience)
			if err != nil || string(m.Data) != fmt.Sprint(n) || m.Subject != fmt.Sprintf("s.a.%d", n%3) {
				t.Fatalf("message %d is %+v: %v", n, m, err)
			}
		}
	}
}

// Messages of a message stream expire without markers: nothing takes their place, and no
// sequence is used.
func TestMessageStreamExpires(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	ctx := t.Context()
	for _, perSubject := range []int64{-1, 3} {
		s, err := f.js.CreateStream(ctx, js.StreamConfig{Name: "S", Subjects: []string{"s.*"}, MaxAge: 200 * time.Millisecond, MaxMsgsPerSubject: perSubject})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			if _, err := f.js.Publish(ctx, fmt.Sprintf("s.%d", n%2), nil); err != nil {
				t.Fatal(err)
			}
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.After(patience); ; {
			info, err := s.Info(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if st := info.State; st.Msgs == 0 {
				if st.LastSeq != 10 || st.FirstSeq != 11 || st.NumSubjects != 0 {
					t.Errorf("in the end the stream has %+v", st)
				}
				break
			}
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("the stream still has %+v", info.State)
			}
		}
		if ack, err := f.js.Publish(ctx, "s.0", nil, js.WithExpectLastSequencePerSubject(0)); err != nil || ack.Sequence != 11 {
			t.Errorf("the next message is %+v: %v", ack, err)
		}
		if err := f.js.DeleteStream(ctx, "S"); err != nil {
			t.Fatal(err)
		}
	}
}
