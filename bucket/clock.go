package bucket

import (
	"sync/atomic"
	"time"
)

// clockLeap is by how much the system's clock may have moved on while the store
// was closed before Open asks whether that can be right.
const clockLeap = 24 * time.Hour

// clock is the time that records are stamped with and expire by. The system's
// wall clock is read once, by Open: the store's time begins there, or at the
// newest time that the store holds if that is later, and goes on by the monotonic
// clock. So a wall clock that is set while the store is open moves nothing, one
// that was set back stops nothing, and time never falls.
//
// # Why
//
// A wall clock that jumps ahead would expire keys early, for good. The price is
// that a step of it is not followed before the next Open, also where it was right,
// as after the machine was suspended: keys then live longer, never shorter.
type clock struct {
	base    int64 // unix ns
	elapsed func() time.Duration
	high    atomic.Int64 // unix ns: of the newest record or operation
}

// start sets the clock going, at high or at the wall clock's time if that is
// later.
func (c *clock) start(o *Options, high int64) {
	began := o.Now()
	c.elapsed = func() time.Duration { return o.Now().Sub(began) }
	if o.Elapsed != nil {
		zero := o.Elapsed()
		c.elapsed = func() time.Duration { return o.Elapsed() - zero }
	}
	c.base = max(high, began.UnixNano())
	c.high.Store(high)
}

// now returns the store's time, unix ns. Safe for concurrent use.
func (c *clock) now() int64 { return max(c.base+int64(c.elapsed()), c.high.Load()) }
