package bucket

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
)

const (
	// snapshotsHeld bounds the snapshots of a store that callers hold at a time, and those that
	// calls of readers hold.
	snapshotsHeld = 1024
	// snapshotWarning is the age at which an open snapshot is logged: its caller may have lost it.
	snapshotWarning = 10 * time.Minute
)

var _ kv.Snapshotter = (*Store)(nil)

// heldSnapshots are the snapshots of a store that callers hold.
type heldSnapshots struct {
	sync.Mutex
	open   map[*heldSnapshot]struct{}
	closed bool // the store is closed: there are no more
}

// heldSnapshot is some buckets as they were at one moment. It implements [kv.Snapshot]. It is an
// index's snapshot and a pin on every segment of each bucket, all taken while the locks of all its
// buckets were held.
type heldSnapshot struct {
	// Immutable once it is taken.
	store   *Store
	taken   int64     // unix ns by the store's clock
	buckets []*frozen // ascending by name
	freed   func()    // is called once nothing is held any more
	warning *time.Timer

	over atomic.Bool // end was called
	mu   struct {    // guards the fields inside
		sync.Mutex
		readers int
		why     error // the error of further reads; nil: it has not ended
	}
}

// Snapshot returns buckets as they are at one moment; see [kv.Snapshotter]. With sync=interval
// it has records that a crash can still take.
func (s *Store) Snapshot(ctx context.Context, names ...string) (kv.Snapshot, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	buckets, err := s.choose(ctx, names)
	if err != nil {
		return nil, err
	}
	x := &heldSnapshot{store: s}
	x.freed = func() { s.held.remove(x) }
	x.mu.readers = 1 // this call: a Close frees nothing before all is taken
	if err := s.held.add(x); err != nil {
		return nil, err
	}
	err = x.take(ctx, buckets, len(names) == 0)
	if err != nil {
		x.end(err)
	} else {
		x.warning = time.AfterFunc(snapshotWarning, x.warn)
	}
	x.leave()
	if err := x.why(); err != nil {
		return nil, err
	}
	return x, nil
}

// warn logs that the snapshot has been open for long.
func (x *heldSnapshot) warn() {
	x.store.opts.Logger.Warn("a snapshot has been open for long: the store keeps what was replaced since", "taken", x.Taken(), "buckets", len(x.buckets))
}

// choose returns the buckets of those names, or all if there are none. It refuses to choose all if
// there may be others, unless ctx accepts that.
func (s *Store) choose(ctx context.Context, names []string) ([]*Bucket, error) {
	if len(names) == 0 {
		return s.list(), s.checkOperations(ctx)
	}
	buckets := make([]*Bucket, 0, len(names))
	for _, name := range names {
		b, err := s.lookup(name)
		if err != nil {
			return nil, err
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b *Bucket) int { return cmp.Compare(a.name, b.name) })
	return slices.Compact(buckets), nil
}

// add admits a snapshot.
func (h *heldSnapshots) add(x *heldSnapshot) error {
	h.Lock()
	defer h.Unlock()
	if h.closed {
		return kv.ErrClosed
	}
	if len(h.open) >= snapshotsHeld {
		return fmt.Errorf("%w: the store has %d; release some", kv.ErrTooManySnapshots, len(h.open))
	}
	if h.open == nil {
		h.open = make(map[*heldSnapshot]struct{})
	}
	h.open[x] = struct{}{}
	return nil
}

func (h *heldSnapshots) remove(x *heldSnapshot) {
	h.Lock()
	defer h.Unlock()
	delete(h.open, x)
}

// close ends all snapshots, and admits no more.
func (h *heldSnapshots) close() {
	h.Lock()
	h.closed = true
	open := make([]*heldSnapshot, 0, len(h.open))
	for x := range h.open {
		open = append(open, x)
	}
	h.Unlock()
	for _, x := range open {
		x.end(kv.ErrClosed)
	}
}

// take takes the snapshot. It holds the locks of all buckets at once, in ascending order of ids, so
// that nothing becomes visible in between. Buckets that were deleted meanwhile are an error, or are
// left out.
func (x *heldSnapshot) take(ctx context.Context, buckets []*Bucket, leaveOut bool) error {
	for _, b := range buckets {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	byID := slices.SortedFunc(slices.Values(buckets), func(a, b *Bucket) int { return cmp.Compare(a.id, b.id) })
	for _, b := range byID {
		b.mu.Lock()
	}
	defer func() {
		for _, b := range byID {
			b.mu.Unlock()
		}
	}()
	for _, b := range buckets {
		if b.mu.gone != nil && !leaveOut {
			return b.mu.gone
		}
	}
	x.taken = x.store.clock.now()
	for _, b := range buckets {
		if b.mu.gone == nil {
			x.buckets = append(x.buckets, b.freezeLocked(x))
		}
	}
	return nil
}

// Buckets returns the names of the buckets.
func (x *heldSnapshot) Buckets() []string {
	names := make([]string, len(x.buckets))
	for i, f := range x.buckets {
		names[i] = f.bucket.name
	}
	return names
}

// find returns one of the buckets, nil if the snapshot does not have it.
func (x *heldSnapshot) find(name string) *frozen {
	i, found := sort.Find(len(x.buckets), func(i int) int { return cmp.Compare(name, x.buckets[i].bucket.name) })
	if !found {
		return nil
	}
	return x.buckets[i]
}

// Bucket returns what reads one of the buckets.
func (x *heldSnapshot) Bucket(name string) (kv.Reader, error) {
	f := x.find(name)
	if f == nil {
		return nil, fmt.Errorf("%w: %q is not in the snapshot", kv.ErrBucketNotFound, name)
	}
	return f, nil
}

// Revision returns the newest revision of a bucket.
func (x *heldSnapshot) Revision(name string) kv.Revision {
	if f := x.find(name); f != nil {
		return f.revision
	}
	return 0
}

// Taken returns the moment of the snapshot.
func (x *heldSnapshot) Taken() time.Time { return time.Unix(0, x.taken).UTC() }

// Release ends the snapshot.
func (x *heldSnapshot) Release() { x.end(kv.ErrSnapshotExpired) }

// enter begins a read. leave has to follow, unless there is an error.
func (x *heldSnapshot) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.why != nil {
		return x.mu.why
	}
	x.mu.readers++
	return nil
}

// leave ends a read. The last reader of a snapshot that has ended frees what it held.
func (x *heldSnapshot) leave() {
	x.mu.Lock()
	x.mu.readers--
	free := x.mu.readers == 0 && x.mu.why != nil
	x.mu.Unlock()
	if free {
		x.free()
	}
}

// why returns why the snapshot has ended; nil: it has not.
func (x *heldSnapshot) why() error {
	if !x.over.Load() {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.why
}

// end makes further reads fail with why. What is held is freed once nobody reads it. Only the first
// call does anything.
func (x *heldSnapshot) end(why error) {
	x.mu.Lock()
	if x.mu.why != nil {
		x.mu.Unlock()
		return
	}
	x.mu.why = why
	x.over.Store(true)
	free := x.mu.readers == 0
	x.mu.Unlock()
	if free {
		x.free()
	}
}

func (x *heldSnapshot) free() {
	if x.warning != nil {
		x.warning.Stop()
	}
	for _, f := range x.buckets {
		f.free()
	}
	x.freed()
}
