package nats

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// BenchmarkConsume reads a bucket's 20,000 values through a consumer: pushed to a subscription,
// fetched a hundred at a time, where the client asks for a hundred when it has the last ones, or
// by Messages, where it asks before. An op is all of them.
func BenchmarkConsume(b *testing.B) {
	const n = 20_000
	each(b, func(b *testing.B, c *client) {
		c.fill(b, n)
		for _, way := range []struct {
			name string
			read func(c *client, n int) error
		}{{"push", pushed}, {"fetch/ack=none", fetched(js.AckNonePolicy)}, {"fetch/ack=explicit", fetched(js.AckExplicitPolicy)}, {"messages/ack=none", streamed}} {
			b.Run("way="+way.name, func(b *testing.B) {
				for b.Loop() {
					if err := way.read(c, n); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	})
}

// consumeWait is how long a message may take to come.
const consumeWait = 10 * time.Second

// pushed reads n messages from a push consumer without acknowledgements.
func pushed(c *client, n int) error {
	old, err := c.conn.JetStream()
	if err != nil {
		return err
	}
	messages := make(chan *nats.Msg, n)
	sub, err := old.ChanSubscribe("$KV.b.>", messages, nats.BindStream("KV_b"), nats.AckNone(), nats.DeliverAll())
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	late := time.NewTimer(consumeWait)
	defer late.Stop()
	for i := range n {
		select {
		case <-messages:
		case <-late.C:
			return fmt.Errorf("%d of %d messages were pushed in %v", i, n, consumeWait)
		}
	}
	return nil
}

// fetched returns a function that reads n messages from a pull consumer, a hundred at a time,
// and acknowledges them if the policy is explicit.
func fetched(policy js.AckPolicy) func(*client, int) error {
	return func(c *client, n int) error {
		consumer, err := c.js.CreateConsumer(ctx, "KV_b", js.ConsumerConfig{AckPolicy: policy, DeliverPolicy: js.DeliverAllPolicy})
		if err != nil {
			return err
		}
		defer c.js.DeleteConsumer(ctx, "KV_b", consumer.CachedInfo().Name)
		for got := 0; got < n; {
			batch, err := consumer.Fetch(100, js.FetchMaxWait(consumeWait))
			if err != nil {
				return err
			}
			before := got
			for m := range batch.Messages() {
				got++
				if policy == js.AckExplicitPolicy {
					if err := m.Ack(); err != nil {
						return err
					}
				}
			}
			if err := batch.Error(); err != nil || got == before {
				return fmt.Errorf("%d of %d messages were fetched: %v", got, n, err)
			}
		}
		return nil
	}
}

// streamed reads n messages from a pull consumer without acknowledgements.
func streamed(c *client, n int) error {
	consumer, err := c.js.CreateConsumer(ctx, "KV_b", js.ConsumerConfig{AckPolicy: js.AckNonePolicy, DeliverPolicy: js.DeliverAllPolicy})
	if err != nil {
		return err
	}
	defer c.js.DeleteConsumer(ctx, "KV_b", consumer.CachedInfo().Name)
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range n {
		if _, err := messages.Next(); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkIdleConsumers measures the memory of idle pull consumers, b.N of them, each with a
// request that waits.
func BenchmarkIdleConsumers(b *testing.B) {
	each(b, func(b *testing.B, c *client) {
		if err := c.conn.Publish("$KV.b.k", value[:]); err != nil {
			b.Fatal(err)
		}
		before := heapInUse()
		for i := range b.N {
			name := fmt.Sprintf("idle-%d", i)
			c.createConsumer(b, name)
			wait := []byte(`{"batch":1,"expires":600000000000}`)
			if err := c.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.KV_b."+name, "inbox."+name, wait); err != nil {
				b.Fatal(err)
			}
		}
		if err := c.conn.Flush(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heapInUse()-before)/float64(b.N), "B/consumer")
	})
}

// createConsumer makes a consumer of new messages, without an object for it in this process.
func (c *client) createConsumer(b *testing.B, name string) {
	b.Helper()
	request := fmt.Appendf(nil, `{"stream_name":"KV_b","config":{"name":%q,"ack_policy":"explicit","deliver_policy":"new","inactive_threshold":3600000000000}}`, name)
	m, err := c.conn.Request("$JS.API.CONSUMER.CREATE.KV_b."+name, request, consumeWait)
	if err != nil {
		b.Fatal(err)
	}
	var answer struct{ Error *js.APIError }
	if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error != nil {
		b.Fatalf("%s: %v", m.Data, err)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
