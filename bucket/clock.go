package bucket

import (
	"sync/atomic"
	"time"
)

// clockLeap is the time that may pass by the system's clock while the store is closed. If
// more has passed, somebody has to confirm it: see Options.AcceptClock.
const clockLeap = 24 * time.Hour

// clock is the time of a store. Records get their times from it, and expire by it. Open
// reads the system's wall clock once. The store's time begins there, or at the newest time
// in the store if that is later, and continues by the monotonic clock. So setting the wall
// clock while the store is open changes nothing, setting it back stops nothing, and the
// store's time never falls.
//
// now reads the clock. Everything that is logged gets its time from advance.
//
// The time for which the machine is suspended counts, although the monotonic clock stands
// still: elapsed adds it.
//
// A wall clock that is more than clockLeap ahead at Open may be wrong, unless the operator
// accepts it. Readers believe it. The sweep does not: it removes records for good. For it, the
// records of before have only aged by the time for which the store has been open; see
// sweepState.leap. Records that are written later get the new time, and are swept as ever.
//
// # Why
//
// A wall clock that jumps ahead would expire keys early, for good. The price is that the
// next Open is the first to follow a correct step of the wall clock too. Keys then live
// longer, never shorter.
//
// The clock that counts suspensions (CLOCK_BOOTTIME) is a system call, and the monotonic
// clock is not. So only their difference is read, once in suspensionCheck.
type clock struct {
	// Immutable after start, or after recovery.startClock.
	base   int64                // unix ns: where it started
	awake  func() time.Duration // the time since base, without suspensions
	slept  func() time.Duration // the suspensions since base
	leap   int64                // ns: how far the wall clock leapt before Open, if nobody accepted it; 0: it did not
	before int64                // unix ns: the newest time in the store at Open. Later records have times from base on

	newest    atomic.Int64 // unix ns: of the newest record or operation. It only grows, under Store.path
	suspended atomic.Int64 // ns: the suspensions since base, as of checked. It only grows
	checked   atomic.Int64 // ns: awake, when suspended was read
}

// suspensionCheck bounds the running time after which the end of a suspension is noticed.
const suspensionCheck = time.Millisecond

// start starts the clock at the newest time that it was raised to, or at the wall clock's
// time if that is later.
func (c *clock) start(o *Options) {
	began := o.env.Now()
	c.awake = func() time.Duration { return o.env.Now().Sub(began) }
	if o.env.Elapsed != nil {
		zero := o.env.Elapsed()
		c.awake = func() time.Duration { return o.env.Elapsed() - zero }
	}
	zero := o.env.Suspended()
	c.slept = func() time.Duration { return o.env.Suspended() - zero }
	c.before = c.newest.Load()
	c.base = max(c.before, began.UnixNano())
}

// elapsed returns the time since base, ns.
func (c *clock) elapsed() int64 {
	awake := int64(c.awake())
	if checked := c.checked.Load(); awake-checked >= int64(suspensionCheck) && c.checked.CompareAndSwap(checked, awake) {
		slept := int64(c.slept())
		for known := c.suspended.Load(); slept > known && !c.suspended.CompareAndSwap(known, slept); {
			known = c.suspended.Load()
		}
	}
	return awake + c.suspended.Load()
}

// now returns the store's time, unix ns. It is never earlier than the newest record or
// operation. Safe for concurrent use.
func (c *clock) now() int64 { return max(c.base+c.elapsed(), c.newest.Load()) }

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

// unconfirmed reports whether nothing was written since a leap of the wall clock. Then the
// leap can still be undone: no time on the disk comes from it.
func (c *clock) unconfirmed() bool { return c.leap != 0 && c.newest.Load() < c.base }

// ClockState is the state of a store's clock.
type ClockState struct {
	// Now is the store's time.
	Now time.Time
	// Leap is how far the wall clock was ahead of the newest time in the store when it was
	// opened, if that was more than a day, nobody accepted it and something may expire.
	// What expired by the leap alone waits; see Options.AcceptClock. 0: nothing waits.
	Leap time.Duration
	// Suspended is the time for which the machine was suspended since Open.
	Suspended time.Duration
}

// Clock returns the state of the store's clock. Safe for concurrent use.
func (s *Store) Clock() ClockState {
	now := s.clock.now()
	return ClockState{Now: time.Unix(0, now).UTC(), Leap: time.Duration(s.clock.leap), Suspended: time.Duration(s.clock.suspended.Load())}
}
