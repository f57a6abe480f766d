package fuzz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// event is one call of a client, between two ticks of a clock that all clients share.
type event struct {
	mutation  kv.Mutation // Op 0: a get
	revision  kv.Revision // written or read; 0: none
	err       error
	from, to  int64
	operation kv.Operation // of the record written
}

// crowd is many clients of one store, and the crashes during their work.
type crowd struct {
	store *bucket.Store
	disk  *simdisk.Disk
	ticks atomic.Int64
	mu    struct {
		sync.Mutex
		events []event
		images []snapshot
	}
}

// snapshot is the disk after a power cut at a tick.
type snapshot struct {
	disk *simdisk.Disk
	tick int64
	name string
}

const (
	clients      = 8
	callsEach    = 150
	crowdHistory = 3
)

// TestConcurrentWriters has clients write, read and compare-and-set the same few keys, with
// the background goroutines at work, and cuts the power at random calls.
func TestConcurrentWriters(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	for seed := range uint64(max(6, effort(16))) {
		c := newCrowd(t, seed)
		c.run(t, seed)
		if err := c.consistent(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, s := range c.mu.images {
			checks.add(func(count func()) error {
				if err := c.survives(s, count); err != nil {
					return fmt.Errorf("seed %d, crash at tick %d, %s: %w", seed, s.tick, s.name, err)
				}
				return nil
			})
		}
		if err := checks.wait(); err != nil {
			t.Fatal(err)
		}
	}
	report(t, checks, start)
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{disk: simdisk.New()}
	fault := simdisk.NewFault(c.disk)
	fault.Inject(c.crashes(rand.New(rand.NewPCG(seed, 7))))
	store, err := bucket.Open(storeDir, environment.With(bucket.Options{
		LogFileSize: 32 << 10, LogMaxSize: 128 << 10, ReserveSize: -1,
	}, environment.Env{
		FS: fault, Now: func() time.Time { return time.Unix(0, epoch+c.ticks.Add(1)) },
	}))
	if err != nil {
		t.Fatal(err)
	}
	c.store = store
	return c
}

// crashes returns a function that passes every call on and takes images before some calls.
func (c *crowd) crashes(r *rand.Rand) func(simdisk.Op) simdisk.Action {
	return func(simdisk.Op) simdisk.Action {
		if r.IntN(60) == 0 {
			tick := c.ticks.Add(1) // results returned before this tick must survive
			for _, cut := range cuts(c.disk.Pending(), r.Uint64(), 1) {
				if cut.name == "kill" {
					continue
				}
				c.keep(snapshot{cut.make(c.disk), tick, cut.name})
			}
		}
		return simdisk.Action{}
	}
}

func (c *crowd) keep(s snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.images = append(c.mu.images, s)
}

// run lets the clients work and closes the store.
func (c *crowd) run(t *testing.T, seed uint64) {
	before := runtime.NumGoroutine()
	for _, name := range bucketNames {
		if _, err := c.store.CreateBucket(t.Context(), kv.Config{Bucket: name, History: crowdHistory}); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { c.client(t, rand.New(rand.NewPCG(seed, uint64(100+i))), i) })
	}
	group.Wait()
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	c.keep(snapshot{c.disk.Crash(simdisk.KeepNone()), c.ticks.Add(1), "after the end"})
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before the store was used, %d after", before, runtime.NumGoroutine())
		}
	}
}

// client makes calls, one after the other.
func (c *crowd) client(t *testing.T, r *rand.Rand, id int) {
	known := make(map[string]kv.Revision)
	for n := range callsEach {
		e := event{mutation: kv.Mutation{Bucket: pick(r, bucketNames), Key: pick(r, keyNames[:4])}}
		where := e.mutation.Bucket + "/" + e.mutation.Key
		if r.IntN(4) > 0 {
			e.mutation.Op = kv.MutationOp(1 + r.IntN(int(kv.MutatePurge)))
			e.mutation.Last = known[where]
			e.mutation.IfLast = e.mutation.Op > kv.MutateUpdate && r.IntN(2) == 0
			if e.mutation.Op < kv.MutateDelete {
				e.mutation.Value = fmt.Appendf(make([]byte, 0, 400), "%d-%d %0*d", id, n, r.IntN(300), n)
			}
		}
		c.call(t, &e)
		var mismatch *kv.RevisionMismatchError
		switch {
		case e.err == nil:
			known[where] = e.revision
		case errors.As(e.err, &mismatch):
			known[where] = mismatch.Got
		case !errors.Is(e.err, kv.ErrKeyNotFound):
			t.Errorf("%+v: %v", e.mutation, e.err)
		}
		if r.IntN(100) == 0 {
			if err := c.store.Checkpoint(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// call carries out one event and records it.
func (c *crowd) call(t *testing.T, e *event) {
	e.from = c.ticks.Add(1)
	if e.mutation.Op == 0 {
		b, err := c.store.Bucket(t.Context(), e.mutation.Bucket)
		if err != nil {
			t.Error(err)
			return
		}
		got, err := b.Get(t.Context(), e.mutation.Key)
		e.revision, e.err = got.Revision, err
	} else {
		one := []kv.Mutation{e.mutation}
		e.err = c.store.Submit(context.Background(), one)
		if e.err == nil {
			e.revision, e.err = one[0].Revision, one[0].Err
		}
	}
	e.to = c.ticks.Add(1)
	switch e.mutation.Op {
	case kv.MutateDelete:
		e.operation = kv.Delete
	case kv.MutatePurge:
		e.operation = kv.Purge
	default:
		e.operation = kv.Put
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.events = append(c.mu.events, *e)
}

// written returns the successful writes of a bucket, by revision.
func (c *crowd) written(name string) []event {
	var list []event
	for _, e := range c.mu.events {
		if e.mutation.Bucket == name && e.mutation.Op != 0 && e.err == nil {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
	return list
}

// consistent checks that the events can have happened in the order of revisions.
func (c *crowd) consistent() error {
	for _, name := range bucketNames {
		written := c.written(name)
		earliest := int64(math.MaxInt64) // earliest end among the later revisions
		for i := len(written) - 1; i >= 0; i-- {
			if i > 0 && written[i-1].revision == written[i].revision {
				return fmt.Errorf("bucket %q gave revision %d twice", name, written[i].revision)
			}
			if written[i].from > earliest {
				return fmt.Errorf("bucket %q: revision %d began after a later one was answered", name, written[i].revision)
			}
			earliest = min(earliest, written[i].to)
		}
		for _, key := range keyNames {
			if err := c.consistentKey(name, key, written); err != nil {
				return fmt.Errorf("bucket %q, key %q: %w", name, key, err)
			}
		}
	}
	return nil
}

// consistentKey checks every call on one key against the key's revisions: each call must
// have seen a revision that was the newest at some moment of the call.
func (c *crowd) consistentKey(name, key string, written []event) error {
	chain := []event{{to: 0, operation: kv.Delete}} // before the first: no record
	for _, e := range written {
		if e.mutation.Key != key {
			continue
		}
		if err := follows(chain[len(chain)-1], e); err != nil {
			return err
		}
		chain = append(chain, e)
	}
	for _, e := range c.mu.events {
		if e.mutation.Bucket != name || e.mutation.Key != key || e.mutation.Op != 0 && e.err == nil {
			continue
		}
		saw := func(at event) bool { return at.operation != kv.Put } // not found
		var mismatch *kv.RevisionMismatchError
		if errors.As(e.err, &mismatch) {
			saw = func(at event) bool { return at.revision == mismatch.Got }
		} else if e.err == nil {
			saw = func(at event) bool { return at.revision == e.revision }
		}
		if !slices.ContainsFunc(moments(chain, e), saw) {
			return fmt.Errorf("%+v saw a record that was not the newest at any moment of the call", e)
		}
	}
	return nil
}

// follows checks the condition of a write that succeeded against its predecessor.
func follows(before, e event) error {
	m := e.mutation
	switch {
	case m.Op == kv.MutateCreate && before.operation == kv.Put:
		return fmt.Errorf("create at revision %d succeeded over revision %d", e.revision, before.revision)
	case (m.Op == kv.MutateUpdate || m.IfLast) && m.Last != before.revision:
		return fmt.Errorf("write at revision %d expected %d, the newest was %d", e.revision, m.Last, before.revision)
	}
	return nil
}

// moments returns the links of the chain that may have been the newest during e: a link
// counts if it began before e ended, and if no successor was answered before e began.
func moments(chain []event, e event) []event {
	var list []event
	for i, at := range chain {
		if at.from < e.to && (i+1 == len(chain) || chain[i+1].to > e.from) {
			list = append(list, at)
		}
	}
	return list
}

// survives checks the store after a crash. Each bucket must have the writes up to some
// revision. Among them must be every write that was answered or read before the crash. If
// a write is there, so are the writes that were answered before it began.
func (c *crowd) survives(s snapshot, count func()) error {
	f := finding{workload: &workload{logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: -1}, image: s.disk, now: epoch + 1<<40}
	w := f.world()
	count()
	if err := w.start(); err != nil {
		return err
	}
	defer func() { _ = w.stop() }() // nothing was written
	if r := w.store.Report(); len(r.Damages) > 0 || r.ReadOnly != nil {
		return fmt.Errorf("report %v", r)
	}
	got, losses, err := w.observe()
	if err != nil || len(losses) > 0 {
		return fmt.Errorf("losses %v: %w", losses, err)
	}
	if d := c.expected(got).Diff(got); d != "" {
		return errors.New(d)
	}
	latest, missing := int64(0), int64(math.MaxInt64)
	for _, e := range c.mu.events {
		b := got.Buckets[e.mutation.Bucket]
		kept := b != nil && e.revision <= b.Revision
		switch {
		case e.err != nil:
		case !kept && e.to < s.tick:
			return fmt.Errorf("answered but lost: %+v", e)
		case kept && e.mutation.Op != 0:
			latest = max(latest, e.from)
		case e.mutation.Op != 0:
			missing = min(missing, e.to)
		}
	}
	if missing < latest {
		return errors.New("a write is there, and one that was answered before it began is not")
	}
	return nil
}

// expected returns the buckets that result from the writes up to the revision found. The
// times are copied from what was found.
func (c *crowd) expected(got *Model) *Model {
	m := NewModel()
	for name, b := range got.Buckets {
		_ = m.CreateBucket(kv.Config{Bucket: name, History: crowdHistory})
		for _, e := range c.written(name) {
			if e.revision <= b.Revision {
				e.mutation.Last, e.mutation.IfLast = 0, false
				if e.mutation.Op == kv.MutateUpdate {
					e.mutation.Op = kv.MutatePut // its condition was checked
				}
				_, _ = m.Write(e.mutation)
			}
		}
		want := m.Buckets[name]
		want.Created = b.Created
		for key, records := range want.Keys {
			for i := range records {
				if found := b.Keys[key]; i < len(found) {
					records[i].Created = found[i].Created
				}
			}
		}
	}
	return m
}
