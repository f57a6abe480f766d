package bucket

import (
	"sync/atomic"
	"time"
)

// clockLeap is the time that may pass by the system's clock while the store is closed. If
// more has passed, Open demands a confirmation: see Options.AcceptClock.
const clockLeap = 24 * time.Hour

// clock is the time of a store. Records get their times from it, and expire by it. Open
// reads the system's wall clock once. The store's time begins there, or at the newest time
// in the store if that is later, and continues by the monotonic clock. So setting the wall
// clock while the store is open changes nothing, setting it back stops nothing, and the
// store's time never falls.
//
// now reads the clock. Everything that is logged gets its time from advance.
//
// # Why
//
// A wall clock that jumps ahead would expire keys early, for good. The price is that the
// next Open is the first to follow a correct step of the wall clock too, for example after
// the machine was suspended. Keys then live longer, never shorter.
type clock struct {
	// Immutable after start.
	base    int64                // unix ns: where it started
	elapsed func() time.Duration // the time since base

	newest atomic.Int64 // unix ns: of the newest record or operation. It only grows, under Store.path
}

// start starts the clock at the newest time that it was raised to, or at the wall clock's
// time if that is later.
func (c *clock) start(o *Options) {
	began := o.env.Now()
	c.elapsed = func() time.Duration { return o.env.Now().Sub(began) }
	if o.env.Elapsed != nil {
		zero := o.env.Elapsed()
		c.elapsed = func() time.Duration { return o.env.Elapsed() - zero }
	}
	c.base = max(c.newest.Load(), began.UnixNano())
}

// now returns the store's time, unix ns. It is never earlier than the newest record or
// operation. Safe for concurrent use.
func (c *clock) now() int64 { return max(c.base+int64(c.elapsed()), c.newest.Load()) }

// advance returns the time of the next record or operation, unix ns. No later one gets an
// earlier time. The caller holds Store.path.
func (c *clock) advance() int64 {
	now := c.now()
	c.newest.Store(now)
	return now
}

// raise makes the clock start no earlier than the time of a record or operation that
// recovery found, unix ns.
func (c *clock) raise(found int64) { c.newest.Store(max(c.newest.Load(), found)) }
