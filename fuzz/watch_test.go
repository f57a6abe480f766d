package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
)

// endKey is written last. The patterns of every follower include it.
const endKey = "end"

// following is a run of many followers and writers across power cuts.
type following struct {
	seed      uint64
	journal   *journal
	followers []*follower
	disk      *simdisk.Disk
	ctx       context.Context
}

const (
	followTime     = time.Minute // limit for a seed; only a stuck watcher takes longer
	followSessions = 4           // sessions between power cuts
	followersEach  = 40          // followers of a bucket
	writersEach    = 3           // writers of a bucket
	writesEach     = 350         // writes of a writer in a session
)

// followBuckets are the buckets and what each of them tests.
var followBuckets = map[string]*chapter{
	"complete": {history: 64},               // no record is removed
	"short":    {history: 2},                // slow watchers receive successors
	"purged":   {history: 4, purges: true},  // ends are forgotten
	"expiring": {history: 4, expires: true}, // keys expire
	"trimmed":  {history: 1, trims: true},   // the oldest records are trimmed, without a marker
}

// TestWatchersMissNothing has watchers with random patterns and options follow buckets
// beside writers. They stall, disconnect and resume, and the power is cut at random calls
// of the disk. Every acknowledged or delivered record must come to every watcher that it
// is due to, in order and once.
func TestWatchersMissNothing(t *testing.T) {
	start, events := time.Now(), 0
	first, last := uint64(1), uint64(1+max(2, effort(12)))
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag+1
	}
	for seed := first; seed < last; seed++ {
		n, err := follow(t.Context(), seed, nil)
		if err != nil {
			t.Fatalf("-kvd.seed=%d: %v", seed, err)
		}
		events += n
	}
	d := time.Since(start)
	t.Logf("%d events checked in %v, %.0f per second", events, d.Round(time.Millisecond), float64(events)/d.Seconds())
}

// TestWatchBugsAreFound has some watches change about every fiftieth event: some of these
// events come while the power is off, and are not recorded.
func TestWatchBugsAreFound(t *testing.T) {
	var held *kv.Update
	for name, lie := range map[string]func(n int, u kv.Update) []kv.Update{
		"a lost event": func(n int, u kv.Update) []kv.Update {
			if n%50 == 0 {
				return nil
			}
			return []kv.Update{u}
		},
		"an event twice": func(n int, u kv.Update) []kv.Update {
			if n%50 == 0 {
				return []kv.Update{u, u}
			}
			return []kv.Update{u}
		},
		"two events swapped": func(n int, u kv.Update) []kv.Update {
			switch n % 50 {
			case 0:
				held = &u
				return nil
			case 1:
				if held != nil {
					return []kv.Update{u, *held}
				}
			}
			return []kv.Update{u}
		},
		"another value": func(n int, u kv.Update) []kv.Update {
			if n%50 == 0 && u.Entry != nil {
				e := *u.Entry
				e.Value = append([]byte("x"), e.Value...)
				u.Entry = &e
			}
			return []kv.Update{u}
		},
		"an event of another key": func(n int, u kv.Update) []kv.Update {
			if n%50 == 0 && u.Entry != nil {
				e := *u.Entry
				e.Key = "c.other"
				u.Entry = &e
			}
			return []kv.Update{u}
		},
		"the signal twice": func(_ int, u kv.Update) []kv.Update {
			if u.Entry == nil {
				return []kv.Update{u, u}
			}
			return []kv.Update{u}
		},
		"an event before it is durable": func(n int, u kv.Update) []kv.Update {
			if n%50 == 0 && u.Entry != nil {
				e := *u.Entry
				e.Revision += 100_000
				return []kv.Update{u, {Entry: &e}}
			}
			return []kv.Update{u}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			if _, err := follow(t.Context(), 1, func(u kv.Update) []kv.Update {
				n++
				return lie(n, u)
			}); err == nil {
				t.Error("no check found the bug")
			} else {
				t.Log(err)
			}
		})
	}
}

// follow runs one seed and returns the number of delivered events. The seeded bug is in the
// first follower of the bucket that removes nothing.
func follow(ctx context.Context, seed uint64, lie func(kv.Update) []kv.Update) (events int, err error) {
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	r := &following{seed: seed, journal: newJournal(), disk: simdisk.New(), ctx: ctx}
	random := rand.New(rand.NewPCG(seed, 11))
	for name, like := range followBuckets {
		c := &chapter{history: like.history, purges: like.purges, expires: like.expires, trims: like.trims, records: map[kv.Revision]seen{}, waiters: map[chan struct{}]kv.Revision{}}
		r.journal.buckets[name] = c
	}
	for _, name := range []string{"complete", "short", "purged", "expiring", "trimmed"} {
		for n := range followersEach {
			r.followers = append(r.followers, randomFollower(random, n, name, r.journal.buckets[name]))
		}
	}
	r.followers[0].lie = lie
	for session := range followSessions {
		if err := r.session(session, session == followSessions-1, random.Uint64()); err != nil {
			return 0, fmt.Errorf("session %d: %w", session, err)
		}
	}
	for _, f := range r.followers {
		if err := f.complete(); err != nil {
			return 0, fmt.Errorf("%v: %w", f, err)
		}
		events += len(f.got)
	}
	return events, nil
}

// session runs from power on to power off, or to the end of the run.
func (r *following) session(n int, final bool, seed uint64) error {
	j := r.journal
	j.powerOn()
	fault := simdisk.NewFault(r.disk)
	random := rand.New(rand.NewPCG(seed, 12))
	if !final {
		calls := 100 + random.IntN(3000)
		var mu sync.Mutex
		fault.Inject(func(o simdisk.Op) simdisk.Action {
			mu.Lock()
			defer mu.Unlock()
			if !mutates(o.Kind) {
				return simdisk.Action{}
			}
			if calls--; calls == 0 {
				j.powerOff(r.disk, seed)
			}
			return simdisk.Action{Stop: calls <= 0}
		})
	}
	store, err := bucket.Open(storeDir, environment.With(bucket.Options{LogFileSize: 64 << 10, LogMaxSize: 256 << 10, ReserveSize: -1}, environment.Env{FS: fault}))
	if err != nil {
		return r.unlessPowerIsOff(err)
	}
	err = r.work(n, final, store, random)
	j.powerOff(r.disk, seed)
	_ = store.Close() // its disk is stopped
	r.disk = j.image
	return err
}

// unlessPowerIsOff returns err, or nil if the power is off: then the session is over.
func (r *following) unlessPowerIsOff(err error) error {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	if err == nil || r.journal.noPower {
		if r.journal.image != nil {
			r.disk = r.journal.image
		}
		return nil
	}
	return err
}

// work runs the writers and the followers.
func (r *following) work(session int, final bool, store *bucket.Store, random *rand.Rand) error {
	j := r.journal
	handles := map[string]kv.Bucket{}
	for name, c := range j.buckets {
		cfg := kv.Config{Bucket: name, History: c.history}
		if c.trims {
			cfg.Kind = msglog.Kind
		}
		b, err := store.CreateBucket(r.ctx, cfg)
		if err != nil {
			return r.unlessPowerIsOff(err)
		}
		handles[name] = b
		if err := j.read(r.ctx, b); err != nil {
			return r.unlessPowerIsOff(err)
		}
	}
	var writing, watching sync.WaitGroup
	var mu sync.Mutex
	var failed error
	fails := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err = r.unlessPowerIsOff(err); err != nil && failed == nil {
			failed = err
		}
	}
	watchCtx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	for _, f := range r.followers {
		watching.Go(func() {
			if err := f.follow(watchCtx, j, handles[f.bucket]); err != nil {
				fails(fmt.Errorf("%v: %w", f, err))
				cancel()
			}
		})
	}
	for name, b := range handles {
		for i := range writersEach {
			seed := random.Uint64()
			writing.Go(func() {
				fails(r.write(b, j.buckets[name], rand.New(rand.NewPCG(seed, 13)), fmt.Sprint(session, ".", i)))
			})
		}
	}
	writing.Wait()
	if final {
		for name, b := range handles {
			fails(r.end(b, j.buckets[name]))
		}
	} else {
		r.journal.powerOff(r.disk, random.Uint64())
	}
	close(j.done)
	j.wakeAll()
	watching.Wait()
	return failed
}

// write makes the writes of one writer.
func (r *following) write(b kv.Bucket, c *chapter, random *rand.Rand, name string) error {
	for n := range writesEach {
		if c.purges && random.IntN(150) == 0 || c.trims && random.IntN(20) == 0 {
			if err := r.forget(b, c); err != nil {
				return err
			}
		}
		s := seen{key: fmt.Sprintf("%c.%d", 'a'+random.IntN(3), random.IntN(60)), operation: kv.Put}
		var rev kv.Revision
		var err error
		switch dice := random.IntN(20); {
		case dice == 0 && c.history < kv.MaxHistory: // in the other bucket no record may be removed
			s.operation = kv.Purge
			rev, err = b.Purge(r.ctx, s.key)
		case dice < 4:
			s.operation = kv.Delete
			rev, err = b.Delete(r.ctx, s.key)
		default:
			s.value = fmt.Sprintf("%s.%d %0*d", name, n, random.IntN(100), 0)
			var opts []kv.WriteOption
			if s.expires = c.expires && dice < 8; s.expires {
				opts = append(opts, kv.KeyTTL(time.Duration(1+random.IntN(20))*time.Millisecond))
			}
			rev, err = b.PutString(r.ctx, s.key, s.value, opts...)
		}
		if err == nil {
			err = r.journal.wrote(b.Name(), rev, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes old records or markers from a bucket, as its chapter says.
func (r *following) forget(b kv.Bucket, c *chapter) error {
	const left = 100 // records that a trim keeps, of 180 keys
	r.journal.forgets(c)
	var err error
	if c.trims {
		_, err = b.(msglog.Log).Trim(r.ctx, 0, left, 0)
	} else {
		err = b.PurgeDeletes(r.ctx, -1)
	}
	if err != nil {
		return err
	}
	st, err := b.Status(r.ctx)
	if err == nil {
		r.journal.forgotten(c, st.Revision)
	}
	return err
}

// end writes the last record of a bucket.
func (r *following) end(b kv.Bucket, c *chapter) error {
	rev, err := b.PutString(r.ctx, endKey, "")
	if err != nil {
		return err
	}
	if err := r.journal.wrote(b.Name(), rev, seen{key: endKey, operation: kv.Put}); err != nil {
		return err
	}
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	if c.last = rev; rev == 0 {
		return errors.New("no revision")
	}
	return nil
}
