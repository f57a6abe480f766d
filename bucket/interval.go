package bucket

import (
	"context"
	"sync/atomic"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
)

// This file implements buckets with sync=interval. A group that writes to such buckets
// alone is visible and answered once its frame is in the log's file, before the sync.
// Frames of such groups are packed one after the other. The next sync of the log makes
// them durable; the timer of the shortest interval bounds the wait. A crash keeps a prefix
// of the unsynced frames in the order of the log, and so a prefix of the revisions of
// every bucket.

// unsyncedMax bounds the revisions of an interval bucket that wait for a sync. An open
// that finds no clean close skips as many revisions. So a revision that was acknowledged
// and lost in a crash is never issued again.
const unsyncedMax = 1 << 20

// setSync sets the bucket's sync mode from the configuration. All revisions below next are
// durable. The caller holds path, or has the only reference to the bucket.
func (b *Bucket) setSync(config *kv.Config) {
	b.interval = 0
	if config.Sync == kv.SyncInterval {
		b.interval = config.SyncInterval
	}
	b.synced = b.next
}

// warnMode logs a warning if an operation makes a bucket that can lose acknowledged
// writes.
func (s *Store) warnMode(op journal.Operation) {
	switch c := configOf(op); {
	case c == nil:
	case c.Storage == kv.MemoryStorage:
		s.opts.Logger.Warn("bucket is in memory: it is empty after a restart", "bucket", c.Bucket)
	case c.Sync == kv.SyncInterval:
		s.opts.Logger.Warn("bucket acknowledges writes before the disk has them", "bucket", c.Bucket, "sync", c.Sync, "interval", c.SyncInterval)
	}
}

// durable reports whether the group has to be synced before it is answered.
func (g *group) durable() bool {
	for i := range g.parts {
		if b := g.parts[i].bucket; b.memory {
			continue
		} else if b.interval == 0 || b.next-b.synced >= unsyncedMax {
			return true
		}
	}
	return false
}

// makeDurable syncs the group's frame, or has it synced within the intervals of its
// buckets. It returns the duration of the sync. The caller holds path.
func (s *Store) makeDurable(g *group) (time.Duration, error) {
	if g.durable() {
		began := time.Now()
		if err := s.syncPathLocked(); err != nil {
			return 0, err
		}
		for i := range g.parts { // those that waited for no sync too
			g.parts[i].bucket.synced = g.parts[i].bucket.next
		}
		return time.Since(began), nil
	}
	for i := range g.parts {
		b := g.parts[i].bucket
		if b.memory {
			continue
		}
		if !b.syncPending {
			b.syncPending = true
			s.path.syncPending = append(s.path.syncPending, b)
		}
		if s.maintain != nil {
			s.maintain.syncWithin(b.interval)
		}
	}
	return 0, nil
}

// syncPathLocked makes every frame of the log durable. The caller holds path.
func (s *Store) syncPathLocked() error {
	if err := s.log.Sync(); err != nil {
		return s.poisonLog(err)
	}
	s.recordDurable()
	return nil
}

// recordDurable records that every frame of the log is durable. The caller holds path.
func (s *Store) recordDurable() {
	for _, b := range s.path.syncPending {
		b.syncPending, b.synced = false, b.next
	}
	clear(s.path.syncPending)
	s.path.syncPending = s.path.syncPending[:0]
	if s.maintain != nil {
		s.maintain.syncBy.Store(0)
	}
}

// poisonLog is poison for an error that broke the log. It also logs which acknowledged
// writes may be lost. The caller holds path.
func (s *Store) poisonLog(cause error) error {
	for _, b := range s.path.syncPending {
		b.mu.RLock()
		last := b.mu.revision
		b.mu.RUnlock()
		if last >= b.synced {
			s.opts.Logger.Error("acknowledged writes may be lost: sync=interval, and the log could not be synced",
				"bucket", b.name, "first_revision", b.synced, "last_revision", last, "cause", cause)
		}
	}
	return s.poison(cause)
}

// Sync makes every write durable that was acknowledged before the call. Only buckets with
// sync=interval acknowledge writes before they are durable. The background syncs them
// within their interval, except in a store that was opened with Manual.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.syncUnsure()
}

// syncUnsure syncs the log if it has acknowledged writes that are not durable. It does so
// also in a store that an error of another file made read-only.
func (s *Store) syncUnsure() error {
	s.path.Lock()
	defer s.path.Unlock()
	if len(s.path.syncPending) == 0 {
		return nil
	}
	if err := s.log.Err(); err != nil { // reported when it broke
		return s.poison(err)
	}
	began := time.Now()
	if err := s.syncPathLocked(); err != nil {
		return err
	}
	s.opts.Observer.Committed(Commit{Sync: time.Since(began)})
	return nil
}

// syncTimer is the part of the maintainer that syncs the log within the intervals.
type syncTimer struct {
	syncBy   atomic.Int64  // unix ns: when the log has to be synced; 0: never. Set with Store.path held
	unsynced chan struct{} // holds a value if syncBy was set to an earlier time
}

// syncWithin makes the timer sync the log within an interval from now. The caller holds
// path.
func (t *syncTimer) syncWithin(interval time.Duration) {
	by := time.Now().Add(interval).UnixNano()
	if cur := t.syncBy.Load(); cur != 0 && cur <= by {
		return
	}
	t.syncBy.Store(by)
	signal(t.unsynced)
}

// syncs is the goroutine of the timer.
func (m *maintainer) syncs() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-m.unsynced:
			if by := m.syncBy.Load(); by != 0 {
				timer.Reset(time.Until(time.Unix(0, by)))
			}
		case <-timer.C:
			_ = m.store.syncUnsure() // an error poisons the store, which logs it
		}
	}
}

// skipUnsynced skips the revisions of interval buckets that a crash may have taken, if the store
// was not closed cleanly. Recovery's checkpoint makes this durable before a revision is
// issued: two crashes must not skip to the same revision.
func (r *recovery) skipUnsynced() {
	for _, b := range r.store.mu.buckets {
		if b.interval != 0 && !b.memory && !r.found.State.Clean {
			b.recordSkipped(manifest.SkippedRange{After: b.next - 1, UpTo: b.next - 1 + unsyncedMax})
			b.next += unsyncedMax
			b.mu.revision = b.next - 1
			b.markDirty()
		}
		b.synced = b.next
	}
}

// recordSkipped records a skipped range. If there are too many, the oldest is replaced by a bound:
// resuming below its end is refused. The caller has the only reference to the bucket.
func (b *Bucket) recordSkipped(r manifest.SkippedRange) {
	var forgotten kv.Revision
	b.mu.skipped, forgotten = manifest.AddSkipped(b.mu.skipped, r)
	b.mu.compactedEndUpTo = max(b.mu.compactedEndUpTo, forgotten)
}

// checkSkippedLocked returns a *kv.CompactedError if a watch that resumes from a revision
// was sent revisions that a crash took: its reader's state differs from the bucket. The
// caller holds mu.
func (b *Bucket) checkSkippedLocked(from kv.Revision) error {
	for _, l := range b.mu.skipped {
		if told := from - 1; l.After < told && told < l.UpTo {
			return &kv.CompactedError{Bucket: b.name, Wanted: from, First: l.UpTo + 1}
		}
	}
	return nil
}
