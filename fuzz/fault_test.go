package fuzz

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// fault is one way in which a call may fail.
type fault struct {
	name    string
	err     error
	short   bool // half of a write reaches the file
	drop    bool // a sync drops the pages that it should have written
	applies func(simdisk.OpKind) bool
}

var faults = []fault{
	{name: "EIO", err: syscall.EIO, applies: func(simdisk.OpKind) bool { return true }},
	{name: "ENOSPC", err: syscall.ENOSPC, applies: needsSpace},
	{name: "EMFILE", err: syscall.EMFILE, applies: opens},
	{name: "EIO after half", err: syscall.EIO, short: true, applies: isKind(simdisk.OpWriteAt)},
	{name: "ENOSPC after half", err: syscall.ENOSPC, short: true, applies: isKind(simdisk.OpWriteAt)},
	{name: "EIO, pages dropped", err: syscall.EIO, drop: true, applies: isKind(simdisk.OpSync)},
	{name: "ENOSPC, pages dropped", err: syscall.ENOSPC, drop: true, applies: isKind(simdisk.OpSync)},
}

func isKind(kind simdisk.OpKind) func(simdisk.OpKind) bool {
	return func(k simdisk.OpKind) bool { return k == kind }
}

// opens reports whether a call needs a descriptor.
func opens(kind simdisk.OpKind) bool { return kind == simdisk.OpOpen || kind == simdisk.OpOpenDir }

// needsSpace reports whether a call can fail on a full disk. A sync can fail where blocks
// are assigned late. A write to existing blocks can fail where blocks are never
// overwritten in place.
func needsSpace(kind simdisk.OpKind) bool {
	switch kind {
	case simdisk.OpOpen, simdisk.OpMkdir, simdisk.OpRename, simdisk.OpWriteAt, simdisk.OpAllocate, simdisk.OpSync, simdisk.OpSyncDir:
		return true
	}
	return false
}

func (f *fault) action(o simdisk.Op) simdisk.Action {
	a := simdisk.Action{Err: f.err, DropSync: f.drop}
	if f.short {
		a.Short = o.Len / 2
	}
	return a
}

// duration is how long a fault lasts.
type duration int

const (
	once      duration = iota
	forKind            // every later call of the same kind fails too
	forAll             // every later call
	durations          // number of durations
)

// faultyWorld is a world in which one or more calls fail.
type faultyWorld struct {
	*world
	fault    *fault
	lasts    duration
	hit      bool     // a call has failed
	poisoned bool     // a write had an unknown outcome, or the store reported that it is read-only
	maybe    []*Model // other states that the store may be in
}

// TestFailEveryCall fails every call of several workloads in every way: alone, with all
// later calls of its kind, and with all later calls.
func TestFailEveryCall(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	trySeeds(t, 1000, effort(2), 14, func(load *workload) error { return failEvery(load, sample(2), checks) })
	report(t, checks, start)
}

// TestFailEveryCallWithFewFiles does the same in a store that closes and opens again the files
// of its buckets all the time.
func TestFailEveryCallWithFewFiles(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	trySeeds(t, 1100, effort(1), 14, func(load *workload) error {
		withFewFiles(load)
		return failEvery(load, sample(2), checks)
	})
	report(t, checks, start)
}

// TestFailEveryCallWithTails does the same in a store that holds what it appends to segments in
// memory.
func TestFailEveryCallWithTails(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	trySeeds(t, 1300, effort(2), 14, func(load *workload) error {
		withTails(load)
		return failEvery(load, sample(2), checks)
	})
	report(t, checks, start)
}

// TestFailEveryCallOfLargeValues does the same with values in files of their own. A batch has none:
// if one file of it cannot be written, the others of the batch are, and the model takes a batch
// as a whole.
func TestFailEveryCallOfLargeValues(t *testing.T) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	trySeeds(t, 1200, effort(2), 14, func(load *workload) error {
		withLargeValues(load)
		for _, o := range load.ops {
			for i := range o.batch {
				o.batch[i].size %= load.largeValue
			}
		}
		return failEvery(load, sample(2), checks)
	})
	report(t, checks, start)
}

// failEvery fails calls of a workload, of every n chosen by the seed, each in every way.
func failEvery(load *workload, every int64, checks *checks) error {
	kinds, err := callsOf(load)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(load.seed, 3))
	for n, kind := range kinds {
		if !chosen(random.Uint64(), every) {
			continue
		}
		for i := range faults {
			if !faults[i].applies(kind) {
				continue
			}
			for lasts := range durations {
				checks.add(func(count func()) error {
					if err := suffer(load, &faults[i], n, lasts, count); err != nil {
						return fmt.Errorf("%s at call %d (%v), lasting %d: %w", faults[i].name, n, kind, lasts, err)
					}
					return nil
				})
			}
		}
	}
	return checks.wait()
}

// callsOf returns the kinds of a workload's calls.
func callsOf(load *workload) ([]simdisk.OpKind, error) {
	w := newWorld(load, simdisk.New())
	var kinds []simdisk.OpKind
	w.decide = func(o simdisk.Op) simdisk.Action {
		kinds = append(kinds, o.Kind)
		return simdisk.Action{}
	}
	p := faultyWorld{world: w}
	return kinds, p.runAll()
}

// suffer runs a workload whose n-th call, from 0, fails. It checks that the store returns
// the error, continues to serve reads, and recovers what it had acknowledged.
func suffer(load *workload, f *fault, n int, lasts duration, count func()) error {
	w := newWorld(load, simdisk.New())
	p := &faultyWorld{world: w, fault: f, lasts: lasts}
	calls := -1
	var first simdisk.OpKind
	w.decide = func(o simdisk.Op) simdisk.Action {
		calls++
		switch {
		case calls == n:
			p.hit, first = true, o.Kind
		case calls < n, lasts == once, lasts == forKind && o.Kind != first, !f.applies(o.Kind):
			return simdisk.Action{}
		}
		return f.action(o)
	}
	if err := p.runAll(); err != nil {
		return err
	}
	w.decide = nil
	w.fault.Inject(nil)
	images := cuts(w.disk.Pending(), uint64(n), 1)
	for _, c := range images {
		found := finding{workload: load, image: c.make(w.disk), now: w.now, before: w.acked, after: w.acked,
			since: slices.Concat(p.maybe, w.since), ids: w.ids, seed: uint64(n), goOn: n%8 == 0}
		if err := found.check(count); err != nil {
			return fmt.Errorf("afterwards, %s: %w", c.name, err)
		}
	}
	return nil
}

// runAll runs the whole workload in spite of errors, and closes the store.
func (p *faultyWorld) runAll() error {
	if err := p.opened(p.start()); err != nil {
		return err
	}
	for i := range p.workload.ops {
		if p.store == nil {
			return nil
		}
		if err := p.do(&p.workload.ops[i]); err != nil {
			return fmt.Errorf("step %d, %v: %w", i, p.workload.ops[i], err)
		}
	}
	return p.closed(p.stop())
}

// opened checks the result of an open.
func (p *faultyWorld) opened(err error) error {
	p.poisoned = false
	if err != nil {
		if !p.hit || !strings.Contains(err.Error(), p.fault.err.Error()) {
			return fmt.Errorf("open: %w", err)
		}
		p.store = nil
		return nil
	}
	if cause := p.store.Report().ReadOnly; cause != nil {
		// If the log cannot be read at all, the store is read-only and reports it. Nothing in
		// it was changed.
		if p.lasts == once || !p.hit || !strings.Contains(cause.Error(), p.fault.err.Error()) {
			return fmt.Errorf("opened read-only: %v", p.store.Report())
		}
		return p.closed(p.stop())
	}
	got, losses, err := p.observe()
	if err != nil && p.lasts != once && p.hit && strings.Contains(err.Error(), p.fault.err.Error()) {
		return p.closed(p.stop()) // nothing can be read: everything is in doubt, until it can
	}
	if err != nil {
		return fmt.Errorf("after open: %w", err)
	}
	states := slices.Concat([]*Model{p.acked}, p.maybe, p.since)
	fits := func(m *Model) bool { return m.at(p.now).restarted().Diff(got) == "" }
	if len(losses) > 0 {
		if err := p.lost(losses); err != nil {
			return err
		}
		fits = func(m *Model) bool { return m.restarted().comesTo(got) } // the rest is unknown
	}
	at := slices.IndexFunc(states, fits)
	if at < 0 {
		return fmt.Errorf("after open:\n%s", p.acked.at(p.now).restarted().Diff(got))
	}
	if err := p.renewed(got); err != nil {
		return fmt.Errorf("after open: %w", err)
	}
	got = states[at].at(p.now).restarted().named(got)
	p.acked, p.flight, p.maybe, p.since = got, got, nil, nil
	return nil
}

// closed checks the result of a close. The error may have any form that names its cause,
// but nothing may remain open.
func (p *faultyWorld) closed(err error) error {
	if n := p.open.Load(); n != 0 {
		return fmt.Errorf("%d files are open after a close that returned: %w", n, err)
	}
	if err != nil && !p.hit {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// do carries out one step and checks its error.
func (p *faultyWorld) do(o *op) error {
	if o.kind == opCrash {
		return nil
	}
	if o.kind == opReopen {
		if err := p.closed(p.stop()); err != nil {
			return err
		}
		return p.opened(p.start())
	}
	before, alone := p.acked, *o
	alone.during = nil // the error would not tell which of the two failed
	err := p.run(&alone)
	if d := before.at(p.now).Diff(p.acked.at(p.now).seen()); d != "" && p.poisoned {
		return fmt.Errorf("a write succeeded in a store that is read-only:\n%s", d)
	}
	switch {
	case err == nil:
		return nil
	case !p.hit:
		return err
	case errors.Is(p.fault.err, syscall.EMFILE) && !errors.Is(err, kv.ErrTooManyFiles):
		return fmt.Errorf("for want of a descriptor: %w", err)
	case errors.Is(err, kv.ErrOutcomeUnknown):
		if p.poisoned {
			return fmt.Errorf("unknown outcome twice: %w", err)
		}
		p.poisoned = true
		p.maybe = append(between(before, p.midway), p.flight)
	case errors.Is(err, kv.ErrReadOnly):
		p.poisoned = true
	case errors.Is(err, kv.ErrNoSpace):
	case errors.Is(err, p.fault.err): // before anything was written
	case o.kind == opReclaim && strings.Contains(err.Error(), p.fault.err.Error()): // a sync of a file that was given up
	default:
		return fmt.Errorf("not an error that the contract names: %w", err)
	}
	return p.reads(p.acked)
}

// reads checks that reads succeed after a failed step, and finds the step's state.
func (p *faultyWorld) reads(before *Model) error {
	stages := between(before.at(p.now), p.midway)
	p.acked, p.flight, p.midway = before, before, nil
	got, losses, err := p.observe()
	if err != nil {
		return fmt.Errorf("reads after the fault: %w", err)
	}
	fits := func(m *Model) bool { return m.Diff(got) == "" }
	if len(losses) > 0 {
		if err := p.lost(losses); err != nil {
			return err
		}
		fits = func(m *Model) bool { return m.comesTo(got) } // the rest is unknown
	}
	at := slices.IndexFunc(stages, fits)
	if at < 0 {
		return fmt.Errorf("reads after the fault:\n%s", stages[0].Diff(got))
	}
	if at > 0 && before.interval() {
		p.since = append(p.since, before)
	}
	p.acked, p.flight = stages[at], stages[at]
	return nil
}

// comesTo reports whether the buckets equal those of got, at the same revisions.
func (m *Model) comesTo(got *Model) bool {
	return maps.EqualFunc(m.Buckets, got.Buckets, func(b, have *Bucket) bool { return b.at(have.Revision) })
}

// between returns the states in which each bucket is either as before a step or as in one
// of the step's stages. The state before the step comes first.
func between(before *Model, stages []*Model) []*Model {
	states := []*Model{before}
	for name, was := range before.Buckets {
		versions := []*Bucket{was}
		for _, m := range stages {
			if b := m.Buckets[name]; b != nil && !slices.Contains(versions, b) {
				versions = append(versions, b)
				for _, s := range states[:len(states):len(states)] {
					if s = s.Clone(); s.Buckets[name] == was {
						s.Buckets[name] = b
						states = append(states, s)
					}
				}
			}
		}
	}
	return states
}

// lost checks records that could not be read: this is allowed only while the disk fails.
func (p *faultyWorld) lost(losses []Loss) error {
	if p.hit && errors.Is(losses[0].Err, p.fault.err) {
		return nil
	}
	return fmt.Errorf("record lost: %+v", losses[0])
}
