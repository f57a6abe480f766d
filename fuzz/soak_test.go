package fuzz

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/bucket/verify"
	"kvd/kv"
)

var soakFlag = flag.Duration("kvd.soak", 0, "run TestSoak for about so long; 0: not at all")

const (
	soakWriters  = 4
	soakWatchers = 6
	soakKeys     = 1500 // of each writer in each bucket
	soakBatchMax = 64
	soakLife     = 40 * time.Second // of a store between two reopens, on average
	soakSample   = 5 * time.Second
)

var soakOptions = bucket.Options{
	LogFileSize: 1 << 20, LogMaxSize: 8 << 20, ReserveSize: 1 << 20, SegmentSize: 256 << 10,
}

// soakConfigs are the buckets that live through the whole soak.
var soakConfigs = []kv.Config{
	{Bucket: "always", History: 5},
	{Bucket: "packed", History: 2, Compression: true},
	{Bucket: "interval", Sync: kv.SyncInterval},
	{Bucket: "memory", Storage: kv.MemoryStorage},
	{Bucket: "short", TTL: 3 * time.Second, MarkerTTL: 2 * time.Second},
}

// soak is one store on real files on which everything happens at once, and what its
// writers know of it.
type soak struct {
	dir     string
	random  *rand.Rand // of the lives; each goroutine has one of its own
	store   *bucket.Store
	buckets map[string]kv.Bucket
	known   [soakWriters]map[soakKey]soakValue // each its writer's alone

	writes, events, resumes, churned, reclaims atomic.Int64

	err struct { // the first
		sync.Mutex
		error
	}
	stop context.CancelFunc // ends this life, after a failure
}

// soakKey is a key of one writer: no other writes to it.
type soakKey struct{ bucket, key string }

// soakValue is the newest value of a key.
type soakValue struct {
	n      uint64 // of the write; 0: deleted
	mortal bool   // it may have expired
}

// TestSoak runs everything at once on real files for as long as the flag
// -kvd.soak says: writers, watchers, times to live, edits, buckets that come and
// go, compaction, checkpoints, and a reopen now and then. Each writer knows its
// keys and compares. At every close nothing may be left over and the files must
// verify; disk and memory are measured beside the live data and must not grow away
// from it.
func TestSoak(t *testing.T) {
	if *soakFlag == 0 {
		return // it is asked for by its flag alone
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-kvd.seed=%d; the scheduler and the clock have their say too", seed)
	s := &soak{dir: filepath.Join(t.TempDir(), "store"), random: rand.New(rand.NewPCG(seed, 0))}
	for i := range s.known {
		s.known[i] = make(map[soakKey]soakValue)
	}
	before := soakHolds(s.dir)
	var first, last soakSize
	for end, life := time.Now().Add(*soakFlag), 0; time.Now().Before(end); life++ {
		began := time.Now()
		length := min(time.Duration((0.5+s.random.Float64())*float64(soakLife)), time.Until(end))
		size, err := s.live(t, seed+uint64(life), length)
		if err == nil {
			err = s.closed(before)
		}
		if err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		if life == 0 {
			first = size
		}
		if err := size.within(first); err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		last = size
		t.Logf("life %d, %v: at rest %v; in all %d writes, %d events, %d resumes, %d buckets come and gone, %d reclaims",
			life, time.Since(began).Round(time.Second), size, s.writes.Load(), s.events.Load(), s.resumes.Load(), s.churned.Load(), s.reclaims.Load())
	}
	t.Logf("first life at rest: %v; last: %v", first, last)
}

// live opens the store, compares it with what is known, lets everybody work for
// about length, and returns its size once they rest. It closes the store.
func (s *soak) live(t *testing.T, seed uint64, length time.Duration) (soakSize, error) {
	if err := s.open(); err != nil {
		return soakSize{}, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	s.stop = cancel
	var group sync.WaitGroup
	work := func(i int, f func(context.Context, *rand.Rand) error) {
		r := rand.New(rand.NewPCG(seed, uint64(1+i)))
		group.Go(func() {
			for ctx.Err() == nil {
				if err := f(ctx, r); err != nil {
					s.fail(err)
					return
				}
			}
		})
	}
	for i := range soakWriters {
		work(i, func(ctx context.Context, r *rand.Rand) error { return s.write(ctx, r, i) })
	}
	for i := range soakWatchers {
		work(100+i, s.watch)
	}
	work(200, s.churn)
	work(201, s.tend)
	ticks := time.NewTicker(soakSample)
	defer ticks.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticks.C:
			size, err := s.size(ctx)
			if err == nil {
				err = size.bounded(8)
			}
			if err != nil && ctx.Err() == nil {
				s.fail(err)
			}
			t.Logf("  at work: %v", size)
		}
	}
	group.Wait()
	if s.err.error != nil {
		return soakSize{}, errors.Join(s.err.error, s.store.Close())
	}
	return s.rest()
}

// open opens the store. What was in memory is gone, all else is there.
func (s *soak) open() (err error) {
	if s.store, err = bucket.Open(s.dir, soakOptions); err != nil {
		return err
	}
	ctx := context.Background()
	s.buckets = make(map[string]kv.Bucket)
	for _, c := range soakConfigs {
		b, err := s.store.Bucket(ctx, c.Bucket)
		if errors.Is(err, kv.ErrBucketNotFound) {
			b, err = s.store.CreateBucket(ctx, c)
		}
		if err != nil {
			return err
		}
		s.buckets[c.Bucket] = b
	}
	for _, known := range s.known {
		for k, v := range known {
			if k.bucket == "memory" {
				delete(known, k)
				v = soakValue{}
			}
			if err := s.compare(ctx, k, v); err != nil {
				return fmt.Errorf("after a reopen: %w", err)
			}
		}
	}
	return nil
}

// rest settles the store, measures and closes it.
func (s *soak) rest() (soakSize, error) {
	ctx := context.Background()
	if _, err := s.store.Reclaim(ctx, nil); err != nil {
		return soakSize{}, err
	}
	size, err := s.size(ctx)
	if err == nil {
		err = size.bounded(2)
	}
	return size, errors.Join(err, s.store.Close())
}

// closed checks what a store leaves behind that was closed.
func (s *soak) closed(before soakHold) error {
	s.store, s.buckets = nil, nil
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		now := soakHolds(s.dir)
		if now.goroutines <= before.goroutines && now.files == before.files && now.mappings == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("left over: %+v, before: %+v", now, before)
		}
	}
	report, err := verify.Store(s.dir, verify.Options{})
	if err == nil {
		err = report.Err()
	}
	return err
}

// write submits a batch of mutations of one writer's keys, and compares some.
func (s *soak) write(ctx context.Context, r *rand.Rand, writer int) error {
	known := s.known[writer]
	batch := make([]kv.Mutation, 1+r.IntN(soakBatchMax))
	numbers := make([]uint64, len(batch))
	for i := range batch {
		numbers[i] = r.Uint64() | 1
		m := kv.Mutation{
			Bucket: soakConfigs[r.IntN(len(soakConfigs))].Bucket,
			Key:    fmt.Sprintf("w%d.%d.k%d", writer, r.IntN(3), r.IntN(soakKeys/3)),
		}
		switch n := r.IntN(20); {
		case n < 2:
			m.Op = kv.MutateDelete
		case n < 3:
			m.Op = kv.MutatePurge
			m.TTL = time.Duration(r.IntN(2)) * time.Second
		default:
			m.Op, m.Value = kv.MutatePut, soakBytes(m.Key, numbers[i])
			if n < 6 {
				m.TTL = time.Duration(1+r.IntN(5000)) * time.Millisecond
			}
		}
		batch[i] = m
	}
	if err := s.store.Submit(context.Background(), batch); err != nil {
		return err
	}
	for i, m := range batch {
		if m.Err != nil {
			return fmt.Errorf("%v of %s in %s: %w", m.Op, m.Key, m.Bucket, m.Err)
		}
		v := soakValue{n: numbers[i], mortal: m.TTL > 0 || m.Bucket == "short"}
		if m.Op != kv.MutatePut {
			v = soakValue{}
		}
		known[soakKey{m.Bucket, m.Key}] = v
	}
	s.writes.Add(int64(len(batch)))
	for _, m := range batch[:min(4, len(batch))] {
		k := soakKey{m.Bucket, m.Key}
		if err := s.compare(context.Background(), k, known[k]); err != nil {
			return err
		}
	}
	return nil
}

// compare reads a key, which must be what its writer knows.
func (s *soak) compare(ctx context.Context, k soakKey, v soakValue) error {
	e, err := s.buckets[k.bucket].Get(ctx, k.key)
	switch {
	case errors.Is(err, kv.ErrKeyNotFound) && (v.n == 0 || v.mortal):
		return nil
	case err != nil:
		return fmt.Errorf("get %s of %s: %w", k.key, k.bucket, err)
	case v.n == 0:
		return fmt.Errorf("%s of %s has a value at revision %d, it was deleted", k.key, k.bucket, e.Revision)
	case !bytes.Equal(e.Value, soakBytes(k.key, v.n)):
		return fmt.Errorf("%s of %s has another value at revision %d", k.key, k.bucket, e.Revision)
	}
	return nil
}

// soakBytes is the value of a write: up to 2 KiB that compress well.
func soakBytes(key string, n uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%s %x ", key, n), 1+int(n>>8%40))
}

// watch follows a random pattern for some events, stops, and goes on where it was
// as often as not. Revisions rise.
func (s *soak) watch(ctx context.Context, r *rand.Rand) error {
	name := soakConfigs[r.IntN(len(soakConfigs))].Bucket
	patterns := [][]string{nil, {fmt.Sprintf("w%d.>", r.IntN(soakWriters))}, {"*.0.*", "w1.1.k7"}}[r.IntN(3)]
	optional := []kv.WatchOption{kv.IncludeHistory(), kv.UpdatesOnly(), kv.IgnoreDeletes(), kv.MetaOnly()}
	opts := optional[r.IntN(len(optional)):][:1]
	var last kv.Revision
	for ctx.Err() == nil {
		w, err := s.buckets[name].Watch(ctx, patterns, opts...)
		if err != nil {
			return soakEnd(ctx, err)
		}
		left := 1 + r.IntN(20_000)
		for u, err := range w.All() {
			if err != nil {
				return errors.Join(soakEnd(ctx, err), w.Stop())
			}
			if s.events.Add(1); u.Err != nil {
				return u.Err
			}
			if u.Entry != nil {
				if u.Entry.Revision <= last {
					return fmt.Errorf("watch of %v in %s: revision %d after %d", patterns, name, u.Entry.Revision, last)
				}
				last = u.Entry.Revision
			}
			if left--; left == 0 {
				break
			}
		}
		if err := w.Stop(); err != nil {
			return soakEnd(ctx, err)
		}
		if last == 0 || r.IntN(2) == 0 {
			return nil
		}
		opts = []kv.WatchOption{kv.ResumeFromRevision(last + 1)}
		s.resumes.Add(1)
	}
	return nil
}

// soakEnd returns nil for the ways in which a watch may end.
func soakEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, kv.ErrCompacted) {
		return nil //nolint:nilerr // the end of a life, and of what is kept, are no failures
	}
	return err
}

// churn makes a bucket, fills it, and deletes it under a watcher of its own.
func (s *soak) churn(ctx context.Context, r *rand.Rand) error {
	config := kv.Config{Bucket: fmt.Sprintf("gone-%d", r.IntN(3)), History: 1 + r.IntN(3), Storage: kv.Storage(r.IntN(2))}
	b, err := s.store.CreateBucket(ctx, config)
	if err != nil {
		return soakEnd(ctx, err)
	}
	w, err := b.Watch(context.Background(), nil)
	if err != nil {
		return err
	}
	for range r.IntN(200) {
		if _, err := b.Put(context.Background(), fmt.Sprintf("k%d", r.IntN(50)), soakBytes("churn", r.Uint64())); err != nil {
			return err
		}
	}
	if err := s.store.DeleteBucket(context.Background(), config.Bucket); err != nil {
		return err
	}
	for _, err := range w.All() {
		if err != nil && !errors.Is(err, kv.ErrBucketNotFound) {
			return err
		}
	}
	s.churned.Add(1)
	return w.Stop()
}

// tend does now and then what an operator does.
func (s *soak) tend(ctx context.Context, r *rand.Rand) error {
	timer := time.NewTimer(time.Duration(r.IntN(400)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	}
	config := soakConfigs[r.IntN(len(soakConfigs))]
	b := s.buckets[config.Bucket]
	var err error
	switch r.IntN(6) {
	case 0:
		config.History = 1 + r.IntN(6)
		config.Compression = r.IntN(2) == 0
		_, err = s.store.UpdateBucket(ctx, config)
	case 1:
		err = b.PurgeDeletes(ctx, time.Duration(r.IntN(3)-1)*time.Second)
	case 2:
		err = s.store.Checkpoint(ctx)
	case 3:
		for _, err = range b.Keys(ctx, "*.1.*") {
			if err != nil {
				break
			}
		}
	case 4:
		for _, err = range b.History(ctx, fmt.Sprintf("w0.1.k%d", r.IntN(soakKeys/3))) {
			if err != nil {
				break
			}
		}
		if errors.Is(err, kv.ErrKeyNotFound) {
			err = nil
		}
	case 5:
		if r.IntN(4) == 0 {
			s.reclaims.Add(1)
			_, err = s.store.Reclaim(ctx, nil, config.Bucket)
		}
	}
	return soakEnd(ctx, err)
}

func (s *soak) fail(err error) {
	s.err.Lock()
	defer s.err.Unlock()
	if s.err.error == nil {
		s.err.error = err
	}
	s.stop()
}

// soakSize is what a store takes beside what it has.
type soakSize struct {
	live, disk int64 // of the buckets on the disk, bytes; disk is of the segments' files
	all        int64 // of the directory, bytes
	records    int64 // of all buckets
	memory     int64 // of the live records in memory buckets, bytes
	heap       int64 // after a collection, bytes
	goroutines int
}

func (z soakSize) String() string {
	const mib = 1 << 20
	return fmt.Sprintf("%d records, %.1f MiB live, segments %.1f MiB (%.2f), directory %.1f MiB, heap %.1f MiB beside %.1f MiB in memory buckets, %d goroutines",
		z.records, float64(z.live)/mib, float64(z.disk)/mib, float64(z.disk)/float64(max(1, z.live)), float64(z.all)/mib,
		float64(z.heap)/mib, float64(z.memory)/mib, z.goroutines)
}

func (s *soak) size(ctx context.Context) (z soakSize, err error) {
	for status, err := range s.store.Buckets(ctx) {
		if err != nil {
			return z, err
		}
		z.records += int64(status.Values)
		if status.Config.Storage == kv.MemoryStorage {
			z.memory += int64(status.Bytes)
			continue
		}
		z.live += int64(status.Bytes)
		z.disk += int64(status.Disk)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	z.heap, z.goroutines = int64(m.HeapAlloc), runtime.NumGoroutine()
	z.all, err = soakDirectory(s.dir)
	return z, err
}

// bounded fails where the store takes much more than factor times its live data and
// what it has whatever the data: the log, the reserve, the active segments and those
// that are being written.
func (z soakSize) bounded(factor int64) error {
	const fixed = 32 << 20
	if z.disk > factor*z.live+fixed || z.all > factor*z.live+fixed+soakOptions.LogMaxSize+soakOptions.ReserveSize {
		return fmt.Errorf("the disk has grown away from the live data: %v", z)
	}
	if z.heap > 4*z.memory+1024*z.records+128<<20 {
		return fmt.Errorf("the heap has grown away from the live data: %v", z)
	}
	return nil
}

// within fails where a store at rest has grown since its first life, although its
// data cannot have.
func (z soakSize) within(first soakSize) error {
	const spread = 16 << 20
	if z.all > 3*first.all+spread || z.heap > 2*first.heap+spread || z.goroutines > first.goroutines+2 {
		return fmt.Errorf("grown since the first life: %v, then %v", z, first)
	}
	return nil
}

// soakHold is what a process holds: its descriptors, and its mappings of files of the
// store. Only Linux tells of these; elsewhere they are 0.
type soakHold struct{ goroutines, files, mappings int }

func soakHolds(dir string) soakHold {
	h := soakHold{goroutines: runtime.NumGoroutine()}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return h
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return h
	}
	h.files, h.mappings = len(descriptors), strings.Count(string(maps), dir)
	return h
}

// soakDirectory returns what the files below dir hold, in bytes. Files may go
// meanwhile.
func soakDirectory(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return size, err
}
