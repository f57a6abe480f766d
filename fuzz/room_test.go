package fuzz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
)

// growing returns a workload in which the log's files grow, and shrink at each clean close.
// Time passes between some steps, so that they also shrink because they are filled slowly.
func growing(seed uint64, steps int) *workload {
	r := rand.New(rand.NewPCG(seed, 17))
	w := generate(seed, steps)
	w.logFileSize, w.logMaxSize = 512<<10, 2<<20
	for i := range w.ops {
		o := &w.ops[i]
		switch {
		case o.hasValue():
			o.size = r.IntN(30 << 10)
		case o.kind > opUpsertBucket && o.kind != opCrash && r.IntN(6) == 0:
			*o = op{kind: opReopen}
		}
		o.tick = 0
		if r.IntN(8) == 0 {
			o.tick = time.Duration(r.IntN(int(time.Minute)))
		}
	}
	return w
}

// reserving returns a workload with so many bytes that the reserve grows, and shrinks after
// they were deleted.
func reserving() *workload {
	w := &workload{seed: 1, logFileSize: 1 << 20, logMaxSize: 8 << 20, reserveSize: 4 << 20}
	w.ops = append(w.ops, op{kind: opCreateBucket, bucket: bucketNames[0], config: config{history: 2, maxBytes: -1}})
	keys := keyNames[:9]
	for range 9 {
		batch := op{kind: opSubmit}
		for i := range 40 {
			batch.batch = append(batch.batch, op{kind: opPut, bucket: bucketNames[0], key: keys[i%len(keys)], size: 50_000})
		}
		w.ops = append(w.ops, batch)
	}
	w.ops = append(w.ops, op{kind: opCheckpoint}, op{kind: opReopen})
	for _, key := range keys {
		w.ops = append(w.ops, op{kind: opPurge, bucket: bucketNames[0], key: key})
	}
	w.ops = append(w.ops, op{kind: opReclaim}, op{kind: opCheckpoint}, op{kind: opReopen})
	return w
}

// TestCrashWhileTheReserveGrowsAndShrinks cuts the power before every call of that workload
// on the reserve, and before some other calls.
func TestCrashWhileTheReserveGrowsAndShrinks(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	w := newWorld(reserving(), simdisk.New())
	sizes, reserve := map[int64]bool{}, path.Join(storeDir, manifest.ReserveFile)
	s := &sweep{plan: plan{}, world: w, checks: checks}
	s.decide = func(o simdisk.Op) simdisk.Action {
		if info, err := w.disk.Stat(reserve); err == nil {
			sizes[info.Size] = true
		}
		if o.N%sample(5) != 0 && path.Base(o.Path) != manifest.ReserveFile { // an image has 20 MB to be read
			return simdisk.Action{}
		}
		return s.call(o)
	}
	if err := errors.Join(s.run(), checks.wait()); err != nil {
		t.Fatalf("step %d: %v", s.step, err)
	}
	if !sizes[1<<20] || !sizes[2<<20] {
		t.Errorf("the reserve had these sizes: %v", sizes)
	}
	if info, err := w.disk.Stat(reserve); err != nil || info.Size != 1<<20 {
		t.Errorf("in the end the reserve has %d bytes; %v", info.Size, err)
	}
	report(t, checks, start)
}

// TestCrashWhileTheLogGrowsAndShrinks cuts the power before every call of such workloads.
func TestCrashWhileTheLogGrowsAndShrinks(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	p := plan{every: sample(2), samples: 2, nested: 60, goOn: 20}
	tryLoads(t, 14000, effort(2), func(seed uint64) *workload { return growing(seed, 40) }, func(load *workload) error {
		return runSweep(load, p, checks)
	})
	report(t, checks, start)
}

// TestFailEveryCallWhileTheLogGrows fails every call of such workloads in every way.
func TestFailEveryCallWhileTheLogGrows(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	tryLoads(t, 14500, effort(1), func(seed uint64) *workload { return growing(seed, 16) }, func(load *workload) error {
		return failEvery(load, sample(2), checks)
	})
	report(t, checks, start)
}

// TestFullDiskWhileTheLogGrows makes the disk full at every size up to which the log's files
// grow.
func TestFullDiskWhileTheLogGrows(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	const pages = 400
	for room := int64(0); room < pages; room += sample(7) {
		checks.add(func(count func()) error {
			load := &workload{seed: uint64(room), logFileSize: 1 << 20, logMaxSize: 4 << 20, reserveSize: 2 << 20}
			if err := fillDisk(load, room*4096, count); err != nil {
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

// TestFullDiskThatCopies is TestFullDisk on a file system that copies what is overwritten: a
// write may find the disk full where room was reserved. The store is not poisoned, and an open
// on the full disk succeeds.
func TestFullDiskThatCopies(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	for room := int64(0); room < 120; room += sample(2) {
		for _, fileSize := range []int64{16 << 10, 256 << 10} {
			checks.add(func(count func()) error {
				load := &workload{seed: uint64(room), logFileSize: fileSize, logMaxSize: 4 * fileSize, reserveSize: 2 << 20, copies: true, tailBuckets: int(room / 2 % 2)}
				if err := fillDisk(load, room*4096, count); err != nil {
					return fmt.Errorf("disk with room for %d pages, log files of %d bytes: %w", room, fileSize, err)
				}
				return nil
			})
		}
	}
	if err := checks.wait(); err != nil {
		t.Error(err)
	}
	report(t, checks, start)
}
