package fuzz

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
)

// age changes a workload in which nothing expires: some writes and some buckets get a
// TTL, sweeps and erasures replace some other steps, and time passes. The result is fixed,
// so that it can be shrunk.
func age(load *workload) *workload {
	if load.aging {
		return load
	}
	load.aging = true
	rng := rand.New(rand.NewPCG(load.seed, 4))
	ttl := func(n int) time.Duration {
		if rng.IntN(n) > 0 {
			return 0
		}
		return time.Duration(1+rng.IntN(40)) * time.Minute / 2
	}
	for i := range load.ops {
		o := &load.ops[i]
		// The records that count in a bucket's size depend on the time of the sweep.
		o.config.maxBytes, o.config.ttl = -1, ttl(2)
		switch {
		case o.kind == opSubmit:
			for j := range o.batch {
				if b := &o.batch[j]; b.kind != opDelete && b.kind != opDeleteIf {
					b.ttl = ttl(2)
				}
			}
		case o.kind < opSubmit && o.kind != opDelete && o.kind != opDeleteIf:
			o.ttl = ttl(2)
		}
		if o.kind < opSubmit && rng.IntN(5) == 0 {
			o.kind, o.ttl = opSweep, 0
			if rng.IntN(3) == 0 {
				o.kind = opErase
				if rng.IntN(2) == 0 {
					o.key = ">"
				}
			}
		}
		if rng.IntN(3) == 0 {
			o.tick = time.Duration(1+rng.IntN(40)) * time.Minute / 2
		}
	}
	return load
}

// TestModelOfAging is TestModel with records that expire.
func TestModelOfAging(t *testing.T) {
	trySeeds(t, 5000, effort(200), 80, func(load *workload) error { return runAging(age(load)) })
}

func runAging(load *workload) error {
	w := newWorld(load, simdisk.New())
	if err := w.start(); err != nil {
		return err
	}
	for i := range load.ops {
		o := &load.ops[i]
		if o.kind == opCrash {
			continue
		}
		if err := w.run(o); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		got, _, err := w.observe()
		if err != nil {
			return fmt.Errorf("after step %d: %w", i, err)
		}
		if d := w.acked.at(w.now).Diff(got); d != "" {
			return fmt.Errorf("after step %d:\n%s", i, d)
		}
		for name, b := range got.Buckets {
			if want := w.acked.Buckets[name]; b.Hidden > 0 && (o.kind == opSweep || !want.hides(w.now)) {
				return fmt.Errorf("after step %d: bucket %q counts %d records that no reader sees", i, name, b.Hidden)
			}
		}
		if err := w.tellsOfEnds(); err != nil {
			return fmt.Errorf("after step %d: %w", i, err)
		}
	}
	return w.stop()
}

// TestCrashAtEveryCallOfAging cuts the power before every call while records expire, also
// before the calls of sweeps, erasures and edits of a TTL.
func TestCrashAtEveryCallOfAging(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{every: sample(2), samples: 3, nested: 20, goOn: 10}
	trySeeds(t, 6000, effort(1), 24, func(load *workload) error { return runSweep(age(load), p, checks) })
	report(t, checks, start)
}
