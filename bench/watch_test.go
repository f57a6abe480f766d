package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/client"
	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
	"kvd/server/line"
)

// BenchmarkWatchLatency puts into an idle store with one watcher. after-us is the time from
// the writer's own reply to the event; write-us is the time from the start of the write.
func BenchmarkWatchLatency(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		s := openStore(b, b.TempDir())
		watchLatency(b, createBucket(b, s, kv.Config{Bucket: "b"}))
	})
	b.Run("tcp", func(b *testing.B) {
		addr, _ := serveStore(b)
		c, err := client.Dial(ctx, addr, client.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		remote, err := c.CreateBucket(ctx, kv.Config{Bucket: "b"})
		if err != nil {
			b.Fatal(err)
		}
		watchLatency(b, remote)
	})
}

func watchLatency(b *testing.B, bk kv.Bucket) {
	w, err := bk.Watch(ctx, nil, kv.UpdatesOnly())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	came := make(chan time.Time)
	go func() { // ends with the watch
		defer close(came)
		for range w.Updates() {
			came <- time.Now()
		}
	}()
	var after, whole []time.Duration
	for n := 0; b.Loop(); n++ {
		start := time.Now()
		if _, err := bk.Put(ctx, key16(n%1000), value128); err != nil {
			b.Fatal(err)
		}
		replied, event := time.Now(), <-came
		after, whole = append(after, max(0, event.Sub(replied))), append(whole, event.Sub(start))
	}
	slices.Sort(after)
	slices.Sort(whole)
	b.ReportMetric(float64(after[len(after)/2])/1e3, "after-us-p50")
	b.ReportMetric(float64(whole[len(whole)/2])/1e3, "write-us-p50")
}

var value128 = make([]byte, 128)

// serveStore serves a new store on a free port of the loopback.
func serveStore(b *testing.B) (addr string, s *bucket.Store) {
	b.Helper()
	s = openStore(b, b.TempDir())
	srv, err := server.New(line.New(s, "bench"), server.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	b.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = srv.Shutdown(late) // the benchmark's connections may be cut off
		<-served
	})
	return l.Addr().String(), s
}

// BenchmarkWatchFanOut has writers and watchers of the whole bucket. One operation is a put
// that every watcher has received.
func BenchmarkWatchFanOut(b *testing.B) {
	b.Run("embedded/watchers=1000", func(b *testing.B) {
		s := openStore(b, b.TempDir())
		bk := createBucket(b, s, kv.Config{Bucket: "b"})
		var seen atomic.Int64
		p := newPollers(2)
		var all []*counted
		for range 1000 {
			all = append(all, p.watch(b, bk, nil, &seen, kv.UpdatesOnly()))
		}
		fanOut(b, bk, 64, 1000, &seen)
		for _, w := range all {
			w.stop()
		}
		p.end()
	})
	b.Run("tcp/conns=10/watches=100", func(b *testing.B) {
		addr, s := serveStore(b)
		bk := createBucket(b, s, kv.Config{Bucket: "b"})
		var seen atomic.Int64
		for range 10 {
			watchWire(b, addr, 100, &seen)
		}
		fanOut(b, bk, 64, 1000, &seen)
	})
	for _, writers := range []int{1, 64} {
		for _, watches := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("client/watches=%d/writers=%d", watches, writers), func(b *testing.B) {
				addr, _ := serveStore(b)
				clientFanOut(b, addr, writers, watches)
			})
		}
	}
}

// clientFanOut has one client watch and write. Each watch has a goroutine that receives.
func clientFanOut(b *testing.B, addr string, writers, watches int) {
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	bk, err := c.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		b.Fatal(err)
	}
	var seen atomic.Int64
	var receivers sync.WaitGroup
	for range watches {
		w, err := bk.Watch(ctx, nil, kv.UpdatesOnly())
		if err != nil {
			b.Fatal(err)
		}
		receivers.Go(func() {
			for range w.Updates() {
				seen.Add(1)
			}
		})
	}
	fanOut(b, bk, writers, watches, &seen)
	if err := c.Close(); err != nil {
		b.Error(err)
	}
	receivers.Wait()
}

// fanOut puts, and waits until each watcher has received every put.
func fanOut(b *testing.B, bk kv.Bucket, writers, watchers int, seen *atomic.Int64) {
	start := time.Now()
	// Each key is written once, so nothing is superseded and every watcher receives every put.
	crowd(b, writers, func(_, n int) {
		if _, err := bk.Put(ctx, key16(n), value128); err != nil {
			b.Error(err)
		}
	})
	b.StartTimer()
	for want := int64(b.N) * int64(watchers); seen.Load() < want; {
		runtime.Gosched()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)*float64(watchers)/time.Since(start).Seconds(), "events/s")
}

// pollers are a few goroutines that poll many watches, as in a server.
type pollers struct {
	ready chan *counted
	quit  chan struct{}
	done  sync.WaitGroup
}

func newPollers(n int) *pollers {
	p := &pollers{ready: make(chan *counted, 1<<20), quit: make(chan struct{})} // at most one entry for each watch
	for range n {
		p.done.Go(func() {
			for {
				select {
				case w := <-p.ready:
					w.poll(p)
				case <-p.quit:
					return
				}
			}
		})
	}
	return p
}

// counted is a watch that counts its events.
type counted struct {
	kv.Poller
	seen *atomic.Int64
	quit atomic.Bool
}

func (p *pollers) watch(b *testing.B, bk kv.Bucket, patterns []string, seen *atomic.Int64, opts ...kv.WatchOption) *counted {
	b.Helper()
	c := &counted{seen: seen}
	w, err := bk.Watch(ctx, patterns, append(opts, kv.Notify(func() {
		if !c.quit.Load() {
			p.ready <- c
		}
	}))...)
	if err != nil {
		b.Fatal(err)
	}
	c.Poller = w.(kv.Poller)
	p.ready <- c
	return c
}

// stop ends the watch. The pollers may still poll it once.
func (c *counted) stop() {
	c.quit.Store(true)
	_ = c.Stop()
}

func (c *counted) poll(p *pollers) {
	n := 0
	more, _ := c.Poll(func(kv.Update) bool { n++; return n < 256 })
	c.seen.Add(int64(n))
	if more && !c.quit.Load() {
		p.ready <- c
	}
}

// end stops the goroutines.
func (p *pollers) end() {
	close(p.quit)
	p.done.Wait()
}

// watchWire begins watches of all keys on one connection and counts their events.
func watchWire(b *testing.B, addr string, watches int, seen *atomic.Int64) {
	b.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	in := bufio.NewReaderSize(nc, 1<<20)
	for i := range watches {
		fmt.Fprintf(nc, "WATCH %d b > mode=updates\r\n", i+1)
		if reply, err := in.ReadString('\n'); err != nil || reply != "+OK\r\n" {
			b.Fatalf("%q, %v", reply, err)
		}
	}
	go func() { // ends with the connection
		var r lineproto.Reply
		for {
			if _, err := in.Peek(1); err != nil {
				return
			}
			buf, _ := in.Peek(in.Buffered())
			events, used := int64(0), 0
			for {
				n, err := lineproto.ParseReply(buf[used:], &r)
				if err != nil {
					break
				}
				used += n
				events++
			}
			seen.Add(events)
			if _, err := in.Discard(used); err != nil {
				return
			}
			if used == 0 {
				if _, err := in.Peek(in.Buffered() + 1); err != nil {
					return
				}
			}
		}
	}()
}

// BenchmarkWatchedKeys puts with 10,000 watchers of one key each, and without watchers.
// x-alone is the ratio of the times.
func BenchmarkWatchedKeys(b *testing.B) {
	const watchers = 10_000
	s := openStore(b, b.TempDir())
	bk := createBucket(b, s, kv.Config{Bucket: "b"})
	put := func(_, n int) {
		if _, err := bk.Put(ctx, key16(n%watchers), value128); err != nil {
			b.Error(err)
		}
	}
	keys := keys16(0, watchers)
	var alone, watched time.Duration
	for b.Loop() {
		alone += timed(func() { crowdN(64, 20_000, put) })
		var seen atomic.Int64
		p := newPollers(2)
		var all []*counted
		for _, key := range keys {
			all = append(all, p.watch(b, bk, []string{key}, &seen))
		}
		for seen.Load() < watchers { // each has its initial entries, or one event
			runtime.Gosched()
		}
		watched += timed(func() { crowdN(64, 20_000, put) })
		for _, w := range all {
			w.stop()
		}
		p.end()
	}
	b.ReportMetric(float64(watched)/float64(alone), "x-alone")
}

func timed(call func()) time.Duration {
	start := time.Now()
	call()
	return time.Since(start)
}

// BenchmarkIdleWatchers makes 100,000 watchers that have received every event.
func BenchmarkIdleWatchers(b *testing.B) {
	const watchers = 100_000
	s := openStore(b, b.TempDir())
	bk := createBucket(b, s, kv.Config{Bucket: "b"})
	for b.Loop() {
		all := make([]kv.Poller, watchers)
		before, goroutines := heap(), runtime.NumGoroutine()
		for i := range all {
			w, err := bk.Watch(ctx, []string{key16(i)}, kv.Notify(func() {}))
			if err != nil {
				b.Fatal(err)
			}
			all[i] = w.(kv.Poller)
			for more := true; more; {
				if more, err = all[i].Poll(func(kv.Update) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(heap()-before)/watchers, "B/watcher")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
		for _, w := range all {
			_ = w.Stop()
		}
	}
}

// BenchmarkIdleClientWatches has one client watch a bucket 1,000 times. Client and server are
// one process: memory, goroutines and descriptors are those of both.
func BenchmarkIdleClientWatches(b *testing.B) {
	const watches = 1000
	addr, _ := serveStore(b)
	for b.Loop() {
		c, err := client.Dial(ctx, addr, client.Options{})
		if err != nil {
			b.Fatal(err)
		}
		bk, err := c.CreateBucket(ctx, kv.Config{Bucket: "b"})
		if err != nil {
			b.Fatal(err)
		}
		before, goroutines, files := inUse(), runtime.NumGoroutine(), descriptors(b)
		for range watches {
			if _, err := bk.Watch(ctx, nil, kv.UpdatesOnly()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(inUse()-before)/watches, "B/watch")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
		b.ReportMetric(float64(descriptors(b)-files), "descriptors")
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}
}

// inUse returns the bytes of the heap and of stacks.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func descriptors(b *testing.B) int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	return len(files)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkWatchMoved reads a snapshot whose segments are compacted after it has begun. It
// compares the rate with that of an undisturbed snapshot.
func BenchmarkWatchMoved(b *testing.B) {
	const keys = 200_000
	s := openStore(b, b.TempDir())
	bk := createBucket(b, s, kv.Config{Bucket: "b"})
	load(b, bk, s, keys, 128)
	read := func(begun func()) (took time.Duration) {
		load(b, bk, s, keys/2, 128) // superseded records, which compaction removes
		w, err := bk.Watch(ctx, nil, kv.Notify(func() {}))
		if err != nil {
			b.Fatal(err)
		}
		defer w.Stop()
		poll := func(until int) {
			for n := 0; n < until; {
				if _, err := w.(kv.Poller).Poll(func(kv.Update) bool { n++; return n < until }); err != nil {
					b.Fatal(err)
				}
			}
		}
		poll(1)
		begun()
		return timed(func() { poll(keys - 1) })
	}
	var still, moved time.Duration
	for b.Loop() {
		still += read(func() {})
		moved += read(func() {
			if _, err := s.Reclaim(ctx, nil, "b"); err != nil {
				b.Fatal(err)
			}
		})
	}
	rate := func(took time.Duration) float64 { return float64(b.N) * keys / took.Seconds() }
	b.ReportMetric(rate(still), "keys/s")
	b.ReportMetric(rate(moved), "moved-keys/s")
}

// BenchmarkWatchCatchUp has a watcher catch up from a million events behind while 16 writers
// work. It reports the watcher's rate, and the writers' p99 against their p99 without it.
func BenchmarkWatchCatchUp(b *testing.B) {
	const behind = 1_000_000
	s := openStore(b, b.TempDir())
	bk := createBucket(b, s, kv.Config{Bucket: "b"})
	load(b, bk, s, behind, 128)
	next := behind
	write := func(stop func(n int) bool) (times []time.Duration) {
		var n atomic.Int64
		var mu sync.Mutex
		var writing sync.WaitGroup
		for range 16 {
			writing.Go(func() {
				var mine []time.Duration
				for i := int(n.Add(1)); !stop(i); i = int(n.Add(1)) {
					start := time.Now()
					if _, err := bk.Put(ctx, key16(next+i), value128); err != nil {
						b.Error(err)
						return
					}
					mine = append(mine, time.Since(start))
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, mine...)
			})
		}
		writing.Wait()
		next += int(n.Load())
		slices.Sort(times)
		return times
	}
	p99 := func(times []time.Duration) float64 { return float64(times[len(times)*99/100]) }
	var rate, ratio float64
	rounds := 0
	for ; b.Loop(); rounds++ {
		alone := write(func(i int) bool { return i > 100_000 })
		w, err := bk.Watch(ctx, nil, kv.ResumeFromRevision(1))
		if err != nil {
			b.Fatal(err)
		}
		var caught atomic.Bool
		var took time.Duration
		var reading sync.WaitGroup
		reading.Go(func() {
			defer caught.Store(true)
			start, n := time.Now(), 0
			for range w.Updates() {
				if n++; n == behind {
					took = time.Since(start)
					return
				}
			}
		})
		beside := write(func(int) bool { return caught.Load() })
		reading.Wait()
		_ = w.Stop()
		rate += behind / took.Seconds()
		ratio += p99(beside) / p99(alone)
	}
	b.ReportMetric(rate/float64(rounds), "events/s")
	b.ReportMetric(ratio/float64(rounds), "x-p99")
}
