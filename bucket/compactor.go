package bucket

import (
	"context"
	"errors"
	"time"

	"kvd/kv"
	"kvd/wal"
)

const (
	// compactGlance is how often the compactor looks for work while there is any.
	compactGlance = 250 * time.Millisecond
	// compactRetry is how long the compactor waits after an error, at first.
	compactRetry    = time.Second
	compactRetryMax = time.Minute
)

// compactor is the goroutine that compacts in the background and removes the files
// of what is gone. It sleeps until a write stirs it, or the last reader of a file that
// is to go, and again once the store is at rest and nothing is left to do. The maintainer starts and stops it.
type compactor struct {
	store *Store
	pacer *pacer
	quit  <-chan struct{}

	seen  wal.LSN // the log's position
	lull  lull
	retry time.Duration
}

func (m *maintainer) compact() {
	s := m.store
	c := &compactor{store: s, quit: m.quit, pacer: &pacer{store: s, ctx: context.Background(), quit: m.quit, rate: s.opts.CompactionRate}}
	for {
		select {
		case <-m.quit:
			return
		case <-m.stir:
		}
		m.stirred.Store(true)
		for c.run() {
			m.stirred.Store(false)
			if s.log.Last() == c.seen {
				break
			}
			m.stirred.Store(true) // a write came between, and found the compactor awake
		}
	}
}

// stirCompaction wakes the compactor. It is cheap where it is awake.
func (m *maintainer) stirCompaction() {
	if m.stirred.Load() {
		return
	}
	select {
	case m.stir <- struct{}{}:
	default:
	}
}

// run works until there is nothing to do and hardly anybody writes, and returns
// true, or false if the store is closing.
func (c *compactor) run() bool {
	c.lull.begin(time.Now(), c.store.logged.Load())
	for wait := compactGlance; ; {
		select {
		case <-c.quit:
			return false
		case <-time.After(wait):
		}
		c.seen = c.store.log.Last()
		idle := c.lull.look(time.Now(), c.store.logged.Load())
		did, err := c.work(idle)
		switch wait = compactGlance; {
		case err != nil && c.store.takesWrites() != nil:
			return true
		case err != nil:
			c.retry = min(max(2*c.retry, compactRetry), compactRetryMax)
			wait = c.retry
			c.store.opts.Logger.Warn("compaction", "cause", err, "again", wait)
		case did:
			c.retry, wait = 0, 0
		case idle:
			return true
		}
	}
}

// work does one thing that there is to do.
func (c *compactor) work(idle bool) (did bool, err error) {
	s := c.store
	s.path.Lock()
	deleted, full := len(s.path.deleted) > 0, s.path.full
	s.path.Unlock()
	if deleted {
		if err := s.runCheckpoint(paced); err != nil {
			return false, err
		}
	}
	s.removeDead(func() { s.pause(paced) })
	if s.opts.CompactionRate < 0 {
		return false, nil
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	v, ok := s.victim(func(b *bloat) policy { return b.policy(idle, full) })
	if !ok {
		return false, nil
	}
	c.pacer.rate = s.opts.CompactionRate
	if v.bloat.factor() > bloated || full {
		c.pacer.rate *= restful
	}
	return idle || full, v.compact(c.pacer) // else others are to have a turn
}

// bloat is how much of the disk a bucket takes for what.
type bloat struct {
	disk  int64 // bytes of its segments
	need  int64 // of those, what is not garbage
	swept bool  // being swept
}

// How many times what it needs a bucket's segments may take while there are
// writers: a compaction costs a checkpoint, and the later it comes the more it
// gives back for it.
const (
	swollen = 1.75 // from here on it is compacted
	bloated = 2.5  // from here on faster
)

func (b *bloat) factor() float64 { return float64(b.disk) / float64(b.need+segmentSizeDefault) }

func (b *bloat) policy(idle, full bool) policy {
	switch {
	case full:
		return policyFull
	case b.swept: // what would be copied may be about to die, and writers have enough beside them
		return policyNone
	case idle:
		return policyIdle
	case b.factor() > bloated:
		return policyBloated
	case b.factor() > swollen:
		return policyBusy
	}
	return policyNone
}

// victim is what is to be compacted next.
type victim struct {
	bucket   *Bucket
	bloat    bloat
	seal     bool  // the active segment is to be sealed first
	unsealed bool  // nothing can be compacted before a checkpoint seals what is full
	runs     []run // of segments, apart from each other
	garbage  int64
}

// victim returns the most rewarding work that the policy finds in any bucket.
func (s *Store) victim(by func(*bloat) policy) (best victim, ok bool) {
	for _, b := range s.list() {
		if v, found := b.victim(by); found && (!ok || v.garbage > best.garbage) {
			best, ok = v, true
		}
	}
	return best, ok
}

// victim returns the bucket's most rewarding work.
func (b *Bucket) victim(by func(*bloat) policy) (v victim, ok bool) {
	v.bucket = b
	if b.memory { // whoever fills it compacts it: memory.go
		return v, false
	}
	v.bloat.swept = len(b.sweeping.turn) == 0
	b.mu.RLock()
	list := b.candidatesLocked()
	takes := b.takesWritesLocked() == nil
	b.mu.RUnlock()
	if !takes || len(list) == 0 {
		return v, false
	}
	for _, c := range list {
		v.bloat.disk += c.size
		v.bloat.need += c.need
	}
	p := by(&v.bloat)
	if v.runs = p.chooseAll(list, b.segmentSize()); len(v.runs) > 0 {
		for _, r := range v.runs {
			v.garbage += r.garbage
		}
		return v, true
	}
	return v, mayWait(list, p) && b.waits(&v, p)
}

// mayWait reports whether waits can find work. It spares a bucket without, of which
// there may be thousands, the wait for the path.
func mayWait(list []candidate, p policy) bool {
	garbage := int64(0)
	for i := range list {
		if !list[i].fits {
			garbage += list[i].garbage
		}
	}
	return garbage >= p.least
}

// waits reports whether there is work once a checkpoint has sealed segments: those
// that are full, and the active one if it is mostly dead.
func (b *Bucket) waits(v *victim, p policy) bool {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, sl := range b.mu.order {
		if sl.lost != nil || sl.damaged.Load() || sl.Desc().Sealed {
			continue
		}
		c := b.candidateLocked(sl)
		c.fits = true
		if sl == b.active {
			v.seal = p.mostlyDead(&c)
			if !v.seal {
				continue
			}
		}
		if p.rotten(&c) {
			v.garbage += c.garbage
		}
	}
	v.unsealed = v.garbage >= p.least
	return v.unsealed
}

// compact does the work: all runs are written before the first is put in place, so
// that one checkpoint serves all. An error leaves everything as it was.
func (v *victim) compact(p *pacer) error {
	if v.seal {
		v.bucket.sealRotten()
	}
	if v.unsealed {
		return v.bucket.store.runCheckpoint(p.checkpoints())
	}
	var written []*compaction
	var err error
	for _, r := range v.runs {
		var c *compaction
		if c, err = v.bucket.beginCompaction(r.from, r.to, p); err != nil {
			break
		}
		if err = c.write(); err != nil {
			c.end(err)
			break
		}
		written = append(written, c)
	}
	for _, c := range written {
		replaceErr := c.replace()
		c.end(replaceErr)
		err = errors.Join(err, replaceErr)
	}
	return tolerable(err)
}

// tolerable returns an error that is a reason to wait before the next compaction.
// Damage is reported, and its segment is not chosen any more.
func tolerable(err error) error {
	switch {
	case errors.Is(err, kv.ErrBucketNotFound), errors.Is(err, kv.ErrCorrupt):
		return nil
	case errors.Is(err, errStopped):
		return kv.ErrClosed
	}
	return err
}

// sealRotten ends the active segment, so that it can be compacted.
func (b *Bucket) sealRotten() {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.RLock()
	gone := b.mu.gone != nil
	b.mu.RUnlock()
	if b.active != nil && !gone {
		b.sealActive()
	}
}

// errStopped ends a compaction because the store's background stops.
var errStopped = errors.New("stopped")
