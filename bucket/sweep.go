package bucket

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// The sweep logs which records have expired, and removes them from the index:
//
//  1. It finds expired records. The index's agendas list the records that have a
//     deadline. The records that the bucket's TTL has expired are found by reading the
//     segments in the order of revisions (aged.go): times never fall in that order, so
//     this needs no memory per key.
//  2. It writes an expiry marker for each key whose newest value has expired. These are
//     ordinary mutations of low priority: every group of the writers carries a share of
//     them (share.go).
//  3. One operation logs that the records up to a revision are dead. Another logs that
//     the markers with a deadline up to a moment are dead.
//  4. It removes these records from the index, a few at a time.

const (
	// sweepInterval is the time between two sweeps while anything may expire.
	sweepInterval = 250 * time.Millisecond
	// sweepBatch is the number of expired records that are found, and of markers that
	// are written, at a time. It is small, so that the index's part for these keys is
	// still in the processor's cache when the markers are judged.
	sweepBatch = 1024
	// sweepOften is the number of expired records after which an operation logs the
	// sweep's progress.
	sweepOften = 8 * sweepBatch
	// sweepSlice is the number of versions that are moved or removed per hold of a lock.
	sweepSlice = 32
	// clockRefresh bounds the age of the newest time in a store in which something may
	// expire. Without this bound, the open after a crash would see a leap of the clock.
	clockRefresh = time.Hour
)

// sweepState is the progress of a bucket's sweep. The holder of lock owns the other
// fields. lock is taken before Store.path.
type sweepState struct {
	lock         chan struct{} // holds one value while it is free
	scanner      segment.Scanner
	segment      *openSegment // where the scan for the TTL goes on; nil: it has to be found
	offset       int64        // in segment
	expiredUpTo  kv.Revision  // the TTL has expired every record up to it
	unmarkedUpTo kv.Revision  // the newest of the records found that gets no marker and was its key's newest record
	createdFrom  int64        // unix ns: no record above expiredUpTo is older
	unlogged     int          // number of expired records that no operation has logged yet
	removals     []versionRef // those of them that no marker supersedes

	// The batch. The next batch of the same sweep reuses its memory.
	found   []versionRef
	markers []mutation
	keys    []byte // of found

	// After a leap of the clock records up to a time are swept so much later: see waits.go.
	leap      atomic.Int64 // ns; 0: nothing waits. Set under lock
	leaptFrom int64        // unix ns: the newest time of the records that wait; set before leap

	oldest watch.Position // no record up to it is kept: a trim begins there
}

// versionRef names a version that is dead or expired.
type versionRef struct {
	key      string
	hash     uint64
	revision kv.Revision
}

// errMoreExpired reports that something has expired since the sweep.
var errMoreExpired = errors.New("more has expired")

// willExpire adds the bucket to those that are swept. The caller holds mu.
func (b *Bucket) willExpire() {
	if b.expires.Load() {
		return
	}
	b.expires.Store(true)
	if m := b.store.maintain; m != nil {
		signal(m.expiring)
	}
}

// sweep is the goroutine of the sweep. Store.start starts it. Store.Close stops it and
// waits for its end.
func (m *maintainer) sweep() {
	timer := time.NewTimer(sweepInterval)
	defer timer.Stop()
	var logged string // the error logged last: the same error returns with every sweep
	for {
		select {
		case <-m.quit:
			return
		case <-m.expiring:
		case <-timer.C:
		}
		s := m.store
		err := s.Sweep(context.Background())
		if err != nil && s.checkWritable() == nil && err.Error() != logged {
			logged = err.Error()
			s.opts.Logger.Error("sweep", "cause", err)
		}
		if len(s.expiring()) > 0 {
			if !s.clock.unconfirmed() {
				s.refreshClock()
			}
			timer.Reset(sweepInterval)
		}
	}
}

// refreshClock stores the time in a checkpoint if the newest time in the store is older
// than clockRefresh.
func (s *Store) refreshClock() {
	s.path.Lock()
	newest := s.clock.newest.Load()
	old := s.clock.advance()-newest > int64(clockRefresh)
	s.path.Unlock()
	if !old {
		return
	}
	if err := s.makeCheckpoint(paced); err != nil && s.checkWritable() == nil {
		s.opts.Logger.Error("checkpoint", "cause", err)
	}
}

// Sweep writes the expiry markers of expired keys, and removes expired records that get
// no marker. The background does this by itself a few times a second; only a store that
// was opened with Manual needs calls. After a leap of the clock some records wait: see
// Options.AcceptClock. Sweep skips buckets that take no writes.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	var errs []error
	for _, b := range s.expiring() {
		if b.checkWritable() != nil {
			continue
		}
		if err := b.sweepOnce(ctx); err != nil && !errors.Is(err, kv.ErrBucketNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// expiring returns the buckets in which something may expire.
func (s *Store) expiring() (list []*Bucket) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.mu.buckets {
		if b.expires.Load() {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b *Bucket) int { return cmp.Compare(a.id, b.id) })
	return list
}

// sweepOnce takes the lock of the sweep and sweeps the bucket.
func (b *Bucket) sweepOnce(ctx context.Context) error {
	if err := b.lockSweep(ctx); err != nil {
		return err
	}
	defer b.unlockSweep()
	return b.sweepLocked(ctx)
}

// lockSweep waits for the lock of the bucket's sweep.
func (b *Bucket) lockSweep(ctx context.Context) error {
	select {
	case <-b.sweeping.lock:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bucket) unlockSweep() { b.sweeping.lock <- struct{}{} }

// sweepLocked sweeps the bucket until every record is removed that had expired when it
// began. After an error the next sweep begins anew, since the records that this one
// found may lack their markers. The caller holds the lock of the sweep.
func (b *Bucket) sweepLocked(ctx context.Context) (err error) {
	if b.restsUnconfirmed() {
		return nil
	}
	defer func() {
		w := &b.sweeping
		w.found, w.markers, w.keys = nil, nil, nil
		if err != nil {
			w.segment, w.expiredUpTo, w.createdFrom, w.unlogged, w.removals = nil, 0, 0, 0, nil
		}
	}()
	now := b.store.clock.now()
	for {
		more, err := b.findExpired(now)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := b.writeMarkers(ctx); err != nil {
			return err
		}
		if b.sweeping.unlogged >= sweepOften {
			if err := b.logExpired(ctx); err != nil {
				return err
			}
		}
	}
	if err := b.logExpired(ctx); err != nil {
		return err
	}
	if err := b.logExpiredMarkers(ctx, now); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expires.Store(b.mu.config.TTL != 0 || b.mu.index.Deadlines() > 0)
	return nil
}

// findExpired collects a batch of keys whose newest value has expired at now, in the
// order of revisions. It reports whether it found any expired record, also one that
// needs no marker.
func (b *Bucket) findExpired(now int64) (more bool, err error) {
	w := &b.sweeping
	w.found, w.keys = w.found[:0], w.keys[:0]
	b.advance(index.ExpiringPuts, now)
	b.mu.RLock()
	b.mu.index.Due(index.ExpiringPuts, func(key []byte, v index.Version) bool {
		if b.inDoubtLocked(v.Revision) {
			return true // a newer value may be missing, which has not expired
		}
		w.add(key, v.Revision)
		return len(w.found) < sweepBatch
	})
	b.mu.RUnlock()
	due := len(w.found)
	if err := b.findAged(now); err != nil {
		return false, err
	}
	more = len(w.found) > 0
	for i := range w.found {
		w.found[i].hash = index.Hash(w.found[i].key)
	}
	b.filterBatch(due)
	slices.SortFunc(w.found, func(a, b versionRef) int { return cmp.Compare(a.revision, b.revision) })
	return more, nil
}

// add adds a version to the batch, with a copy of its key.
func (w *sweepState) add(key []byte, revision kv.Revision) {
	from := len(w.keys)
	w.keys = append(w.keys, key...)
	w.found = append(w.found, versionRef{key: view.String(w.keys[from:]), revision: revision})
}

// filterBatch keeps the versions of the batch that get a marker: values that are the
// newest of their keys. The marker supersedes every older record of its key. A bucket
// without markers keeps none. The versions from index scanned on were found by the TTL;
// those that get no marker and are still in the index are queued for removal.
//
// This also brings the keys' part of the index into the processor's cache, where judging
// and applying the markers need it. Waiting for memory is half the cost of a marker, and
// here no writer waits too.
func (b *Bucket) filterBatch(scanned int) {
	w := &b.sweeping
	kept := w.found[:0]
	for at := 0; at < len(w.found); {
		b.mu.RLock()
		for end := min(at+4*sweepSlice, len(w.found)); at < end; at++ {
			d := w.found[at]
			newest, ok := b.mu.index.Newest(d.hash, d.key)
			if ok && newest.Revision == d.revision && newest.Op == kv.Put && !b.noMarkers && !b.inDoubtLocked(newest.Revision) {
				kept = append(kept, d)
			} else if ok && at >= scanned {
				b.queueRemovalLocked(d, &newest)
			}
		}
		b.mu.RUnlock()
		runtime.Gosched() // a leader whose sync has returned may wait for a processor
	}
	w.found = kept
}

// queueRemovalLocked queues a version that the TTL has expired and that gets no marker,
// if the index has it. The caller holds mu.
func (b *Bucket) queueRemovalLocked(d versionRef, newest *index.Version) {
	w := &b.sweeping
	if newest.Revision == d.revision && newest.Deadline == 0 {
		w.unmarkedUpTo = d.revision
	} else if _, ok := b.mu.index.At(d.hash, d.key, d.revision); !ok {
		return
	}
	d.key = strings.Clone(d.key) // the next batch overwrites the memory of this one's keys
	w.removals = append(w.removals, d)
}

// advance brings an agenda of the index up to now, a slice at a time.
func (b *Bucket) advance(a index.Agenda, now int64) {
	for done := false; !done; {
		b.mu.Lock()
		done = b.mu.index.Advance(a, now, 8*sweepSlice)
		b.mu.Unlock()
	}
}

// writeMarkers commits the batch. Each mutation writes a marker if its key is still
// expired, and otherwise nothing.
func (b *Bucket) writeMarkers(ctx context.Context) error {
	w := &b.sweeping
	if len(w.found) == 0 {
		return nil
	}
	w.markers = w.markers[:0]
	for _, d := range w.found {
		w.markers = append(w.markers, mutation{
			bucket: b, kind: writeExpiry, key: d.key, hash: d.hash, size: expiryMarkerSize(d.key),
		})
	}
	return b.commitLow(ctx, w.markers)
}

// commitLow commits mutations for which no client waits, and returns the first error.
func (b *Bucket) commitLow(ctx context.Context, batch []mutation) error {
	r := b.store.commit.newRequest()
	defer b.store.commit.free(r)
	r.mutations, r.lowPriority = batch, true
	if err := b.store.commit.do(ctx, r); err != nil {
		return err
	}
	for i := range r.mutations {
		if err := r.mutations[i].err; err != nil {
			return err
		}
	}
	return nil
}

// logExpired logs one journal.Expire for all records that the TTL has expired, and
// removes from the index those that no marker has superseded.
func (b *Bucket) logExpired(ctx context.Context) error {
	w := &b.sweeping
	if w.unlogged == 0 {
		return nil
	}
	err := b.store.operate(ctx, func() (journal.Operation, error) {
		return &journal.Expire{Bucket: b.id, ExpiredUpTo: w.expiredUpTo, UnmarkedUpTo: w.unmarkedUpTo}, b.checkWritable()
	})
	if err != nil {
		return err
	}
	b.removeVersions(func() (batch []versionRef) {
		n := min(sweepSlice, len(w.removals))
		batch, w.removals = w.removals[:n], w.removals[n:]
		return batch
	})
	w.unlogged, w.removals = 0, nil
	return nil
}

// logExpiredMarkers logs one journal.ExpireMarkers for the markers with a deadline up to
// now, if there are any, and removes them from the index.
func (b *Bucket) logExpiredMarkers(ctx context.Context, now int64) error {
	b.advance(index.ExpiringMarkers, now)
	now -= b.sweeping.leap.Load() // the rule concerns those that wait too
	if err := b.eraseMarkers(ctx, now); err != nil {
		return err
	}
	if !b.hasDue(index.ExpiringMarkers) {
		return nil
	}
	err := b.store.operate(ctx, func() (journal.Operation, error) {
		b.mu.RLock()
		defer b.mu.RUnlock()
		newest := b.mu.index.NewestDue(index.ExpiringMarkers)
		return &journal.ExpireMarkers{Bucket: b.id, MarkersExpiredUpTo: now, UnmarkedUpTo: newest}, b.checkWritableLocked()
	})
	if err != nil {
		return err
	}
	b.removeVersions(func() (batch []versionRef) {
		b.mu.index.Due(index.ExpiringMarkers, func(key []byte, v index.Version) bool {
			batch = append(batch, versionRef{string(key), index.Hash(view.String(key)), v.Revision})
			return len(batch) < sweepSlice
		})
		return batch
	})
	return nil
}

// hasDue reports whether an agenda of the index has an entry that is due.
func (b *Bucket) hasDue(a index.Agenda) (due bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.mu.index.Due(a, func([]byte, index.Version) bool {
		due = true
		return false
	})
	return due
}

// removeVersions removes from the index the versions that are dead by an operation which was
// applied before. It ends when next, which is called with mu held, returns none. Writers and
// readers run in between; they no longer see these versions.
func (b *Bucket) removeVersions(next func() []versionRef) {
	for more := true; more; {
		b.store.path.Lock()
		for began := time.Now(); more && time.Since(began) < pathHold; {
			b.mu.Lock()
			batch := next()
			more = len(batch) > 0 && b.mu.gone == nil
			for _, d := range batch {
				b.removeIfDeadLocked(d)
			}
			if !more {
				b.mu.removalsPending--
			}
			b.mu.Unlock()
		}
		b.store.path.Unlock()
		b.store.yieldPath()
	}
}

// removeIfDeadLocked removes a version from the index if it is dead by the bucket's
// rules. The caller holds mu.
func (b *Bucket) removeIfDeadLocked(d versionRef) {
	newest, _ := b.mu.index.Newest(d.hash, d.key)
	v, ok := b.mu.index.At(d.hash, d.key, d.revision)
	if ok && b.mu.live.Removes(&v, v.Revision == newest.Revision) {
		b.mu.index.Remove(d.hash, d.key, d.revision, nil)
	}
}

// operateAfterSweep is operate for an operation whose outcome depends on the records in
// the index. It sweeps first, so that the outcome does not depend on the time of the last
// sweep.
func (b *Bucket) operateAfterSweep(ctx context.Context, decide func() (journal.Operation, error)) error {
	if err := b.lockSweep(ctx); err != nil {
		return err
	}
	defer b.unlockSweep()
	return b.operateAfterSweepLocked(ctx, decide)
}

// operateAfterSweepLocked is operateAfterSweep for a caller that holds the lock of the
// sweep.
func (b *Bucket) operateAfterSweepLocked(ctx context.Context, decide func() (journal.Operation, error)) error {
	const tries = 32 // in a bucket with a TTL of a millisecond something is always due
	for n := 1; ; n++ {
		if err := b.sweepLocked(ctx); err != nil {
			return err
		}
		err := b.store.operate(ctx, func() (journal.Operation, error) {
			if n < tries && b.anyExpired(b.store.clock.advance()) {
				return nil, errMoreExpired
			}
			return decide()
		})
		if !errors.Is(err, errMoreExpired) {
			return err
		}
	}
}

// anyExpired reports whether something has expired that was not swept. The caller holds
// the lock of the sweep.
func (b *Bucket) anyExpired(now int64) bool {
	if b.restsUnconfirmed() {
		return false
	}
	b.mu.RLock()
	ttl := b.mu.config.TTL
	b.mu.RUnlock()
	if ttl != 0 && b.sweeping.aged(b.sweeping.createdFrom, ttl, now) {
		return true
	}
	for _, a := range []index.Agenda{index.ExpiringPuts, index.ExpiringMarkers} {
		if b.advance(a, now); b.hasDue(a) {
			return true
		}
	}
	return false
}
