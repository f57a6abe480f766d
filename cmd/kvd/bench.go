package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// benchFlags are the load that bench makes.
type benchFlags struct {
	writers   int
	pipeline  int
	valueSize sizeFlag
	keys      int
	reads     float64
	watchers  int
	duration  time.Duration
	bucket    string
}

func (a *app) benchCommand() *cobra.Command {
	b := benchFlags{valueSize: 128}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure the rate and latency of a store",
		Long: `Run operations over several connections, and print their rate and latency. With
--dir, all writers share the opened directory, without a network. The keys go into
a new bucket, which is deleted afterwards, or into the one that --bucket names. The
latency of an event is measured from before its put was sent.`,
		Example: `  kvd bench --writers 16 --pipeline 8 --reads 0.5 --duration 10s
  kvd bench --writers 4 --watchers 100`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return usageOf(c, err)
			}
			return a.bench(c.Context(), &b)
		},
	}
	f := c.Flags()
	f.IntVar(&b.writers, "writers", 16, "connections")
	f.IntVar(&b.pipeline, "pipeline", 1, "operations in flight on each connection")
	f.Var(&b.valueSize, "value-size", "size of a value")
	f.IntVar(&b.keys, "keys", 10_000, "number of different keys")
	f.Float64Var(&b.reads, "reads", 0, "share of reads, 0 to 1")
	f.IntVar(&b.watchers, "watchers", 0, "watchers of all keys")
	f.DurationVar(&b.duration, "duration", 10*time.Second, "how long to run")
	f.StringVar(&b.bucket, "bucket", "", "use an existing bucket; overwrites its bench.* keys")
	a.addTarget(c)
	a.addJSON(c)
	_ = c.RegisterFlagCompletionFunc("bucket", func(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completeArgs(completeBucket)(c, nil, prefix)
	}) // it exists
	return c
}

func (b *benchFlags) check() error {
	switch {
	case b.writers < 1 || b.writers > 1000:
		return fmt.Errorf("--writers %d: must be 1 to 1000", b.writers)
	case b.pipeline < 1 || b.pipeline > 1000:
		return fmt.Errorf("--pipeline %d: must be 1 to 1000", b.pipeline)
	case b.writers*b.pipeline > 10_000:
		return fmt.Errorf("--writers %d times --pipeline %d: must be at most 10000", b.writers, b.pipeline)
	case b.keys < 1:
		return fmt.Errorf("--keys %d: must be at least 1", b.keys)
	case b.reads < 0 || b.reads > 1:
		return fmt.Errorf("--reads %v: must be 0 to 1", b.reads)
	case b.valueSize < 0 || b.valueSize > kv.MaxValueSizeLimit:
		return fmt.Errorf("--value-size %d: must be 0 to %d", b.valueSize, kv.MaxValueSizeLimit)
	case b.watchers < 0 || b.watchers > 1000:
		return fmt.Errorf("--watchers %d: must be 0 to 1000", b.watchers)
	case b.watchers > 0 && b.valueSize < stampSize:
		return fmt.Errorf("--value-size %d: must be at least %d with --watchers, for the time of the put", b.valueSize, stampSize)
	case b.duration <= 0:
		return fmt.Errorf("--duration %v: must be above 0", b.duration)
	}
	return nil
}

func (a *app) bench(ctx context.Context, flags *benchFlags) error {
	return a.withStore(ctx, mayCreate, func(ctx context.Context, s store) (err error) {
		name := flags.bucket
		if name == "" {
			name = fmt.Sprintf("kvd-bench-%d-%08x", os.Getpid(), rand.Uint32())
			cfg := kv.Config{Bucket: name, Description: "made by kvd bench", MaxValueSize: max(int64(flags.valueSize), kv.MaxValueSizeDefault)}
			if _, err := s.CreateBucket(ctx, cfg); err != nil {
				return err
			}
			defer func() { // also when interrupted
				err = errors.Join(err, s.DeleteBucket(context.WithoutCancel(ctx), name))
			}()
		}
		load, err := a.load(ctx, s, name, flags)
		if err != nil {
			return err
		}
		return a.printLoad(load, flags)
	})
}

// load is what a run has measured.
type load struct {
	elapsed       time.Duration
	reads, writes latencies
	events        latencies
	misses        uint64 // reads of a key that was not written yet
}

// worker runs one of a connection's operations in flight, in its own goroutine.
type worker struct {
	reads, writes latencies
	misses        uint64
	err           error
}

func (a *app) load(ctx context.Context, s store, bucket string, flags *benchFlags) (*load, error) {
	buckets, closeAll, err := a.benchBuckets(ctx, s, bucket, flags.writers)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, flags.duration)
	defer cancel()
	workers := make([]worker, flags.writers*flags.pipeline)
	watchers := make([]benchWatcher, flags.watchers)
	var group sync.WaitGroup
	defer group.Wait() // also where a watch could not be started
	start := time.Now()
	for i := range watchers {
		w, err := buckets[i%len(buckets)].Watch(ctx, []string{benchPrefix + ">"}, kv.UpdatesOnly())
		if err != nil {
			cancel()
			return nil, err
		}
		group.Go(func() { watchers[i].run(w, start) })
	}
	for i := range workers {
		b := buckets[i%len(buckets)]
		group.Go(func() {
			workers[i].run(ctx, b, flags, uint64(i), start)
			if workers[i].err != nil {
				cancel() // a failure ends the run
			}
		})
	}
	group.Wait()
	l := &load{elapsed: time.Since(start)}
	for i := range workers {
		w := &workers[i]
		if w.err != nil {
			return nil, w.err
		}
		l.reads.merge(&w.reads)
		l.writes.merge(&w.writes)
		l.misses += w.misses
	}
	for i := range watchers {
		w := &watchers[i]
		if w.err != nil {
			return nil, w.err
		}
		l.events.merge(&w.events)
	}
	return l, nil
}

// benchBuckets returns the bucket on one connection for each writer. Of a directory it
// returns one, which all writers share.
func (a *app) benchBuckets(ctx context.Context, s store, name string, writers int) (buckets []kv.Bucket, closeAll func(), err error) {
	var opened []store
	closeAll = func() {
		for _, c := range opened {
			_ = c.Close() // every answer is in
		}
	}
	stores := []store{s}
	for a.target.dir == "" && len(stores) < writers {
		c, err := a.open(ctx, mustExist)
		if err != nil {
			return nil, closeAll, err
		}
		opened = append(opened, c)
		stores = append(stores, c)
	}
	for _, c := range stores {
		b, err := c.Bucket(ctx, name)
		if err != nil {
			return nil, closeAll, err
		}
		buckets = append(buckets, b)
	}
	return buckets, closeAll, nil
}

// benchPrefix begins every key of the load.
const benchPrefix = "bench."

// stampSize is the size in bytes of the time at the beginning of a value: when it
// was sent, in nanoseconds since the run began.
const stampSize = 8

// benchWatcher counts the events of one watch.
type benchWatcher struct {
	events latencies
	err    error
}

// run counts until the watch ends, with its context or by an error.
func (w *benchWatcher) run(watcher kv.Watcher, start time.Time) {
	for u := range watcher.Updates() {
		if u.Entry != nil && len(u.Entry.Value) >= stampSize { // puts of other clients may be shorter
			sent := time.Duration(binary.LittleEndian.Uint64(u.Entry.Value))
			w.events.add(time.Since(start) - sent)
		}
	}
	if err := watcher.Err(); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		w.err = err
	}
}

// run works until the context ends. It does not count the operation that the end
// interrupts.
func (w *worker) run(ctx context.Context, b kv.Bucket, flags *benchFlags, seed uint64, began time.Time) {
	random := rand.New(rand.NewPCG(seed, 0))
	value := make([]byte, flags.valueSize)
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	var read []byte
	key := []byte(benchPrefix)
	prefix := len(key)
	for ctx.Err() == nil {
		key = strconv.AppendInt(key[:prefix], int64(random.IntN(flags.keys)), 10)
		reads := random.Float64() < flags.reads
		start := time.Now()
		if len(value) >= stampSize {
			binary.LittleEndian.PutUint64(value, uint64(start.Sub(began)))
		}
		var err error
		if reads {
			read, _, err = b.GetAppend(ctx, read[:0], string(key))
		} else {
			_, err = b.Put(ctx, string(key), value)
		}
		took := time.Since(start)
		switch {
		case ctx.Err() != nil:
			return
		case reads && errors.Is(err, kv.ErrKeyNotFound):
			w.misses++
			w.reads.add(took)
		case err != nil:
			w.err = err
			return
		case reads:
			w.reads.add(took)
		default:
			w.writes.add(took)
		}
	}
}

// loadJSON is the result for one kind of operation. Latencies are in microseconds.
type loadJSON struct {
	Operation string  `json:"operation"`
	Count     uint64  `json:"count"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"rate"` // per second
	P50       float64 `json:"p50_us"`
	P90       float64 `json:"p90_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	Max       float64 `json:"max_us"`
}

func (a *app) printLoad(l *load, flags *benchFlags) error {
	title := fmt.Sprintf("%d writers × %d in flight, values of %s", flags.writers, flags.pipeline, bytesText(uint64(flags.valueSize)))
	t := a.newList(title, "Operation", "Count", "Per second", "p50", "p90", "p99", "p99.9", "Max")
	for _, kind := range []struct {
		name string
		*latencies
	}{{"put", &l.writes}, {"get", &l.reads}, {"event", &l.events}} {
		if kind.count == 0 {
			continue
		}
		rate := float64(kind.count) / l.elapsed.Seconds()
		if a.json {
			if err := a.printJSON(loadJSON{
				kind.name, kind.count, l.elapsed.Seconds(), rate,
				micros(kind.at(0.5)), micros(kind.at(0.9)), micros(kind.at(0.99)), micros(kind.at(0.999)), micros(kind.max),
			}); err != nil {
				return err
			}
			continue
		}
		t.add(kind.name, kind.count, fmt.Sprintf("%.0f", rate),
			readable(kind.at(0.5)), readable(kind.at(0.9)), readable(kind.at(0.99)), readable(kind.at(0.999)), readable(kind.max))
	}
	if a.json {
		return nil
	}
	t.end()
	if l.misses > 0 {
		fmt.Fprintf(a.err, "%d gets found no value yet\n", l.misses)
	}
	return nil
}

// readable rounds a latency to the precision of the histogram.
func readable(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
