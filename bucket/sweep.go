package bucket

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"time"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// The sweep writes down what has expired. It finds records with a deadline of
// their own on the index's agendas, and those that the bucket's TTL ends by
// reading the segments in the order of revisions, for their times never fall: that
// takes no memory for a key. Keys whose newest value died get their expiry marker,
// as mutations like any other, but for their patience: every group of the writers
// takes a share of them along (share.go). Then one operation says that the records
// up to a revision are dead, and one that those with a deadline up to a moment are,
// and these leave the index a few at a time.

const (
	// sweepInterval is how often the sweep looks while anything may expire.
	sweepInterval = 250 * time.Millisecond
	// sweepBatch is how many expiry markers are looked for, and handed in, at a time:
	// so few that what judges them finds the index still in the processor's cache.
	sweepBatch = 1024
	// sweepOften is after how many records an operation says how far the sweep is.
	sweepOften = 8 * sweepBatch
	// sweepSlice is how many versions are moved or dropped per hold of a lock.
	sweepSlice = 32
	// clockRefresh is how old the newest time in a store may become while it waits
	// for something to expire: a crash must not look like a leap of the clock.
	clockRefresh = time.Hour
)

// sweepState is how far the sweep of a bucket is. All but turn belongs to whoever
// took the turn, which comes before Store.path.
type sweepState struct {
	lock         chan struct{} // holds one while nobody sweeps
	scanner      segment.Scanner
	slot         *slot        // where the walk is; nil: it has to be found
	offset       int64        // in slot
	expiredUpTo  kv.Revision  // the TTL has ended all up to it
	unmarkedUpTo kv.Revision  // of those walked over: the newest without a marker that was its key's newest record
	createdFrom  int64        // unix ns: nothing behind walked is older
	unlogged     int          // how many were walked over and not yet said to be dead
	removals     []versionRef // of these: what gets no marker in its place

	// Of the batch, reused by the next of the same sweep.
	found   []versionRef
	markers []mutation
	keys    []byte // those that the batch is to copy

	oldest watch.Position // nothing up to it is left: where a trim begins
}

// versionRef is a version that is dead, or about to be.
type versionRef struct {
	key      string
	hash     uint64
	revision kv.Revision
}

// errMoreExpired says that something has expired since the sweep looked.
var errMoreExpired = errors.New("more has expired")

// willExpire has the sweep look after the bucket. The caller holds mu.
func (b *Bucket) willExpire() {
	if b.expires.Load() {
		return
	}
	b.expires.Store(true)
	if m := b.store.maintain; m != nil {
		select {
		case m.expiring <- struct{}{}:
		default: // it is awake
		}
	}
}

// sweep is the goroutine that sweeps. Store.start starts it, Store.Close stops it
// and waits.
func (m *maintainer) sweep() {
	timer := time.NewTimer(sweepInterval)
	defer timer.Stop()
	var said string // of an error: it comes again with every sweep
	for {
		select {
		case <-m.quit:
			return
		case <-m.expiring:
		case <-timer.C:
		}
		s := m.store
		if s.leapt {
			continue // for good: the next Open decides again
		}
		err := s.Sweep(context.Background())
		if err != nil && s.takesWrites() == nil && err.Error() != said {
			said = err.Error()
			s.opts.Logger.Error("sweep", "cause", err)
		}
		if len(s.expiring()) > 0 {
			s.refreshClock()
			timer.Reset(sweepInterval)
		}
	}
}

// refreshClock stores the time in a checkpoint, if the newest time in the store is
// older than clockRefresh.
func (s *Store) refreshClock() {
	s.path.Lock()
	newest := s.clock.newest.Load()
	old := s.clock.advance()-newest > int64(clockRefresh)
	s.path.Unlock()
	if !old {
		return
	}
	if err := s.runCheckpoint(paced); err != nil && s.takesWrites() == nil {
		s.opts.Logger.Error("checkpoint", "cause", err)
	}
}

// Sweep writes the expiry markers of what has expired and drops the records that
// left without one. It runs by itself in the background, a few times a second;
// calling it is never needed, but for a store opened with Manual. After a leap of
// the clock it does nothing: see Options.AcceptClock. It leaves buckets out that
// take no writes.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.open(ctx); err != nil || s.leapt {
		return err
	}
	var errs []error
	for _, b := range s.expiring() {
		if b.takesWrites() != nil {
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

// sweepOnce waits for its turn and sweeps the bucket.
func (b *Bucket) sweepOnce(ctx context.Context) error {
	if err := b.lockSweep(ctx); err != nil {
		return err
	}
	defer b.unlockSweep()
	return b.sweepLocked(ctx)
}

func (b *Bucket) lockSweep(ctx context.Context) error {
	select {
	case <-b.sweeping.lock:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bucket) unlockSweep() { b.sweeping.lock <- struct{}{} }

// sweepLocked sweeps the bucket until nothing is left that had expired when it
// began. After an error the next walk begins anew: what was walked over may lack
// its marker.
func (b *Bucket) sweepLocked(ctx context.Context) (err error) {
	defer func() {
		w := &b.sweeping
		w.found, w.markers, w.keys = nil, nil, nil
		if err != nil {
			w.slot, w.expiredUpTo, w.createdFrom, w.unlogged, w.removals = nil, 0, 0, 0, nil
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

// findExpired notes a batch of keys whose newest value has died by now, in the order
// of revisions, and reports whether it came upon anything that has.
func (b *Bucket) findExpired(now int64) (more bool, err error) {
	w := &b.sweeping
	w.found, w.keys = w.found[:0], w.keys[:0]
	b.advance(index.ExpiringPuts, now)
	b.mu.RLock()
	b.mu.index.Due(index.ExpiringPuts, func(key []byte, v index.Version) bool {
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

// find adds a version to the batch.
func (w *sweepState) add(key []byte, revision kv.Revision) {
	from := len(w.keys)
	w.keys = append(w.keys, key...)
	w.found = append(w.found, versionRef{key: view.String(w.keys[from:]), revision: revision})
}

// sift leaves of the batch the values that are the newest of their keys: those get
// a marker, which takes all that the key has with it; in a silent bucket none does.
// Of what else was walked over, the batch from that place on, it notes what the index
// still shows. It is also
// what brings the keys' part of the index into the processor's cache, where judging
// and applying the markers need it: half of what a marker costs is waiting for
// that, and here no writer waits too.
func (b *Bucket) filterBatch(scanned int) {
	w := &b.sweeping
	kept := w.found[:0]
	for at := 0; at < len(w.found); {
		b.mu.RLock()
		for end := min(at+4*sweepSlice, len(w.found)); at < end; at++ {
			d := w.found[at]
			newest, ok := b.mu.index.Newest(d.hash, d.key)
			if ok && newest.Revision == d.revision && newest.Op == kv.Put && !b.silent {
				kept = append(kept, d)
			} else if ok && at >= scanned {
				b.queueRemovalLocked(d, &newest)
			}
		}
		b.mu.RUnlock()
		runtime.Gosched() // a leader whose sync has returned waits for a processor
	}
	w.found = kept
}

// queueRemovalLocked notes a version that was walked over and gets no marker, if the
// index shows it.
func (b *Bucket) queueRemovalLocked(d versionRef, newest *index.Version) {
	w := &b.sweeping
	if newest.Revision == d.revision && newest.Deadline == 0 {
		w.unmarkedUpTo = d.revision
	} else if _, ok := b.mu.index.At(d.hash, d.key, d.revision); !ok {
		return
	}
	d.key = strings.Clone(d.key) // the batch's own is overwritten by the next
	w.removals = append(w.removals, d)
}

// advance brings an agenda of the index to now, a slice at a time.
func (b *Bucket) advance(a index.Agenda, now int64) {
	for done := false; !done; {
		b.mu.Lock()
		done = b.mu.index.Advance(a, now, 8*sweepSlice)
		b.mu.Unlock()
	}
}

// writeMarkers hands in the batch. Each mutation writes a marker if its key has
// expired, and nothing if it has not.
func (b *Bucket) writeMarkers(ctx context.Context) error {
	w := &b.sweeping
	if len(w.found) == 0 {
		return nil
	}
	r := newRequest()
	defer r.free()
	w.markers = w.markers[:0]
	for _, d := range w.found {
		w.markers = append(w.markers, mutation{
			bucket: b, kind: writeExpiry, key: d.key, hash: d.hash, size: expiryMarkerSize(d.key),
		})
	}
	r.mutations, r.patient = w.markers, true
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

// logExpired says that everything that was walked over is dead, and drops what is
// left of it.
func (b *Bucket) logExpired(ctx context.Context) error {
	w := &b.sweeping
	if w.unlogged == 0 {
		return nil
	}
	err := b.store.operate(ctx, func() (journal.Operation, error) {
		return &journal.Expire{Bucket: b.id, ExpiredUpTo: w.expiredUpTo, UnmarkedUpTo: w.unmarkedUpTo}, b.takesWrites()
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

// logExpiredMarkers says that the markers with a deadline up to now are dead, if there are
// any, and drops them.
func (b *Bucket) logExpiredMarkers(ctx context.Context, now int64) error {
	b.advance(index.ExpiringMarkers, now)
	if !b.hasDue(index.ExpiringMarkers) {
		return nil
	}
	err := b.store.operate(ctx, func() (journal.Operation, error) {
		b.mu.RLock()
		defer b.mu.RUnlock()
		newest := b.mu.index.NewestDue(index.ExpiringMarkers)
		return &journal.ExpireMarkers{Bucket: b.id, MarkersExpiredUpTo: now, UnmarkedUpTo: newest}, b.takesWritesLocked()
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

func (b *Bucket) hasDue(a index.Agenda) (due bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.mu.index.Due(a, func([]byte, index.Version) bool {
		due = true
		return false
	})
	return due
}

// drop takes versions that are dead by the bucket's rules out of the index, until
// next, which is called with mu held, returns none. Writers and readers pass in
// between: to them these versions are not there.
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
			b.mu.Unlock()
		}
		b.store.path.Unlock()
		b.store.yieldPath()
	}
}

func (b *Bucket) removeIfDeadLocked(d versionRef) {
	newest, _ := b.mu.index.Newest(d.hash, d.key)
	v, ok := b.mu.index.At(d.hash, d.key, d.revision)
	if ok && b.mu.live.Removes(&v, v.Revision == newest.Revision) {
		b.mu.index.Remove(d.hash, d.key, d.revision, nil)
	}
}

// operateAfterSweep is operate for an operation whose outcome depends on which
// records there are: it sweeps before, so that the outcome does not depend on when
// the sweep came by.
func (b *Bucket) operateAfterSweep(ctx context.Context, decide func() (journal.Operation, error)) error {
	if err := b.lockSweep(ctx); err != nil {
		return err
	}
	defer b.unlockSweep()
	return b.operateAfterSweepLocked(ctx, decide)
}

// operateAfterSweepLocked is operateAfterSweep for who has the turn.
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

// anyExpired reports whether something has expired and was not swept. The caller
// has the turn.
func (b *Bucket) anyExpired(now int64) bool {
	b.mu.RLock()
	ttl := b.mu.config.TTL
	b.mu.RUnlock()
	if ttl != 0 && later(b.sweeping.createdFrom, ttl) <= now {
		return true
	}
	for _, a := range []index.Agenda{index.ExpiringPuts, index.ExpiringMarkers} {
		if b.advance(a, now); b.hasDue(a) {
			return true
		}
	}
	return false
}
