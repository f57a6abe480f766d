// Package feed is the consumer's side of a [kv.Watcher] whose events one goroutine
// sends on a channel: the channel, an iterator over it, and the error that ended it.
package feed

import (
	"iter"
	"sync"

	"kvd/kv"
)

// Feed implements the methods Updates, All and Err of [kv.Watcher]. All methods are
// safe for concurrent use, but for [Feed.End], which the sender alone calls.
type Feed struct {
	updates chan kv.Update // immutable; closed by End

	mu struct { // guards the fields inside
		sync.Mutex
		stopped bool
		err     error
	}
}

// New returns the feed of a channel. One goroutine sends on it, and calls End behind
// its last event.
func New(updates chan kv.Update) *Feed { return &Feed{updates: updates} }

// Updates returns the channel of events.
func (f *Feed) Updates() <-chan kv.Update { return f.updates }

// All yields the events of the channel, and last the error that ended them, if any.
func (f *Feed) All() iter.Seq2[kv.Update, error] {
	return func(yield func(kv.Update, error) bool) {
		for u := range f.updates {
			if !yield(u, nil) {
				return
			}
		}
		if err := f.Err(); err != nil {
			yield(kv.Update{}, err)
		}
	}
}

// Err returns why the watch ended: nil while it goes on, and after a stop.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.err
}

// SetStopped says that the consumer stops the watch: an end that follows is not an
// error.
func (f *Feed) SetStopped() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.stopped = true
}

// End keeps why the watch ended, unless its consumer stopped it, and closes the
// channel. It is called once.
func (f *Feed) End(err error) {
	f.mu.Lock()
	if !f.mu.stopped {
		f.mu.err = err
	}
	f.mu.Unlock()
	close(f.updates)
}
