package peers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// keyCount is the number of keys in BenchmarkGet, BenchmarkKeys, BenchmarkOpen and BenchmarkDisk.
var keyCount = flag.Int("peers.keys", 100_000, "keys of the read, listing, open and disk benchmarks")

var value = make([]byte, 128)

// key returns the n-th key: 16 bytes that spread over the key space.
func key(n int) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)*0x9e3779b97f4a7c15)
	return fmt.Sprintf("%x", b)
}

func keys(from, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = key(from + i)
	}
	return list
}

// fill puts n keys, a thousand per sync.
func fill(tb testing.TB, e engine, n int) {
	tb.Helper()
	for batch := range slices.Chunk(keys(0, n), 1000) {
		if err := e.PutAll(batch, value); err != nil {
			tb.Fatal(err)
		}
	}
}

// crowd divides b.N calls among the callers and reports the 99th percentile of their times.
func crowd(b *testing.B, callers int, call func(n int) error) {
	times := make([]time.Duration, b.N)
	var next atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for n := int(next.Add(1)) - 1; n < b.N; n = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := call(n); err != nil {
					b.Error(err)
					return
				}
				times[n] = time.Since(start)
			}
		})
	}
	done.Wait()
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(times[b.N*99/100].Nanoseconds())/1e3, "p99-us")
}

// BenchmarkPut measures durable puts of new keys by closed-loop callers.
func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			each(b, func(b *testing.B, e engine) {
				list := keys(0, b.N)
				crowd(b, callers, func(n int) error { return e.Put(list[n], value) })
			})
		})
	}
}

// BenchmarkGet reads random keys that exist.
func BenchmarkGet(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			each(b, func(b *testing.B, e engine) {
				fill(b, e, *keyCount)
				list := keys(0, *keyCount)
				crowd(b, callers, func(int) error {
					v, err := e.Get(list[rand.IntN(len(list))])
					if err == nil && len(v) != len(value) {
						err = fmt.Errorf("%d bytes", len(v))
					}
					return err
				})
			})
		})
	}
}

// BenchmarkKeys lists all keys in ascending order.
func BenchmarkKeys(b *testing.B) {
	each(b, func(b *testing.B, e engine) {
		fill(b, e, *keyCount)
		for b.Loop() {
			n := 0
			if err := e.Keys(func(key []byte) { n += len(key) / 16 }); err != nil || n != *keyCount {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64(*keyCount)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
	})
}

// BenchmarkOpen opens a cleanly closed store and reads one key.
func BenchmarkOpen(b *testing.B) {
	for _, e := range engines {
		b.Run("engine="+e.name, func(b *testing.B) {
			dir := b.TempDir()
			open := func() engine {
				opened, err := e.open(dir)
				if err != nil {
					b.Fatal(err)
				}
				return opened
			}
			shut := func(opened engine) {
				if err := opened.Close(); err != nil {
					b.Fatal(err)
				}
			}
			full := open()
			fill(b, full, *keyCount)
			shut(full)
			for b.Loop() {
				opened := open()
				if v, err := opened.Get(key(0)); err != nil || len(v) == 0 {
					b.Fatal(len(v), err)
				}
				b.StopTimer()
				shut(opened)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDisk writes its keys ten times, in batches of a thousand. It reports the size of
// the directory ten seconds later, with logs, indexes and reserves, as a multiple of the
// bytes of keys and values. Run it with -benchtime=1x.
func BenchmarkDisk(b *testing.B) {
	for _, e := range engines {
		b.Run("engine="+e.name, func(b *testing.B) {
			for b.Loop() {
				dir := b.TempDir()
				opened, err := e.open(dir)
				if err != nil {
					b.Fatal(err)
				}
				for range 10 {
					fill(b, opened, *keyCount)
				}
				live := float64(*keyCount * (16 + len(value)))
				most, end := diskAtRest(b, dir)
				b.ReportMetric(most/live, "x-live-most")
				b.ReportMetric(end/live, "x-live")
				if err := opened.Close(); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// diskAtRest measures a directory for ten seconds without writes. It returns the maximum
// disk use and the last one.
func diskAtRest(tb testing.TB, dir string) (most, end float64) {
	over := time.After(10 * time.Second)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		end = float64(diskUse(tb, dir))
		most = max(most, end)
		select {
		case <-tick.C:
		case <-over:
			tick.Stop()
			return most, end
		}
	}
}

// diskUse returns the disk space of a directory in bytes. Files may be removed meanwhile.
func diskUse(tb testing.TB, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// The engines do the measured work: values that were put are there, before and after the
// store was opened again, and other keys are not.
func TestEngines(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			dir := t.TempDir()
			opened, err := e.open(dir)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, opened, 1500)
			if err := opened.Put(key(3), []byte("new")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for n, want := range map[int][]byte{0: value, 3: []byte("new"), 1499: value, 1500: nil} {
					if got, err := opened.Get(key(n)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("key %d: %q, %v", n, got, err)
					}
				}
				listed, last := 0, ""
				err := opened.Keys(func(key []byte) {
					if listed++; string(key) <= last {
						t.Errorf("key %q comes after %q", key, last)
					}
					last = string(key)
				})
				if err != nil || listed != 1500 {
					t.Errorf("%d keys are listed, error %v", listed, err)
				}
				if err := opened.Close(); err != nil {
					t.Fatal(err)
				}
				if opened, err = e.open(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
