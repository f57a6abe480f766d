package fuzz

import (
	"math/rand/v2"
	"testing"
	"time"
)

// logging returns a workload of message logs: the life of buckets that are silent, or
// some of which are, where many of the writes are appends, and trims stand where some
// other steps were.
func logging(seed uint64, steps int) *workload {
	w := living(seed, steps)
	l := &life{rand.New(rand.NewPCG(seed, 7))}
	silent, memory := make(map[string]bool), bucketNames[2]
	for _, name := range bucketNames {
		silent[name] = l.IntN(8) > 0
	}
	if l.IntN(4) > 0 { // most have no crash to survive otherwise
		memory = ""
	}
	write := func(o *op) {
		if silent[o.bucket] {
			o.ttl = 0
		}
		if l.IntN(2) == 0 {
			o.kind, o.size, o.ttl = opAppend, l.size(), 0
		}
	}
	for i := range w.ops {
		o := &w.ops[i]
		o.config.memory = o.bucket == memory
		if o.config.silent = silent[o.bucket]; !o.config.silent {
			o.config.ttl = 0 // no listing shows the markers of appends
		}
		switch {
		case o.writes():
			write(o)
		case o.amid != nil:
			write(o.amid)
		}
		for j := range o.batch {
			write(&o.batch[j])
		}
		var trims bool
		switch o.kind {
		case opErase, opPurgeDeletes, opSweep, opReclaim:
			trims = l.IntN(2) == 0
		case opDeleteBucket: // few come by another in time
			trims = true
		}
		if trims {
			*o = op{kind: opTrim, bucket: o.bucket, size: l.size(), tick: o.tick, skew: o.skew}
		}
	}
	return w
}

// TestModelOfLogs compares store and model after every step of such workloads.
func TestModelOfLogs(t *testing.T) {
	tryLogs(t, 10000, effort(100), 80, runAging)
}

// TestCrashInLogs cuts the power before every call of such workloads: before those of
// appends, silent sweeps and trims, and of the compaction of what these left.
func TestCrashInLogs(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{samples: 2, nested: 40, goOn: 10}
	tryLogs(t, 11000, effort(2), 40, func(load *workload) error { return runSweep(load, p, checks) })
	report(t, checks, start)
}

// TestFailEveryCallOfLogs fails every call of such workloads in every way.
func TestFailEveryCallOfLogs(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	tryLogs(t, 11500, effort(2), 14, func(load *workload) error { return failEvery(load, checks) })
	report(t, checks, start)
}

func tryLogs(t *testing.T, first uint64, n, steps int, check func(*workload) error) {
	t.Helper()
	tryLoads(t, first, n, func(seed uint64) *workload { return logging(seed, steps) }, check)
}
