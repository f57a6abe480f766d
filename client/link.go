package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
)

// link keeps one shared connection alive: when it breaks, a goroutine makes
// another, for as long as the client is open.
type link struct {
	// Immutable.
	ctx     context.Context // ends when the client is closed
	end     context.CancelFunc
	connect func(context.Context) (*conn, error)
	maxWait time.Duration

	current atomic.Pointer[conn] // nil while there is none

	backoff backoff        // redial's; there is one at a time
	since   time.Time      // when current was made; redial's
	tasks   sync.WaitGroup // every goroutine of the client

	mu struct { // guards the fields inside
		sync.Mutex
		changed chan struct{} // closed at the next change of anything here or of current
		err     error         // why there is no connection
		closed  bool
	}
}

// open makes the first connection; there is no second attempt.
func (l *link) open(ctx context.Context) error {
	l.mu.changed = make(chan struct{})
	c, err := l.connect(ctx)
	if err != nil {
		return err
	}
	l.publish(c)
	return nil
}

// publish makes c the shared connection, unless the client was closed.
func (l *link) publish(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		c.close()
		return
	}
	l.since = time.Now()
	l.mu.err = nil
	l.current.Store(c)
	c.run(&l.tasks)
	l.notifyLocked()
}

// lost withdraws the shared connection and starts to make another. The connection calls
// it once, before it ends its calls, which get the returned error.
func (l *link) lost(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current.Store(nil)
	l.notifyLocked()
	if l.mu.closed {
		return kv.ErrClosed
	}
	l.mu.err = cause
	l.tasks.Go(l.redial)
	return cause
}

// redial tries to connect until it succeeds or the client is closed.
func (l *link) redial() {
	l.backoff.reset(time.Since(l.since))
	for l.backoff.pause(l.ctx) == nil {
		c, err := l.connect(l.ctx)
		if err == nil {
			l.publish(c)
			return
		}
		l.mu.Lock()
		l.mu.err = err
		l.notifyLocked()
		l.mu.Unlock()
	}
}

func (l *link) notifyLocked() {
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
}

// get returns the connection, and waits for one if there is none: until the
// context ends, MaxWait has passed or the server refuses the client.
func (l *link) get(ctx context.Context) (*conn, error) {
	if c := l.current.Load(); c != nil {
		return c, nil
	}
	var late <-chan time.Time
	if l.maxWait > 0 {
		timer := time.NewTimer(l.maxWait)
		defer timer.Stop()
		late = timer.C
	}
	for {
		l.mu.Lock()
		c, changed, err, closed := l.current.Load(), l.mu.changed, l.mu.err, l.mu.closed
		l.mu.Unlock()
		switch {
		case closed:
			return nil, kv.ErrClosed
		case c != nil:
			return c, nil
		case refused(err):
			return nil, err
		}
		select {
		case <-changed:
		case <-late:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// spawn runs f in a goroutine that close waits for. f ends when ctx does.
func (l *link) spawn(f func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return kv.ErrClosed
	}
	l.tasks.Go(f)
	return nil
}

// serve runs the goroutines of a further connection, which close waits for.
func (l *link) serve(c *conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return kv.ErrClosed
	}
	c.run(&l.tasks)
	return nil
}

// close ends all connections of the client and waits for its goroutines. It reports
// whether this was the first close.
func (l *link) close() bool {
	l.mu.Lock()
	first := !l.mu.closed
	l.mu.closed = true
	l.notifyLocked()
	l.mu.Unlock()
	l.end()
	l.tasks.Wait()
	return first
}
