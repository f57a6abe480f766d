package bucket

import (
	"sync/atomic"
	"time"
)

// clockLeap is by how much the system's clock may have moved on while the store
// was closed before Open asks whether that can be right.
const clockLeap = 24 * time.Hour

// clock is the time of a store: records are stamped with it and expire by it. The
// system's wall clock is read once, by Open: the store's time begins there, or at the
// newest time that the store holds if that is later, and goes on by the monotonic
// clock. So a wall clock that is set while the store is open changes nothing, one
// that was set back stops nothing, and time never falls.
//
// now reads it. What is about to be logged takes its time from advance.
//
// # Why
//
// A wall clock that jumps ahead would expire keys early, for good. The price is
// that a step of it is not followed before the next Open, also where it was right,
// as after the machine was suspended: keys then live longer, never shorter.
type clock struct {
	// Immutable after start.
	base    int64                // unix ns: where it started
	elapsed func() time.Duration // since then

	newest atomic.Int64 // unix ns: of the newest record or operation. It only grows, under Store.path
}

// start starts the clock, at the newest time that it was raised to, or at the wall
// clock's time if that is later.
func (c *clock) start(o *Options) {
	began := o.env.Now()
	c.elapsed = func() time.Duration { return o.env.Now().Sub(began) }
	if o.env.Elapsed != nil {
		zero := o.env.Elapsed()
		c.elapsed = func() time.Duration { return o.env.Elapsed() - zero }
	}
	c.base = max(c.newest.Load(), began.UnixNano())
}

// now returns the store's time, unix ns: never before the newest record or operation.
// Safe for concurrent use.
func (c *clock) now() int64 { return max(c.base+int64(c.elapsed()), c.newest.Load()) }

// advance returns the time of the next record or operation, unix ns. None that follows
// has an earlier one. The caller holds Store.path.
func (c *clock) advance() int64 {
	now := c.now()
	c.newest.Store(now)
	return now
}

// raise takes the time of a record or operation that recovery found, unix ns, into
// account.
func (c *clock) raise(found int64) { c.newest.Store(max(c.newest.Load(), found)) }
