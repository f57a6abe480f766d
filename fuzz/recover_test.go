package fuzz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// finding is a disk as a crash left it, and what may be on it.
type finding struct {
	workload *workload
	image    *simdisk.Disk
	now      int64
	before   *Model          // what was acknowledged
	after    *Model          // the same with the step in flight
	since    []*Model        // states before, in which something was acknowledged that is not synced
	ids      map[uint64]bool // of all buckets that there were
	seed     uint64          // of the random numbers of the recovery, and of samples
	nested   int             // crash again before every n-th call of the recovery; 0: not at all
	goOn     bool            // write, crash and close afterwards
}

// check recovers the store and compares it with what may be there.
func (f *finding) check(count func()) error {
	w := f.world()
	settled := f.image.Pending() == 0 // else the process was killed, and the power may go yet
	var again []*simdisk.Disk
	if f.nested > 0 {
		calls := int(f.seed) % f.nested
		w.judge = func(simdisk.Op) simdisk.Action {
			if calls++; calls%f.nested == 0 {
				again = append(again, w.disk.Crash(simdisk.KeepNone()))
				if n := w.disk.Pending(); n > 0 {
					again = append(again, someCut(n, f.seed+uint64(calls)).make(w.disk))
				}
			}
			return simdisk.Action{}
		}
	}
	got, err := w.recover(f.before, f.after, f.since)
	count()
	w.fault.Inject(nil)
	w.judge = nil
	if err == nil && f.goOn {
		err = w.goesOn(count)
	}
	if stopErr := w.stop(); err == nil && stopErr != nil {
		err = fmt.Errorf("close: %w", stopErr)
	}
	for i := 0; i < len(again) && err == nil; i++ {
		second := *f
		second.image = again[i]
		if settled {
			second.before, second.after, second.since = got, got, nil
		}
		second.seed, second.nested, second.goOn = f.seed+uint64(i)+1, 0, f.goOn && i%16 == 0
		if err = second.check(count); err != nil {
			err = fmt.Errorf("crash %d of %d while recovering: %w", i, len(again), err)
		}
	}
	return err
}

// world returns a world around the image. Its random numbers are others than
// those of the store that left it, as a new process's are.
func (f *finding) world() *world {
	w := newWorld(f.workload, f.image)
	w.random = rand.New(rand.NewPCG(f.workload.seed, f.seed+3))
	w.now, w.serial, w.ids = f.now, 1<<40, f.ids
	return w
}

// recover opens a store after a crash. It must need no attention, hold one of
// two states, or where the interval mode allows it one of those since the last
// sync, and nothing else.
func (w *world) recover(before, after *Model, since []*Model) (*Model, error) {
	if err := w.start(); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	r := w.store.Report()
	if len(r.Damages) > 0 || r.ReadOnly != nil || len(r.Strays) > 0 {
		return nil, fmt.Errorf("report after a crash: %v; strays %q", r, r.Strays)
	}
	got, losses, err := w.observe()
	switch {
	case err != nil:
		return nil, err
	case len(losses) > 0:
		return nil, fmt.Errorf("record lost: %+v", losses[0])
	}
	states := append([]*Model{before, after}, since...)
	at := slices.IndexFunc(states, func(m *Model) bool { return m.at(w.now).restarted().Diff(got) == "" })
	if at < 0 {
		return nil, fmt.Errorf("recovered something else than was acknowledged:\n%s", before.at(w.now).restarted().Diff(got))
	}
	if err := w.renewed(got); err != nil {
		return nil, err
	}
	for name, b := range before.Buckets {
		if have := got.Buckets[name]; have != nil && have.ID == b.ID && have.Revision < b.Revision {
			return nil, fmt.Errorf("bucket %q goes on from revision %d, and %d was told", name, have.Revision, b.Revision)
		}
	}
	if w.workload.aging { // what readers do not see counts for what comes next
		got = states[at].at(w.now).restarted().named(got)
	}
	w.acked, w.flight, w.since = got, got, nil
	return got, w.tellsOfEnds()
}

// renewed checks that buckets in memory have ids that none had, and notes them all.
func (w *world) renewed(got *Model) error {
	for name, b := range got.Buckets {
		if b.Config.Storage == kv.MemoryStorage && w.ids[b.ID] {
			return fmt.Errorf("bucket %q, which is in memory, has an id from before: %d", name, b.ID)
		}
	}
	w.know(got)
	return nil
}

// goesOn checks that a recovered store is a sound one: it takes writes, keeps
// them in a crash, and has neither work nor scratch left after a close.
func (w *world) goesOn(count func()) error {
	for _, name := range bucketNames {
		if w.acked.Buckets[name] == nil {
			continue
		}
		// A marker, since it is admitted in a full bucket too.
		if err := w.run(&op{kind: opDelete, bucket: name, key: "k"}); err != nil {
			return fmt.Errorf("write after recovery: %w", err)
		}
	}
	crashed := finding{workload: w.workload, image: w.disk.Crash(simdisk.KeepNone()), now: w.now,
		before: w.acked, after: w.acked, since: w.since, ids: w.ids, seed: w.random.Uint64()}
	if err := crashed.check(count); err != nil {
		return fmt.Errorf("crash after recovery: %w", err)
	}
	if err := w.run(&op{kind: opReopen}); err != nil {
		return fmt.Errorf("reopen after recovery: %w", err)
	}
	count()
	if err := w.tidy(); err != nil {
		return err
	}
	return w.agrees()
}

// tidy checks that an open left no half-made files, and no more of the log than
// may be needed.
func (w *world) tidy() error {
	logs := int64(0)
	for _, dir := range []string{storeDir, storeDir + "/wal", storeDir + "/seg"} {
		entries, err := w.disk.List(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".tmp") || e.Name == "lost" {
				return fmt.Errorf("%s/%s is left", dir, e.Name)
			}
			if strings.HasSuffix(e.Name, ".wal") {
				logs++
			}
		}
	}
	if most := w.workload.logMaxSize/w.workload.logFileSize + 3; logs > most {
		return fmt.Errorf("%d files of the log, want at most %d", logs, most)
	}
	return nil
}
