package fuzz

import (
	"math/rand/v2"
	"testing"
	"time"
)

// living returns a workload with every event in the life of a bucket. Records expire by
// their own TTL and by the bucket's, are touched, trimmed, erased, purged, swept,
// compacted and compressed. Configurations change. Buckets are on the disk and in memory,
// synced at once or later, and are created and deleted. The wall clock is set all the
// time, which must not affect an open store.
// and go. The wall clock is set all the time, and an open store does not care.
func living(seed uint64, steps int) *workload {
	l := &life{rand.New(rand.NewPCG(seed, 5))}
	w := &workload{seed: seed, logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: -1, segmentSize: 4 << 10, aging: true}
	if l.IntN(4) == 0 {
		w.reserveSize = 64 << 10
	}
	first := l.IntN(len(bucketNames))
	buckets := append(bucketNames[first:len(bucketNames):len(bucketNames)], bucketNames[:first]...)[:1+l.IntN(len(bucketNames))]
	for _, name := range buckets {
		w.ops = append(w.ops, op{kind: opUpsertBucket, bucket: name, config: l.config(name)})
		batch := op{kind: opSubmit}
		for _, key := range keyNames[:len(keyNames)-1] {
			batch.batch = append(batch.batch, op{kind: opPut, bucket: name, key: key, size: l.size(), ttl: l.ttl(3)})
		}
		w.ops = append(w.ops, batch)
	}
	for len(w.ops) < steps {
		w.ops = append(w.ops, l.op(pick(l, buckets)))
	}
	during := &life{rand.New(rand.NewPCG(seed, 6))}
	for i := range w.ops {
		if o := &w.ops[i]; o.kind == opSweep && during.IntN(2) == 0 {
			o.during = &op{bucket: o.bucket, key: o.key}
			during.write(o.during)
		}
	}
	return w
}

// life makes the decisions of such a workload.
type life struct{ *rand.Rand }

// config returns a configuration for a bucket. One of the three buckets is in memory, and
// one may acknowledge before it syncs.
func (l *life) config(bucket string) config {
	c := config{history: 1 + l.IntN(4), maxBytes: -1, ttl: l.ttl(2)}
	c.interval = bucket == bucketNames[1] && l.IntN(3) > 0
	c.memory = bucket == bucketNames[2]
	if l.IntN(2) == 0 {
		c.markers = time.Duration(1+l.IntN(10)) * time.Minute
	}
	return c
}

// ttl returns a time to live with probability 1/n, otherwise 0.
func (l *life) ttl(n int) time.Duration {
	if l.IntN(n) > 0 {
		return 0
	}
	return time.Duration(1+l.IntN(30)) * time.Minute / 2
}

func (l *life) size() int { return 200 + l.IntN(500) }

// op returns one step.
func (l *life) op(bucket string) op {
	o := op{bucket: bucket, key: keyNames[l.IntN(4)]}
	if l.IntN(6) == 0 {
		o.key = pick(l, keyNames)
	}
	if l.IntN(3) == 0 {
		o.tick = time.Duration(1+l.IntN(20)) * time.Minute / 2
	}
	if l.IntN(4) == 0 {
		o.skew = time.Duration(l.IntN(5)-2) * 20 * time.Hour
	}
	switch n := l.IntN(100); {
	case n < 34:
		l.write(&o)
	case n < 40:
		o.kind = opSubmit
		for range 2 + l.IntN(4) {
			b := op{bucket: bucket, key: keyNames[l.IntN(4)]}
			if l.write(&b); b.kind == opTouch { // a touch would divide the batch
				b.kind = opPut
			}
			o.batch = append(o.batch, b)
		}
	case n < 54:
		o.kind = opSweep
	case n < 58:
		o.kind, o.size = opErase, l.IntN(100)
		if l.IntN(2) == 0 {
			o.key = ">"
		}
	case n < 64:
		o.kind, o.age = opPurgeDeletes, [...]time.Duration{-1, time.Minute, 0}[l.IntN(3)]
	case n < 78:
		o.kind = opReclaim
	case n < 82:
		o.kind = opCheckpoint
	case n < 91:
		o.kind, o.config = opUpsertBucket, l.config(bucket)
	case n < 93:
		o.kind = opDeleteBucket
	case n < 97:
		o.kind = opReopen
	default:
		o.kind, o.call, o.cut = opCrash, l.IntN(12), l.Uint64()>>8
	}
	return o
}

// write turns a step into a write.
func (l *life) write(o *op) {
	o.size = l.size()
	switch n := l.IntN(20); {
	case n < 8:
		o.kind, o.ttl = opPut, l.ttl(2)
	case n < 10:
		o.kind, o.ttl = opCreate, l.ttl(2)
	case n < 12:
		o.kind, o.ttl = opUpdate, l.ttl(2)
	case n < 15:
		o.kind, o.ttl = opTouch, l.ttl(2)
	case n < 17:
		o.kind = opDelete
	case n < 18:
		o.kind = opPurgeIf
	default:
		o.kind, o.ttl = opPurge, l.ttl(2)
	}
}

// TestModelOfLife compares store and model after every step of such workloads.
func TestModelOfLife(t *testing.T) {
	tryLives(t, 8000, effort(150), 80, runAging)
}

// TestCrashInLife cuts the power before every call of such workloads: in sweeps, erasures,
// trims, merges, swaps, removals, edits and deletions. Some machines are off for so long
// that more records expire.
func TestCrashInLife(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{every: sample(2), samples: 2, nested: 40, goOn: 10}
	tryLives(t, 9000, effort(2), 40, func(load *workload) error { return runSweep(load, p, checks) })
	report(t, checks, start)
}

// TestFailEveryCallOfLife fails every call of such workloads in every way.
func TestFailEveryCallOfLife(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	tryLives(t, 9500, effort(2), 14, func(load *workload) error { return failEvery(load, sample(2), checks) })
	report(t, checks, start)
}

func tryLives(t *testing.T, first uint64, n, steps int, check func(*workload) error) {
	t.Helper()
	tryLoads(t, first, n, func(seed uint64) *workload { return living(seed, steps) }, check)
}
