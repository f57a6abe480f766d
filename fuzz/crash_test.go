package fuzz

import (
	"testing"
	"time"

	"kvd/segment"
)

// TestCrashAtEveryCall cuts the power before every call of random workloads, and before the
// calls of some recoveries.
func TestCrashAtEveryCall(t *testing.T) {
	sweepAll(t, plan{samples: 3, nested: 20, goOn: 10}, 1, 4, 24, func(*workload) {})
}

// sweepAll sweeps workloads of seeds from a first one on, changed by a function. seeds and steps
// are as effort and trySeeds take them.
func sweepAll(t *testing.T, p plan, first uint64, seeds, steps int, change func(*workload)) {
	t.Helper()
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p.every = sample(2)
	trySeeds(t, first, effort(seeds), steps, func(load *workload) error {
		change(load)
		return runSweep(load, p, checks)
	})
	report(t, checks, start)
}

// TestCrashAtEveryCallOfRecovery cuts the power before every call of every
// recovery of a few workloads.
func TestCrashAtEveryCallOfRecovery(t *testing.T) {
	sweepAll(t, plan{samples: 1, nested: 1}, 2000, 2, 6, func(*workload) {})
}

// TestCrashAtEveryCallOfIntervalBuckets does the same with some buckets that acknowledge
// before they sync. Edits change which buckets these are.
func TestCrashAtEveryCallOfIntervalBuckets(t *testing.T) {
	sweepAll(t, plan{samples: 4, nested: 20, goOn: 10}, 3000, 2, 24, func(load *workload) {
		for i := range load.ops {
			c := &load.ops[i].config
			c.interval = (load.ops[i].bucket != bucketNames[1]) != (c.history == 5)
		}
	})
}

// withFewFiles gives a workload the least bucket.Options.MaxFiles: two segments may be open, of
// three buckets. A batch is for one bucket then: where it touches more than may be open, it is
// several groups, and the model knows all of it or nothing.
func withFewFiles(load *workload) {
	load.maxFiles = 38
	for _, o := range load.ops {
		for i := range o.batch {
			o.batch[i].bucket = o.batch[0].bucket
		}
	}
}

// TestCrashAtEveryCallWithFewFiles does the same in a store that closes and opens again the
// files of its buckets all the time.
func TestCrashAtEveryCallWithFewFiles(t *testing.T) {
	sweepAll(t, plan{samples: 3, nested: 20, goOn: 10}, 5000, 1, 24, withFewFiles)
}

// TestCrashAtEveryCallWithImages does the same in a store that writes the indexes of all buckets
// to files when it is closed, and reads them when it is opened.
func TestCrashAtEveryCallWithImages(t *testing.T) {
	sweepAll(t, plan{samples: 3, nested: 20, goOn: 10}, 7000, 1, 24, func(load *workload) { load.imageKeys = 1 })
}

// withTails holds what a workload's groups append to segments in memory: of all groups, or of
// those that touch two buckets.
func withTails(load *workload) {
	load.tailBuckets = 1 + int(load.seed%2)
	if load.seed%3 == 0 {
		withFewFiles(load)
		load.tailBuckets = 1
	}
}

// TestCrashAtEveryCallWithTails does the same in a store that holds what it appends to segments in
// memory.
func TestCrashAtEveryCallWithTails(t *testing.T) {
	sweepAll(t, plan{samples: 3, nested: 20, goOn: 10}, 8003, 2, 24, withTails)
}

// withLargeValues gives a third of a workload's values files of their own.
func withLargeValues(load *workload) {
	load.largeValue = segment.ValueFileMin
	enlarge := func(o *op) {
		if o.size%3 == 1 {
			o.size += load.largeValue
		}
		o.config.maxBytes = -1 // the model counts what records take that have their values
	}
	for i := range load.ops {
		enlarge(&load.ops[i])
		for j := range load.ops[i].batch {
			enlarge(&load.ops[i].batch[j])
		}
	}
}

// TestCrashAtEveryCallOfLargeValues does the same with values in files of their own.
func TestCrashAtEveryCallOfLargeValues(t *testing.T) {
	sweepAll(t, plan{samples: 3, nested: 20, goOn: 10}, 6000, 2, 14, func(load *workload) {
		withLargeValues(load)
		load.imageKeys = int(load.seed % 2) // 0: no bucket has so many
		if load.seed%3 == 0 {
			withFewFiles(load)
		}
	})
}

// report logs the number of images and the speed.
func report(t *testing.T, c *checks, start time.Time) {
	t.Helper()
	n, d := c.images.Load(), time.Since(start)
	t.Logf("%d images checked in %v, %.0f per second", n, d.Round(time.Millisecond), float64(n)/d.Seconds())
}
