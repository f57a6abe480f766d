package bench

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/kv"
)

// expireKeys is how many keys expire in the same instant.
const expireKeys = 1_000_000

// BenchmarkExpire lets a million keys expire at once while four closed-loop writers work.
// It reports the time until every key has its expiry marker, and by how much the writers'
// latency rises during that time. Run it with -benchtime=1x.
func BenchmarkExpire(b *testing.B) {
	for name, ttl := range map[string]struct{ key, bucket time.Duration }{
		"of=key":    {key: time.Hour},
		"of=bucket": {bucket: time.Hour},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				expire(b, ttl.key, ttl.bucket)
			}
		})
	}
}

// expired counts expiry markers.
type expired struct{ n atomic.Int64 }

func (e *expired) Committed(c bucket.Commit) { e.n.Add(int64(c.Expired)) }

func expire(b *testing.B, key, ofBucket time.Duration) {
	b.StopTimer()
	var jump atomic.Int64
	var seen expired
	began := time.Now()
	s, err := bucket.Open(b.TempDir(), environment.With(bucket.Options{Observer: &seen}, environment.Env{
		Elapsed: func() time.Duration { return time.Since(began) + time.Duration(jump.Load()) },
	}))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bk := createBucket(b, s, kv.Config{Bucket: "expiring", TTL: ofBucket})
	loadTTL(b, s, bk, key)
	others := createBucket(b, s, kv.Config{Bucket: "others"})
	quiet := beside(b, others, func() { <-time.After(3 * time.Second) })
	b.StartTimer()
	var lag time.Duration
	busy := beside(b, others, func() {
		start := time.Now()
		jump.Store(int64(time.Hour))
		for seen.n.Load() < expireKeys {
			<-time.After(time.Millisecond)
		}
		lag = time.Since(start)
	})
	b.StopTimer()
	if n := seen.n.Load(); n != expireKeys {
		b.Fatalf("%d keys expired", n)
	}
	b.ReportMetric(lag.Seconds(), "lag-s")
	b.ReportMetric(percentile(quiet, 99).Seconds()*1e6, "quiet-p99-us")
	b.ReportMetric(percentile(busy, 99).Seconds()*1e6, "p99-us")
	b.ReportMetric(percentile(busy, 50).Seconds()/percentile(quiet, 50).Seconds(), "x-p50")
	b.ReportMetric(percentile(busy, 99).Seconds()/percentile(quiet, 99).Seconds(), "x-p99")
	b.StartTimer()
}

func loadTTL(b *testing.B, s *bucket.Store, bk *bucket.Bucket, ttl time.Duration) {
	const batch = 4096
	value := make([]byte, 128)
	for i := 0; i < expireKeys; {
		var muts []kv.Mutation
		for ; i < expireKeys && len(muts) < batch; i++ {
			muts = append(muts, kv.Mutation{Bucket: bk.Name(), Op: kv.MutatePut, Key: key16(i), Value: value, TTL: ttl})
		}
		if err := s.Submit(ctx, muts); err != nil {
			b.Fatal(err)
		}
	}
}

// beside calls do while four writers work, and returns the time of each put.
func beside(b *testing.B, bk *bucket.Bucket, do func()) []time.Duration {
	const writers = 4
	var stop atomic.Bool
	var done sync.WaitGroup
	times := make([][]time.Duration, writers)
	for w := range writers {
		done.Go(func() {
			value := make([]byte, 128)
			for n := 0; !stop.Load(); n++ {
				start := time.Now()
				if _, err := bk.Put(ctx, key16(n%1000+1000*w), value); err != nil {
					b.Error(err)
					return
				}
				times[w] = append(times[w], time.Since(start))
			}
		})
	}
	do()
	stop.Store(true)
	done.Wait()
	var all []time.Duration
	for _, t := range times {
		all = append(all, t...)
	}
	slices.Sort(all)
	return all
}

func percentile(sorted []time.Duration, p int) time.Duration { return sorted[len(sorted)*p/100] }
