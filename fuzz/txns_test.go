package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// bank is accounts in several buckets. Clients move amounts between any of them, each time by one
// transaction. So the balances of all accounts together are 0 at every moment, for every reader and
// after every crash.
type bank struct {
	store *bucket.Store
	disk  *simdisk.Disk
	ticks atomic.Int64
	mu    struct {
		sync.Mutex
		images  []snapshot
		written map[string]kv.Revision // how many records each bucket got
		acks    []ack
	}
}

// ack is a transfer that was answered: the revisions that it told of each bucket, and when.
type ack struct {
	at   map[string]kv.Revision
	tick int64
}

const (
	bankClients  = 6
	bankAccounts = 4 // of each bucket
	transfers    = 40
)

var bankBuckets = []string{"a", "b", "c"}

// TestTransfersBetweenBuckets has clients move amounts while auditors add up, and cuts the power at
// random calls. Some transfers are refused by their last write.
func TestTransfersBetweenBuckets(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	for seed := range uint64(max(2, effort(4))) {
		b := newBank(t, seed)
		b.run(t, seed)
		for _, s := range b.mu.images {
			checks.add(func(count func()) error {
				count()
				if err := b.survives(s); err != nil {
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

func (b *bank) options(fs vfs.FS) bucket.Options {
	return environment.With(bucket.Options{LogFileSize: 32 << 10, LogMaxSize: 128 << 10, ReserveSize: -1}, environment.Env{FS: fs})
}

func newBank(t *testing.T, seed uint64) *bank {
	b := &bank{disk: simdisk.New()}
	b.mu.written = map[string]kv.Revision{}
	fault := simdisk.NewFault(b.disk)
	fault.Inject(b.crashes(rand.New(rand.NewPCG(seed, 11))))
	store, err := bucket.Open(storeDir, b.options(fault))
	if err != nil {
		t.Fatal(err)
	}
	b.store = store
	for _, name := range bankBuckets {
		if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: name, History: 2}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// crashes returns a function that passes every call on and takes images before some calls.
func (b *bank) crashes(r *rand.Rand) func(simdisk.Op) simdisk.Action {
	return func(simdisk.Op) simdisk.Action {
		if r.IntN(40) == 0 {
			tick := b.ticks.Add(1)
			for _, cut := range cuts(b.disk.Pending(), r.Uint64(), 1) {
				if cut.name != "kill" {
					b.keep(snapshot{cut.make(b.disk), tick, cut.name})
				}
			}
		}
		return simdisk.Action{}
	}
}

func (b *bank) keep(s snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.images = append(b.mu.images, s)
}

// run lets clients and auditors work and closes the store.
func (b *bank) run(t *testing.T, seed uint64) {
	var group, auditors sync.WaitGroup
	stop := make(chan struct{})
	auditors.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if sum, err := audit(b.store); err != nil || sum != 0 {
				t.Errorf("seed %d, audit %d: the balances are %d together, %v", seed, n, sum, err)
				return
			}
		}
	})
	for i := range bankClients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(200+i)))
			for range transfers {
				if err := b.transfer(random); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(stop)
	auditors.Wait()
	for _, name := range bankBuckets {
		owned, err := b.store.Bucket(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := owned.Status(t.Context()); err != nil || st.Revision != b.mu.written[name] {
			t.Errorf("seed %d: bucket %q is at revision %d after %d records, %v", seed, name, st.Revision, b.mu.written[name], err)
		}
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.keep(snapshot{b.disk.Crash(simdisk.KeepNone()), b.ticks.Add(1), "after the end"})
}

// transfer moves an amount between a few accounts, if nobody else writes them meanwhile.
func (b *bank) transfer(r *rand.Rand) error {
	var keys []kv.KeyRef
	seen := map[kv.KeyRef]bool{}
	for len(keys) < 2+r.IntN(3) {
		key := kv.KeyRef{Bucket: pick(r, bankBuckets), Key: strconv.Itoa(r.IntN(bankAccounts))}
		if !seen[key] {
			keys, seen[key] = append(keys, key), true
		}
	}
	now, err := b.store.Txn(context.Background(), &kv.Txn{Then: kv.Branch{Reads: keys}})
	if err != nil {
		return err
	}
	var x kv.Txn
	left := 0
	for i, e := range now.Entries {
		change := -left // of the last one
		if i < len(keys)-1 {
			change = r.IntN(100) - 50
			left += change
		}
		balance, _ := strconv.Atoi(string(e.Value))
		value := fmt.Appendf(make([]byte, 0, 200), "%d", balance+change)
		is := kv.Cond{Bucket: e.Bucket, Key: e.Key, Is: kv.AtRevision, Revision: e.Revision}
		m := kv.Mutation{Bucket: e.Bucket, Op: kv.MutatePut, Key: e.Key, Value: value}
		if r.IntN(2) == 0 { // the condition of the write is as good
			m.Op, m.Last = kv.MutateUpdate, e.Revision
		} else {
			x.If = append(x.If, is)
		}
		x.Then.Writes = append(x.Then.Writes, m)
	}
	refused := r.IntN(5) == 0
	if refused {
		m := x.Then.Writes[r.IntN(len(x.Then.Writes))]
		m.Op, m.Last = kv.MutateUpdate, 1<<40
		x.Then.Writes = append(x.Then.Writes, m)
	}
	done, err := b.store.Txn(context.Background(), &x)
	var mismatch *kv.TxnError
	switch {
	case errors.As(err, &mismatch):
		return nil
	case err != nil:
		return err
	case done.Then && refused:
		return errors.New("a transaction was carried out without its last write")
	case done.Then:
		b.acknowledge(&x, done.At)
	}
	return nil
}

func (b *bank) acknowledge(x *kv.Txn, at map[string]kv.Revision) {
	tick := b.ticks.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range x.Then.Writes {
		b.mu.written[x.Then.Writes[i].Bucket]++
	}
	b.mu.acks = append(b.mu.acks, ack{at, tick})
}

// audit returns the balances of all accounts together, as one transaction reads them.
func audit(store *bucket.Store) (sum int, err error) {
	var x kv.Txn
	for _, name := range bankBuckets {
		for i := range bankAccounts {
			x.Then.Reads = append(x.Then.Reads, kv.KeyRef{Bucket: name, Key: strconv.Itoa(i)})
		}
	}
	r, err := store.Txn(context.Background(), &x)
	for _, e := range r.Entries {
		balance, _ := strconv.Atoi(string(e.Value))
		sum += balance
	}
	return sum, err
}

// survives checks the store after a crash: the balances are 0 together, and every transfer that was
// answered before is there.
func (b *bank) survives(s snapshot) error {
	store, err := bucket.Open(storeDir, b.options(s.disk))
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	for _, name := range bankBuckets {
		owned, err := store.Bucket(context.Background(), name)
		if errors.Is(err, kv.ErrBucketNotFound) && s.tick < b.firstAck() {
			return nil // the crash was before the buckets were made
		}
		if err != nil {
			return err
		}
		st, err := owned.Status(context.Background())
		if err != nil {
			return err
		}
		for _, a := range b.mu.acks {
			if a.tick < s.tick && a.at[name] > st.Revision {
				return fmt.Errorf("answered but lost: revision %d of bucket %q", a.at[name], name)
			}
		}
	}
	if sum, err := audit(store); err != nil || sum != 0 {
		return fmt.Errorf("the balances are %d together: %w", sum, errors.Join(err, errors.New("half a transaction")))
	}
	return nil
}

func (b *bank) firstAck() int64 {
	if len(b.mu.acks) == 0 {
		return 1 << 62
	}
	return b.mu.acks[0].tick
}
