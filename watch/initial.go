package watch

import (
	"context"
	"errors"

	"kvd/kv"
)

// initial is the state of a watcher's initial entries: references to records, which
// are selected in rounds, and the signal after them. It is owned by the goroutine
// that polls.
type initial struct {
	context context.Context // for the next rounds

	refs     []Ref       // references of this round that are not loaded yet
	more     bool        // another round follows
	last     kv.Revision // revision of the last reference of this round
	upTo     kv.Revision // the bucket's newest revision when the watch began
	pending  int         // entries not fetched yet; a newer record may replace some of them
	done     bool        // all references are loaded
	noSignal bool        // the watch has no signal

	// A missing entry may have been the end of a key that the client knows.
	known     bool   // the client knows keys: it resumes, or an entry was delivered
	missing   int    // number of entries that no longer existed when they were loaded
	mayEnd    bool   // one of them was missing after known was set
	forgotten uint64 // Selection.Forgotten of the first round

	// A record that was superseded before it was loaded is missing. Once all other
	// entries are loaded, until is the bucket's newest revision at that moment. The
	// successor is not newer than until, so the signal waits for it.
	until kv.Revision
}

// countDown counts one initial entry as delivered and returns its delta.
func (i *initial) countDown() uint64 {
	if i.pending > 0 {
		i.pending--
	}
	return uint64(i.pending)
}

// selectRound selects the references of the next round.
func (w *Watcher) selectRound() error {
	i, h := w.initial, w.hub
	taken := 0
	if w.query.Begin != BeginNothing {
		taken = w.hub.budget.round(w.query.Round)
	}
	found, err := h.log.Select(i.context, &w.query, i.last, i.upTo, taken)
	if err != nil {
		h.budget.give(taken)
		return err
	}
	h.budget.give(taken - len(found.Refs))
	if !w.setTaken(len(found.Refs)) {
		return nil // the watch has ended
	}
	if i.upTo == 0 { // the first round
		i.upTo, i.pending, i.forgotten = found.At, found.Total, found.Forgotten
		w.position = Position{Revision: max(found.At, w.query.From-min(w.query.From, 1))}
	}
	i.refs, i.more = found.Refs, found.More
	if n := len(i.refs); n > 0 {
		i.last = i.refs[n-1].Revision
	}
	return nil
}

// setTaken sets how many references of the budget the watcher has, and returns
// its former ones. It reports whether the watch is still running.
func (w *Watcher) setTaken(n int) bool {
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

// replay loads the next references. After the last reference it ends the initial
// entries.
func (w *Watcher) replay() error {
	i := w.initial
	if len(i.refs) == 0 {
		if i.more {
			return w.selectRound()
		}
		return w.endReplay()
	}
	refs := Batch(i.refs)
	i.refs = i.refs[len(refs):]
	return w.hub.log.Load(&w.query, refs, func(e *kv.Entry, valueSize int, err error) {
		if e == nil {
			i.missing++
			i.mayEnd = i.mayEnd || i.known
			return
		}
		i.known = true
		e.Delta = i.countDown()
		w.batch = append(w.batch, kv.Update{Entry: e, ValueSize: valueSize, Err: err})
	})
}

// endReplay adds the signal, or sets the revision for which the signal must wait.
func (w *Watcher) endReplay() error {
	i := w.initial
	if err := w.checkMissing(); err != nil {
		return err
	}
	i.refs, i.done = nil, true
	w.setTaken(0)
	switch {
	case i.noSignal:
		w.initial = nil
	case i.pending == 0:
		w.signal()
	default:
		i.until = w.hub.log.Newest()
	}
	return nil
}

// checkMissing returns an error if a missing entry may have been the end of a key of
// which the client knows an older record.
func (w *Watcher) checkMissing() error {
	i, q := w.initial, &w.query
	missed := i.mayEnd || i.known && i.pending > i.missing // a later round did not find it
	if !missed || q.Begin == BeginLast || q.PassForgotten {
		return nil
	}
	err := w.hub.log.CheckForgotten(q.From, i.forgotten)
	var gone *kv.CompactedError
	if errors.As(err, &gone) {
		behind := *gone // entries that were delivered must not come again
		behind.First = max(gone.First, w.position.Revision+1)
		return &behind
	}
	return err
}
