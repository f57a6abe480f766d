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
// [kv.Bucket]. It runs on a connection of its own and is resumed on another when
// that breaks: see the package documentation. It ends with an error matching
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
	wire, err := w.start()
	if err == nil {
		err = b.client.link.spawn(func() { w.run(wire) })
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
	next   kv.Revision // where to begin on the next connection; 0: as if for the first time
	last   kv.Revision // newest that was delivered
	floor  kv.Revision // revision of the bucket before the watch began on this connection
	synced bool        // the initial entries were delivered, or none were asked for
}

// Stop ends the watch. Events that were not received are dropped.
func (w *watcher) Stop() error {
	w.SetStopped()
	w.cancel()
	for range w.updates { // until run has ended
	}
	return nil
}

// watchNumber names the one watch of a connection.
const watchNumber = 1

// start makes the watch's first connection.
func (w *watcher) start() (*wire, error) {
	c := w.bucket.client
	pauses := c.newBackoff()
	for n := 0; ; n++ {
		if _, err := c.link.get(w.ctx); err != nil {
			return nil, err
		}
		wire, err := w.connect()
		if err == nil || n+1 == attempts || !passing(err) {
			return wire, err
		}
		if err := pauses.pause(w.ctx); err != nil {
			return nil, err
		}
	}
}

// run delivers events, from one connection after the other, until the watch ends.
func (w *watcher) run(wire *wire) {
	defer w.cancel()
	pauses := w.bucket.client.newBackoff()
	for {
		before := w.last
		err := w.follow(wire)
		wire.close()
		if w.last != before {
			pauses.failures = 0
		}
		interrupted := false
		for wire = nil; wire == nil; {
			if !passing(err) || w.over() {
				w.End(w.cause(err))
				return
			}
			if !interrupted {
				interrupted = true
				w.bucket.client.interrupted(err)
			}
			if err = pauses.pause(w.ctx); err == nil {
				wire, err = w.connect()
			}
		}
		w.bucket.client.interrupted(nil)
	}
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

// connect continues the watch on a new connection.
func (w *watcher) connect() (*wire, error) {
	c := w.bucket.client
	wire, err := c.dial(w.ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(w.ctx, wire.close)
	defer stop()
	if err := w.ask(wire); err != nil {
		wire.close()
		if w.ctx.Err() != nil {
			err = w.ctx.Err()
		}
		return nil, err
	}
	return wire, nil
}

// ask sends INFO and WATCH and reads the answers.
func (w *watcher) ask(wire *wire) error {
	info := &lineproto.Command{Verb: lineproto.VerbInfo, Bucket: w.bucket.name, BucketID: w.bucket.id}
	if err := wire.write(info, w.command()); err != nil {
		return w.broken(err)
	}
	r, err := w.answer(wire, lineproto.ReplyInfo)
	if err != nil {
		return err
	}
	st, err := r.Status()
	if err != nil {
		return w.broken(err)
	}
	if _, err = w.answer(wire, lineproto.ReplyOK); err != nil {
		return err
	}
	w.floor = st.Revision
	if w.options.UpdatesOnly && w.next == 0 {
		w.next = w.floor + 1
	}
	return nil
}

// command returns the WATCH from the current position.
func (w *watcher) command() *lineproto.Command {
	c := &lineproto.Command{
		Verb: lineproto.VerbWatch, Watch: watchNumber, Bucket: w.bucket.name, BucketID: w.bucket.id, Patterns: w.patterns,
		Revision: w.next, HasRevision: w.next != 0,
		IgnoreDeletes: w.options.IgnoreDeletes, MetaOnly: w.options.MetaOnly, Stale: kv.IsStale(w.parent),
	}
	switch {
	case w.options.IncludeHistory:
		c.Mode = lineproto.WatchHistory
	case w.options.UpdatesOnly:
		c.Mode = lineproto.WatchUpdates
	}
	return c
}

// answer returns the next reply, which must be of that kind.
func (w *watcher) answer(wire *wire, kind lineproto.ReplyKind) (*lineproto.Reply, error) {
	r, err := wire.replies.next()
	if err != nil {
		return nil, w.broken(err)
	}
	if r.Kind != kind {
		return nil, w.refusal(r)
	}
	return r, nil
}

// refusal is the error of an unexpected reply: the error with which the server ended the
// watch, or a *ConnError if another connection can be tried.
func (w *watcher) refusal(r *lineproto.Reply) error {
	err := r.Err(w.bucket.name, "")
	switch {
	case err == nil:
		return w.broken(errWrongReply)
	case shutdown(err) != nil, errors.Is(err, ErrTooMany), errors.Is(err, lineproto.ErrTimeout):
		return w.broken(err)
	}
	return err
}

func (w *watcher) broken(err error) error { return &ConnError{Addr: w.bucket.client.address, Err: err} }

// follow delivers what comes on one connection until it breaks or the watch ends.
func (w *watcher) follow(wire *wire) error {
	defer context.AfterFunc(w.ctx, wire.close)()
	for {
		r, err := wire.replies.next()
		if err != nil {
			return w.broken(err)
		}
		switch r.Kind {
		case lineproto.ReplyEvent, lineproto.ReplyLostEvent:
			err = w.event(r)
		case lineproto.ReplySynced:
			err = w.sync()
		case lineproto.ReplyWatchEnd:
			w.next = max(w.next, r.Next)
			err = w.refusal(r)
		default:
			err = w.refusal(r)
		}
		if err != nil {
			return err
		}
	}
}

// event delivers an entry, unless it was delivered before.
func (w *watcher) event(r *lineproto.Reply) error {
	if r.Entry.Revision <= w.last {
		return nil
	}
	if kv.MatchAny(w.left, r.Entry.Key) {
		e := w.bucket.own(&r.Entry)
		u := kv.Update{Entry: &e, ValueSize: int(r.Size), Err: kv.NameKey(w.bucket.name, e.Key, r.Err(w.bucket.name, e.Key))}
		if err := w.send(u); err != nil {
			return err
		}
	}
	w.last = r.Entry.Revision
	w.next = max(w.next, w.last+1)
	return nil
}

// sync delivers the end of the initial entries, once. From now on the watch is past the
// revision that the bucket had when it began on this connection.
func (w *watcher) sync() error {
	w.next = max(w.next, w.floor+1)
	if w.synced {
		return nil
	}
	if err := w.send(kv.Update{}); err != nil {
		return err
	}
	w.synced = true
	return nil
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
