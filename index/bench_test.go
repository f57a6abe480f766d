package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"kvd/kv"
)

// benchKeys is n keys of one width, cut from one string so that the collector
// has nothing to look at.
type benchKeys struct {
	all   string
	width int
}

func (k benchKeys) len() int { return len(k.all) / k.width }

func (k benchKeys) at(i int) string { return k.all[i*k.width : (i+1)*k.width] }

// shapes of keys: 16 random bytes, and 40 of which the first 18 to 24 are shared
// by many, as programs name them.
var shapes = []string{"random", "prefixed"}

func makeKeys(shape string, n int) benchKeys {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	regions := []string{"eu", "us", "ap", "af"}
	kinds := []string{"orders", "customers", "carts", "payments", "stock"}
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	var b strings.Builder
	width := 16
	if shape == "prefixed" {
		width = 40
	}
	b.Grow(n * width)
	for i := range n {
		start := b.Len()
		if shape == "prefixed" {
			fmt.Fprintf(&b, "service.%s.%s.", regions[rng.IntN(len(regions))], kinds[rng.IntN(len(kinds))])
		}
		for id := uint64(i); b.Len() < start+width; {
			b.WriteByte(digits[(rng.Uint64()^id)&63])
		}
	}
	return benchKeys{b.String(), width}
}

func benchVersion(rev int) Version {
	return Version{
		Revision: kv.Revision(rev), Created: int64(rev), Segment: uint32(rev >> 20), Offset: int64(rev&0xfffff) * 8,
		Size: 100, Op: kv.Put,
	}
}

func fillIndex(k benchKeys) *Index {
	x := New()
	for i := range k.len() {
		key := k.at(i)
		x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
	}
	return x
}

// filled returns an index with n keys of a shape; the last is kept for the next
// benchmark. Benchmarks that add keys must not use it.
var filled = func() func(shape string, n int) (*Index, benchKeys) {
	var (
		mu    sync.Mutex
		named string
		x     *Index
		k     benchKeys
	)
	return func(shape string, n int) (*Index, benchKeys) {
		mu.Lock()
		defer mu.Unlock()
		if name := fmt.Sprint(shape, n); name != named {
			x, k = nil, benchKeys{}
			runtime.GC()
			k = makeKeys(shape, n)
			x, named = fillIndex(k), name
		}
		return x, k
	}
}()

func eachShape(b *testing.B, fn func(b *testing.B, shape string, n int)) {
	for _, n := range []int{1_000_000, 10_000_000} {
		for _, shape := range shapes {
			b.Run(fmt.Sprintf("keys=%s/n=%d", shape, n), func(b *testing.B) { fn(b, shape, n) })
		}
	}
}

func heap() uint64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkInsert fills an index and weighs it; an op is a whole fill.
func BenchmarkInsert(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		k := makeKeys(shape, n)
		for b.Loop() {
			before := heap()
			x := New()
			worst := time.Duration(0)
			start := time.Now()
			for i := range n {
				key := k.at(i)
				if i%1024 != 0 {
					x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
					continue
				}
				one := time.Now()
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
				worst = max(worst, time.Since(one))
			}
			spent := time.Since(start)
			held := heap() - before
			gc := time.Now()
			runtime.GC()
			b.ReportMetric(float64(time.Since(gc).Microseconds())/1000, "gc-ms")
			b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "ns/key")
			b.ReportMetric(float64(held)/float64(n)-float64(k.width), "B/key")
			b.ReportMetric(float64(x.Memory())/float64(n)-float64(k.width), "B/key-told")
			runtime.KeepAlive(x)
		}
		runtime.KeepAlive(k)
	})
}

// BenchmarkInsertWorst times every insert; the collector is off, its pauses are
// not the index's.
func BenchmarkInsertWorst(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		k := makeKeys(shape, n)
		runtime.GC()
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		for b.Loop() {
			x := New()
			var over50, over100 int
			last := time.Now()
			worst := time.Duration(0)
			for i := range n {
				key := k.at(i)
				x.Apply(Hash(key), key, benchVersion(i+1), kv.Revision(i+1), nil)
				now := time.Now()
				took := now.Sub(last)
				last = now
				worst = max(worst, took)
				if took > 50*time.Microsecond {
					over50++
				}
				if took > 100*time.Microsecond {
					over100++
				}
			}
			b.ReportMetric(float64(worst.Microseconds()), "worst-us")
			b.ReportMetric(float64(over50), "over-50us")
			b.ReportMetric(float64(over100), "over-100us")
		}
	})
}

func BenchmarkNewest(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		x, k := filled(shape, n)
		rng := rand.New(rand.NewPCG(2, 2))
		b.ReportAllocs()
		for b.Loop() {
			key := k.at(rng.IntN(n))
			if _, ok := x.Newest(Hash(key), key); !ok {
				b.Fatalf("%q is missing", key)
			}
		}
	})
}

func BenchmarkOverwrite(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		x, k := filled(shape, n)
		rng := rand.New(rand.NewPCG(3, 3))
		rev := 1 << 40
		b.ReportAllocs()
		for b.Loop() {
			rev++
			key := k.at(rng.IntN(n))
			x.Apply(Hash(key), key, benchVersion(rev), kv.Revision(rev), nil)
		}
		if x.Len() != n || x.Count() != n {
			b.Fatalf("%d keys, %d versions", x.Len(), x.Count())
		}
	})
}

// BenchmarkOverwriteBesideSnapshots takes a snapshot every 4,096 puts.
func BenchmarkOverwriteBesideSnapshots(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		x, k := filled(shape, n)
		rng := rand.New(rand.NewPCG(4, 4))
		rev := 1 << 41
		s := x.Snapshot()
		b.ReportAllocs()
		for b.Loop() {
			if rev++; rev%4096 == 0 {
				s.Release()
				s = x.Snapshot()
			}
			key := k.at(rng.IntN(n))
			x.Apply(Hash(key), key, benchVersion(rev), kv.Revision(rev), nil)
		}
		s.Release()
		for !x.queue.empty() {
			x.drain()
		}
	})
}

func BenchmarkHistory5(b *testing.B) {
	const n = 1_000_000
	for _, shape := range shapes {
		b.Run(fmt.Sprintf("keys=%s/n=%d", shape, n), func(b *testing.B) {
			k := makeKeys(shape, n)
			x := New()
			rng := rand.New(rand.NewPCG(5, 5))
			put := func(rev int) {
				key := k.at(rng.IntN(n))
				hash := Hash(key)
				floor := kv.Revision(0)
				if x.versionsOf(hash, key) >= 5 {
					floor = x.FloorAfter(hash, key, 4)
				}
				x.Apply(hash, key, benchVersion(rev), floor, nil)
			}
			rev := 0
			for range 8 * n {
				rev++
				put(rev)
			}
			b.ReportAllocs()
			for b.Loop() {
				rev++
				put(rev)
			}
			b.ReportMetric(float64(x.Memory())/float64(x.Count()), "B/version")
		})
	}
}

func (x *Index) versionsOf(hash uint64, key string) int {
	row, kept := x.lookup(hash, key)
	n := 0
	for ; row != 0 && kept > 0; kept-- {
		n++
		row = x.rows.older(row)
	}
	return n
}

// BenchmarkAscend lists; an op is a key.
func BenchmarkAscend(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		x, _ := filled(shape, n)
		s := x.Snapshot()
		defer s.Release()
		left := b.N
		for left > 0 {
			s.Ascend("", func([]byte, Version) bool {
				left--
				return left > 0
			})
		}
	})
}

// BenchmarkAscendPrefix lists 10 keys from somewhere; an op is a listing.
func BenchmarkAscendPrefix(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		x, k := filled(shape, n)
		s := x.Snapshot()
		defer s.Release()
		rng := rand.New(rand.NewPCG(6, 6))
		for b.Loop() {
			left := 10
			s.Ascend(k.at(rng.IntN(n)), func([]byte, Version) bool {
				left--
				return left > 0
			})
		}
	})
}

// BenchmarkOpen loads and builds the tree in slices; an op is the whole.
func BenchmarkOpen(b *testing.B) {
	eachShape(b, func(b *testing.B, shape string, n int) {
		k := makeKeys(shape, n)
		bytes := []byte(k.all)
		for b.Loop() {
			before := heap()
			start := time.Now()
			x := New()
			x.Grow(n)
			for i := range n {
				x.Load(Hash(k.at(i)), bytes[i*k.width:(i+1)*k.width], benchVersion(i+1), 0)
			}
			loaded := time.Now()
			worst := time.Duration(0)
			for done := false; !done; {
				slice := time.Now()
				done = x.BuildTree(32)
				worst = max(worst, time.Since(slice))
			}
			b.ReportMetric(float64(loaded.Sub(start).Milliseconds()), "load-ms")
			b.ReportMetric(float64(time.Since(loaded).Milliseconds()), "build-ms")
			b.ReportMetric(float64(worst.Microseconds()), "slice-worst-us")
			b.ReportMetric(float64(heap()-before)/float64(n)-float64(k.width), "B/key")
			runtime.KeepAlive(x)
		}
		runtime.KeepAlive(bytes)
	})
}

func BenchmarkHash(b *testing.B) {
	key := makeKeys("random", 1).at(0)
	for b.Loop() {
		Hash(key)
	}
}
