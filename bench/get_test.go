package bench

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/hugemem"
	"kvd/kv"
)

// loaded keeps one large store for all benchmarks that read from it: loading ten million
// keys takes longer than the measurements.
var loaded struct {
	n int
	s *bucket.Store
	b *bucket.Bucket
}

// TestMain ends the shared store's process files with the process: its
// directory is the benchmark's own.
func sharedStore(b *testing.B, n int) (*bucket.Store, *bucket.Bucket) {
	b.Helper()
	if loaded.n != n {
		if loaded.s != nil {
			_ = loaded.s.Close()
			loaded.s, loaded.b, loaded.n = nil, nil, 0
		}
		runtime.GC()
		s, err := bucket.Open(sharedDir(b), bucket.Options{})
		if err != nil {
			b.Fatal(err)
		}
		bk := createBucket(b, s, kv.Config{Bucket: fmt.Sprintf("keys-%d", n)})
		load(b, bk, s, n, 128)
		if err := s.Checkpoint(ctx); err != nil {
			b.Fatal(err)
		}
		loaded.n, loaded.s, loaded.b = n, s, bk
	}
	return loaded.s, loaded.b
}

// BenchmarkGet reads random keys of 16 bytes with values of 128 B. It must not allocate.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000} {
		for _, readers := range []int{1, 2} {
			b.Run(fmt.Sprintf("keys=%d/readers=%d", n, readers), func(b *testing.B) {
				_, bk := sharedStore(b, n)
				get(b, bk, n, readers)
			})
		}
	}
}

func get(b *testing.B, bk *bucket.Bucket, n, readers int) {
	keys := randomKeys(n)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			dst := make([]byte, 0, 512)
			for i := r; i < b.N; i += readers {
				got, _, err := bk.GetAppend(ctx, dst, keys[i&(len(keys)-1)])
				if err != nil || len(got) != 128 {
					b.Errorf("%d bytes: %v", len(got), err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
}

// randomKeys returns a power of two of keys in random order.
func randomKeys(n int) []string {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]string, 1<<20)
	for i := range keys {
		keys[i] = key16(rng.IntN(n))
	}
	return keys
}

// BenchmarkGetUnderWrites reads random keys while 256 writers commit.
func BenchmarkGetUnderWrites(b *testing.B) {
	const n = 1_000_000
	_, bk := sharedStore(b, n)
	keys := randomKeys(n)
	value := make([]byte, 128)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 256 {
		wg.Go(func() {
			for i := w; !stop.Load(); i += 256 {
				if _, err := bk.Put(ctx, keys[i&(len(keys)-1)], value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	dst := make([]byte, 0, 512)
	times := crowd(b, 1, func(_, i int) {
		if _, _, err := bk.GetAppend(ctx, dst, keys[(i*7)&(len(keys)-1)]); err != nil {
			b.Error(err)
		}
	})
	stop.Store(true)
	wg.Wait()
	reportLatency(b, times)
}

// BenchmarkMemory reports the memory of a key in addition to its own bytes, including
// everything in the process, and the time of a forced collection.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			_, _ = sharedStore(b, n)
			runtime.GC()
			var collect time.Duration
			for b.Loop() {
				start := time.Now()
				runtime.GC()
				collect += time.Since(start)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(int64(m.HeapInuse+m.StackInuse)+hugemem.InUse())/float64(n)-16, "B/key")
			b.ReportMetric(float64(collect.Milliseconds())/float64(b.N), "gc-ms")
		})
	}
}

// BenchmarkList lists every key in order.
func BenchmarkList(b *testing.B) {
	const n = 1_000_000
	_, bk := sharedStore(b, n)
	for b.Loop() {
		count := 0
		for _, err := range bk.Keys(ctx) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
		if count != n {
			b.Fatalf("%d keys listed of %d", count, n)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkCompression puts and gets values with and without compression. The values are
// text, and random bytes that cannot be compressed.
func BenchmarkCompression(b *testing.B) {
	const keys, writers = 1000, 16
	names := keys16(0, keys)
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, kind := range []string{"text", "noise"} {
			value := make([]byte, size)
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			if kind == "text" {
				for i := range value { // words of 8 letters, chosen from 16
					word := rand.New(rand.NewPCG(3, uint64(i/8))).IntN(16)
					value[i] = 'a' + byte((i%8+1)*(word+1))%26
				}
			}
			for _, compression := range []bool{false, true} {
				s := openStore(b, b.TempDir())
				bk := createBucket(b, s, kv.Config{Bucket: "bench", Compression: compression})
				name := fmt.Sprintf("size=%d/value=%s/compression=%t", size, kind, compression)
				b.Run("put/"+name, func(b *testing.B) {
					b.SetBytes(int64(size))
					crowd(b, writers, func(_, n int) {
						if _, err := bk.Put(ctx, names[n%keys], value); err != nil {
							b.Error(err)
						}
					})
				})
				for _, key := range names {
					if _, err := bk.Put(ctx, key, value); err != nil {
						b.Fatal(err)
					}
				}
				b.Run("get/"+name, func(b *testing.B) {
					b.SetBytes(int64(size))
					b.ReportAllocs()
					dst := make([]byte, 0, size+256)
					for n := 0; b.Loop(); n++ {
						if got, _, err := bk.GetAppend(ctx, dst, names[n%keys]); err != nil || len(got) != size {
							b.Fatalf("%d bytes: %v", len(got), err)
						}
					}
					st, err := bk.Status(ctx)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(st.Bytes)/keys, "stored-B")
				})
				_ = s.Close()
			}
		}
	}
}
