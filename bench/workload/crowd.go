//go:build linux

package workload

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Crowd has callers call in closed loops: for a fifth of the time to warm up, and then for
// the time itself. What ends after the warm-up counts.
type Crowd struct {
	Callers int
	Time    time.Duration

	// Results of Run.
	Called    int             // calls, those of the warm-up included
	PerSecond float64         // calls that counted
	Latencies []time.Duration // of the calls that counted, ascending
}

// Run makes calls with numbers from 0 on, each used once, and with the number of the caller.
// Every caller makes one call at least. When Run returns, no call is under way. The first error of a caller ends all.
func (c *Crowd) Run(call func(caller, n int) error) error {
	var done sync.WaitGroup
	var next atomic.Int64
	var over atomic.Bool
	errs, times := make([]error, c.Callers), make([][]time.Duration, c.Callers)
	begin := time.Now().Add(c.Time / 5)
	end := begin.Add(c.Time)
	for i := range c.Callers {
		done.Go(func() {
			for start := time.Now(); ; {
				if errs[i] = call(i, int(next.Add(1))-1); errs[i] != nil {
					over.Store(true)
					return
				}
				now := time.Now()
				if now.After(begin) {
					times[i] = append(times[i], now.Sub(start))
				}
				if start = now; !start.Before(end) || over.Load() {
					return
				}
			}
		})
	}
	done.Wait()
	took := time.Since(begin)
	c.Called = int(next.Load())
	c.Latencies = slices.Concat(times...)
	slices.Sort(c.Latencies)
	c.PerSecond = float64(len(c.Latencies)) / took.Seconds()
	return errors.Join(errs...)
}

// Percentile returns a latency in milliseconds; p is between 0 and 1.
func (c *Crowd) Percentile(p float64) float64 {
	return c.Latencies[min(int(p*float64(len(c.Latencies))), len(c.Latencies)-1)].Seconds() * 1e3
}
