package kvtest

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"

	"kvd/kv"
)

// toyWatch is a watch of the toy: an unbounded list of the events that are due.
type toyWatch struct {
	bucket   *toyBucket
	patterns []string
	options  kv.WatchOptions
	updates  chan kv.Update // nil: the watch is polled

	mu      sync.Mutex // locked after the store's
	due     []kv.Update
	grown   chan struct{} // closed when there is something to do
	waits   bool          // the poller is to be notified
	pending uint64
	over    error         // why there will be no more events
	quit    chan struct{} // closed when the rest of the events is not wanted
	err     error
}

func (b *toyBucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (_ kv.Watcher, err error) {
	defer b.name("", &err)
	w := &toyWatch{bucket: b, patterns: slices.Clone(patterns), grown: make(chan struct{}), quit: make(chan struct{})}
	for _, opt := range opts {
		opt(&w.options)
	}
	if w.options.IncludeHistory && w.options.UpdatesOnly && !b.store.is(watchOptionsMixed) {
		return nil, kv.ErrInvalidOption
	}
	for _, p := range patterns {
		if err := kv.CheckPattern(p); err != nil && !b.store.is(watchTakesBadPatterns) {
			return nil, err
		}
	}
	if err := b.enter(ctx, "any.key"); err != nil {
		return nil, err
	}
	defer b.store.mu.Unlock()
	if id := w.options.ResumeBucketID; id != 0 && id != b.id && !b.store.is(watchResumesAnywhere) {
		return nil, kv.ErrBucketNotFound
	}
	if from := w.options.ResumeFrom; from != 0 && from <= b.forgotten && !b.store.is(watchForgetsEnds) {
		return nil, &kv.CompactedError{Bucket: b.cfg.Bucket, Wanted: from, First: b.forgotten + 1}
	}
	if newest := b.last; w.options.ResumeFrom > newest+1 && !b.store.is(watchWaitsForTheFuture) {
		return nil, &kv.FutureRevisionError{Bucket: b.cfg.Bucket, Wanted: w.options.ResumeFrom, Newest: newest}
	}
	if b.store.is(watchJoinOverlaps) {
		b.watches = append(b.watches, w)
		b.letWritersInLocked(1)
	}
	w.initial()
	if b.store.is(watchJoinHasGap) {
		b.letWritersInLocked(1)
	}
	if !slices.Contains(b.watches, w) {
		b.watches = append(b.watches, w)
	}
	w.begin(ctx)
	return w, nil
}

// begin starts the delivery.
func (w *toyWatch) begin(ctx context.Context) {
	if !w.is(watchOutlivesContext) {
		context.AfterFunc(ctx, func() { w.finish(ctx.Err()) })
	}
	if w.options.Notify != nil {
		w.waits = w.is(notifiesEarly)
		return
	}
	w.updates = make(chan kv.Update)
	go w.run()
}

func (w *toyWatch) is(b bug) bool { return w.bucket.store.is(b) }

// initial makes the initial entries and their end due. The store is locked.
func (w *toyWatch) initial() {
	var all []kv.Entry
	for key, records := range w.bucket.records {
		o := &w.options
		switch {
		case !w.selects(key) || o.UpdatesOnly && o.ResumeFrom == 0:
			continue
		case o.ResumeFrom != 0 && w.is(watchResumesWithNewest), o.ResumeFrom == 0 && (!o.IncludeHistory || w.is(watchIgnoresHistory)):
			records = records[len(records)-1:]
		}
		for _, e := range records {
			from := o.ResumeFrom
			if from != 0 && w.is(watchResumesAfter) {
				from++
			}
			hidden := e.Operation.IsMarker() && (o.IgnoreDeletes && !w.is(watchShowsDeletes) || w.is(watchHidesMarkers))
			if e.Revision >= from && !hidden {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, func(x, y kv.Entry) int {
		if w.is(watchOrderedByKey) && x.Key != y.Key {
			return cmp.Compare(x.Key, y.Key)
		}
		return int(x.Revision) - int(y.Revision)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = uint64(len(all))
	for i, e := range all {
		if e.Delta = uint64(len(all) - 1 - i); w.is(watchDeltaCountsItself) {
			e.Delta++
		}
		if i == len(all)-1 && w.is(watchEndsEarly) {
			w.endLocked()
		}
		w.addLocked(e)
	}
	if len(all) == 0 && w.is(watchOfNothingHasNoEnd) || len(all) > 0 && w.is(watchEndsEarly) {
		return
	}
	w.endLocked()
}

func (w *toyWatch) endLocked() {
	if !w.is(watchHasNoEnd) && (!w.options.UpdatesOnly || w.is(watchOfUpdatesEnds)) {
		w.due = append(w.due, kv.Update{})
	}
}

func (w *toyWatch) selects(key string) bool { return kv.MatchAny(w.patterns, key) }

// change makes a record due. The store is locked.
func (w *toyWatch) change(e kv.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	marker := e.Operation.IsMarker() && w.options.IgnoreDeletes && !w.is(watchShowsLaterDeletes)
	lost := e.Revision%5 == 4 && w.is(watchLosesChanges) ||
		len(w.due) >= 500 && w.is(slowWatchLoses)
	if marker || lost || !w.selects(e.Key) && !w.is(watchIgnoresPatterns) {
		return
	}
	if w.is(watchDeltaOfChanges) {
		e.Delta = 1
	}
	times := 1
	if w.is(watchRepeatsPatterns) {
		times = 0
		for _, p := range w.patterns {
			if kv.Match(p, e.Key) {
				times++
			}
		}
		times = max(times, 1)
	}
	for range times {
		w.addLocked(e)
	}
	if n := len(w.due); n > 1 && w.is(watchSwapsChanges) && w.due[n-2].Entry != nil {
		w.due[n-1], w.due[n-2] = w.due[n-2], w.due[n-1]
	}
	w.wakeLocked()
}

func (w *toyWatch) addLocked(e kv.Entry) {
	size := len(e.Value)
	if w.is(watchSizeOfNothing) {
		size++
	}
	if w.options.MetaOnly && !w.is(watchSendsValues) {
		e.Value = nil
	}
	w.due = append(w.due, kv.Update{Entry: &e, ValueSize: size})
}

func (w *toyWatch) wakeLocked() {
	close(w.grown)
	w.grown = make(chan struct{})
	if w.waits && w.options.Notify != nil {
		w.waits = w.is(notifiesOften)
		w.options.Notify()
	}
}

// finish ends the watch. Events that are due are not delivered.
func (w *toyWatch) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over != nil {
		return
	}
	if w.over, w.err = err, err; err == kv.ErrWatchStopped && !w.is(stopIsAnError) || w.is(watchForgetsCause) {
		w.err = nil
	}
	w.due = nil
	close(w.quit)
	if !w.is(pollEndIsSilent) {
		w.wakeLocked()
	}
}

// run is the goroutine of a watch that is not polled. It ends with the watch.
func (w *toyWatch) run() {
	for {
		w.mu.Lock()
		due, over, grown := w.due, w.over, w.grown
		w.due = nil
		w.mu.Unlock()
		for _, u := range due {
			select {
			case w.updates <- u:
			case <-w.quit:
			}
		}
		switch {
		case over != nil && (over != kv.ErrWatchStopped || !w.is(stopLeavesOpen)):
			close(w.updates)
			return
		case over != nil:
			return
		case len(due) > 0:
			continue
		}
		<-grown
	}
}

func (w *toyWatch) Poll(fn func(kv.Update) bool) (more bool, err error) {
	for {
		w.mu.Lock()
		if len(w.due) == 0 {
			defer w.mu.Unlock()
			w.waits = !w.is(notifiesOnce)
			if w.over != nil && !w.is(pollEndIsNil) {
				return false, w.over
			}
			return false, nil
		}
		u := w.due[0]
		w.due = w.due[1:]
		if u.Entry != nil && w.pending > 0 {
			w.pending--
		}
		w.mu.Unlock()
		if !fn(u) && !w.is(pollIgnoresFalse) {
			if w.is(pollRepeats) {
				w.mu.Lock()
				w.due = append([]kv.Update{u}, w.due...)
				w.mu.Unlock()
			}
			return true, nil
		}
	}
}

func (w *toyWatch) Pending() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.is(pendingCountsChanges) {
		return uint64(len(w.due))
	}
	return w.pending
}

func (w *toyWatch) Updates() <-chan kv.Update { return w.updates }

func (w *toyWatch) All() iter.Seq2[kv.Update, error] {
	return func(yield func(kv.Update, error) bool) {
		for u := range w.updates {
			if !yield(u, nil) {
				return
			}
		}
		if err := w.Err(); err != nil && !w.is(allEndsSilently) {
			yield(kv.Update{}, err)
		}
	}
}

func (w *toyWatch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *toyWatch) Stop() error {
	w.bucket.store.mu.Lock()
	defer w.bucket.store.mu.Unlock()
	if w.is(stopStopsAll) {
		w.bucket.finishLocked(kv.ErrWatchStopped)
	}
	w.bucket.watches = slices.DeleteFunc(w.bucket.watches, func(other *toyWatch) bool { return other == w })
	w.finish(kv.ErrWatchStopped)
	return nil
}

// finishLocked ends the bucket's watches.
func (b *toyBucket) finishLocked(err error) {
	for _, w := range b.watches {
		w.finish(err)
	}
	b.watches = nil
}
