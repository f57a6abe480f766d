package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

var ctx = context.Background()

// keysMany is the number of keys in a listing: KVD_BENCH_KEYS, or a hundred thousand.
func keysMany() int {
	if n, err := strconv.Atoi(os.Getenv("KVD_BENCH_KEYS")); err == nil {
		return n
	}
	return 100_000
}

// inParallel divides b.N calls among a number of callers.
func inParallel(b *testing.B, callers int, do func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			each(b, func(b *testing.B, c *client) {
				inParallel(b, callers, func(i int) error {
					_, err := c.values.Put(ctx, key(i%1000), value[:])
					return err
				})
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			each(b, func(b *testing.B, c *client) {
				c.fill(b, 1000)
				inParallel(b, callers, func(i int) error {
					_, err := c.values.Get(ctx, key(i%1000))
					return err
				})
			})
		})
	}
}

// listing measures an operation that reads every key.
func listing(b *testing.B, list func(*client) (int, error)) {
	n := keysMany()
	b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
		each(b, func(b *testing.B, c *client) {
			c.fill(b, n)
			b.ResetTimer()
			for range b.N {
				got, err := list(c)
				if err != nil || got != n {
					b.Fatalf("%d of %d: %v", got, n, err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "keys/s")
		})
	})
}

func BenchmarkSnapshot(b *testing.B) {
	listing(b, func(c *client) (n int, err error) {
		w, err := c.values.WatchAll(ctx)
		if err != nil {
			return 0, err
		}
		defer w.Stop()
		for e := range w.Updates() {
			if e == nil {
				return n, nil
			}
			n++
		}
		return n, errors.New("the watch ended")
	})
}

func BenchmarkLs(b *testing.B) {
	listing(b, func(c *client) (n int, err error) {
		keys, err := c.values.ListKeys(ctx)
		if err != nil {
			return 0, err
		}
		for range keys.Keys() {
			n++
		}
		return n, nil
	})
}

func BenchmarkHistory(b *testing.B) {
	each(b, func(b *testing.B, c *client) {
		values, err := c.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "h", History: 64})
		if err != nil {
			b.Fatal(err)
		}
		for range 64 {
			if _, err := values.Put(ctx, "k", value[:]); err != nil {
				b.Fatal(err)
			}
		}
		b.ResetTimer()
		for range b.N {
			if all, err := values.History(ctx, "k"); err != nil || len(all) != 64 {
				b.Fatal(len(all), err)
			}
		}
	})
}

// BenchmarkWatchers measures puts that a thousand watchers on ten connections receive.
func BenchmarkWatchers(b *testing.B) {
	const watchers, conns = 1000, 10
	each(b, func(b *testing.B, c *client) {
		var seen sync.WaitGroup
		for range conns {
			conn, err := nats.Connect(c.url)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			stream, err := js.New(conn)
			if err != nil {
				b.Fatal(err)
			}
			values, err := stream.KeyValue(ctx, "b")
			if err != nil {
				b.Fatal(err)
			}
			for range watchers / conns {
				w, err := values.WatchAll(ctx, js.UpdatesOnly())
				if err != nil {
					b.Fatal(err)
				}
				seen.Go(func() {
					for n := 0; n < b.N; {
						if e := <-w.Updates(); e != nil {
							n++
						}
					}
				})
			}
		}
		b.ResetTimer()
		var puts sync.WaitGroup
		var next atomic.Int64
		for range 16 {
			puts.Go(func() {
				for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
					if _, err := c.values.Put(ctx, key(i%1000), value[:]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		puts.Wait()
		seen.Wait()
		b.ReportMetric(float64(b.N)*watchers/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkPublish measures messages to a stream that is not a bucket, with five hundred in
// flight. kept=N is the stream's limit; at the limit each message removes the oldest one.
func BenchmarkPublish(b *testing.B) {
	for _, kept := range []int64{-1, 1000} {
		b.Run(fmt.Sprintf("kept=%d", kept), func(b *testing.B) {
			each(b, func(b *testing.B, c *client) {
				if _, err := c.js.CreateStream(ctx, js.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgs: kept}); err != nil {
					b.Fatal(err)
				}
				acks := make(chan js.PubAckFuture, 500)
				b.ResetTimer()
				go func() {
					defer close(acks)
					for i := range b.N {
						ack, err := c.js.PublishAsync("s."+key(i%1000), value[:])
						if err != nil {
							b.Error(err)
							return
						}
						acks <- ack
					}
				}()
				for ack := range acks {
					select {
					case <-ack.Ok():
					case err := <-ack.Err():
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		})
	}
}

func BenchmarkBuckets(b *testing.B) {
	each(b, func(b *testing.B, c *client) {
		for i := range b.N {
			if _, err := c.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b" + strconv.Itoa(i)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSlowestPut measures the slowest acknowledgement of sequential puts.
func BenchmarkSlowestPut(b *testing.B) {
	each(b, func(b *testing.B, c *client) {
		var slowest time.Duration
		b.ResetTimer()
		for i := range b.N {
			start := time.Now()
			if _, err := c.values.Put(ctx, key(i%1000), value[:]); err != nil {
				b.Fatal(err)
			}
			slowest = max(slowest, time.Since(start))
		}
		b.ReportMetric(slowest.Seconds()*1e3, "max-ms")
	})
}
