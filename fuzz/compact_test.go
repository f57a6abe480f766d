package fuzz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// churning returns a workload with much to compact: a few keys change and are deleted all
// the time, while other keys in the oldest segments stay. So there are compactions of the
// lowest segments and of others, tombstones that may be removed and tombstones that may
// not, and outputs without records.
func churning(seed uint64, steps int) *workload {
	c := rand.New(rand.NewPCG(seed, 3))
	w := &workload{seed: seed, logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: -1, segmentSize: 4 << 10}
	if c.IntN(4) == 0 {
		w.reserveSize = 64 << 10
	}
	buckets := bucketNames[:1+c.IntN(2)]
	for _, name := range buckets {
		w.ops = append(w.ops, op{kind: opUpsertBucket, bucket: name, config: config{history: 1 + c.IntN(2), maxBytes: -1}})
		for _, key := range keyNames {
			w.ops = append(w.ops, op{kind: opPut, bucket: name, key: key, size: 400 + c.IntN(400)})
		}
	}
	for len(w.ops) < steps {
		w.ops = append(w.ops, churn(c, pick(c, buckets)))
	}
	w.ops = append(w.ops, op{kind: opReclaim})
	return w
}

// churn returns one step of a churning workload.
func churn(c *rand.Rand, bucket string) op {
	o := op{bucket: bucket, key: keyNames[c.IntN(4)], size: 300 + c.IntN(600)}
	if c.IntN(8) == 0 {
		o.key = pick(c, keyNames)
	}
	switch n := c.IntN(100); {
	case n < 44:
		o.kind = opPut
	case n < 52:
		o.kind = opDelete
	case n < 60:
		o.kind = opPurge
	case n < 72:
		o.kind, o.age = opPurgeDeletes, -1
	case n < 88:
		o.kind = opReclaim
	case n < 92:
		o.kind = opCheckpoint
	case n < 95:
		o.kind, o.config = opUpsertBucket, config{history: 1 + c.IntN(3), maxBytes: -1}
	case n < 97:
		o.kind = opDeleteBucket
	default:
		o.kind = opReopen
	}
	return o
}

// TestCrashInCompaction cuts the power before every call of workloads that compact all the
// time, and before the calls of some recoveries. The calls are those of trims, merges,
// swaps, removals of files, and deletions of a bucket.
func TestCrashInCompaction(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{every: sample(2), samples: 1, nested: 40, goOn: 10}
	tryLoads(t, 3000, effort(2), func(seed uint64) *workload { return churning(seed, 32) },
		func(load *workload) error { return runSweep(load, p, checks) })
	report(t, checks, start)
}

// TestTombstonesOutliveWhatTheyHide compacts the segment with the tombstones of keys before
// the segment with the values that they delete: the first gives back more space, and all
// records of a segment in between are live. If a tombstone were removed with its segment,
// the value would come back.
func TestTombstonesOutliveWhatTheyHide(t *testing.T) {
	load := &workload{logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: -1, segmentSize: 4 << 10}
	put := func(key string) {
		load.ops = append(load.ops, op{kind: opPut, bucket: "a", key: key, size: 700})
	}
	load.ops = append(load.ops, op{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}})
	for _, key := range keyNames { // the last key begins the third segment
		put(key)
	}
	load.ops = append(load.ops, op{kind: opDelete, bucket: "a", key: keyNames[0]}, op{kind: opPurge, bucket: "a", key: keyNames[1]})
	for range 4 { // one of the values stays
		put(keyNames[9])
	}
	load.ops = append(load.ops, op{kind: opPurgeDeletes, bucket: "a", age: -1}, op{kind: opReclaim})
	checks := newChecks()
	defer checks.close()
	if err := runSweep(load, plan{}, checks); err != nil {
		t.Errorf("%v\n%v", err, load)
	}
}

// TestCrashInRecoveryFromCompaction cuts the power before every few calls of every recovery
// from a power cut during a compaction.
func TestCrashInRecoveryFromCompaction(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{nested: 4}
	tryLoads(t, 3500, effort(1), func(seed uint64) *workload { return churning(seed, 18) },
		func(load *workload) error { return runSweep(load, p, checks) })
	report(t, checks, start)
}

// TestFailEveryCallOfCompaction fails every call of such workloads in every way.
func TestFailEveryCallOfCompaction(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	tryLoads(t, 4000, effort(1), func(seed uint64) *workload { return churning(seed, 18) },
		func(load *workload) error { return failEvery(load, sample(2), checks) })
	report(t, checks, start)
}

// TestCompactionOnAFullDisk makes the disk full at every page of a series of puts.
// Compaction must free enough space for more puts.
func TestCompactionOnAFullDisk(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	stride := int(sample(4))
	for room := 0; room < 100; room += stride {
		checks.add(func(count func()) error {
			if err := reclaimFull(int64(room)*4096, count); err != nil {
				return fmt.Errorf("disk with room for %d pages: %w", room, err)
			}
			return nil
		})
	}
	if err := checks.wait(); err != nil {
		t.Error(err)
	}
	report(t, checks, start)
}

// reclaimFull fills a disk that has room free bytes with values that replace each other,
// and compacts the store.
func reclaimFull(room int64, count func()) error {
	load := &workload{seed: uint64(room), logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: 1 << 20, segmentSize: 4 << 10}
	w := newWorld(load, simdisk.New())
	if err := w.start(); err != nil {
		return err
	}
	create := op{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}}
	if err := w.run(&create); err != nil {
		return err
	}
	for _, key := range keyNames {
		if err := w.run(&op{kind: opPut, bucket: "a", key: key, size: 2000}); err != nil {
			return err
		}
	}
	w.disk.SetCapacity(w.disk.Used() + room)
	if err := w.putUntilFull("a"); err != nil {
		return err
	}
	if err := w.run(&op{kind: opReclaim}); err != nil {
		return fmt.Errorf("reclaim on a full disk: %w", err)
	}
	for _, c := range cuts(w.disk.Pending(), uint64(room), 2) {
		full := finding{workload: w.workload, image: c.make(w.disk), now: w.now, before: w.acked, after: w.acked, seed: uint64(room)}
		if err := full.check(count); err != nil {
			return fmt.Errorf("compacted, %s: %w", c.name, err)
		}
	}
	put := op{kind: opPut, bucket: "a", key: "k", size: 2000}
	if err := w.run(&put); err != nil && (!errors.Is(err, kv.ErrNoSpace) || room > 25*4096) {
		return fmt.Errorf("put into the space that compaction freed: %w", err)
	}
	return errors.Join(w.agrees(), w.stop())
}

// compacted is smallStore with a compaction before its last writes.
func compacted() *workload {
	load := smallStore()
	load.segmentSize = 4 << 10
	n := len(load.ops) - 2
	load.ops = append(load.ops[:n:n], append([]op{{kind: opReclaim}}, load.ops[n:]...)...)
	return load
}

func byCompaction(_ *testing.T, b seededBug) error {
	c := newChecks()
	defer c.close()
	for seed := range uint64(6) {
		if err := runSweep(b.plant(churning(3000+seed, 50)), plan{samples: 2, goOn: 4}, c); err != nil {
			return err
		}
	}
	return nil
}

func byDamageAfterCompaction(t *testing.T, b seededBug) error {
	c := newChecks()
	defer c.close()
	return damageAll(t, b.plant(compacted()), c, tolerance{}, func(d *damageSweep, f stored) {
		if strings.Contains(f.path, "manifest") {
			flipBits(11)(d, f)
		}
	})
}
