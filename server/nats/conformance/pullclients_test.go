package conformance_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	natsfront "kvd/server/nats"
)

// startStream serves a message stream S of s.> with some messages, whose values are their
// sequences.
func startStream(t *testing.T, messages int) (*front, js.Stream) {
	t.Helper()
	f := start(t, t.TempDir(), natsfront.Options{})
	s, err := f.js.CreateStream(t.Context(), js.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	f.publishNumbers(t, 1, messages)
	return f, s
}

// publishNumbers publishes the messages of two sequences and those between.
func (f *front) publishNumbers(t *testing.T, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if _, err := f.js.PublishAsync(fmt.Sprintf("s.%d", n%5), fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-f.js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("publishes are not acknowledged")
	}
}

// An ordered consumer gets every message once and in order, also while messages are
// published and after its connection broke.
func TestOrderedPullConsumer(t *testing.T) {
	const messages = 4000
	f, s := startStream(t, messages/2)
	c, err := s.OrderedConsumer(t.Context(), js.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	published := make(chan struct{})
	go func() {
		defer close(published)
		f.publishNumbers(t, messages/2+1, messages)
	}()
	for n := 1; n <= messages; n++ {
		m, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data()) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s", n, m.Data())
		}
		if n == messages/4 {
			if err := f.conn.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-published
}

// The ways of nats.go to fetch.
func TestFetch(t *testing.T) {
	_, s := startStream(t, 250)
	c, err := s.CreateConsumer(t.Context(), js.ConsumerConfig{AckPolicy: js.AckExplicitPolicy, AckWait: time.Minute, MaxAckPending: 200})
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	check := func(what string, b js.MessageBatch, err error, want int) {
		t.Helper()
		if err != nil {
			t.Fatal(what, err)
		}
		for m := range b.Messages() {
			if string(m.Data()) != fmt.Sprint(next) {
				t.Fatalf("%s: message %d is %s", what, next, m.Data())
			}
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(what, err)
			}
			next++
			want--
		}
		if b.Error() != nil || want != 0 {
			t.Fatalf("%s: %d are missing, %v", what, want, b.Error())
		}
	}
	b, err := c.Fetch(100)
	check("Fetch", b, err, 100)
	b, err = c.FetchNoWait(50)
	check("FetchNoWait", b, err, 50)
	b, err = c.FetchBytes(60*10, js.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	few := 0
	for m := range b.Messages() {
		few++
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if few == 0 || few > 20 {
		t.Fatalf("FetchBytes: %d messages", few)
	}
	next += few
	m, err := c.Next()
	if err != nil || string(m.Data()) != fmt.Sprint(next) {
		t.Fatalf("Next: %v", err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	next++
	b, err = c.FetchNoWait(1000)
	check("the rest", b, err, 250-next+1)
	b, err = c.FetchNoWait(1)
	check("nothing", b, err, 0)
	if _, err := c.Next(js.FetchMaxWait(50 * time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("Next: %v", err)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.NumAckPending != 0 || info.NumPending != 0 || info.AckFloor.Stream != 250 {
		t.Errorf("%+v: %v", info, err)
	}
}

// Workers that consume together get every message, and one again that a worker refuses.
func TestConsumeTogether(t *testing.T) {
	const messages, workers = 2000, 5
	f, s := startStream(t, messages/2)
	c, err := s.CreateConsumer(t.Context(), js.ConsumerConfig{AckPolicy: js.AckExplicitPolicy, AckWait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen, refused, done := map[string]int{}, 0, make(chan struct{})
	for range workers {
		cc, err := c.Consume(func(m js.Msg) {
			mu.Lock()
			defer mu.Unlock()
			meta, err := m.Metadata()
			if err != nil {
				t.Error(err)
			}
			if strings.HasSuffix(string(m.Data()), "7") && meta.NumDelivered == 1 {
				refused++
				err = m.Nak()
			} else {
				seen[string(m.Data())]++
				err = m.Ack()
			}
			if err != nil {
				t.Error(err)
			}
			if len(seen) == messages && done != nil {
				close(done)
				done = nil
			}
		}, js.PullMaxMessages(10))
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Stop()
	}
	wait := done
	f.publishNumbers(t, messages/2+1, messages)
	select {
	case <-wait:
	case <-time.After(patience):
		t.Error("messages are missing")
	}
	mu.Lock()
	defer mu.Unlock()
	if refused != messages/10 || len(seen) != messages {
		t.Errorf("%d messages, %d were refused once", len(seen), refused)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("message %s came %d times", n, times)
		}
	}
}

// A client that asks for much and does not read delays no other, and takes few messages.
func TestAFetcherThatDoesNotRead(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	s, err := f.js.CreateStream(t.Context(), js.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	const messages, size = 2000, 16 << 10
	for range messages {
		if _, err := f.js.PublishAsync("s.x", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	<-f.js.PublishAsyncComplete()
	c, err := s.CreateConsumer(t.Context(), js.ConsumerConfig{Name: "c", AckPolicy: js.AckExplicitPolicy, MaxAckPending: -1})
	if err != nil {
		t.Fatal(err)
	}
	slow := dialRaw(t, strings.TrimPrefix(f.conn.ConnectedUrl(), "nats://"))
	slow.send(t, `CONNECT {"verbose":false,"headers":true}`)
	slow.send(t, `SUB p 1`)
	ask := `{"batch":100000,"expires":600000000000}`
	slow.send(t, fmt.Sprintf(`PUB $JS.API.CONSUMER.MSG.NEXT.S.c p %d\r\n%s`, len(ask), ask))
	if first := slow.next(t); !strings.HasPrefix(first, "MSG s.x 1 ") {
		t.Fatal(first)
	}
	got := 0
	for got < messages/2 {
		b, err := c.Fetch(100, js.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		for m := range b.Messages() {
			got++
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if b.Error() != nil {
			t.Fatal(b.Error())
		}
	}
	info, err := c.Info(t.Context())
	if err != nil || info.NumWaiting != 1 || info.NumAckPending == 0 || info.NumAckPending > messages/2 {
		t.Errorf("%+v: %v", info, err)
	}
}

// NATS' tutorial of the key/value store, "Key-Value Intro" of NATS by Example, reads the bucket
// as a stream.
func TestTutorial(t *testing.T) {
	f, ctx := start(t, t.TempDir(), natsfront.Options{}), t.Context()
	bucket, err := f.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "profiles"})
	if err != nil {
		t.Fatal(err)
	}
	put := func(value string) {
		t.Helper()
		if _, err := bucket.Put(ctx, "sue.color", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("blue")
	put("green")
	if _, err := bucket.Update(ctx, "sue.color", []byte("red"), 1); err == nil || !strings.Contains(err.Error(), "wrong last sequence: 2") {
		t.Errorf("an update of an old revision: %v", err)
	}
	if _, err := bucket.Update(ctx, "sue.color", []byte("red"), 2); err != nil {
		t.Fatal(err)
	}
	if name := <-f.js.StreamNames(ctx).Name(); name != "KV_profiles" {
		t.Errorf("the stream is %q", name)
	}
	c, err := f.js.CreateOrUpdateConsumer(ctx, "KV_profiles", js.ConsumerConfig{AckPolicy: js.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	next := func(value string, sequence uint64, operation string) {
		t.Helper()
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil || m.Subject() != "$KV.profiles.sue.color" || string(m.Data()) != value || meta.Sequence.Stream != sequence || m.Headers().Get("KV-Operation") != operation {
			t.Errorf("%s @ %d -> %q %v, %v", m.Subject(), meta.Sequence.Stream, m.Data(), m.Headers(), err)
		}
	}
	next("red", 3, "")
	put("yellow")
	next("yellow", 4, "")
	if err := bucket.Delete(ctx, "sue.color"); err != nil {
		t.Fatal(err)
	}
	next("", 5, "DEL")
	w, err := bucket.Watch(ctx, "sue.*")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	put("purple")
	var seen []string
	for len(seen) < 2 {
		if e := <-w.Updates(); e != nil {
			seen = append(seen, e.Operation().String()+" "+string(e.Value()))
		}
	}
	if seen[0] != "KeyValueDeleteOp " || seen[1] != "KeyValuePutOp purple" {
		t.Errorf("the watch got %q", seen)
	}
}
