package repo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kvd/backup"
	"kvd/backup/blob"
	"kvd/bucket"
	"kvd/wal"
)

// Shipper copies the log of a store to a repository while the store is used, and makes bases from time to time: so
// the repository has every state of the store. Its methods are safe for concurrent use.
type Shipper struct {
	place  blob.Store
	store  ShipSource
	opts   ShipOptions
	packer *logPacker

	tail    atomic.Pointer[bucket.Tail] // of the run under way; nil: there is none
	pending atomic.Int64                // time of the oldest frame that is on its way, Unix time in ns; 0: none
	down    atomic.Int64                // when the last run ended, Unix time in ns

	// Owned by Run.
	claimant claimant
	lost     *gapped // to be written once the place is back
}

// ShipSource is a store whose log is shipped: a *bucket.Store.
type ShipSource interface {
	backup.Source
	ID() [16]byte
	Tail(ctx context.Context, limit bucket.TailLimit) (*bucket.Tail, error)
}

// ShipOptions says how a log is shipped. Zero is the default.
type ShipOptions struct {
	Interval time.Duration // how long a frame waits at most before it is put: 1 s
	Base     time.Duration // between two bases: 24 h
	Keep     time.Duration // how far back every state is kept: 7 days
	Rate     int64         // bytes of the store that a base reads a second; 0: no bound
	Observer ShipObserver  // nil: nobody
}

// ShipObserver is told what a shipper does. The calls come from several goroutines.
type ShipObserver interface {
	Shipped(first, last wal.LSN, bytes int64) // frames are in the repository
	BaseMade(w Written)                       // a base counts
	Pruned(p Pruned, err error)               // old objects were removed, or not
	GaveUp(last Instant)                      // the place was away for too long: what was written behind it is not shipped, and a new base follows
	Failed(what string, err error, again time.Duration)
}

const (
	// shipHold bounds the frames that wait in memory while the place does not answer.
	shipHold = 64 << 20
	// shipBatch is how many bytes of frames an object has, about.
	shipBatch = 1 << 20
	// shipFrame is the largest frame, bytes: an object has room for a batch before it, and for what is around frames.
	shipFrame = logMax - 8*shipBatch

	shipRetry    = time.Second // the first wait after a failure; every further one is twice as long
	shipRetryMax = time.Minute
	baseRetry    = time.Minute
	baseRetryMax = time.Hour
)

// NewShipper returns a shipper of a store.
func NewShipper(place blob.Store, s ShipSource, o ShipOptions) (*Shipper, error) {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Base == 0 {
		o.Base = 24 * time.Hour
	}
	if o.Keep == 0 {
		o.Keep = 7 * 24 * time.Hour
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	p, err := newLogPacker()
	if err != nil {
		return nil, err
	}
	x := &Shipper{place: place, store: s, opts: o, packer: p, claimant: claimant{token: random(), ships: true}}
	x.down.Store(time.Now().UnixNano())
	return x, nil
}

// Lag returns for how long the oldest frame that is not in the repository has waited, or for how long none could
// be shipped.
func (s *Shipper) Lag() time.Duration {
	tail := s.tail.Load()
	if tail == nil {
		return time.Since(time.Unix(0, s.down.Load()))
	}
	if oldest := s.pending.Load(); oldest != 0 {
		return max(0, tail.Time().Sub(time.Unix(0, oldest)))
	}
	return max(0, tail.Behind())
}

// Run ships until the context ends, and then what is durable still, for some seconds. It returns nil, or why it
// cannot go on: [ErrRepoTaken] if another process ships to the repository, which began later. It is called once.
func (s *Shipper) Run(ctx context.Context) error {
	defer s.packer.close()
	retry := shipRetry
	for {
		began := time.Now()
		err := s.run(ctx)
		s.tail.Store(nil)
		s.pending.Store(0)
		s.down.Store(time.Now().UnixNano())
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errFenced):
			return err
		case time.Since(began) > shipRetryMax:
			retry = shipRetry
		}
		s.opts.Observer.Failed("shipping", err, retry)
		if !wait(ctx, retry) {
			return nil
		}
		retry = min(2*retry, shipRetryMax)
	}
}

// wait waits, and reports whether the context goes on.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errFenced is the ErrRepoTaken of a shipper beside one that began later and has not finished. It does not begin
// again, or two would take the repository from each other in turn.
var errFenced = fmt.Errorf("%w by a process that began later", ErrRepoTaken)

// run ships the log from now on, with a base of its own, until something ends it.
func (s *Shipper) run(ctx context.Context) error {
	tail, err := s.store.Tail(ctx, bucket.TailLimit{Waiting: shipHold, Frame: shipFrame})
	if err != nil {
		return err
	}
	defer tail.Close()
	r, err := openFor(ctx, s.place, s.store.ID())
	if err != nil {
		return err
	}
	began := Instant{tail.After(), tail.Time()}
	g, err := r.claim(ctx, began, &s.claimant)
	if err != nil {
		return err
	}
	defer g.close(ctx)
	if err := s.markGap(ctx, r); err != nil {
		return err
	}
	s.tail.Store(tail)
	x := newShipment(s, g, tail, began)
	bases, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { x.makeBases(bases) })
	err = x.ship(ctx)
	stop()
	done.Wait()
	return err
}

// gapped is a gap that the repository does not tell of yet.
type gapped struct {
	epoch epoch
	last  Instant
}

// gapJSON is gap.json.
type gapJSON struct {
	Format int       `json:"format"`
	Token  string    `json:"token"`
	LSN    wal.LSN   `json:"lsn"`
	Time   time.Time `json:"time"`
}

// markGap writes that there is a gap behind the run before.
func (s *Shipper) markGap(ctx context.Context, r *Repository) error {
	if s.lost == nil {
		return nil
	}
	err := put(ctx, r.place, s.lost.epoch.gap(), gapJSON{format, s.claimant.token, s.lost.last.LSN, s.lost.last.Time})
	if err == nil {
		s.lost = nil
	}
	return err
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Shipped(wal.LSN, wal.LSN, int64)     {}
func (nobody) BaseMade(Written)                    {}
func (nobody) Pruned(Pruned, error)                {}
func (nobody) GaveUp(Instant)                      {}
func (nobody) Failed(string, error, time.Duration) {}
