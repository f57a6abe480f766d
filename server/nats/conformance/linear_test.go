package conformance_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/client"
	"kvd/kv"
)

var (
	historiesFlag = flag.Int("kvd.histories", 20, "how many histories TestLinearizable records")
	callsFlag     = flag.Int("kvd.calls", 5000, "calls in a history")
	seedFlag      = flag.Uint64("kvd.seed", 0, "record the history of this seed alone; 0: all")
)

const (
	linearBucket = "linear"
	linearKills  = 3  // in a history
	linearConns  = 2  // of each protocol
	linearEach   = 3  // clients of a connection
	linearKeys   = 5  // few, so that clients meet
	linearValue  = 64 // bytes that a value has more, at most
)

// linearFlags make the log small, so that a history has rotations and checkpoints.
var linearFlags = []string{"--listen", "127.0.0.1:0", "--wal-file-size", "128KiB", "--wal-max-size", "512KiB", "--reserve-size", "0"}

// TestLinearizable records calls of clients of both ports at once, while the server is
// killed and restarted, and checks that they can have happened one after the other. A call
// whose connection broke may have taken effect or not, up to the end of its process.
func TestLinearizable(t *testing.T) {
	kvd, start := buildDaemon(t), time.Now()
	var total stats
	first, last := uint64(1), uint64(*historiesFlag)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		s, err := recordAndCheck(t, kvd, seed)
		if err != nil {
			t.Fatalf("%v\nthe seed is %d: go test -run '^TestLinearizable$' . -kvd.seed=%d", err, seed, seed)
		}
		total.add(s)
	}
	t.Logf("%+v in %v", total, time.Since(start).Round(time.Second))
}

// stats counts what histories were made of.
type stats struct{ Histories, Kills, Calls, Reads, Writes, Refused, Unknown int }

func (s *stats) add(o stats) {
	s.Histories += o.Histories
	s.Kills += o.Kills
	s.Calls += o.Calls
	s.Reads += o.Reads
	s.Writes += o.Writes
	s.Refused += o.Refused
	s.Unknown += o.Unknown
}

// recordAndCheck records the history of a seed and checks it. The seed decides what the
// clients ask for and when the server is killed; the scheduler decides the rest.
func recordAndCheck(t *testing.T, kvd string, seed uint64) (stats, error) {
	h := &recorder{seed: seed, kvd: kvd, dir: filepath.Join(t.TempDir(), "data"), r: rand.New(rand.NewPCG(seed, 11))}
	for life := range linearKills {
		h.life(t, life)
	}
	last := h.last(t)
	if h.mu.failed != nil {
		return stats{}, h.mu.failed
	}
	return h.stats(), check(h.mu.history, last)
}

// recorder records one history.
type recorder struct {
	seed     uint64
	kvd, dir string
	r        *rand.Rand

	ticks atomic.Int64 // the clock of the history
	mu    struct {
		sync.Mutex
		history []porcupine.Operation
		failed  error             // an error that no client should get
		known   map[string]uint64 // the newest revision of each key that a client was told
	}
}

// life starts the server, lets the clients work, and kills it once the history has a number
// of calls.
func (h *recorder) life(t *testing.T, life int) {
	d := startDaemon(t, h.kvd, h.dir, "127.0.0.1:0", linearFlags...)
	if life == 0 {
		h.createBucket(t, d)
	}
	var callers []caller
	for range linearConns {
		callers = append(callers, dialLine(t, d.line, linearBucket), dialNATS(t, d.addr, linearBucket))
	}
	share := *callsFlag / linearKills
	end := *callsFlag
	if life < linearKills-1 {
		end = share*life + share/2 + h.r.IntN(share)
	}
	reached := make(chan struct{})
	var once sync.Once
	reach := func() { once.Do(func() { close(reached) }) }
	var clients sync.WaitGroup
	for i, c := range callers {
		for j := range linearEach {
			id := (life*len(callers)+i)*linearEach + j
			clients.Go(func() {
				h.client(c, id, func(calls int) {
					if calls >= end {
						reach()
					}
				})
			})
		}
	}
	go func() { clients.Wait(); reach() }() // if the server ends by itself
	<-reached
	d.kill()
	for _, c := range callers {
		c.close()
	}
	clients.Wait()
	h.closeUnknown()
}

// closeUnknown ends the calls whose outcome is not known: their process is gone.
func (h *recorder) closeUnknown() {
	now := h.ticks.Add(1)
	for i := range h.mu.history {
		if o := &h.mu.history[i]; o.Output.(*reply).outcome == unknown && o.Return == 0 {
			o.Return = now
		}
	}
}

func (h *recorder) createBucket(t *testing.T, d *daemon) {
	c, err := client.Dial(t.Context(), d.line, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateBucket(t.Context(), kv.Config{Bucket: linearBucket, History: 4}); err != nil {
		t.Fatal(err)
	}
}

// client makes calls until the server is gone. After each it tells how many calls the
// history has.
func (h *recorder) client(c caller, id int, tell func(calls int)) {
	r := rand.New(rand.NewPCG(h.seed, uint64(100+id)))
	for n := 0; ; n++ {
		k := h.choose(r, fmt.Sprintf("%d.%d", id, n))
		o := porcupine.Operation{ClientId: id, Input: k, Call: h.ticks.Add(1)}
		answer, err := c.do(k)
		o.Output, o.Return = &answer, h.ticks.Add(1)
		if errors.Is(err, errNothing) && k.kind == callCreate {
			continue // of a NATS client; if the server is gone, the next call finds out
		}
		if err != nil {
			h.fail(k, err)
			return
		}
		if answer.outcome == unknown {
			o.Return = 0
		}
		tell(h.add(&o, k, &answer))
		if answer.outcome == unknown {
			return
		}
	}
}

// choose chooses a call. Its value begins with a text that no other call has.
func (h *recorder) choose(r *rand.Rand, value string) *call {
	k := &call{key: fmt.Sprint("key", r.IntN(linearKeys))}
	switch n := r.IntN(100); {
	case n < 40:
		k.kind = callGet
	case n < 60:
		k.kind = callPut
	case n < 70:
		k.kind = callCreate
	case n < 85:
		k.kind = callUpdate
	case n < 95:
		k.kind = callDelete
	default:
		k.kind = callPurge
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.kind == callUpdate || k.kind == callDelete && r.IntN(2) == 0 {
		k.last = h.mu.known[k.key]
	}
	if k.kind < callDelete && k.kind != callGet {
		k.value = value + fmt.Sprintf("%0*d", r.IntN(linearValue), 0)
	}
	return k
}

// add adds a call to the history and returns how many it has.
func (h *recorder) add(o *porcupine.Operation, k *call, r *reply) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.history = append(h.mu.history, *o)
	if h.mu.known == nil {
		h.mu.known = map[string]uint64{}
	}
	h.mu.known[k.key] = max(h.mu.known[k.key], r.revision, r.newest)
	return len(h.mu.history)
}

func (h *recorder) fail(k *call, err error) {
	if errors.Is(err, errNothing) { // the server is gone
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.failed = errors.Join(h.mu.failed, fmt.Errorf("%+v: %w", *k, err))
}

// last starts the server once more, reads every key through both ports, and returns the
// newest revision of the bucket.
func (h *recorder) last(t *testing.T) uint64 {
	d := startDaemon(t, h.kvd, h.dir, "127.0.0.1:0", linearFlags...)
	defer d.kill()
	line, other := dialLine(t, d.line, linearBucket), dialNATS(t, d.addr, linearBucket)
	defer line.close()
	defer other.close()
	for i := range linearKeys {
		for _, c := range []caller{line, other} {
			k := &call{kind: callGet, key: fmt.Sprint("key", i)}
			o := porcupine.Operation{Input: k, Call: h.ticks.Add(1)}
			answer, err := c.do(k)
			if err != nil {
				t.Fatalf("%+v after the end: %v", *k, err)
			}
			o.Output, o.Return = &answer, h.ticks.Add(1)
			h.add(&o, k, &answer)
		}
	}
	status, err := line.(*lineCaller).bucket.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := other.(*natsCaller).bucket.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if seq := info.(*js.KeyValueBucketStatus).StreamInfo().State.LastSeq; seq != uint64(status.Revision) {
		t.Errorf("the newest revision is %d, and over the NATS port %d", status.Revision, seq)
	}
	return uint64(status.Revision)
}

func (h *recorder) stats() stats {
	s := stats{Histories: 1, Kills: linearKills, Calls: len(h.mu.history)}
	for _, o := range h.mu.history {
		c, r := o.Input.(*call), o.Output.(*reply)
		switch {
		case r.outcome == unknown:
			s.Unknown++
		case c.kind == callGet:
			s.Reads++
		case r.outcome == refused:
			s.Refused++
		default:
			s.Writes++
		}
	}
	return s
}
