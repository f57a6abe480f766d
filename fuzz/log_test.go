package fuzz

import (
	"math/rand/v2"
	"testing"
	"time"
)

// logging returns a workload of message logs. It is a workload of living in which some or
// all buckets are message logs, many writes are appends, and trims replace some other
// steps.
func logging(seed uint64, steps int) *workload {
	w := living(seed, steps)
	l := &life{rand.New(rand.NewPCG(seed, 7))}
	logs, memory := make(map[string]bool), bucketNames[2]
	for _, name := range bucketNames {
		logs[name] = l.IntN(8) > 0
	}
	if l.IntN(4) > 0 { // most other workloads have no crash
		memory = ""
	}
	write := func(o *op) {
		if logs[o.bucket] {
			o.ttl = 0
		}
		if l.IntN(2) == 0 {
			o.kind, o.size, o.ttl = opAppend, l.size(), 0
		}
	}
	for i := range w.ops {
		o := &w.ops[i]
		o.config.memory = o.bucket == memory
		if o.config.messageLog = logs[o.bucket]; !o.config.messageLog {
			o.config.ttl = 0 // no listing shows the markers of appended keys
		}
		switch {
		case o.writes():
			write(o)
		case o.during != nil:
			write(o.during)
		}
		for j := range o.batch {
			write(&o.batch[j])
		}
		var trims bool
		switch o.kind {
		case opErase, opPurgeDeletes, opSweep, opReclaim:
			trims = l.IntN(2) == 0
		case opDeleteBucket: // rarely does another bucket take its place in time
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

// TestCrashInLogs cuts the power before every call of such workloads, also before the calls
// of appends, sweeps without markers, trims, and the compaction after them.
func TestCrashInLogs(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{every: sample(2), samples: 2, nested: 40, goOn: 10}
	tryLogs(t, 11000, effort(1), 40, func(load *workload) error { return runSweep(load, p, checks) })
	report(t, checks, start)
}

// TestFailEveryCallOfLogs fails every call of such workloads in every way.
func TestFailEveryCallOfLogs(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	tryLogs(t, 11500, effort(1), 14, func(load *workload) error { return failEvery(load, sample(2), checks) })
	report(t, checks, start)
}

func tryLogs(t *testing.T, first uint64, n, steps int, check func(*workload) error) {
	t.Helper()
	tryLoads(t, first, n, func(seed uint64) *workload { return logging(seed, steps) }, check)
}
