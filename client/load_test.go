package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/kv"
)

// attempt is a write of a key that has no other writer, with its result.
type attempt struct {
	key string
	rev kv.Revision
	err error
}

// TestServerKilledUnderCallers restarts server and store on the same port while callers
// write, and compares the results with the store's content.
func TestServerKilledUnderCallers(t *testing.T) {
	const callers, kills, between = 8, 4, 200
	dir := t.TempDir()
	s := serveDir(t, dir)
	c := s.dial(t, Options{})
	b := newBucket(t, c, kv.Config{Bucket: "b"})

	var written atomic.Int64
	var stop atomic.Bool
	var done sync.WaitGroup
	attempts := make([][]attempt, callers)
	for i := range callers {
		done.Go(func() {
			for n := 0; !stop.Load(); n++ {
				a := attempt{key: fmt.Sprintf("k%d.%d", i, n)}
				a.rev, a.err = b.PutString(t.Context(), a.key, a.key)
				attempts[i] = append(attempts[i], a)
				if a.err == nil {
					written.Add(1)
				}
				if e, err := b.Get(t.Context(), a.key); a.err == nil && (err != nil || e.Revision != a.rev) {
					t.Errorf("get after put: %+v, %v", e, err)
				}
			}
		})
	}
	for range kills {
		for next := written.Load() + between; written.Load() < next; {
			runtime.Gosched()
		}
		s.kill()
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		store := openStore(t, dir)
		s.store, s.close = store, store.Close
		s.start()
	}
	for next := written.Load() + between; written.Load() < next; {
		runtime.Gosched()
	}
	stop.Store(true)
	done.Wait()

	unknown := 0
	for _, a := range allOf(attempts) {
		e, err := b.Get(t.Context(), a.key)
		there := err == nil && string(e.Value) == a.key
		switch {
		case a.err == nil:
			if !there || e.Revision != a.rev {
				t.Errorf("%s was acknowledged at revision %d; it is %+v, %v", a.key, a.rev, e, err)
			}
		case errors.Is(a.err, kv.ErrOutcomeUnknown):
			unknown++
		case there:
			t.Errorf("%s is there, but its write failed with %v", a.key, a.err)
		}
	}
	t.Logf("%d writes acknowledged, %d of unknown outcome", written.Load(), unknown)
	closeClient(t, c)
	s.stop()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func allOf(attempts [][]attempt) (all []attempt) {
	for _, some := range attempts {
		all = append(all, some...)
	}
	return all
}

// TestCancelledContextsUnderLoad cancels calls at random moments. It checks that no
// caller gets the reply to another call, and that the connection is kept.
func TestCancelledContextsUnderLoad(t *testing.T) {
	const callers, rounds = 16, 300
	s := serveDir(t, t.TempDir())
	c := s.dial(t, Options{})
	b := newBucket(t, c, kv.Config{Bucket: "b"})
	var done sync.WaitGroup
	var cancelled atomic.Int64
	for i := range callers {
		done.Go(func() {
			key := fmt.Sprint("k", i)
			value := fmt.Appendf(nil, "the value of %s", key)
			if _, err := b.Put(t.Context(), key, value); err != nil {
				t.Error(err)
			}
			var dst []byte
			for n := range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				var e kv.Entry
				var err error
				if n%4 == 0 {
					_, err = b.Put(ctx, key, value)
				} else {
					dst, e, err = b.GetAppend(ctx, dst[:0], key)
				}
				switch {
				case errors.Is(err, context.Canceled):
					cancelled.Add(1)
				case err != nil:
					t.Error(err)
				case n%4 != 0 && (string(dst) != string(value) || e.Key != key):
					t.Errorf("%s holds %q", e.Key, dst)
				}
				cancel()
			}
		})
	}
	done.Wait()
	if n := cancelled.Load(); n == 0 {
		t.Error("no call was cancelled")
	}
	if n := s.server.Conns(); n != 1 {
		t.Errorf("%d connections", n)
	}
	closeClient(t, c)
	s.stop()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestWatchMissesNothingWhileServersDie restarts the server under watches of every mode,
// and checks that each revision is delivered once, in order.
func TestWatchMissesNothingWhileServersDie(t *testing.T) {
	const kills, between = 6, 100
	const all = kv.Revision((kills + 1) * between)
	s := serveDir(t, t.TempDir())
	c := s.dial(t, Options{})
	b := newBucket(t, c, kv.Config{Bucket: "b"})
	engine, err := s.store.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	var watchers []kv.Watcher
	for _, opts := range [][]kv.WatchOption{{kv.IncludeHistory()}, {kv.UpdatesOnly()}, {kv.ResumeFromRevision(1)}, {kv.IncludeHistory(), kv.MetaOnly()}} {
		w, err := b.Watch(t.Context(), nil, opts...)
		if err != nil {
			t.Fatal(err)
		}
		watchers = append(watchers, w)
	}
	var done sync.WaitGroup
	seen := make([]atomic.Uint64, len(watchers))
	for i, w := range watchers {
		done.Go(func() {
			signals := 0
			for u := range w.Updates() {
				if u.Entry == nil {
					signals++
					continue
				}
				if got := uint64(u.Entry.Revision); got != seen[i].Load()+1 {
					t.Errorf("watch %d: revision %d after %d", i, got, seen[i].Load())
				}
				if seen[i].Store(uint64(u.Entry.Revision)); u.Entry.Revision == all {
					break
				}
			}
			if signals > 1 {
				t.Errorf("watch %d: %d ends of the initial entries", i, signals)
			}
		})
	}
	for round := range kills + 1 {
		for i := range between {
			if _, err := engine.Put(t.Context(), fmt.Sprintf("k%d.%d", round, i), nil); err != nil {
				t.Fatal(err)
			}
		}
		for i := range seen {
			for seen[i].Load() < uint64(round*between+between/2) {
				runtime.Gosched()
			}
		}
		if round < kills {
			s.kill()
			s.start()
		}
	}
	done.Wait()
	for i, w := range watchers {
		if err := errors.Join(w.Stop(), w.Err()); err != nil {
			t.Errorf("watch %d: %v", i, err)
		}
	}
	closeClient(t, c)
	s.stop()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
