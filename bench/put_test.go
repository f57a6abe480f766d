package bench

import (
	"fmt"
	"sync/atomic"
	"testing"

	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkPut measures durable puts by closed-loop writers.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, keys := range []string{"new", "over"} {
			for _, writers := range []int{1, 4, 16, 64, 256} {
				b.Run(fmt.Sprintf("size=%d/keys=%s/writers=%d", size, keys, writers), func(b *testing.B) {
					put(b, size, keys == "new", writers)
				})
			}
		}
	}
}

// BenchmarkPutMode measures puts to buckets that acknowledge before the disk has synced.
func BenchmarkPutMode(b *testing.B) {
	for name, config := range map[string]kv.Config{
		"interval": {Sync: kv.SyncInterval},
		"memory":   {Storage: kv.MemoryStorage},
	} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("mode=%s/writers=%d", name, writers), func(b *testing.B) {
				s := openStore(b, b.TempDir())
				config.Bucket = "bench"
				bk := createBucket(b, s, config)
				keys := keys16(0, overKeys)
				value := make([]byte, 128)
				b.ReportAllocs()
				times := crowd(b, writers, func(_, n int) {
					if _, err := bk.Put(ctx, keys[n%len(keys)], value); err != nil {
						b.Error(err)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
				reportLatency(b, times)
			})
		}
	}
}

// BenchmarkPutHistory measures durable puts to keys whose histories are full.
func BenchmarkPutHistory(b *testing.B) {
	const keys, size, writers = 10_000, 128, 64
	names, value := keys16(0, keys), make([]byte, size)
	for _, history := range []int{1, 5, 64} {
		b.Run(fmt.Sprintf("history=%d/writers=%d", history, writers), func(b *testing.B) {
			s := openStore(b, b.TempDir())
			bk := createBucket(b, s, kv.Config{Bucket: "bench", History: history})
			for range history {
				load(b, bk, s, keys, size)
			}
			b.ReportAllocs()
			times := crowd(b, writers, func(_, n int) {
				if _, err := bk.Put(ctx, names[n%keys], value); err != nil {
					b.Error(err)
				}
			})
			st, err := bk.Status(ctx)
			if err != nil || st.Values != uint64(history*keys) {
				b.Fatalf("%d records of %d keys: %v", st.Values, keys, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			reportLatency(b, times)
		})
	}
}

const overKeys = 100_000

func put(b *testing.B, size int, fresh bool, writers int) {
	commits := &commitCounter{}
	s := openObserved(b, b.TempDir(), commits)
	bk := createBucket(b, s, kv.Config{Bucket: "bench"})
	var keys []string
	if fresh {
		keys = keys16(0, b.N)
	} else {
		load(b, bk, s, overKeys, size)
		keys = keys16(0, overKeys)
	}
	value := make([]byte, size)
	r := &raw{file: rawFile(b)}
	before := r.rate(b)
	b.ReportAllocs()
	commits.reset()
	times := crowd(b, writers, func(_, n int) {
		if _, err := bk.Put(ctx, keys[n%len(keys)], value); err != nil {
			b.Error(err)
		}
	})
	rate := float64(b.N) / b.Elapsed().Seconds()
	after := r.rate(b)
	b.ReportMetric(rate, "puts/s")
	b.ReportMetric(rate/((before+after)/2), "x-raw")
	commits.report(b)
	reportLatency(b, times)
}

// commitCounter sums up the commit path's events.
type commitCounter struct {
	commits, records atomic.Int64
	sync             atomic.Int64 // ns
}

// Committed implements bucket.Observer.
func (c *commitCounter) Committed(done bucket.Commit) {
	c.commits.Add(1)
	c.records.Add(int64(done.Records))
	c.sync.Add(int64(done.Sync))
}

func (c *commitCounter) reset() {
	c.commits.Store(0)
	c.records.Store(0)
	c.sync.Store(0)
}

func (c *commitCounter) report(b *testing.B) {
	n := float64(c.commits.Load())
	b.ReportMetric(float64(c.records.Load())/n, "puts/sync")
	sync := float64(c.sync.Load()) / n / 1e9 // s
	b.ReportMetric(sync*1e6, "sync-us")
	b.ReportMetric(float64(c.records.Load())/b.Elapsed().Seconds()*sync, "x-sync")
}

// BenchmarkCounter has 16 callers read and increment a number by Update. The metric counts
// the increments, not the attempts.
func BenchmarkCounter(b *testing.B) {
	const callers = 16
	s := openStore(b, b.TempDir())
	bk := createBucket(b, s, kv.Config{Bucket: "bench"})
	first, err := bk.Put(ctx, "counter", []byte{0})
	if err != nil {
		b.Fatal(err)
	}
	r := &raw{file: rawFile(b)}
	before := r.rate(b)
	crowd(b, callers, func(_, _ int) {
		for {
			e, err := bk.Get(ctx, "counter")
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := bk.Update(ctx, "counter", e.Value, e.Revision); err == nil {
				return
			}
		}
	})
	e, err := bk.Get(ctx, "counter")
	if err != nil || int(e.Revision-first) != b.N {
		b.Fatalf("%d raises made revision %d of %d: %v", b.N, e.Revision, first, err)
	}
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "raises/s")
	b.ReportMetric(rate/((before+r.rate(b))/2), "x-raw")
}
