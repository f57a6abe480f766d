package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff computes the pause before each attempt to connect.
type backoff struct {
	min, max time.Duration
	failures int // failed attempts in a row
}

// pause waits before the next attempt. It returns the error of the context if that
// ends first. The first attempt waits too, for up to the minimum, so that the clients of
// a restarted server do not all arrive at once.
func (b *backoff) pause(ctx context.Context) error {
	timer := time.NewTimer(b.next(rand.Float64()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns the pause for a random number from 0 up to 1 and counts one more
// failure.
func (b *backoff) next(random float64) time.Duration {
	n := b.failures
	b.failures++
	if n == 0 {
		return time.Duration(random * float64(b.min))
	}
	d := b.max
	if n < 32 && b.min<<(n-1)>>(n-1) == b.min { // the shift did not overflow
		d = min(b.max, b.min<<(n-1))
	}
	return d - time.Duration(random*float64(d/2))
}

// reset sets the failures to 0 if a connection lasted long enough to count as a
// success. A connection that breaks at once counts as a failure.
func (b *backoff) reset(lasted time.Duration) {
	if lasted >= b.max {
		b.failures = 0
	}
}
