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
	last       Instant       // the newest state that is in the repository
	more       chan struct{} // has a token if a base is needed soon
}

// ship puts frames until the context ends, or until they have to be given up.
func (x *shipment) ship(ctx context.Context) error {
	ticker := time.NewTicker(x.opts.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-x.tail.Grown():
		case <-ctx.Done():
			x.rest(ctx)
			return nil
		}
		if err := x.putAll(ctx, x.putAgain); err != nil {
			if errors.Is(err, bucket.ErrTailLost) {
				x.lost = &gapped{x.generation.epoch, x.last}
				x.opts.Observer.GaveUp(x.last)
			}
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

// putAll puts all frames that are durable.
func (x *shipment) putAll(ctx context.Context, put func(context.Context, *logObject) error) error {
	for {
		frames, err := x.tail.Take(shipBatch)
		if err != nil || len(frames) == 0 {
			return err
		}
		x.pending.Store(frames[0].Time)
		o := &logObject{store: x.repo.StoreID(), frames: frames}
		if err := put(ctx, o); err != nil {
			return err
		}
		x.pending.Store(0)
		end := &frames[len(frames)-1]
		x.last = Instant{end.LSN, time.Unix(0, end.Time).UTC()}
		for i := range frames {
			if frames[i].Reveals {
				x.wantBase()
			}
		}
	}
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
		case err == nil, errors.Is(err, errFenced), ctx.Err() != nil:
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

// put puts frames, unless another process has taken the repository.
func (x *shipment) put(ctx context.Context, o *logObject) error {
	if o.size() > logMax {
		return fmt.Errorf("%w: LSN %d has %d bytes, at most %d can be shipped", bucket.ErrTailLost, o.first(), o.size(), logMax)
	}
	if err := x.checkFence(ctx); err != nil {
		return err
	}
	object := x.packer.pack(o.append(nil))
	err := x.place.Put(ctx, logID{x.generation.epoch, o.first(), o.last()}.name(), object)
	if errors.Is(err, blob.ErrExists) {
		return fmt.Errorf("%w: %w", errFenced, err)
	}
	if err == nil {
		x.opts.Observer.Shipped(o.first(), o.last(), int64(len(object)))
	}
	return err
}

// checkFence returns errFenced if another process has claimed a generation.
func (x *shipment) checkFence(ctx context.Context) error {
	for {
		token, err := x.repo.owner(ctx, x.highest+1)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			return nil
		case err != nil:
			return err
		case token != x.token:
			return fmt.Errorf("%w, as generation %d", errFenced, x.highest+1)
		}
		x.highest++ // a base of this shipper
	}
}

// makeBases makes a base at once, and then at regular times and when one is wanted. run starts it in a goroutine,
// and waits for its end, which is that of the context.
func (x *shipment) makeBases(ctx context.Context) {
	retry := baseRetry
	for {
		again := x.opts.Base
		w, err := writeAs(ctx, x.place, x.store, bucket.BackupOptions{Rate: x.opts.Rate}, x.token)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry = baseRetry
			x.opts.Observer.BaseMade(w)
			pruned, err := x.repo.prune(ctx, x.opts.Keep, x.token)
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
