package fuzz

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// TestFullDisk makes the disk full at every page of a series of puts. Puts are refused
// cleanly; deletes, reads and checkpoints continue; a crash and an open on the full disk
// lose nothing; once there is room, puts succeed again.
func TestFullDisk(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	const pages = 120
	stride := int(sample(1))
	for room := 0; room < pages; room += stride {
		checks.add(func(count func()) error {
			if err := fillDisk(fullLoad(int64(room), nil), int64(room)*4096, count); err != nil {
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

// fullLoad is the store of TestFullDisk, on a disk with room for that many pages.
func fullLoad(room int64, bug func(vfs.FS) vfs.FS) *workload {
	return &workload{bug: bug, seed: uint64(room) * 4096, logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: 2 << 20}
}

// fillDisk writes to a store whose disk has that many free bytes, until it is full.
func fillDisk(load *workload, room int64, count func()) error {
	w := newWorld(load, simdisk.New())
	w.disk.SetCopyOnWrite(load.copies)
	if err := w.start(); err != nil {
		return err
	}
	for _, name := range bucketNames {
		create := op{kind: opCreateBucket, bucket: name, config: config{history: 3, maxBytes: -1}}
		put := op{kind: opPut, bucket: name, key: "k", size: 1000}
		if err := errors.Join(w.run(&create), w.run(&put)); err != nil {
			return err
		}
	}
	w.disk.SetCapacity(w.disk.Used() + room)
	if err := w.putUntilFull(bucketNames...); err != nil {
		return err
	}
	if err := w.livesFull(); err != nil {
		return fmt.Errorf("full: %w", err)
	}
	for _, c := range cuts(w.disk.Pending(), uint64(room), 2) {
		full := finding{workload: w.workload, image: c.make(w.disk), now: w.now, before: w.acked, after: w.acked, seed: load.seed}
		if err := full.check(count); err != nil {
			return fmt.Errorf("full, %s: %w", c.name, err)
		}
	}
	if err := w.run(&op{kind: opReopen}); err != nil {
		return fmt.Errorf("reopen on a full disk: %w", err)
	}
	if err := w.livesFull(); err != nil {
		return fmt.Errorf("full after an open: %w", err)
	}
	w.disk.SetCapacity(-1)
	for _, name := range bucketNames {
		if err := w.run(&op{kind: opPut, bucket: name, key: "k", size: 3000}); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
	}
	if err := w.agrees(); err != nil {
		return err
	}
	return w.stop()
}

// putUntilFull puts values until a put is refused for want of space.
func (w *world) putUntilFull(buckets ...string) error {
	for i := range 1000 {
		o := op{kind: opPut, bucket: buckets[i%len(buckets)], key: keyNames[i%len(keyNames)], size: 2000}
		err := w.run(&o)
		if errors.Is(err, kv.ErrNoSpace) {
			return w.agrees()
		}
		if err != nil {
			return fmt.Errorf("put %d: %w", i, err)
		}
	}
	return errors.New("the disk takes puts without end")
}

// livesFull checks the operations that must succeed on a full disk.
func (w *world) livesFull() error {
	for i := range 12 {
		o := op{kind: opDelete, bucket: bucketNames[i%len(bucketNames)], key: keyNames[i%len(keyNames)]}
		if i%4 == 3 {
			o.kind = opPurge
		}
		if err := w.run(&o); err != nil {
			return fmt.Errorf("delete %d: %w", i, err)
		}
	}
	for _, o := range []op{{kind: opCheckpoint}, {kind: opPurgeDeletes, bucket: bucketNames[0], age: -1}, {kind: opCheckpoint}, {kind: opReclaim}} {
		if err := w.run(&o); err != nil {
			return fmt.Errorf("%v: %w", o, err)
		}
	}
	return w.agrees()
}
