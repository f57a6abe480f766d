package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvd/kv"
)

// Every benchmark reports processor time of its thread as cpu-ns beside the wall
// time: on a shared machine the latter says more about the neighbours.
func cpu() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// measure runs fn for every iteration of b.
func measure(b *testing.B, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		fn()
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
}

// bench calls fn for each size and shape of keys.
func bench(b *testing.B, fn func(b *testing.B, k benchKeys)) {
	for _, n := range []int{1_000_000, 10_000_000} {
		for _, shape := range []string{"random", "prefixed", "ascending"} {
			b.Run(fmt.Sprintf("keys=%s/n=%d", shape, n), func(b *testing.B) { fn(b, keysFor(shape, n)) })
		}
	}
}

// benchKeys is n keys of one width, cut from one string so that the collector
// has nothing to look at. The second string holds the same keys in another
// order: a benchmark that walks it finds its keys in the cache, as a caller
// does who has just read one from a connection.
type benchKeys struct {
	name     string
	n, width int
	ordered  string
	shuffled string
}

func (k benchKeys) at(i int) string { return k.ordered[i*k.width : (i+1)*k.width] }

// random returns the i-th of an endless row of keys at random.
func (k benchKeys) random(i int) string {
	i %= k.n
	return k.shuffled[i*k.width : (i+1)*k.width]
}

// keysFor makes n keys: 16 random bytes each, or 40 of which the first 17 to 21
// are one of 20 common beginnings, as programs name them, or 16 digits that count
// up. The keys made last are kept.
var keysFor = func() func(shape string, n int) benchKeys {
	var last benchKeys
	return func(shape string, n int) benchKeys {
		name := fmt.Sprint(shape, n)
		if last.name == name {
			return last
		}
		last = benchKeys{}
		k := benchKeys{name: name, n: n, width: 16}
		begin := func() string { return "" }
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		if shape == "prefixed" {
			k.width = 40
			regions := []string{"eu", "us", "ap", "af"}
			kinds := []string{"orders", "customers", "carts", "payments", "stock"}
			begin = func() string {
				return fmt.Sprintf("service.%s.%s.", regions[rng.IntN(len(regions))], kinds[rng.IntN(len(kinds))])
			}
		}
		const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
		var ordered, shuffled strings.Builder
		ordered.Grow(n * k.width)
		shuffled.Grow(n * k.width)
		for i := range n {
			start := ordered.Len()
			if shape == "ascending" {
				fmt.Fprintf(&ordered, "%0*d", k.width, i)
			}
			for ordered.WriteString(begin()); ordered.Len() < start+k.width; {
				ordered.WriteByte(digits[rng.IntN(len(digits))])
			}
		}
		k.ordered = ordered.String()
		for _, i := range rng.Perm(n) {
			shuffled.WriteString(k.at(i))
		}
		k.shuffled = shuffled.String()
		last = k
		return k
	}
}()

func benchVersion(rev int) Version {
	return Version{
		Revision: kv.Revision(rev), Created: int64(rev), Segment: uint32(rev>>20) % segmentLimit,
		Offset: int64(rev&0xfffff) * 8, Size: 100, Op: kv.Put,
	}
}

// filled returns an index of the keys. The index made last is kept: a benchmark
// that uses it must leave the same keys in it.
var filled = func() func(k benchKeys) *Index {
	var (
		name string
		x    *Index
	)
	return func(k benchKeys) *Index {
		if name != k.name {
			x = nil
			runtime.GC()
			x, name = New(), k.name
			for i := range k.n {
				key := k.at(i)
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
			}
		}
		return x
	}
}()

// revision rises over all benchmarks, as a shared index demands.
var revision = 1 << 30

func overwrite(x *Index, key string) {
	revision++
	x.Apply(Hash(key), key, benchVersion(revision), kv.Revision(revision), nil)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// processCPU returns the processor time of all threads, the collector's included.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportHeld reports what the index holds beyond the keys' own bytes and what of it is in
// Go's heap, and times a collection, by the clock (gc-ms) and by the processor time of all
// threads (gc-cpu-ms).
func reportHeld(b *testing.B, before uint64, k benchKeys, x *Index) {
	const collections = 5
	held := heap() - before
	start, startCPU := time.Now(), processCPU()
	for range collections {
		runtime.GC()
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000/collections, "gc-ms")
	b.ReportMetric(float64((processCPU()-startCPU).Microseconds())/1000/collections, "gc-cpu-ms")
	b.ReportMetric(float64(held)/float64(k.n), "heap-B/key")
	b.ReportMetric(float64(x.memory())/float64(k.n)-float64(k.width), "B/key")
}

// BenchmarkInsert fills an index; an op is a whole fill.
func BenchmarkInsert(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for b.Loop() {
			before := heap()
			x := New()
			start := cpu()
			for i := range k.n {
				key := k.at(i)
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(k.n), "cpu-ns/key")
			reportHeld(b, before, k, x)
		}
	})
}

// BenchmarkInsertBesideSnapshots is BenchmarkInsert with another snapshot every
// 4,096 puts.
func BenchmarkInsertBesideSnapshots(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for b.Loop() {
			x := New()
			s := x.Snapshot()
			runtime.GC()
			start := cpu()
			for i := range k.n {
				if i%4096 == 0 {
					s.Release()
					s = x.Snapshot()
				}
				key := k.at(i)
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
			}
			b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(k.n), "cpu-ns/key")
			s.Release()
		}
	})
}

// BenchmarkInsertWorst times every insert. The collector is off: its pauses are
// not the index's.
func BenchmarkInsertWorst(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		runtime.GC()
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for b.Loop() {
			x := New()
			over, worst, last := 0, time.Duration(0), cpu()
			for i := range k.n {
				key := k.at(i)
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
				now := cpu()
				if now-last > 50*time.Microsecond {
					over++
				}
				worst, last = max(worst, now-last), now
			}
			b.ReportMetric(float64(worst.Microseconds()), "worst-us")
			b.ReportMetric(float64(over), "over-50us")
		}
	})
}

func BenchmarkNewest(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x, i := filled(k), 0
		measure(b, func() {
			i++
			key := k.random(i)
			if _, ok := x.Newest(Hash(key), key); !ok {
				b.Fatalf("%q is missing", key)
			}
		})
	})
}

func BenchmarkOverwrite(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x, i := filled(k), 0
		measure(b, func() {
			i++
			overwrite(x, k.random(i))
		})
		if x.Len() != k.n || x.Count() != k.n {
			b.Fatalf("%d keys, %d versions", x.Len(), x.Count())
		}
	})
}

// BenchmarkOverwriteBesideSnapshots takes another snapshot every 4,096 puts.
func BenchmarkOverwriteBesideSnapshots(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x, i := filled(k), 0
		s := x.Snapshot()
		measure(b, func() {
			if i++; i%4096 == 0 {
				s.Release()
				s = x.Snapshot()
			}
			overwrite(x, k.random(i))
		})
		s.Release()
		for !x.queue.empty() {
			x.drain()
		}
	})
}

// replace removes a key and puts it again, as new.
func replace(x *Index, key string) {
	x.Trim(Hash(key), key, kv.Revision(revision)+1, nil)
	overwrite(x, key)
}

func BenchmarkReplace(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x, i := filled(k), 0
		measure(b, func() {
			i++
			replace(x, k.random(i))
		})
	})
}

// BenchmarkReplaceBesideSnapshots takes another snapshot every 4,096 times.
func BenchmarkReplaceBesideSnapshots(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x, i := filled(k), 0
		s := x.Snapshot()
		measure(b, func() {
			if i++; i%4096 == 0 {
				s.Release()
				s = x.Snapshot()
			}
			replace(x, k.random(i))
		})
		s.Release()
		for !x.queue.empty() {
			x.drain()
		}
	})
}

// BenchmarkSnapshot takes a snapshot and releases it.
func BenchmarkSnapshot(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		x := filled(k)
		measure(b, func() { x.Snapshot().Release() })
	})
}

// BenchmarkHistory puts to keys whose histories are full.
func BenchmarkHistory(b *testing.B) {
	for _, size := range []struct{ keep, keys int }{{5, 1_000_000}, {64, 50_000}} {
		b.Run(fmt.Sprintf("keep=%d/n=%d", size.keep, size.keys), func(b *testing.B) {
			k := keysFor("random", size.keys)
			x := New()
			i := 0
			put := func() {
				i++
				key := k.random(i)
				hash := Hash(key)
				revision++
				floor := x.FloorAfter(hash, key, size.keep-1)
				x.Apply(hash, key, benchVersion(revision), floor, nil)
			}
			for range size.keep * k.n {
				put()
			}
			measure(b, put)
			if x.Count() != size.keep*k.n {
				b.Fatalf("%d versions of %d keys", x.Count(), k.n)
			}
			b.ReportMetric(float64(x.memory())/float64(x.Count()), "B/version")
		})
	}
}

// BenchmarkAscend lists; an op is a key.
func BenchmarkAscend(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		s := filled(k).Snapshot()
		defer s.Release()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		b.ResetTimer()
		start := cpu()
		for left := b.N; left > 0; {
			s.Ascend("", func([]byte, Version) bool {
				left--
				return left > 0
			})
		}
		b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
	})
}

// BenchmarkAscendFrom lists ten keys from one on; an op is a listing.
func BenchmarkAscendFrom(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		s, i := filled(k).Snapshot(), 0
		defer s.Release()
		measure(b, func() {
			i++
			left := 10
			s.Ascend(k.random(i), func([]byte, Version) bool {
				left--
				return left > 0
			})
		})
	})
}

// BenchmarkOpen loads keys, puts them in order, and builds the tree in slices of 32; an op is all.
func BenchmarkOpen(b *testing.B) {
	bench(b, func(b *testing.B, k benchKeys) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		keys := []byte(k.ordered)
		for b.Loop() {
			before := heap()
			start := cpu()
			x := New()
			x.Grow(k.n)
			for i := range k.n {
				x.Load(Hash(k.at(i)), keys[i*k.width:(i+1)*k.width], benchVersion(i+1), 0)
			}
			loaded := cpu()
			x.UseOrder(x.Order())
			ordered := cpu()
			worst := time.Duration(0)
			for done := false; !done; {
				slice := cpu()
				done = x.BuildTree(32)
				worst = max(worst, cpu()-slice)
			}
			b.ReportMetric(float64((loaded-start).Microseconds())/1000, "load-cpu-ms")
			b.ReportMetric(float64((ordered-loaded).Microseconds())/1000, "order-cpu-ms")
			b.ReportMetric(float64((cpu()-ordered).Microseconds())/1000, "build-cpu-ms")
			b.ReportMetric(float64(worst.Microseconds()), "slice-worst-us")
			reportHeld(b, before, k, x)
		}
	})
}
