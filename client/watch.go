package client

import (
	"context"
	"errors"
	"fmt"

	"kvd/internal/feed"
	"kvd/internal/lineproto"
	"kvd/kv"
)

// updatesKept is how many events a watch holds that nobody has received.
const updatesKept = 64

// Watch sends the entries of all keys that match any of the patterns; see
// [kv.Bucket]. It is resumed on another connection when its own breaks, and delays
// nothing if nobody receives: see the package documentation. It ends with an error matching
// kv.ErrBucketNotFound if the bucket is deleted, kv.ErrCompacted if the next entries were
// removed, and kv.ErrFutureRevision if the store is an older copy now.
func (b *Bucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkPatterns(patterns); err != nil {
		return nil, b.named(err)
	}
	updates := make(chan kv.Update, updatesKept)
	w := &watcher{Feed: feed.New(updates), bucket: b, parent: ctx, updates: updates}
	for _, o := range opts {
		o(&w.options)
	}
	if id := w.options.ResumeBucketID; id != 0 && id != b.id {
		return nil, fmt.Errorf("%w: bucket %q has another id than %d", kv.ErrBucketNotFound, b.name, id)
	}
	if w.options.IncludeHistory && w.options.UpdatesOnly {
		return nil, b.named(fmt.Errorf("%w: use IncludeHistory or UpdatesOnly, not both", kv.ErrInvalidOption))
	}
	w.patterns, w.left = fitPatterns(patterns)
	w.next = w.options.ResumeFrom
	w.synced = w.options.UpdatesOnly
	w.ctx, w.cancel = context.WithCancel(ctx)
	p, err := w.start()
	if err == nil {
		err = b.client.link.spawn(func() { w.run(p) })
	}
	if err != nil {
		w.cancel()
		return nil, b.named(err)
	}
	return w, nil
}

// watcher is one watch. Watch starts its goroutine, run, which ends with ctx, with the
// client, or with an error of the server.
type watcher struct {
	*feed.Feed

	// Immutable after Watch.
	bucket   *Bucket
	patterns string
	left     []string // patterns that the server does not check
	options  kv.WatchOptions
	parent   context.Context // the caller's
	ctx      context.Context // ends with parent or by Stop
	cancel   context.CancelFunc

	updates chan kv.Update

	// Owned by run, by Watch before it.
	position
	lagged bool // it had to leave a shared connection
	wait   pace // before it moves to a shared connection
}

// position is how far a watch has come.
type position struct {
	next   kv.Revision // where to begin on the next connection; 0: as if for the first time
	last   kv.Revision // newest that was delivered
	floor  kv.Revision // revision of the bucket before the watch began on this connection
	synced bool        // the initial entries were delivered, or none were asked for
}

// pass moves the position past an entry.
func (p *position) pass(revision kv.Revision) {
	p.last = revision
	p.next = max(p.next, revision+1)
}

// sync moves the position past the initial entries, and so past the revision that the bucket
// had when the watch began on this connection.
func (p *position) sync() {
	p.next = max(p.next, p.floor+1)
	p.synced = true
}

// begin takes the revision of the bucket before the watch begins on a connection.
func (p *position) begin(newest kv.Revision, updatesOnly bool) {
	p.floor = newest
	if updatesOnly && p.next == 0 {
		p.next = newest + 1
	}
}

// place is where a watch gets its events: on a connection of its own or on one that
// watches share.
type place interface {
	// follow delivers what comes. It returns the place where the watch goes on without an
	// interruption, or why it cannot go on here.
	follow() (place, error)
	// again takes such a place once more, after the connection was lost.
	again() (place, error)
}

// Stop ends the watch. Events that were not received are dropped.
func (w *watcher) Stop() error {
	w.SetStopped()
	w.cancel()
	for range w.updates { // until run has ended
	}
	return nil
}

// start finds the watch's first place. A watch with initial entries begins on a connection of
// its own: they may be many.
func (w *watcher) start() (p place, err error) {
	c := w.bucket.client
	pauses := c.newBackoff()
	for n := 0; ; n++ {
		if _, err := c.link.get(w.ctx); err != nil {
			return nil, err
		}
		if w.options.UpdatesOnly && w.next == 0 {
			p, err = w.join()
		} else {
			p, err = w.connect()
		}
		if err == nil || n+1 == attempts || !passing(err) {
			return p, err
		}
		if err := pauses.pause(w.ctx); err != nil {
			return nil, err
		}
	}
}

// run delivers events, from one place after the other, until the watch ends.
func (w *watcher) run(p place) {
	defer w.cancel()
	pauses := w.bucket.client.newBackoff()
	for {
		before := w.last
		next, err := p.follow()
		if w.last != before {
			pauses.failures = 0
		}
		if err != nil {
			next, err = w.recover(p, err, &pauses)
		}
		if err != nil {
			w.End(w.cause(err))
			return
		}
		p = next
	}
}

// recover finds a place after an error, unless the watch has to end.
func (w *watcher) recover(from place, err error, pauses *backoff) (p place, _ error) {
	interrupted := false
	for p == nil {
		if !passing(err) || w.over() {
			return nil, err
		}
		if !interrupted {
			interrupted = true
			w.bucket.client.interrupted(err)
		}
		if err = pauses.pause(w.ctx); err == nil {
			p, err = from.again()
		}
	}
	w.bucket.client.interrupted(nil)
	return p, nil
}

// interrupted tells the caller that a watch has lost its server, or goes on.
func (c *Client) interrupted(err error) {
	if c.opts.WatchInterrupted != nil {
		c.opts.WatchInterrupted(err)
	}
}

// over reports whether the watch was stopped, or the client closed.
func (w *watcher) over() bool {
	return w.ctx.Err() != nil || w.bucket.client.link.ctx.Err() != nil
}

// cause returns why the watch ended; err is its last error.
func (w *watcher) cause(err error) error {
	switch {
	case w.parent.Err() != nil:
		return w.parent.Err()
	case w.bucket.client.link.ctx.Err() != nil:
		return kv.ErrClosed
	}
	return err
}

// passing reports whether a watch is tried again after the error.
func passing(err error) bool {
	var broken *ConnError
	return errors.As(err, &broken) && !broken.refused
}

// infoCommand returns the INFO that is sent before WATCH, for the floor.
func (w *watcher) infoCommand() lineproto.Command {
	return lineproto.Command{Verb: lineproto.VerbInfo, Bucket: w.bucket.name, BucketID: w.bucket.id}
}

// command returns the WATCH from a position, which ends in SYNCED unless the watch is of
// updates only and begins.
func (w *watcher) command(number uint64, from kv.Revision) lineproto.Command {
	c := lineproto.Command{
		Verb: lineproto.VerbWatch, Watch: number, Bucket: w.bucket.name, BucketID: w.bucket.id, Patterns: w.patterns,
		Revision: from, HasRevision: from != 0,
		IgnoreDeletes: w.options.IgnoreDeletes, MetaOnly: w.options.MetaOnly, Stale: kv.IsStale(w.parent),
	}
	switch {
	case w.options.IncludeHistory:
		c.Mode = lineproto.WatchHistory
	case w.options.UpdatesOnly && from == 0:
		c.Mode = lineproto.WatchUpdates
	}
	return c
}

// refusal is the error of an unexpected reply: the error with which the server ended the
// watch, or a *ConnError if another connection can be tried.
func (w *watcher) refusal(r *lineproto.Reply) error {
	if err := r.Err(w.bucket.name, ""); err != nil {
		return w.refused(err)
	}
	return w.broken(errWrongReply)
}

// refused is refusal for the error of a reply.
func (w *watcher) refused(err error) error {
	if shutdown(err) != nil || errors.Is(err, ErrTooMany) || errors.Is(err, lineproto.ErrTimeout) {
		return w.broken(err)
	}
	return err
}

func (w *watcher) broken(err error) error { return &ConnError{Addr: w.bucket.client.address, Err: err} }

// update returns the event for an entry. ok is false if no pattern matches its key.
func (w *watcher) update(r *lineproto.Reply) (u kv.Update, ok bool) {
	if !kv.MatchAny(w.left, r.Entry.Key) {
		return u, false
	}
	e := w.bucket.own(&r.Entry)
	return kv.Update{Entry: &e, ValueSize: int(r.Size), Err: kv.NameKey(w.bucket.name, e.Key, r.Err(w.bucket.name, e.Key))}, true
}

// send hands an event to the consumer.
func (w *watcher) send(u kv.Update) error {
	select {
	case w.updates <- u:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.bucket.client.link.ctx.Done():
		return kv.ErrClosed
	}
}
