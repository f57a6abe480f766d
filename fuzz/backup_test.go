package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"kvd/bucket"
	storecut "kvd/bucket/cut"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
)

// TestBackups makes backups at random steps of random workloads, and compares the store that each
// becomes with the model of that moment. The workloads go on while the files are copied.
func TestBackups(t *testing.T) {
	tryLoads(t, 1, effort(40), func(seed uint64) *workload {
		load := generate(seed, 50)
		if seed%2 == 0 {
			load = living(seed, 50)
		}
		if seed%3 == 0 {
			withLargeValues(load)
		}
		if seed%5 == 0 {
			withFewFiles(load)
		}
		return load
	}, runWithBackups)
}

func runWithBackups(load *workload) error {
	w := newWorld(load, simdisk.New())
	if err := w.start(); err != nil {
		return err
	}
	b := &backups{world: w}
	for b.next < len(load.ops) {
		if b.next%5 == int(load.seed%5) {
			if err := b.check(); err != nil {
				return fmt.Errorf("backup before step %d: %w", b.next, err)
			}
		}
		if err := b.step(); err != nil {
			return err
		}
	}
	return w.stop()
}

// backups is a workload beside which backups are made. It is the sink of the backup at hand.
type backups struct {
	world   *world
	next    int // step
	content *storecut.Content
	files   map[storecut.File][]byte
}

// step carries out the next step, if there is one, unless it is a crash.
func (b *backups) step() error {
	if b.next == len(b.world.workload.ops) {
		return nil
	}
	o := &b.world.workload.ops[b.next]
	if b.next++; o.kind == opCrash {
		return nil
	}
	if err := b.world.run(o); err != nil {
		return fmt.Errorf("step %d: %w", b.next-1, err)
	}
	return nil
}

// check makes a backup and a store of it, and compares that with the model.
func (b *backups) check() error {
	w := b.world
	want := w.acked.at(w.now).restarted()
	report, err := w.store.Backup(context.Background(), bucket.BackupOptions{}, b)
	if err == nil && report.Damage > 0 {
		err = report.Damages[0]
	}
	if err != nil {
		return err
	}
	r := newWorld(w.workload, simdisk.New())
	r.now = w.now
	if err := b.restore(r.disk); err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return err
	}
	if rep := r.store.Report(); rep.Records != 0 || rep.Torn != nil || len(rep.Damages) > 0 || len(rep.Strays) > 0 {
		return fmt.Errorf("report of the restored store: %v", rep)
	}
	got, losses, err := r.observe()
	switch {
	case err != nil:
		return err
	case len(losses) > 0:
		return fmt.Errorf("record lost: %+v", losses[0])
	}
	want.Clock = r.now
	if d := want.Diff(got); d != "" {
		return errors.New(d)
	}
	if err := r.stop(); err != nil {
		return err
	}
	return r.verify()
}

// Begin lets the workload go on after the cut. A step that opens the store anew would end the backup.
func (b *backups) Begin(c *storecut.Content) error {
	b.content, b.files = c, make(map[storecut.File][]byte)
	for range 3 {
		if ops := b.world.workload.ops; b.next == len(ops) || ops[b.next].kind == opReopen {
			return nil
		}
		if err := b.step(); err != nil {
			return err
		}
	}
	return nil
}

// File keeps a file.
func (b *backups) File(f storecut.File, data io.Reader) (err error) {
	b.files[f], err = io.ReadAll(data)
	return err
}

// restore makes a store of the backup that continues where the old one was.
func (b *backups) restore(disk *simdisk.Disk) error {
	none := uint64(0)
	o := environment.With(storecut.Options{Bump: &none, SameIDs: true}, environment.Env{
		FS: disk, Now: func() time.Time { return b.content.Time }, Random: b.world.random.Uint64,
	})
	plan, err := storecut.NewPlan("backup", b.content, o)
	if err != nil {
		return err
	}
	r, err := plan.Begin(storeDir)
	if err != nil {
		return err
	}
	for _, f := range b.content.Files {
		if err := r.File(f, bytes.NewReader(b.files[f])); err != nil {
			return err
		}
	}
	return r.Commit()
}
