package fuzz

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kvd/internal/vfs/simdisk"
)

// plan says how thorough a sweep is.
type plan struct {
	every   int64 // crashes before one of so many calls, chosen by the seed; 0: before each
	samples int   // random images per call, in addition to the extreme ones
	nested  int   // of every n-th image the recovery is crashed too; 0: never
	goOn    int   // after every n-th image the recovered store is written to; 0: never
}

// sweep is one run of a workload, with crashes before every call.
type sweep struct {
	plan
	*world
	checks  *checks
	step    int
	calls   int // number of calls in this step
	changed bool
	images  uint64

	crashIn int    // call of the step at which the workload crashes; 0: none
	cut     uint64 // seed of the items that the disk keeps then
	crashed *finding
}

// runSweep runs a workload and returns what its checks found.
func runSweep(load *workload, p plan, c *checks) error {
	return runSweepOn(newWorld(load, simdisk.New()), p, c)
}

// runSweepOn is runSweep in an existing world.
func runSweepOn(w *world, p plan, c *checks) error {
	s := &sweep{plan: p, world: w, checks: c}
	s.decide = s.call
	err := s.run()
	if err != nil {
		err = fmt.Errorf("step %d: %w", s.step, err)
	}
	return errors.Join(err, c.wait())
}

func (s *sweep) run() error {
	s.begin(-1)
	if err := s.start(); err != nil {
		return err
	}
	for i := range s.workload.ops {
		if s.checks.failed() {
			break
		}
		if err := s.do(i); err != nil {
			return err
		}
	}
	s.begin(len(s.workload.ops))
	s.crashIn = 0 // there is no next step
	if err := s.agrees(); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	return s.verify()
}

// begin marks the start of a step.
func (s *sweep) begin(step int) {
	s.step, s.calls, s.changed = step, 0, true
}

func (s *sweep) do(i int) error {
	o := &s.workload.ops[i]
	if o.kind == opCrash {
		s.crashIn, s.cut = o.call, o.cut
		if o.call > 0 {
			return nil
		}
		s.begin(i)
		s.crash()
		return s.resume()
	}
	s.begin(i)
	err := s.world.run(o)
	if o.kind == opReclaim && err == nil && s.crashed == nil {
		err = s.agrees() // what readers see must not have changed
	}
	switch {
	case s.crashed != nil:
		return s.resume()
	case err != nil:
		return err
	case s.crashIn > 0: // the step was shorter
		s.crash()
		return s.resume()
	}
	return nil
}

// call is called before every call of the store.
func (s *sweep) call(call simdisk.Op) simdisk.Action {
	s.calls++
	if s.changed {
		if seed := s.random.Uint64(); chosen(seed, s.every) {
			s.look(call, seed)
		}
	}
	s.changed = mutates(call.Kind)
	if s.crashIn > 0 && s.calls == s.crashIn {
		s.crash()
		return simdisk.Action{Stop: true}
	}
	return simdisk.Action{}
}

// look queues checks of the images of a crash at this moment.
func (s *sweep) look(call simdisk.Op, seed uint64) {
	for _, c := range cuts(s.disk.Pending(), seed, s.samples) {
		s.images++
		f := s.finding(c)
		if s.nested > 0 && s.images%uint64(s.nested) == 0 {
			f.nested = 1
			if s.nested > 1 {
				f.nested += int(f.seed % 8)
			}
		}
		f.goOn = s.goOn > 0 && s.images%uint64(s.goOn) == 0
		step, calls := s.step, s.calls
		s.checks.add(func(count func()) error {
			if err := f.check(count); err != nil {
				return fmt.Errorf("crash in step %d before call %d (%v %s), %s: %w", step, calls, call.Kind, call.Path, c.name, err)
			}
			return nil
		})
	}
}

func (s *sweep) finding(c cut) *finding {
	f := &finding{workload: s.workload, image: c.make(s.disk), now: s.now, before: s.acked, after: s.flight,
		since: slices.Concat(s.since, s.midway), ids: s.ids, seed: s.images}
	if s.workload.aging { // the machine may have been off for a while
		f.now += int64([...]time.Duration{0, 0, 0, 7 * time.Minute, 3 * time.Hour}[f.seed%5])
	}
	return f
}

// crash makes an image with which the workload continues.
func (s *sweep) crash() {
	s.crashed = s.finding(someCut(s.disk.Pending(), s.cut))
	s.crashIn = 0
}

// resume continues the workload after the crash.
func (s *sweep) resume() error {
	f := s.crashed
	s.crashed = nil
	s.fault.Inject(simdisk.StopAt(0))
	if s.store != nil {
		_ = s.store.Close() // its file system is stopped
	}
	if n := s.open.Load(); n != 0 {
		return fmt.Errorf("%d files are open after a crash", n)
	}
	s.disk = f.image
	s.acked, s.flight = f.before, f.after
	s.begin(s.step)
	got, err := s.recover(f.before, f.after, f.since)
	if err != nil {
		return err
	}
	s.know(got)
	return nil
}

// checks runs checks in the background and keeps the first error.
type checks struct {
	queue  chan func(count func()) error // nil: inline
	done   sync.WaitGroup
	images atomic.Int64
	mu     sync.Mutex
	err    error
	broken atomic.Bool
}

// newChecks starts as many goroutines as there are processors to run checks. close ends
// them.
func newChecks() *checks {
	c := inlineChecks()
	c.queue = make(chan func(func()) error, 64)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for f := range c.queue {
				c.run(f)
			}
		}()
	}
	return c
}

// inlineChecks returns checks that run at once, in the caller's goroutine.
func inlineChecks() *checks { return &checks{} }

func (c *checks) add(f func(count func()) error) {
	c.done.Add(1)
	if c.queue == nil {
		c.run(f)
		return
	}
	c.queue <- f
}

func (c *checks) run(f func(count func()) error) {
	defer c.done.Done()
	if c.failed() {
		return
	}
	if err := f(func() { c.images.Add(1) }); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err == nil {
			c.err = err
		}
		c.broken.Store(true)
	}
}

func (c *checks) failed() bool { return c.broken.Load() }

// wait waits until all checks are done, and returns the first error since the last wait.
func (c *checks) wait() error {
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	c.err = nil
	c.broken.Store(false)
	return err
}

func (c *checks) close() { close(c.queue) }
