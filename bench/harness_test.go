package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

var ctx = context.Background()

// openStore opens a store in its own directory.
func openStore(tb testing.TB, dir string) *bucket.Store {
	tb.Helper()
	return openObserved(tb, dir, nil)
}

func openObserved(tb testing.TB, dir string, o bucket.Observer) *bucket.Store {
	tb.Helper()
	s, err := bucket.Open(dir, bucket.Options{Observer: o})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	return s
}

func createBucket(tb testing.TB, s *bucket.Store, config kv.Config) *bucket.Bucket {
	tb.Helper()
	b, err := s.CreateBucket(ctx, config)
	if err != nil {
		tb.Fatal(err)
	}
	return b.(*bucket.Bucket)
}

// key16 returns the n-th key: 16 bytes that spread over the key space.
func key16(n int) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)*0x9e3779b97f4a7c15)
	return fmt.Sprintf("%x", b)
}

// keys16 returns the keys of [from, from+n). Call it before the timer runs.
func keys16(from, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = key16(from + i)
	}
	return keys
}

// load puts n keys with many concurrent writers.
func load(tb testing.TB, b *bucket.Bucket, s *bucket.Store, n, valueSize int) {
	tb.Helper()
	const batch = 4096
	value := make([]byte, valueSize)
	muts := make([]kv.Mutation, 0, batch)
	for i := 0; i < n; {
		muts = muts[:0]
		for ; i < n && len(muts) < batch; i++ {
			muts = append(muts, kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key16(i), Value: value})
		}
		if err := s.Submit(ctx, muts); err != nil {
			tb.Fatal(err)
		}
		for j := range muts {
			if muts[j].Err != nil {
				tb.Fatal(muts[j].Err)
			}
		}
	}
}

// crowd calls op b.N times, divided among the workers, and returns the latency of every
// call in ascending order. op gets the worker's number and a number that is unique among
// the calls.
func crowd(b *testing.B, workers int, op func(worker, n int)) []time.Duration {
	b.ResetTimer()
	defer b.StopTimer()
	return crowdN(workers, b.N, op)
}

func crowdN(workers, ops int, op func(worker, n int)) []time.Duration {
	return crowdWhile(workers, ops, func(n int) bool { return n < ops }, op)
}

// crowdWhile is crowd for calls 0 to n, where n is the first for which more returns false. about
// is their expected number.
func crowdWhile(workers, about int, more func(n int) bool, op func(worker, n int)) []time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	times := make([][]time.Duration, workers)
	for w := range workers {
		times[w] = make([]time.Duration, 0, about/workers+about/8+1)
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if !more(n) {
					return
				}
				start := time.Now()
				op(w, n)
				times[w] = append(times[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(times...)
	slices.Sort(all)
	return all
}

// reportLatency adds percentiles to a benchmark's metrics.
func reportLatency(b *testing.B, sorted []time.Duration) {
	for _, p := range []struct {
		name string
		at   float64
	}{{"p50-us", 0.5}, {"p99-us", 0.99}, {"p999-us", 0.999}} {
		i := min(int(p.at*float64(len(sorted))), len(sorted)-1)
		b.ReportMetric(float64(sorted[i].Nanoseconds())/1e3, p.name)
	}
}
