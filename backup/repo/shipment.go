package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/backup/blob"
	"kvd/bucket"
)

// shipment is one run of a shipper: frames of the log without a gap.
type shipment struct {
	*Shipper
	repo       *Repository
	generation *generation
	tail       *bucket.Tail
	taken      *logObject    // frames that were taken from the tail, and are not in the repository yet; nil: none
	last       Instant       // the newest state that is in the repository
	more       chan struct{} // has a token if a base is needed soon
	fenced     chan error    // why no base can be made any more

	bases claimant // owned by makeBases
}

// newShipment returns a run that begins behind a state, with a generation of its own.
func newShipment(s *Shipper, g *generation, tail *bucket.Tail, began Instant) *shipment {
	return &shipment{
		Shipper: s, repo: g.repo, generation: g, tail: tail, last: began,
		more: make(chan struct{}, 1), fenced: make(chan error, 1), bases: s.claimant,
	}
}

// ship puts frames until the context ends, or until it cannot go on.
func (x *shipment) ship(ctx context.Context) error {
	ticker := time.NewTicker(x.opts.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-x.tail.Grown():
		case err := <-x.fenced:
			return err
		case <-ctx.Done():
		}
		err := x.putAll(ctx, x.putAgain)
		switch {
		case ctx.Err() != nil:
			x.rest(ctx)
			return nil
		case errors.Is(err, bucket.ErrTailLost):
			x.lost = &gapped{x.generation.epoch, x.last}
			x.opts.Observer.GaveUp(x.last)
			return err
		case err != nil:
			return err
		}
	}
}

// rest puts what is durable when the shipper ends.
func (x *shipment) rest(ctx context.Context) {
	ctx, cancel := lastCall(ctx)
	defer cancel()
	if err := x.putAll(ctx, x.put); err != nil {
		x.opts.Observer.Failed("shipping the end of the log", err, 0)
	}
}

// putAll puts all frames that are durable. After an error it begins with those that it could not put.
func (x *shipment) putAll(ctx context.Context, put func(context.Context, *logObject) error) error {
	for {
		if err := x.take(); err != nil || x.taken == nil {
			return err
		}
		o := x.taken
		if err := put(ctx, o); err != nil {
			return err
		}
		x.taken = nil
		x.pending.Store(0)
		end := &o.frames[len(o.frames)-1]
		x.last = Instant{end.LSN, time.Unix(0, end.Time).UTC()}
		for i := range o.frames {
			if o.frames[i].Reveals {
				x.wantBase()
			}
		}
	}
}

// take takes frames from the tail, unless some are taken.
func (x *shipment) take() error {
	if x.taken != nil {
		return nil
	}
	frames, err := x.tail.Take(shipBatch)
	if err != nil || len(frames) == 0 {
		return err
	}
	x.pending.Store(frames[0].Time)
	x.taken = &logObject{store: x.repo.StoreID(), frames: frames}
	return nil
}

// wantBase has a base made soon.
func (x *shipment) wantBase() {
	select {
	case x.more <- struct{}{}:
	default:
	}
}

// putAgain puts frames, and again while that fails, until they have to be given up.
func (x *shipment) putAgain(ctx context.Context, o *logObject) error {
	retry := shipRetry
	for {
		err := x.put(ctx, o)
		switch {
		case err == nil, errors.Is(err, ErrRepoTaken), ctx.Err() != nil:
			return err
		case x.tail.Lost():
			return fmt.Errorf("%w: %w", bucket.ErrTailLost, err)
		}
		x.opts.Observer.Failed("shipping", err, retry)
		if !wait(ctx, retry) {
			return ctx.Err()
		}
		retry = min(2*retry, shipRetryMax)
	}
}

// put puts frames. The error matches ErrRepoTaken if another process has claimed a generation: the next run finds
// out whether it ships.
func (x *shipment) put(ctx context.Context, o *logObject) error {
	if err := x.checkOwner(ctx); err != nil {
		return err
	}
	object := x.packer.pack(o.append(nil))
	err := x.place.Put(ctx, logID{x.generation.epoch, o.first(), o.last()}.name(), object)
	if errors.Is(err, blob.ErrExists) {
		return fmt.Errorf("%w: %w", ErrRepoTaken, err)
	}
	if err == nil {
		x.opts.Observer.Shipped(o.first(), o.last(), int64(len(object)))
	}
	return err
}

// checkOwner returns ErrRepoTaken if another process has claimed a generation.
func (x *shipment) checkOwner(ctx context.Context) error {
	for {
		next := x.claimant.since + 1
		owner, err := x.repo.owner(ctx, next)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			return nil
		case err != nil:
			return err
		case owner.Token != x.claimant.token:
			return fmt.Errorf("%w: another process wrote in it, as generation %d", ErrRepoTaken, next)
		}
		x.claimant.since = next // a base of this shipper
	}
}

// makeBases makes a base at once, and then at regular times and when one is wanted. run starts it in a goroutine,
// and waits for its end, which is that of the context, or that of the shipper.
func (x *shipment) makeBases(ctx context.Context) {
	retry := baseRetry
	for {
		again := x.opts.Base
		w, err := writeAs(ctx, x.place, x.store, bucket.BackupOptions{Rate: x.opts.Rate}, &x.bases)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errFenced):
			x.fenced <- err
			return
		case err == nil:
			retry = baseRetry
			x.opts.Observer.BaseMade(w)
			pruned, err := x.repo.prune(ctx, x.opts.Keep, x.bases.token)
			if ctx.Err() == nil {
				x.opts.Observer.Pruned(pruned, err)
			}
		default:
			again = min(retry, again)
			retry = min(2*retry, baseRetryMax)
			x.opts.Observer.Failed("a base", err, again)
		}
		select {
		case <-time.After(again):
		case <-x.more:
		case <-ctx.Done():
			return
		}
	}
}
