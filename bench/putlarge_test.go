package bench

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

const (
	largeRounds = 5                      // each measures everything once, one after the other
	largePhase  = 600 * time.Millisecond // of one measurement
)

// BenchmarkPutLarge measures durable overwrites of large values by one writer, beside bare writes
// with a sync over old blocks of a file, and what they do to another writer of small values in
// another bucket. With to=log no value has a file of its own. One iteration measures all of it in
// interleaved rounds and reports medians.
func BenchmarkPutLarge(b *testing.B) {
	for _, size := range []int{256 << 10, 512 << 10, 1 << 20, 8 << 20, 64 << 20} {
		for to, from := range map[string]int{"file": size, "log": kv.MaxValueSizeLimit + 1} {
			b.Run(fmt.Sprintf("size=%dKiB/to=%s", size>>10, to), func(b *testing.B) { putLarge(b, size, from) })
		}
	}
}

func putLarge(b *testing.B, size, from int) {
	value := make([]byte, size)
	for r, i := rand.New(rand.NewPCG(1, 2)), 0; i < size; i++ {
		value[i] = byte(r.Uint32())
	}
	raw, s := largeFile(b, value), openLarge(b, value, from)
	for b.Loop() {
		figures := make(map[string][]float64)
		add := func(name string, v float64) { figures[name] = append(figures[name], v) }
		for range largeRounds {
			bare, stored := megabytes(size, raw), megabytes(size, s.put)
			add("raw-MB/s", bare)
			add("kvd-MB/s", stored)
			add("kvd/raw", stored/bare)
			quiet, beside := putSmall(b, s.small, nil), putSmall(b, s.small, s.put)
			add("quiet-p99-µs", quiet)
			add("beside-p99-µs", beside)
			add("beside/quiet", beside/quiet)
		}
		for name, values := range figures {
			slices.Sort(values)
			b.ReportMetric(values[len(values)/2], name)
		}
		b.ReportMetric(0, "ns/op")
	}
	if e, err := s.large.Get(ctx, s.keys[0]); err != nil || !slices.Equal(e.Value, value) {
		b.Fatalf("%d bytes, %v", len(e.Value), err)
	}
}

// largeStore is a store with a bucket of large and one of small values.
type largeStore struct {
	large, small *bucket.Bucket
	keys         []string
	put          func(n int) // of a large value
}

func openLarge(b *testing.B, value []byte, from int) *largeStore {
	s, err := bucket.Open(b.TempDir(), environment.With(bucket.Options{}, environment.Env{LargeValue: from}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() }) // its directory is removed
	l := &largeStore{
		large: createBucket(b, s, kv.Config{Bucket: "large", MaxValueSize: kv.MaxValueSizeLimit}),
		small: createBucket(b, s, kv.Config{Bucket: "small"}),
		keys:  keys16(0, max(2, min(16, 128<<20/len(value)))),
	}
	l.put = func(n int) {
		if _, err := l.large.Put(ctx, l.keys[n%len(l.keys)], value); err != nil {
			b.Error(err)
		}
	}
	return l
}

// megabytes runs op, which writes so many bytes, for a while, and returns its rate in MB/s.
func megabytes(size int, op func(n int)) float64 {
	start, n := time.Now(), 0
	for ; time.Since(start) < largePhase; n++ {
		op(n)
	}
	return float64(n*size) / 1e6 / time.Since(start).Seconds()
}

// largeFile returns a function that writes the value over an old one in a file, and syncs.
func largeFile(b *testing.B, value []byte) func(n int) {
	const values = 4
	f, err := vfs.OS().Open(filepath.Join(b.TempDir(), "raw"), vfs.Create)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	write := func(n int) {
		if _, err := f.WriteAt(value, int64(n%values*len(value))); err != nil {
			b.Error(err)
		}
		if err := f.Sync(); err != nil {
			b.Error(err)
		}
	}
	for n := range values {
		write(n)
	}
	return write
}

// putSmall puts small values for a while, and returns their p99 in µs. other, if it is not nil, runs
// again and again in another goroutine.
func putSmall(b *testing.B, small *bucket.Bucket, other func(n int)) float64 {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; other != nil; n++ {
			select {
			case <-stop:
				return
			default:
				other(n)
			}
		}
	}()
	var times []time.Duration
	value := make([]byte, 128)
	for start := time.Now(); time.Since(start) < largePhase; {
		began := time.Now()
		if _, err := small.Put(ctx, "key", value); err != nil {
			b.Error(err)
		}
		times = append(times, time.Since(began))
	}
	close(stop)
	<-done
	slices.Sort(times)
	return float64(times[len(times)*99/100].Microseconds())
}
