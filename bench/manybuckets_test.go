package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

const (
	bucketsWriters = 64
	bucketsRounds  = 5           // each measures one bucket and many, one after the other
	bucketsPhase   = time.Second // of one measurement
)

// BenchmarkPutBuckets measures durable puts of 64 writers that each choose one of many buckets at
// random, beside puts of as many writers to as many keys of one bucket, in a store of its own.
// maxfiles is bucket.Options.MaxFiles; 0 is the default. One iteration measures both in interleaved
// rounds and reports medians; x-one is that of the ratios.
func BenchmarkPutBuckets(b *testing.B) {
	for _, c := range []struct{ buckets, maxFiles int }{{8, 0}, {100, 0}, {1000, 0}, {10_000, 0}, {1000, 256}, {10_000, 1024}} {
		b.Run(fmt.Sprintf("buckets=%d/maxfiles=%d/writers=%d", c.buckets, c.maxFiles, bucketsWriters), func(b *testing.B) {
			one := newBucketLoad(b, 1, c.buckets, 0)
			many := newBucketLoad(b, c.buckets, 1, c.maxFiles)
			for b.Loop() {
				figures := make(map[string][]float64)
				add := func(name string, v float64) { figures[name] = append(figures[name], v) }
				for range bucketsRounds {
					alone, p50, p99 := one.run(b)
					add("one-puts/s", alone)
					add("one-p50-µs", p50)
					add("one-p99-µs", p99)
					rate, p50, p99 := many.run(b)
					add("puts/s", rate)
					add("p50-µs", p50)
					add("p99-µs", p99)
					add("x-one", rate/alone)
				}
				for name, values := range figures {
					slices.Sort(values)
					b.ReportMetric(values[len(values)/2], name)
				}
				b.ReportMetric(0, "ns/op")
			}
			open, limit := many.store.Files()
			if open > limit {
				b.Errorf("%d files are open, at most %d may be", open, limit)
			}
			b.ReportMetric(float64(open), "files")
		})
	}
}

// bucketLoad is a store with many buckets of as many keys each, and its writers.
type bucketLoad struct {
	store   *bucket.Store
	buckets []kv.Bucket
	keys    []string
	random  [bucketsWriters]*rand.Rand
}

func newBucketLoad(b *testing.B, buckets, keys, maxFiles int) *bucketLoad {
	l := &bucketLoad{keys: keys16(0, keys)}
	l.store, l.buckets = manyBuckets(b, buckets, bucket.Options{MaxFiles: maxFiles})
	for i := range l.random {
		l.random[i] = rand.New(rand.NewPCG(1, uint64(i)))
	}
	return l
}

// run puts for a while, and returns the puts a second, and the median and the p99 of their
// latencies in µs.
func (l *bucketLoad) run(b *testing.B) (rate, p50, p99 float64) {
	value := make([]byte, 128)
	began := time.Now()
	inTime := func(int) bool { return time.Since(began) < bucketsPhase }
	times := crowdWhile(bucketsWriters, 100_000, inTime, func(writer, _ int) {
		r := l.random[writer]
		if _, err := l.buckets[r.IntN(len(l.buckets))].Put(ctx, l.keys[r.IntN(len(l.keys))], value); err != nil {
			b.Error(err)
		}
	})
	rate = float64(len(times)) / time.Since(began).Seconds()
	return rate, float64(times[len(times)/2].Microseconds()), float64(times[len(times)*99/100].Microseconds())
}

// manyBuckets returns a store with that many buckets, each with a record.
func manyBuckets(b *testing.B, n int, opts bucket.Options) (*bucket.Store, []kv.Bucket) {
	b.Helper()
	s, err := bucket.Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	buckets := make([]kv.Bucket, n)
	value := make([]byte, 128)
	crowdN(64, n, func(_, i int) {
		bk, err := s.CreateBucket(ctx, kv.Config{Bucket: fmt.Sprintf("bucket-%d", i)})
		if err == nil {
			_, err = bk.Put(ctx, "key", value)
		}
		if err != nil {
			b.Error(err)
		}
		buckets[i] = bk
	})
	if err := s.Checkpoint(ctx); err != nil || b.Failed() {
		b.Fatal(err)
	}
	return s, buckets
}
