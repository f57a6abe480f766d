package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkPutBuckets measures durable puts of 64 writers that each choose one of many
// buckets at random. maxfiles is bucket.Options.MaxFiles; 0 is the default.
func BenchmarkPutBuckets(b *testing.B) {
	const writers = 64
	for _, c := range []struct{ buckets, maxFiles int }{{1000, 0}, {10_000, 0}, {1000, 256}, {10_000, 1024}} {
		b.Run(fmt.Sprintf("buckets=%d/maxfiles=%d/writers=%d", c.buckets, c.maxFiles, writers), func(b *testing.B) {
			s, buckets := manyBuckets(b, c.buckets, bucket.Options{MaxFiles: c.maxFiles})
			var random [writers]*rand.Rand
			for i := range random {
				random[i] = rand.New(rand.NewPCG(1, uint64(i)))
			}
			value := make([]byte, 128)
			b.ReportAllocs()
			times := crowd(b, writers, func(writer, n int) {
				if _, err := buckets[random[writer].IntN(c.buckets)].Put(ctx, "key", value); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			open, limit := s.Files()
			if open > limit {
				b.Errorf("%d files are open, at most %d may be", open, limit)
			}
			b.ReportMetric(float64(open), "files")
			reportLatency(b, times)
		})
	}
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
