package watch

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"kvd/kv"
)

// Watcher is one watch. It implements [kv.Watcher] and [kv.Poller]. Updates and
// All are built on Poll.
//
// A waiting watcher needs no goroutine: it is parked with its topic. The record
// that ends the wait calls notify once.
type Watcher struct {
	// Immutable after Hub.Watch.
	hub   *Hub
	topic *topic
	query Query

	// Owned by the goroutine that polls.
	initial *initial    // nil once all initial entries are fetched
	batch   []kv.Update // fetched events
	at      int         // index in batch of the next event to deliver

	position Position // all records up to it are processed; owned by the hub while the watcher is parked

	// Guarded by Hub.mu.
	prev, next *Watcher    // in Hub.mu.watchers
	parked     int         // index in topic.parked, or notParked
	seen       kv.Revision // copy of position.Revision, taken in follow
	taken      int         // references taken from the hub's budget
	following  bool        // it is counted in topic.following
	ended      bool
	why        error // the error that ended it; nil after Stop
	notify     func()
	quit       chan struct{} // closed at the end; nil while no goroutine waits for it
	unbind     func() bool   // detaches the watch from its context; nil if the context never ends

	once    sync.Once
	updates chan kv.Update
}

var _ kv.Poller = (*Watcher)(nil)

const (
	notParked = -1
	// batchMax is how many events a watcher fetches at once.
	batchMax = 64
	// batchBytes bounds the bytes of the records in a batch, not counting the first.
	batchBytes = 64 << 10
	// updatesKept is the capacity of a watcher's channel. With it an idle watcher
	// takes 1 KiB.
	updatesKept = 12
)

func newWatcher(h *Hub, patterns []string, o kv.WatchOptions) *Watcher {
	w := &Watcher{hub: h, parked: notParked, notify: o.Notify}
	w.query = Query{Patterns: patterns, IgnoreDeletes: o.IgnoreDeletes, MetaOnly: o.MetaOnly, PassForgotten: o.PassForgotten, Round: o.SelectAtMost, Begin: BeginLast}
	switch {
	case o.ResumeFrom > 0:
		w.query.Begin, w.query.From = BeginFrom, o.ResumeFrom
	case o.IncludeHistory:
		w.query.Begin = BeginHistory
	case o.UpdatesOnly:
		w.query.Begin = BeginNothing
	}
	w.initial = &initial{noSignal: o.UpdatesOnly, known: o.ResumeFrom > 0}
	return w
}

// begin selects the initial entries and binds the watch to its context.
func (w *Watcher) begin(ctx context.Context) error {
	w.initial.context = ctx
	if err := w.selectRound(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return nil
	}
	unbind := context.AfterFunc(ctx, func() { w.finish(ctx.Err()) })
	w.hub.mu.Lock()
	w.unbind = unbind
	w.hub.mu.Unlock()
	return nil
}

// Poll delivers the available events; see [kv.Poller].
func (w *Watcher) Poll(fn func(kv.Update) bool) (more bool, err error) {
	if parked, err := w.state(); parked || err != nil {
		return false, err // still parked: there is no new event
	}
	for {
		for w.at < len(w.batch) {
			u := w.batch[w.at]
			w.at++
			if !fn(u) {
				return true, nil
			}
		}
		if more, err := w.fetch(); !more {
			return false, err
		}
	}
}

// fetch fills the batch. If there is nothing to fetch, it parks the watcher. After
// that another goroutine may own the watcher.
func (w *Watcher) fetch() (more bool, err error) {
	clear(w.batch)
	w.batch, w.at = w.batch[:0], 0
	for len(w.batch) == 0 {
		if _, err := w.state(); err != nil {
			return false, err
		}
		var behind, parked bool
		if w.initial != nil && !w.initial.done {
			err = w.replay()
			runtime.Gosched()
		} else {
			behind, parked = w.follow()
		}
		if parked {
			return false, nil
		}
		if behind {
			err = w.catchUp()
			runtime.Gosched() // writers must not wait until a long backlog is read
		}
		if err != nil {
			w.finish(err)
		}
	}
	return true, nil
}

// follow takes events from the topic's queue. It returns behind if the watcher
// needs older events than the queue has, and parked if it has seen every event.
func (w *Watcher) follow() (behind, parked bool) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.ended {
		return false, false
	}
	w.seen = w.position.Revision
	if !w.topic.follow(w) {
		return true, false
	}
	events := w.topic.after(w.position.Revision)
	size := 0
	for i, e := range events {
		if size += len(e.Value); i == batchMax || i > 0 && size > batchBytes {
			return false, false
		}
		w.take(e, len(e.Value), nil)
		w.position = Position{Revision: e.Revision}
	}
	if h.mu.newest > w.position.Revision {
		w.position = Position{Revision: h.mu.newest}
	}
	w.seen = w.position.Revision
	switch i := w.initial; {
	case i != nil && w.position.Revision < i.until:
		return len(w.batch) == 0, false // read the log up to initial.until
	case i != nil:
		w.signal()
	case len(w.batch) == 0:
		w.batch = nil // keep idle watchers small
		w.topic.park(w)
		return false, true
	}
	return false, false
}

// catchUp reads the next events from the log.
func (w *Watcher) catchUp() error {
	size := 0
	return w.hub.log.Read(&w.query, &w.position, func(e *kv.Entry, valueSize int, err error) bool {
		if n := len(w.batch); n > 0 && (n >= batchMax || size+len(e.Value) > batchBytes) {
			return false
		}
		size += len(e.Value)
		w.take(e, valueSize, err)
		return true
	})
}

// take adds an event that is not an initial entry to the batch. If initial entries
// are still pending, the event counts as one of them.
func (w *Watcher) take(e *kv.Entry, valueSize int, err error) {
	if w.initial != nil && e.Revision > w.initial.until {
		w.signal()
	}
	if w.query.IgnoreDeletes && e.Operation.IsMarker() {
		return
	}
	var delta uint64
	if w.initial != nil {
		delta = w.initial.countDown()
	}
	if delta > 0 || w.query.MetaOnly && len(e.Value) > 0 {
		own := *e
		own.Delta = delta
		if w.query.MetaOnly {
			own.Value = nil
		}
		e = &own
	}
	w.batch = append(w.batch, kv.Update{Entry: e, ValueSize: valueSize, Err: err})
}

// signal adds the event that marks the end of the initial entries.
func (w *Watcher) signal() {
	w.initial = nil
	w.batch = append(w.batch, kv.Update{})
}

// state returns whether the watcher is parked. If the watch has ended, it returns
// the reason as an error, kv.ErrWatchStopped after Stop.
func (w *Watcher) state() (parked bool, err error) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	switch {
	case !w.ended:
		return w.parked != notParked, nil
	case w.why == nil:
		return false, kv.ErrWatchStopped
	}
	return false, w.why
}

// finish ends the watch with the error why. It does nothing if the watch has ended.
func (w *Watcher) finish(why error) {
	h := w.hub
	h.mu.Lock()
	if w.ended {
		h.mu.Unlock()
		return
	}
	w.ended, w.why = true, why
	parked := w.parked != notParked
	h.removeLocked(w)
	taken := w.taken
	w.taken = 0
	if w.quit != nil {
		close(w.quit)
	}
	unbind := w.unbind
	h.mu.Unlock()
	h.budget.give(taken)
	if unbind != nil {
		unbind()
	}
	if parked {
		w.wake()
	}
}

// wake calls notify, so that the consumer polls again. The watcher is no longer
// parked.
func (w *Watcher) wake() {
	w.hub.mu.Lock()
	notify := w.notify
	w.hub.mu.Unlock()
	if notify != nil {
		notify()
	}
}

// Pending returns how many initial entries are not delivered yet.
func (w *Watcher) Pending() uint64 {
	fetched := w.batch[w.at:]
	if w.initial != nil {
		return uint64(w.initial.pending + len(fetched))
	}
	for n, u := range fetched {
		if u.Entry == nil {
			return uint64(n) // those before the signal
		}
	}
	return 0
}

// Err returns the error that ended the watch. It is nil while the watch runs and
// after Stop.
func (w *Watcher) Err() error {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	return w.why
}

// Stop ends the watch. It always returns nil.
func (w *Watcher) Stop() error {
	w.finish(nil)
	return nil
}

// Updates returns the channel of events. A goroutine fills it while there are
// events to deliver.
func (w *Watcher) Updates() <-chan kv.Update {
	w.once.Do(func() {
		w.updates = make(chan kv.Update, updatesKept)
		w.hub.mu.Lock()
		w.notify = func() { go w.pump() }
		w.hub.mu.Unlock()
		go w.pump()
	})
	return w.updates
}

// pump sends events to the channel until there are no more. If the watch has ended,
// it closes the channel. Updates and wake start it; at most one pump runs at a time.
func (w *Watcher) pump() {
	for {
		more, err := w.Poll(w.send)
		if err != nil {
			close(w.updates)
			return
		}
		if !more {
			return
		}
	}
}

// send sends an event to the channel. It returns false if the watch ended before
// the channel had room.
func (w *Watcher) send(u kv.Update) bool {
	select {
	case w.updates <- u:
		return true
	default:
	}
	select {
	case w.updates <- u:
		return true
	case <-w.end():
		return false
	}
}

// end returns a channel that is closed when the watch ends. The channel is made on
// the first call: most watchers never need it.
func (w *Watcher) end() <-chan struct{} {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if w.quit == nil {
		w.quit = make(chan struct{})
		if w.ended {
			close(w.quit)
		}
	}
	return w.quit
}

// All yields the same events. If the watch ended with an error, it yields that
// error last.
func (w *Watcher) All() iter.Seq2[kv.Update, error] {
	return func(yield func(kv.Update, error) bool) {
		ready := make(chan struct{}, 1)
		w.hub.mu.Lock()
		w.notify = func() { ready <- struct{}{} } // one call, one Poll
		w.hub.mu.Unlock()
		enough := false
		for {
			more, err := w.Poll(func(u kv.Update) bool {
				enough = !yield(u, nil)
				return !enough
			})
			switch {
			case enough:
				return
			case err != nil:
				if err := w.Err(); err != nil {
					yield(kv.Update{}, err)
				}
				return
			case !more:
				<-ready
			}
		}
	}
}
