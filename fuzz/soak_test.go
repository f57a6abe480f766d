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
	soakKeys     = 1500 // keys of each writer in each bucket
	soakBatchMax = 64
	soakSession  = 40 * time.Second // mean time between two reopens of the store
	soakSample   = 5 * time.Second
)

var soakOptions = bucket.Options{
	LogFileSize: 1 << 20, LogMaxSize: 8 << 20, ReserveSize: 1 << 20, SegmentSize: 256 << 10,
}

// soakConfigs are the buckets that exist during the whole soak.
var soakConfigs = []kv.Config{
	{Bucket: "always", History: 5},
	{Bucket: "packed", History: 2, Compression: true},
	{Bucket: "interval", Sync: kv.SyncInterval},
	{Bucket: "memory", Storage: kv.MemoryStorage},
	{Bucket: "short", TTL: 3 * time.Second, MarkerTTL: 2 * time.Second},
}

// soak is one store on real files on which everything happens at once, and the values
// that its writers expect.
type soak struct {
	dir     string
	random  *rand.Rand // for the sequence of sessions; each goroutine has its own
	store   *bucket.Store
	buckets map[string]kv.Bucket
	known   [soakWriters]map[soakKey]soakValue // each map belongs to one writer

	writes, events, resumes, churned, reclaims atomic.Int64

	err struct { // the first error
		sync.Mutex
		error
	}
	stop context.CancelFunc // ends this session after a failure
}

// soakKey is a key that only one writer writes to.
type soakKey struct{ bucket, key string }

// soakValue is the newest value of a key.
type soakValue struct {
	n         uint64 // number of the write; 0: deleted
	mayExpire bool   // it may have expired
}

// TestSoak runs everything at once on real files, for the duration of the flag -kvd.soak:
// writers, watchers, times to live, edits, buckets that are created and deleted,
// compaction, checkpoints, and reopens. Each writer compares its keys with the values
// that it expects. After every close no file, mapping or goroutine may remain, and the
// files must verify. The sizes of disk and memory are compared with the live data and
// must stay in proportion to it.
func TestSoak(t *testing.T) {
	if *soakFlag == 0 {
		return // it runs only with its flag
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-kvd.seed=%d; the scheduler and the clock affect the run too", seed)
	s := &soak{dir: filepath.Join(t.TempDir(), "store"), random: rand.New(rand.NewPCG(seed, 0))}
	for i := range s.known {
		s.known[i] = make(map[soakKey]soakValue)
	}
	before := soakHolds(s.dir)
	var first, last soakSize
	for end, session := time.Now().Add(*soakFlag), 0; time.Now().Before(end); session++ {
		began := time.Now()
		length := min(time.Duration((0.5+s.random.Float64())*float64(soakSession)), time.Until(end))
		size, err := s.runSession(t, seed+uint64(session), length)
		if err == nil {
			err = s.closed(before)
		}
		if err != nil {
			t.Fatalf("seed %d, session %d: %v", seed, session, err)
		}
		if session == 0 {
			first = size
		}
		if err := size.within(first); err != nil {
			t.Fatalf("seed %d, session %d: %v", seed, session, err)
		}
		last = size
		t.Logf("session %d, %v: at rest %v; in all %d writes, %d events, %d resumes, %d buckets created and deleted, %d reclaims",
			session, time.Since(began).Round(time.Second), size, s.writes.Load(), s.events.Load(), s.resumes.Load(), s.churned.Load(), s.reclaims.Load())
	}
	t.Logf("first session at rest: %v; last: %v", first, last)
}

// runSession opens the store, compares it with the expected values, lets all goroutines
// work for about length, and returns the store's size when they are idle. It closes the
// store.
func (s *soak) runSession(t *testing.T, seed uint64, length time.Duration) (soakSize, error) {
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
			t.Logf("  under load: %v", size)
		}
	}
	group.Wait()
	if s.err.error != nil {
		return soakSize{}, errors.Join(s.err.error, s.store.Close())
	}
	return s.rest()
}

// open opens the store. Memory buckets are empty; everything else must be there.
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

// rest compacts the store, measures it and closes it.
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

// closed checks that a closed store has released its resources.
func (s *soak) closed(before soakHandles) error {
	s.store, s.buckets = nil, nil
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		now := soakHolds(s.dir)
		if now.goroutines <= before.goroutines && now.files == before.files && now.mappings == 0 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("still open after the close: %+v, before: %+v", now, before)
		}
	}
	report, err := verify.Store(s.dir, verify.Options{})
	if err == nil {
		err = report.Err()
	}
	return err
}

// write submits a batch of mutations of one writer's keys, and compares some keys.
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
		v := soakValue{n: numbers[i], mayExpire: m.TTL > 0 || m.Bucket == "short"}
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

// compare reads a key, which must have the value that its writer expects.
func (s *soak) compare(ctx context.Context, k soakKey, v soakValue) error {
	e, err := s.buckets[k.bucket].Get(ctx, k.key)
	switch {
	case errors.Is(err, kv.ErrKeyNotFound) && (v.n == 0 || v.mayExpire):
		return nil
	case err != nil:
		return fmt.Errorf("get %s of %s: %w", k.key, k.bucket, err)
	case v.n == 0:
		return fmt.Errorf("%s of %s has a value at revision %d, although it was deleted", k.key, k.bucket, e.Revision)
	case !bytes.Equal(e.Value, soakBytes(k.key, v.n)):
		return fmt.Errorf("%s of %s has another value at revision %d", k.key, k.bucket, e.Revision)
	}
	return nil
}

// soakBytes is the value of a write: up to 2 KiB that compress well.
func soakBytes(key string, n uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%s %x ", key, n), 1+int(n>>8%40))
}

// watch follows a random pattern for some events and stops. Every second time, on
// average, the next watch resumes there. Revisions must rise.
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

// soakEnd returns nil for the errors with which a watch may end.
func soakEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, kv.ErrCompacted) {
		return nil //nolint:nilerr // the end of a session and a compacted revision are no failures
	}
	return err
}

// churn makes a bucket, fills it, and deletes it while a watcher follows it.
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

// tend carries out an operator's tasks now and then.
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

// soakSize is the size of a store and of its live data.
type soakSize struct {
	live, disk int64 // bytes of live records in buckets on the disk; bytes of the segments' files
	all        int64 // bytes of the directory
	records    int64 // in all buckets
	memory     int64 // bytes of live records in memory buckets
	heap       int64 // bytes after a collection
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

// bounded returns an error if the store is much larger than factor times its live data
// plus its constant parts: the log, the reserve, the active segments and the segments
// that are being written.
func (z soakSize) bounded(factor int64) error {
	const fixed = 32 << 20
	if z.disk > factor*z.live+fixed || z.all > factor*z.live+fixed+soakOptions.LogMaxSize+soakOptions.ReserveSize {
		return fmt.Errorf("the disk is too large for the live data: %v", z)
	}
	if z.heap > 4*z.memory+1024*z.records+128<<20 {
		return fmt.Errorf("the heap is too large for the live data: %v", z)
	}
	return nil
}

// within returns an error if an idle store has grown since the first session, although
// its data cannot have grown.
func (z soakSize) within(first soakSize) error {
	const spread = 16 << 20
	if z.all > 3*first.all+spread || z.heap > 2*first.heap+spread || z.goroutines > first.goroutines+2 {
		return fmt.Errorf("grown since the first session: %v, then %v", z, first)
	}
	return nil
}

// soakHandles counts a process's descriptors and its mappings of the store's files. They
// are known on Linux only; elsewhere they are 0.
type soakHandles struct{ goroutines, files, mappings int }

func soakHolds(dir string) soakHandles {
	h := soakHandles{goroutines: runtime.NumGoroutine()}
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

// soakDirectory returns the bytes of the files below dir. Files may be removed meanwhile.
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
