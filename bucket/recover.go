package bucket

import (
	"fmt"
	"sync"
	"time"

	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/wal"
)

// recovery is one run of opening a directory. Its order makes a crash in the middle
// harmless: files that the manifest names are not changed before a manifest allows it,
// and the log is kept until its effects are synced elsewhere.
type recovery struct {
	store    *Store
	found    *manifest.Copy
	log      *wal.Reader
	damage   sync.Mutex // guards the report while buckets load in parallel
	began    time.Time
	high     uint64             // the highest bucket id that the manifest has
	evidence *evidence          // nil: the log has no holes
	unread   *kv.CorruptError   // why the log could not be read; nil: it was
	hole     bool               // the frame that is replayed next is behind a hole
	deleted  map[uint64]bool    // ids of the buckets that the log deletes
	tally    tally              // of the frame that is replayed
	untrue   []*kv.CorruptError // frames whose words are not what was counted
}

func (s *Store) recover() error {
	r := &recovery{store: s, began: time.Now(), deleted: map[uint64]bool{}}
	if err := r.findStore(); err != nil {
		return err
	}
	if err := r.openLog(); err != nil {
		return err
	}
	if s.checkFailure() == nil {
		if err := r.findHoles(); err != nil {
			return err
		}
	}
	if s.checkFailure() == nil {
		if err := r.setStraysAside(); err != nil {
			return err
		}
		if err := r.claim(); err != nil {
			return err
		}
	}
	if err := r.loadBuckets(); err != nil {
		return err
	}
	if r.unread != nil {
		r.doubtAll()
	}
	if s.checkFailure() == nil {
		if err := r.removeScratch(); err != nil {
			return err
		}
		if err := r.replay(); err != nil {
			return err
		}
		if err := r.checkValues(); err != nil {
			return err
		}
	}
	if s.refusal != nil && s.checkFailure() == nil {
		s.failure.Store(&failure{fmt.Errorf("the file system takes no writes: %w", s.refusal)})
		s.report.ReadOnly = s.checkFailure()
	}
	r.discardImports()
	r.emptyMemory()
	r.finishBuckets()
	if s.checkFailure() == nil {
		r.skipUnsynced()
		r.renewMemory()
		if err := r.begin(); err != nil {
			return err
		}
		s.fitReserve()
	}
	r.finish()
	return nil
}

// readOnly makes the store refuse writes. It still serves reads.
func (r *recovery) readOnly(cause *kv.CorruptError) {
	s := r.store
	s.report.Damages = append(s.report.Damages, cause)
	s.failure.CompareAndSwap(nil, &failure{cause})
	s.report.ReadOnly = s.checkFailure()
}

func (r *recovery) damaged(c *kv.CorruptError) {
	r.damage.Lock()
	defer r.damage.Unlock()
	r.store.report.Damages = append(r.store.report.Damages, c)
}

// begin makes the replayed records durable and starts a new log file after them.
func (r *recovery) begin() error {
	s := r.store
	if s.path.replayed > r.found.State.LogLow || len(s.path.dirty)+len(s.path.deleted) > 0 {
		s.opts.Progress(Progress{Stage: StageCheckpoint})
		if err := s.makeCheckpoint(unpaced); err != nil {
			if f := s.failure.Load(); f != nil {
				err = f.cause // the cause alone: there is no write whose outcome is unknown
			}
			return err
		}
	}
	err := s.withReserve(func() error {
		log, err := r.log.Start(s.path.replayed, s.path.totals.words)
		s.log = log
		return err
	})
	if err != nil {
		return err
	}
	if err := r.keepEvidence(); err != nil {
		return err
	}
	return s.log.Recycle(s.path.replayed + 1)
}

func (r *recovery) finish() {
	s := r.store
	r.startClock()
	rep := &s.report
	rep.Buckets = len(s.mu.buckets)
	for _, b := range s.mu.buckets {
		rep.Keys += b.mu.index.Len()
	}
	rep.Elapsed = time.Since(r.began)
	for _, d := range rep.Damages {
		s.opts.Logger.Error("damage found", "cause", d, "ways out", waysOut)
	}
}

// finishBuckets does the work on buckets that has to wait until the whole log is
// replayed.
func (r *recovery) finishBuckets() {
	for _, b := range r.store.all() {
		if b.stale {
			b.stale = false
			b.applyRules()
		}
		b.expires.Store(b.mu.config.TTL != 0 || b.mu.index.Deadlines() > 0)
	}
}

// startClock starts the store's clock. If the wall clock is so far ahead that it may be
// wrong, it adds a note to the report and makes the sweeps wait.
func (r *recovery) startClock() {
	s := r.store
	s.clock.start(&s.opts)
	newest := s.clock.before
	if newest == 0 || s.clock.base-newest <= int64(clockLeap) || s.opts.AcceptClock || len(s.expiring()) == 0 {
		return
	}
	s.clock.leap = s.clock.base - newest
	for _, b := range s.expiring() {
		b.wait(newest, s.clock.leap)
	}
	note := fmt.Sprintf("the clock says %s, and the newest time in the store is %s: what expired by this leap alone is invisible, and stays on the disk. If the clock is right, open the store with it accepted (kvd serve --accept-clock); if it is wrong, set it right and open the store again before anything is written",
		time.Unix(0, s.clock.base).UTC().Format(time.RFC3339), time.Unix(0, newest).UTC().Format(time.RFC3339))
	s.report.Notes = append(s.report.Notes, note)
	s.opts.Logger.Warn("the clock leapt: what expired by the leap alone is not removed; restart with --accept-clock if the clock is right",
		"clock", time.Unix(0, s.clock.base).UTC(), "newest", time.Unix(0, newest).UTC(), "leap", time.Duration(s.clock.leap))
}
