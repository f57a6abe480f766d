package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/kv"
)

var (
	seedFlag   = flag.Uint64("kvd.seed", 0, "run the random watches of this seed alone; 0: some")
	effortFlag = flag.Int("kvd.effort", 1, "how many seeds, as a multiple")
)

// TestManyWatchesShareConnections counts the connections of many watches, with and without
// initial entries, and after they are stopped.
func TestManyWatchesShareConnections(t *testing.T) {
	const watches = 300
	s := serveDir(t, t.TempDir())
	c := s.dial(t, Options{})
	b := newBucket(t, c, kv.Config{Bucket: "b"})
	if _, err := b.Put(t.Context(), "k", []byte("first")); err != nil {
		t.Fatal(err)
	}
	var all []kv.Watcher
	for i := range watches {
		var opts []kv.WatchOption
		if i%2 == 0 {
			opts = append(opts, kv.UpdatesOnly())
		}
		w, err := b.Watch(t.Context(), nil, opts...)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, w); i%2 == 1 {
			wantEvents(t, w, "k@1", "synced")
		}
	}
	const most = 1 + spareMax + connsUsual // the calls', kept ones, and those of watches
	for s.server.Conns() > most {          // until the last watches have moved
		runtime.Gosched()
	}
	if _, err := b.Put(t.Context(), "k", []byte("second")); err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		wantEvents(t, w, "k@2")
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	}
	for s.server.Conns() > most-1 {
		runtime.Gosched()
	}
	closeClient(t, c)
	s.stop()
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestRandomWatches has watches of random options and patterns begin at random moments, with
// consumers of random speed, while one writer writes and servers are killed. No record is
// trimmed, so each watch gets every record of its keys from a moment on.
func TestRandomWatches(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = seeds[:0]
		for i := range 3 * *effortFlag {
			seeds = append(seeds, uint64(i+1))
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("go test ./client -run '^TestRandomWatches$' -kvd.seed=%d", seed)
				}
			}()
			newWatchChaos(t, seed).run()
		})
	}
}

// watchChaos is one run of TestRandomWatches.
type watchChaos struct {
	t       *testing.T
	random  *rand.Rand
	server  *realServer
	bucket  *Bucket
	engine  kv.Bucket
	written atomic.Uint64 // newest revision; the writer raises it
	over    chan struct{} // closed when nothing more is written
	mu      sync.Mutex
	records []chaosRecord // by revision, less 1
}

type chaosRecord struct {
	key    string
	marker bool
}

const (
	chaosWrites  = 3000
	chaosWatches = 40
	chaosKills   = 2
)

func newWatchChaos(t *testing.T, seed uint64) *watchChaos {
	x := &watchChaos{t: t, random: rand.New(rand.NewPCG(seed, 7)), server: serveDir(t, t.TempDir()), over: make(chan struct{})}
	x.bucket = newBucket(t, x.server.dial(t, Options{}), kv.Config{Bucket: "b", History: kv.MaxHistory})
	x.bucket.client.watches.waitingMax = 8 << 10 // so that many watches have to leave
	engine, err := x.server.store.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	x.engine = engine
	return x
}

func (x *watchChaos) run() {
	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(x.t.Context())
	defer cancel()
	for n := range chaosWrites {
		switch {
		case n%(chaosWrites/chaosWatches) == 0:
			f := x.follower(n / (chaosWrites / chaosWatches))
			w, err := x.bucket.Watch(ctx, f.patterns, f.opts...)
			if err != nil {
				x.t.Fatalf("%v: %v", f, err)
			}
			watching.Go(func() { f.follow(w) })
		case n%(chaosWrites/(chaosKills+1)) == 1 && n > 1:
			x.server.kill()
			x.server.start()
		}
		x.write(fmt.Sprintf("%c.%d", 'a'+x.random.IntN(3), x.random.IntN(100)), x.random.IntN(5) == 0)
	}
	for _, key := range []string{"a.last", "b.last", "c.last"} { // each watch has one to wait for
		x.write(key, false)
	}
	close(x.over)
	watching.Wait()
	closeClient(x.t, x.bucket.client)
	x.server.stop()
	if err := x.server.close(); err != nil {
		x.t.Error(err)
	}
}

// write writes a record.
func (x *watchChaos) write(key string, marker bool) {
	r := chaosRecord{key, marker}
	x.mu.Lock()
	x.records = append(x.records, r)
	x.mu.Unlock()
	var rev kv.Revision
	var err error
	if r.marker {
		rev, err = x.engine.Delete(x.t.Context(), r.key)
	} else {
		rev, err = x.engine.Put(x.t.Context(), r.key, []byte(strings.Repeat("v", x.random.IntN(400))))
	}
	if err != nil || rev != kv.Revision(len(x.records)) {
		x.t.Fatalf("revision %d, %v; want %d", rev, err, len(x.records))
	}
	x.written.Store(uint64(rev))
}

// chaosFollower is one watch.
type chaosFollower struct {
	*watchChaos
	name     string
	patterns []string
	opts     []kv.WatchOption
	deletes  bool
	since    kv.Revision // nothing after it may be missing
	known    bool        // since counts, or the initial entries have ended
	speed    int         // 0: receives nothing before the end; else yields that often less 1
	leaves   int         // after so many events; 0: stays
}

func (x *watchChaos) follower(n int) *chaosFollower {
	f := &chaosFollower{watchChaos: x, deletes: true, speed: x.random.IntN(4), name: fmt.Sprint("watch ", n)}
	if x.random.IntN(3) == 0 {
		f.patterns = []string{string(rune('a'+x.random.IntN(3))) + ".*"}
	}
	switch newest := kv.Revision(x.written.Load()); x.random.IntN(4) {
	case 0:
		f.opts = append(f.opts, kv.IncludeHistory())
		f.known = true
	case 1:
		f.opts = append(f.opts, kv.UpdatesOnly())
		f.known, f.since = true, newest
	case 2:
		from := kv.Revision(x.random.Uint64N(uint64(newest)+1)) + 1
		f.opts = append(f.opts, kv.ResumeFromRevision(from))
		f.known, f.since = true, from-1
	}
	if x.random.IntN(4) == 0 {
		f.opts = append(f.opts, kv.IgnoreDeletes())
		f.deletes = false
	}
	if x.random.IntN(4) == 0 {
		f.opts = append(f.opts, kv.MetaOnly())
	}
	if f.speed > 0 && x.random.IntN(4) == 0 {
		f.leaves = 1 + x.random.IntN(200)
	}
	return f
}

func (f *chaosFollower) String() string {
	var o kv.WatchOptions
	for _, opt := range f.opts {
		opt(&o)
	}
	return fmt.Sprintf("%s of %q, %+v, speed %d", f.name, f.patterns, o, f.speed)
}

// follow checks the events of the watch up to the last record that it matches.
func (f *chaosFollower) follow(w kv.Watcher) {
	defer func() {
		if err := errors.Join(w.Stop(), w.Err()); err != nil {
			f.t.Errorf("%v: it ended with %v", f, err)
		}
	}()
	if f.speed == 0 {
		<-f.over
	}
	signals, last := 0, f.since
	sure := f.known // else the records between the last initial entry and the next may be hidden
	for n := 1; f.leaves == 0 || n < f.leaves; n++ {
		u, open := f.next(w, last)
		switch {
		case !open:
			return
		case u.Entry == nil:
			if signals++; signals > 1 {
				f.t.Errorf("%v: the initial entries end twice", f)
			}
			f.known = true
			continue
		}
		rev := u.Entry.Revision
		if rev <= last {
			f.t.Errorf("%v: revision %d after %d", f, rev, last)
			return
		}
		if missing := f.due(last, rev-1); sure && missing != 0 {
			f.t.Errorf("%v: revision %d came after %d, without %d", f, rev, last, missing)
			return
		}
		last, sure = rev, f.known
		for range f.speed - 1 {
			runtime.Gosched()
		}
	}
}

// next returns the next event, false if none is due after the last one.
func (f *chaosFollower) next(w kv.Watcher, last kv.Revision) (kv.Update, bool) {
	select {
	case u, open := <-w.Updates():
		return f.opened(u, open)
	case <-f.over:
	}
	if f.known && f.due(last, kv.Revision(f.written.Load())) == 0 {
		return kv.Update{}, false
	}
	u, open := <-w.Updates()
	return f.opened(u, open)
}

func (f *chaosFollower) opened(u kv.Update, open bool) (kv.Update, bool) {
	if !open {
		f.t.Errorf("%v: it ended", f)
	}
	return u, open
}

// due returns the first revision above after and up to upto that the watch has to deliver, 0
// if there is none.
func (f *chaosFollower) due(after, upto kv.Revision) kv.Revision {
	f.mu.Lock()
	defer f.mu.Unlock()
	for rev := after + 1; rev <= upto; rev++ {
		r := f.records[rev-1]
		if kv.MatchAny(f.patterns, r.key) && (f.deletes || !r.marker) {
			return rev
		}
	}
	return 0
}
