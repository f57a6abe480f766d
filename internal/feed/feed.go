// Package feed is the receiving side of a [kv.Watcher] whose events one goroutine
// sends on a channel. It has the channel, an iterator over it, and the error that
// ended the watch.
package feed

import (
	"iter"
	"sync"

	"kvd/kv"
)

// Feed implements the methods Updates, All and Err of [kv.Watcher]. All methods are
// safe for concurrent use, except [Feed.End]: only the sender may call it.
type Feed struct {
	updates chan kv.Update // immutable; closed by End

	mu struct { // guards the fields inside
		sync.Mutex
		stopped bool
		err     error
	}
}

// New returns the feed of a channel. One goroutine sends on the channel, and calls
// End after its last event.
func New(updates chan kv.Update) *Feed { return &Feed{updates: updates} }

// Updates returns the channel of events.
func (f *Feed) Updates() <-chan kv.Update { return f.updates }

// All yields the events of the channel. If the watch ended with an error, it yields
// that error last.
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

// Err returns the error that ended the watch. It is nil while the watch runs and
// after SetStopped.
func (f *Feed) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.err
}

// SetStopped records that the consumer stops the watch. The error of a later End is
// ignored.
func (f *Feed) SetStopped() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.stopped = true
}

// End records the error that ended the watch, unless SetStopped was called before,
// and closes the channel. It must be called exactly once.
func (f *Feed) End(err error) {
	f.mu.Lock()
	if !f.mu.stopped {
		f.mu.err = err
	}
	f.mu.Unlock()
	close(f.updates)
}
