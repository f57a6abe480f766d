package fuzz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// finding is a disk after a crash, and the states that it may have.
type finding struct {
	workload *workload
	image    *simdisk.Disk
	now      int64
	before   *Model          // the acknowledged state
	after    *Model          // the same with the step in flight
	since    []*Model        // earlier states with acknowledged writes that are not synced
	ids      map[uint64]bool // ids of all buckets that ever existed
	seed     uint64          // of the recovery's random numbers, and of samples
	nested   int             // crash again before every n-th call of the recovery; 0: not at all
	goOn     bool            // write, crash and close afterwards
}

// check recovers the store and compares it with the states that it may have.
func (f *finding) check(count func()) error {
	w := f.world()
	settled := f.image.Pending() == 0 // otherwise the process was killed, and a power cut may follow
	var again []*simdisk.Disk
	if f.nested > 0 {
		calls := int(f.seed) % f.nested
		w.decide = func(simdisk.Op) simdisk.Action {
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
	w.decide = nil
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

// world returns a world with the image. Its random numbers differ from those of the store
// before the crash, as those of a new process do.
func (f *finding) world() *world {
	w := newWorld(f.workload, f.image)
	w.random = rand.New(rand.NewPCG(f.workload.seed, f.seed+3))
	w.now, w.serial, w.ids = f.now, 1<<40, f.ids
	return w
}

// recover opens a store after a crash. The report must be clean. The store must have one of
// two states, or in interval mode one of the states since the last sync.
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
		return nil, fmt.Errorf("recovered another state than the acknowledged one:\n%s", before.at(w.now).restarted().Diff(got))
	}
	if err := w.renewed(got); err != nil {
		return nil, err
	}
	for name, b := range before.Buckets {
		if have := got.Buckets[name]; have != nil && have.ID == b.ID && have.Revision < b.Revision {
			return nil, fmt.Errorf("bucket %q continues from revision %d, although %d was delivered", name, have.Revision, b.Revision)
		}
	}
	if w.workload.aging { // records that readers do not see affect the next steps
		got = states[at].at(w.now).restarted().named(got)
	}
	w.acked, w.flight, w.since = got, got, nil
	return got, w.tellsOfEnds()
}

// renewed checks that memory buckets have new ids, and adds all ids to the known ones.
func (w *world) renewed(got *Model) error {
	for name, b := range got.Buckets {
		if b.Config.Storage == kv.MemoryStorage && w.ids[b.ID] {
			return fmt.Errorf("bucket %q, which is in memory, has the id of an earlier bucket: %d", name, b.ID)
		}
	}
	w.know(got)
	return nil
}

// goesOn checks that a recovered store works: it accepts writes, keeps them in a crash, and
// has no pending work and no scratch files after a close.
func (w *world) goesOn(count func()) error {
	for _, name := range bucketNames {
		if w.acked.Buckets[name] == nil {
			continue
		}
		// A marker, because a full bucket accepts it too.
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

// tidy checks that an open left no unfinished files, and no more files of the log than may
// be needed.
func (w *world) tidy() error {
	logs := int64(0)
	for _, dir := range []string{storeDir, storeDir + "/wal", storeDir + "/seg"} {
		entries, err := w.disk.List(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".tmp") || e.Name == "lost" {
				return fmt.Errorf("%s/%s was not removed", dir, e.Name)
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
