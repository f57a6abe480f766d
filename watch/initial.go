package watch

import (
	"context"
	"errors"

	"kvd/kv"
)

// initial is what a watcher begins with: references to records, in rounds of so
// many, and then a signal. Owned by whoever polls.
type initial struct {
	context context.Context // of the rounds to come

	refs   []Ref       // of this round, not loaded yet
	more   bool        // there are rounds to come
	last   kv.Revision // of the last reference of this round
	upTo   kv.Revision // the bucket's newest revision when the watch began
	left   int         // entries not fetched yet, with those that a newer record will stand for
	done   bool        // all references were loaded
	silent bool        // there is no signal

	// An entry that is missing may have been the end of a key that the client knows.
	known     bool   // the client knows keys: it resumes, or an entry came
	gone      int    // entries that were not there any more
	missed    bool   // one of them was, after the client knew keys
	forgotten uint64 // Selection.Forgotten of the first round

	// A record that was superseded before it was loaded is missing: once all others
	// are loaded, the signal waits for the bucket's newest revision of that moment,
	// which is not older than its successor.
	until kv.Revision
}

// countDown returns the delta of the next entry that stands for an initial one.
func (i *initial) countDown() uint64 {
	if i.left > 0 {
		i.left--
	}
	return uint64(i.left)
}

// selectRound selects the next references.
func (w *Watcher) selectRound() error {
	i, h := w.initial, w.hub
	taken := 0
	if w.query.Begin != BeginNothing {
		taken = w.hub.budget.round()
	}
	found, err := h.log.Select(i.context, &w.query, i.last, i.upTo, taken)
	if err != nil {
		h.budget.give(taken)
		return err
	}
	h.budget.give(taken - len(found.Refs))
	if !w.hold(len(found.Refs)) {
		return nil // it has ended
	}
	if i.upTo == 0 { // the first round
		i.upTo, i.left, i.forgotten = found.At, found.Total, found.Forgotten
		w.position = Position{Revision: max(found.At, w.query.From-min(w.query.From, 1))}
	}
	i.refs, i.more = found.Refs, found.More
	if n := len(i.refs); n > 0 {
		i.last = i.refs[n-1].Revision
	}
	return nil
}

// hold notes how much of the budget the watcher has, and gives the rest back. It
// reports whether the watch goes on.
func (w *Watcher) hold(n int) bool {
	w.hub.mu.Lock()
	give := w.taken
	w.taken = n
	if w.ended {
		give, w.taken = give+n, 0
	}
	ended := w.ended
	w.hub.mu.Unlock()
	w.hub.budget.give(give)
	return !ended
}

// replay loads the next references, or ends the initial entries.
func (w *Watcher) replay() error {
	i := w.initial
	if len(i.refs) == 0 {
		if i.more {
			return w.selectRound()
		}
		return w.endReplay()
	}
	n, size := 1, int(i.refs[0].Size)
	for ; n < min(batchMax, len(i.refs)) && size+int(i.refs[n].Size) <= batchBytes; n++ {
		size += int(i.refs[n].Size)
	}
	refs := i.refs[:n]
	i.refs = i.refs[n:]
	return w.hub.log.Load(&w.query, refs, func(e *kv.Entry, valueSize int, err error) {
		if e == nil {
			i.gone++
			i.missed = i.missed || i.known
			return
		}
		i.known = true
		e.Delta = i.countDown()
		w.batch = append(w.batch, kv.Update{Entry: e, ValueSize: valueSize, Err: err})
	})
}

// endReplay signals the end of the initial entries, or notes that it is owed.
func (w *Watcher) endReplay() error {
	i := w.initial
	if err := w.checkMissing(); err != nil {
		return err
	}
	i.refs, i.done = nil, true
	w.hold(0)
	switch {
	case i.silent:
		w.initial = nil
	case i.left == 0:
		w.signal()
	default:
		i.until = w.hub.log.Newest()
	}
	return nil
}

// checkMissing returns an error if an initial entry that did not come may have been the
// end of a key of which the client knows an older record.
func (w *Watcher) checkMissing() error {
	i, q := w.initial, &w.query
	missed := i.missed || i.known && i.left > i.gone // of a later round, which did not find it
	if !missed || q.Begin == BeginLast || q.PassForgotten {
		return nil
	}
	err := w.hub.log.CheckForgotten(q.From, i.forgotten)
	var gone *kv.CompactedError
	if errors.As(err, &gone) {
		behind := *gone // what was delivered is not to come again
		behind.First = max(gone.First, w.position.Revision+1)
		return &behind
	}
	return err
}
