package bucket

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
)

// This file is about buckets with sync=interval. A group that writes to no other
// bucket is answered and visible once the log's file has its frame, before the
// sync; frames of such groups are packed behind each other. Whatever syncs the log
// next makes them durable, at the latest the timer of the shortest interval among
// them. Of what a crash finds in between, a prefix in the order of the log is
// left, and so of every bucket a prefix of its revisions.

// unsyncedMax bounds the revisions of an interval bucket that wait for a sync.
// After an open that finds no clean close as many are skipped: so a revision that
// somebody was told and a crash took is never issued again.
const unsyncedMax = 1 << 20

// setSync makes the bucket's mode what the configuration says. Everything up to
// next is durable. The caller holds path, or nobody else has the bucket.
func (b *Bucket) setSync(config *kv.Config) {
	b.interval = 0
	if config.Sync == kv.SyncInterval {
		b.interval = config.SyncInterval
	}
	b.synced = b.next
}

// warnMode says in the log that a bucket acknowledges writes before they are
// durable.
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

// makeDurable syncs the group's frame, or sees to it that it will be. It returns
// how long the sync took. The caller holds path.
func (s *Store) makeDurable(g *group) (time.Duration, error) {
	if g.durable() {
		began := time.Now()
		err := s.syncPathLocked()
		return time.Since(began), err
	}
	for i := range g.parts {
		b := g.parts[i].bucket
		if b.memory {
			continue
		}
		if !b.unsure {
			b.unsure = true
			s.path.unsure = append(s.path.unsure, b)
		}
		if s.maintain != nil {
			s.maintain.syncWithin(b.interval)
		}
	}
	return 0, nil
}

// syncPathLocked makes the log durable as far as it goes. The caller holds path.
func (s *Store) syncPathLocked() error {
	if err := s.log.Sync(); err != nil {
		return s.poisonLog(err)
	}
	s.recordDurable()
	return nil
}

// recordDurable notes that the log is durable as far as it goes. The caller holds path.
func (s *Store) recordDurable() {
	for _, b := range s.path.unsure {
		b.unsure, b.synced = false, b.next
	}
	clear(s.path.unsure)
	s.path.unsure = s.path.unsure[:0]
	if s.maintain != nil {
		s.maintain.syncBy.Store(0)
	}
}

// poisonLog is poison for an error that broke the log: it names the writes that
// were acknowledged and that nobody can vouch for any more. The caller holds path.
func (s *Store) poisonLog(cause error) error {
	for _, b := range s.path.unsure {
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

// Sync makes every write durable that was acknowledged before the call. Only
// buckets with sync=interval ever have others, and these are synced by themselves
// within their interval; in a store opened with Manual they are not.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.syncUnsure()
}

// syncUnsure syncs the log if writes were acknowledged that it has not synced. It
// does so in a store that another file's error made read-only, too.
func (s *Store) syncUnsure() error {
	s.path.Lock()
	defer s.path.Unlock()
	if len(s.path.unsure) == 0 {
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

// syncTimer is the part of the maintainer that keeps to the intervals.
type syncTimer struct {
	syncBy   atomic.Int64  // unix ns: when the log has to be synced; 0: no need. Set under Store.path
	unsynced chan struct{} // holds one: syncBy is earlier than it was
}

// syncWithin makes the timer sync the log before so long. The caller holds path.
func (t *syncTimer) syncWithin(interval time.Duration) {
	by := time.Now().Add(interval).UnixNano()
	if cur := t.syncBy.Load(); cur != 0 && cur <= by {
		return
	}
	t.syncBy.Store(by)
	select {
	case t.unsynced <- struct{}{}:
	default: // it is awake
	}
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
			_ = m.store.syncUnsure() // an error has poisoned the store, and is logged
		}
	}
}

// skipLost skips the revisions of interval buckets that a crash may have taken,
// where the store was not closed in good order. The checkpoint of the recovery
// makes it durable before a revision is issued: two crashes must not skip to the
// same place.
func (r *recovery) skipLost() {
	for _, b := range r.store.mu.buckets {
		if b.interval != 0 && !b.memory && !r.found.State.Clean {
			b.recordLost(manifest.LostRange{After: b.next - 1, UpTo: b.next - 1 + unsyncedMax})
			b.next += unsyncedMax
			b.mu.revision = b.next - 1
			b.markDirty()
		}
		b.synced = b.next
	}
}

// lostMax bounds the ranges that a bucket remembers.
const lostMax = 16

// recordLost remembers a range. Of one that follows another with nothing in between
// they are one; of too many the oldest is told less precisely. Nobody else has the
// bucket yet.
func (b *Bucket) recordLost(l manifest.LostRange) {
	list := slices.Clone(b.mu.lost)
	if n := len(list); n > 0 && list[n-1].UpTo == l.After {
		l.After, list = list[n-1].After, list[:n-1]
	}
	if list = append(list, l); len(list) > lostMax {
		b.mu.ended = max(b.mu.ended, list[0].UpTo)
		list = list[1:]
	}
	b.mu.lost = list
}

// checkLostLocked returns an error if whoever resumes from a revision was told of some
// that a crash took: what he knows is not what there is. The caller holds mu.
func (b *Bucket) checkLostLocked(from kv.Revision) error {
	for _, l := range b.mu.lost {
		if told := from - 1; l.After < told && told < l.UpTo {
			return &kv.CompactedError{Bucket: b.name, Wanted: from, First: l.UpTo + 1}
		}
	}
	return nil
}
