package fuzz

import (
	"testing"
	"time"
)

// TestCrashAtEveryCall cuts the power before every call of random workloads.
func TestCrashAtEveryCall(t *testing.T) {
	c := newChecks()
	defer c.close()
	p := plan{samples: 3, nested: 20, goOn: 10}
	start := time.Now()
	for seed := range uint64(2) {
		load := generate(seed, 50)
		if err := runSweep(load, p, c); err != nil {
			t.Fatalf("%v\n%v", err, load)
		}
	}
	report(t, c, start)
}

func report(t *testing.T, c *checks, start time.Time) {
	n, d := c.images.Load(), time.Since(start)
	t.Logf("%d images checked in %v, %.0f per second", n, d.Round(time.Millisecond), float64(n)/d.Seconds())
}
