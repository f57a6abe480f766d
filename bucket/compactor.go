package bucket

import (
	"context"
	"errors"
	"slices"
	"time"

	"kvd/bucket/compaction"
	"kvd/kv"
	"kvd/wal"
)

const (
	// compactGlance is the time between two looks for work while the compactor is awake.
	compactGlance = 250 * time.Millisecond
	// compactRetry is the first wait of the compactor after an error. It doubles with each
	// further error, up to compactRetryMax.
	compactRetry    = time.Second
	compactRetryMax = time.Minute
)

// compactor is the goroutine that compacts in the background and removes the files of
// deleted buckets and replaced segments. It sleeps until a write wakes it, or the release
// of a retired file by its last reader. It sleeps again once the store is at rest and
// nothing is left to do. The maintainer starts and stops it.
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
		case <-m.wakeCompaction:
		}
		m.compactorAwake.Store(true)
		for c.workUntilIdle() {
			m.compactorAwake.Store(false)
			if s.log.Last() == c.seen {
				break
			}
			m.compactorAwake.Store(true) // a write came before the Store, and so did not wake the compactor
		}
	}
}

// wakeCompactor wakes the compactor. It is cheap if the compactor is awake.
func (m *maintainer) wakeCompactor() {
	if !m.compactorAwake.Load() {
		signal(m.wakeCompaction)
	}
}

// workUntilIdle works until the store is at rest and there is nothing to do, or until the
// store takes no writes. Then it returns true. It returns false if the store is closing.
func (c *compactor) workUntilIdle() bool {
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
		case err != nil && c.store.checkWritable() != nil:
			return true
		case err != nil:
			c.retry = min(max(2*c.retry, compactRetry), compactRetryMax)
			wait = c.retry
			c.store.opts.Logger.Warn("compaction", "cause", err, "again", wait)
		case did:
			c.retry, wait = 0, 0
		case idle:
			c.store.values.spares.drop()
			return true
		}
	}
}

// work does one piece of work, if there is any. did says that the next should follow at
// once.
func (c *compactor) work(idle bool) (did bool, err error) {
	s := c.store
	s.path.Lock()
	deleted, full := len(s.path.deleted) > 0, s.path.full
	s.path.Unlock()
	if deleted {
		if err := s.makeCheckpoint(paced); err != nil {
			return false, err
		}
	}
	s.removeRetired(func() { s.pause(paced) })
	if s.opts.CompactionRate < 0 {
		return false, nil
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	v, ok := s.victim(func(b *compaction.Usage) compaction.Policy { return b.Policy(idle, full) })
	if !ok {
		return false, nil
	}
	c.pacer.rate = s.opts.CompactionRate
	if v.usage.Bloated() || full {
		c.pacer.rate *= restful
	}
	// While there are writers, pause between two compactions. Writers of large values use the files
	// of removed ones again, so these do not wait for another pause once they are sealed.
	return idle || full || v.unsealed && v.values, v.compact(c.pacer)
}

// victim is the work that is to be done next, in one bucket.
type victim struct {
	bucket   *Bucket
	scope    scope
	usage    compaction.Usage
	seal     bool             // the active segment is to be sealed first
	unsealed bool             // nothing can be compacted before a checkpoint seals the full segments
	values   bool             // the bucket has value files
	runs     []compaction.Run // of segments; they do not overlap
	garbage  int64
}

// victim returns the most rewarding work that the policy finds in any bucket.
func (s *Store) victim(by func(*compaction.Usage) compaction.Policy) (best victim, ok bool) {
	for _, b := range s.list() {
		if v, found := b.victim(by, nil); found && (!ok || v.garbage > best.garbage) {
			best, ok = v, true
		}
	}
	return best, ok
}

// victim returns the bucket's most rewarding work in the scope.
func (b *Bucket) victim(by func(*compaction.Usage) compaction.Policy, within scope) (v victim, ok bool) {
	v.bucket, v.scope = b, within
	if b.memory { // its writers compact it: memory.go
		return v, false
	}
	v.usage.Sweeping = len(b.sweeping.lock) == 0
	b.mu.RLock()
	list := b.candidatesLocked(within)
	v.values = slices.ContainsFunc(b.mu.order, func(sl *openSegment) bool { return len(sl.values) > 0 })
	takes := b.checkWritableLocked() == nil
	b.mu.RUnlock()
	if !takes || len(list) == 0 {
		return v, false
	}
	for _, c := range list {
		v.usage.Disk += c.Need + c.Garbage + c.Values
		v.usage.Need += c.Need + c.Values
	}
	p := by(&v.usage)
	if v.runs = p.ChooseAll(list, b.segmentSize()); len(v.runs) > 0 {
		for _, r := range v.runs {
			v.garbage += r.Garbage
		}
		return v, true
	}
	return v, p.UnfitMayPay(list) && b.needsSeal(&v, p)
}

// scope changes the rating of a segment, so that a compaction leaves it as it is, or does not
// count all of its garbage. Nil: no rating is changed.
type scope func(*openSegment, *compaction.Candidate)

// candidatesLocked returns the bucket's segments in ascending order of revisions.
// The caller holds mu.
func (b *Bucket) candidatesLocked(within scope) []compaction.Candidate {
	list := make([]compaction.Candidate, len(b.mu.order))
	for i, sl := range b.mu.order {
		if sl.lost == nil {
			list[i] = b.candidateLocked(sl, within)
		}
	}
	return list
}

// candidateLocked rates a segment with its value files. The bytes of its index blocks are
// attributed to its records in proportion. The caller holds mu.
func (b *Bucket) candidateLocked(sl *openSegment, within scope) compaction.Candidate {
	c := compaction.Candidate{Size: sl.Size(), Fits: sl.Desc().Sealed && !sl.unfit.Load()}
	dead := max(0, sl.records+sl.valueBytes-b.mu.index.Use(sl.number).Bytes-sl.deadKept)
	values := min(dead, sl.valueBytes) // which of them are dead is not counted, and they are nearly all of it
	inFile := int64(0)
	if dead > values {
		inFile = int64(float64(c.Size) * float64(dead-values) / float64(sl.records))
	}
	c.Garbage, c.Need, c.Values = values+inFile, c.Size-inFile, sl.valueBytes-values
	if within != nil {
		within(sl, &c)
	}
	return c
}

// needsSeal reports whether there is work once a checkpoint has sealed segments: the full
// ones, and the active one if most of it is garbage.
func (b *Bucket) needsSeal(v *victim, p compaction.Policy) bool {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, sl := range b.mu.order {
		if sl.lost != nil || sl.unfit.Load() || sl.Desc().Sealed {
			continue
		}
		c := b.candidateLocked(sl, v.scope)
		c.Fits = true
		if sl == b.active {
			v.seal = p.PaysToSeal(&c)
			if !v.seal {
				continue
			}
		}
		if p.Pays(&c) {
			v.garbage += c.Garbage
		}
	}
	v.unsealed = p.Enough(v.garbage)
	return v.unsealed
}

// compact does the work. It writes all runs before it puts the first in place, so that
// one checkpoint is enough for all. A run that fails leaves its segments unchanged.
func (v *victim) compact(p *pacer) error {
	if v.seal {
		v.bucket.sealGarbage()
	}
	if v.unsealed {
		return v.bucket.store.makeCheckpoint(p.checkpoints())
	}
	var written []*rewrite
	var err error
	for _, r := range v.runs {
		var c *rewrite
		if c, err = v.bucket.beginCompaction(r.From, r.To, p); err != nil {
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

// tolerable returns err if it is a reason to wait before the next compaction, else nil.
// Damage that the system refuses to read is not such a reason: its segment is not chosen again.
func tolerable(err error) error {
	switch {
	case errors.Is(err, kv.ErrBucketNotFound), errors.Is(err, kv.ErrCorrupt):
		return nil
	case errors.Is(err, errStopped):
		return kv.ErrClosed
	}
	return err
}

// sealGarbage marks the active segment, so that the next checkpoint seals it and it can be
// compacted.
func (b *Bucket) sealGarbage() {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.RLock()
	gone := b.mu.gone != nil
	b.mu.RUnlock()
	if b.active != nil && !gone {
		_ = b.sealActive() // it stays active if the disk is full
	}
}

// errStopped ends a compaction because the background work of the store stops.
var errStopped = errors.New("stopped")
