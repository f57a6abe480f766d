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

// TestResumedWatchesLearnEveryEnd resumes watches beside writers, while the ends of keys
// are forgotten in every possible way. A client that resumes has a cache of the earlier
// records. So it must receive the last record of each key, or an error that names the
// first revision from which on nothing is missing. The test uses the public API alone.
func TestResumedWatchesLearnEveryEnd(t *testing.T) {
	for name, f := range map[string]forgetter{
		"purge-deletes": {
			config: kv.Config{History: 4},
			forget: func(ctx context.Context, b kv.Bucket, _ *rand.Rand) error { return b.PurgeDeletes(ctx, -1) },
		},
		"trims": {
			config: kv.Config{Kind: msglog.Kind},
			forget: func(ctx context.Context, b kv.Bucket, _ *rand.Rand) error {
				_, err := b.(msglog.Log).Trim(ctx, 0, 60, 0)
				return err
			},
		},
		"erasures": {
			config: kv.Config{History: 2},
			forget: func(ctx context.Context, b kv.Bucket, r *rand.Rand) error {
				_, err := b.(msglog.Log).Erase(ctx, resumeKey(r), 0, 0)
				return err
			},
		},
		"silent expiry":    {config: kv.Config{Kind: msglog.Kind, TTL: 5 * time.Millisecond}},
		"expiring markers": {config: kv.Config{History: 3, TTL: 5 * time.Millisecond, MarkerTTL: time.Millisecond}, marked: true},
	} {
		t.Run(name, func(t *testing.T) {
			first, last := uint64(1), uint64(1+max(2, effort(12)))
			if *seedFlag != 0 {
				first, last = *seedFlag, *seedFlag+1
			}
			watches, told := 0, 0
			for seed := first; seed < last; seed++ {
				r := &resuming{forgetter: f, seed: seed, written: map[string][]written{}}
				r.wrote.L = &r.mu
				if err := r.run(t.Context()); err != nil {
					t.Fatalf("-kvd.seed=%d: %v", seed, err)
				}
				watches, told = watches+len(r.watches), told+r.told
			}
			if watches == 0 || told == 0 {
				t.Errorf("%d watches reached the newest record and %d learned of a gap: the run tested nothing", watches, told)
			}
			t.Logf("%d watches reached the newest record, %d learned of a gap", watches, told)
		})
	}
}

// forgetter is a bucket and the way in which it forgets ends of keys.
type forgetter struct {
	config kv.Config
	forget func(context.Context, kv.Bucket, *rand.Rand) error // nil: the bucket does it without a call
	marked bool                                               // a value that expires gets a marker with a later revision
}

const (
	resumeKeys    = 180
	resumeWriters = 3
	resumeWrites  = 500 // writes of one writer
	resumeWatches = 20  // concurrent watches
)

func resumeKey(r *rand.Rand) string { return fmt.Sprintf("k.%d", r.IntN(resumeKeys)) }

// resumePatterns returns patterns of every kind: none, wildcards, some keys.
func resumePatterns(r *rand.Rand) (patterns []string) {
	switch r.IntN(3) {
	case 0:
		return nil
	case 1:
		return []string{"k.*"}
	}
	for range 40 {
		patterns = append(patterns, resumeKey(r))
	}
	return patterns
}

// resuming is one run: writers, a reclaimer and watches that resume.
type resuming struct {
	forgetter
	seed   uint64
	bucket kv.Bucket
	quiet  chan struct{} // closed when the writers are done

	mu      sync.Mutex           // guards the fields below
	written map[string][]written // acknowledged records by key
	newest  kv.Revision          // newest acknowledged revision
	wrote   sync.Cond            // signalled when newest rises or the writers are done
	watches []*resumed
	told    int
	failed  error
}

// written is an acknowledged record.
type written struct {
	revision kv.Revision
	marker   bool
}

// resumed is a watch that began at one revision, and has seen everything up to another
// without an error.
type resumed struct {
	patterns   []string
	from, upTo kv.Revision
	looked     kv.Revision            // the bucket's newest revision after the watch had caught up
	newest     map[string]kv.Revision // newest received revision of each key
	phase      string
}

func (r *resuming) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	store, err := bucket.Open(storeDir, environment.With(bucket.Options{
		ReserveSize: -1, LogFileSize: 64 << 10, SegmentSize: 16 << 10,
	}, environment.Env{FS: simdisk.New()}))
	if err != nil {
		return err
	}
	defer store.Close()
	r.config.Bucket, r.quiet = "b", make(chan struct{})
	if r.bucket, err = store.CreateBucket(ctx, r.config); err != nil {
		return err
	}
	var writers, others sync.WaitGroup
	for i := range resumeWriters {
		writers.Go(func() { r.fail(r.write(ctx, rand.New(rand.NewPCG(r.seed, uint64(i))))) })
	}
	for i := range resumeWatches {
		random := rand.New(rand.NewPCG(r.seed, uint64(100+i)))
		others.Go(func() { r.fail(r.each(func() error { return r.watch(ctx, random) })) })
	}
	others.Go(func() {
		r.fail(r.each(func() error {
			_, err := store.Reclaim(ctx, nil)
			return err
		}))
	})
	writers.Wait()
	close(r.quiet)
	r.mu.Lock()
	r.wrote.Broadcast()
	r.mu.Unlock()
	others.Wait()
	return errors.Join(r.failed, r.check())
}

// each calls fn until the writers are done.
func (r *resuming) each(fn func() error) error {
	for !r.over() {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

func (r *resuming) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = errors.Join(r.failed, err)
}

// write makes the writes of one writer.
func (r *resuming) write(ctx context.Context, random *rand.Rand) error {
	for range resumeWrites {
		if r.forget != nil && random.IntN(100) == 0 {
			if err := r.forget(ctx, r.bucket, random); err != nil {
				return err
			}
		}
		key := resumeKey(random)
		var rev kv.Revision
		var err error
		deletes := random.IntN(4) == 0
		if deletes {
			rev, err = r.bucket.Delete(ctx, key)
		} else {
			rev, err = r.bucket.PutString(ctx, key, "some value")
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.written[key] = append(r.written[key], written{rev, deletes})
		r.newest = max(r.newest, rev)
		r.wrote.Broadcast()
		r.mu.Unlock()
	}
	return nil
}

// watch resumes from half of the newest revision, and from the revision that an error
// names, until a watch has delivered its initial entries. Then the watch falls behind and
// catches up.
func (r *resuming) watch(ctx context.Context, random *rand.Rand) error {
	patterns := resumePatterns(random)
	for from := 1 + r.acknowledged()/2; ; {
		w := &resumed{patterns: patterns, from: from, newest: map[string]kv.Revision{}}
		err := r.follow(ctx, w, random)
		var gone *kv.CompactedError
		if !errors.As(err, &gone) {
			return err
		}
		if gone.First <= from {
			return fmt.Errorf("a watch that resumes from revision %d: %w", from, err)
		}
		r.mu.Lock()
		r.told++
		r.mu.Unlock()
		from = gone.First
	}
}

// follow is one watch.
func (r *resuming) follow(ctx context.Context, state *resumed, random *rand.Rand) error {
	upTo := r.acknowledged()
	notified := make(chan struct{}, 1)
	w, err := r.bucket.Watch(ctx, state.patterns, kv.ResumeFromRevision(state.from), kv.Notify(func() {
		select {
		case notified <- struct{}{}:
		default: // the end of the watch
		}
	}))
	if err != nil {
		return err
	}
	defer w.Stop()
	for _, phase := range []string{"the initial entries", "behind"} {
		if err := r.poll(w.(kv.Poller), state); err != nil {
			return err
		}
		if err := r.reached(ctx, state, upTo, phase); err != nil {
			return err
		}
		select {
		case <-notified:
		case <-r.quiet:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		upTo = r.wait(upTo + kv.Revision(random.IntN(100)))
	}
	return nil
}

// poll takes all available events.
func (r *resuming) poll(w kv.Poller, state *resumed) error {
	for more := true; more; {
		var err error
		more, err = w.Poll(func(u kv.Update) bool {
			if u.Entry != nil {
				state.newest[u.Entry.Key] = u.Entry.Revision
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reached records the state of a watch that has seen everything up to a revision.
func (r *resuming) reached(ctx context.Context, state *resumed, upTo kv.Revision, phase string) error {
	st, err := r.bucket.Status(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]kv.Revision, len(state.newest))
	for key, rev := range state.newest {
		known[key] = rev
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches = append(r.watches, &resumed{patterns: state.patterns, from: state.from, upTo: upTo, looked: st.Revision, newest: known, phase: phase})
	return nil
}

func (r *resuming) acknowledged() kv.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest
}

// wait waits until a revision is acknowledged or the writers are done. It returns the
// newest acknowledged revision.
func (r *resuming) wait(until kv.Revision) kv.Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.newest < until && !r.over() {
		r.wrote.Wait()
	}
	return r.newest
}

func (r *resuming) over() bool {
	select {
	case <-r.quiet:
		return true
	default:
		return false
	}
}

// check compares the watches with what was written.
func (r *resuming) check() error {
	for key, records := range r.written {
		for _, w := range r.watches {
			if err := w.missed(key, records, r.marked); err != nil {
				return err
			}
		}
	}
	return nil
}

// missed returns an error if the watch did not receive a record that it must receive: the
// newest record of a key up to upTo, if the key existed below from. Instead of it, a record
// may have come that was written while the watch read, or the marker that followed it.
func (w *resumed) missed(key string, records []written, marked bool) error {
	var last written
	existed := false
	for _, r := range records {
		switch {
		case r.revision < w.from:
			existed = true
		case r.revision <= w.upTo && r.revision > last.revision:
			last = r
		case r.revision > w.upTo && r.revision <= w.looked:
			return nil
		}
	}
	if !existed || !kv.MatchAny(w.patterns, key) || last.revision <= w.newest[key] || marked && !last.marker {
		return nil
	}
	return fmt.Errorf("a watch that resumed from revision %d and had seen all up to %d (%s): revision %d of %q did not come, and no error; the newest received revision of that key is %d",
		w.from, w.upTo, w.phase, last.revision, key, w.newest[key])
}
