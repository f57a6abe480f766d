package bucket

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kvd/bucket/image"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
	"kvd/wal"
	"kvd/watch"
)

// Bucket is one bucket of an open store. It implements [kv.Bucket]. All methods
// are safe for concurrent use.
type Bucket struct {
	// Immutable after it was made.
	store     *Store
	id        uint64 // in records and operations
	life      uint64 // what clients see as the id
	name      string
	created   int64           // unix ns
	ready     chan struct{}   // closed when the tree holds every key: listings wait for it
	memory    bool            // storage=memory
	noMarkers bool            // expired records are removed without a marker
	disk      segment.Options // where its segments are: with the store's, or in memory of its own
	hub       *watch.Hub

	// Guarded by Store.path.
	next          kv.Revision     // of the next record
	position      wal.LSN         // as of the last checkpoint
	active        *openSegment    // nil before the first record
	unsynced      []*unsyncedFile // written since the last checkpoint, oldest first
	dirty         bool            // stands in Store.path.dirty
	retiredMemory []*openSegment  // removed memory segments that may still have readers
	issuable      kv.Revision     // of storage=memory: log or manifest have that revisions up to it may be issued
	part          int             // index in group.parts, while a group has records of the bucket
	interval      time.Duration   // of sync=interval; 0: writes are synced before they are answered
	synced        kv.Revision     // all below it are durable
	syncPending   bool            // stands in Store.path.unsure
	stale         bool            // recovery still has to remove dead versions from the index
	hidden        bool            // it is being imported
	revealed      wal.LSN         // of the operation that committed its import; 0: none did, or the manifest has it

	imaged image.Key // of the file in index/ that belongs to the bucket; zero: none. Guarded by Store.checkpoint

	unwritten atomic.Bool // its doubt has changed, and the checkpoint under way does not know

	taken    uint64      // group.number of the newest group that took mutations of the bucket. Owned by the leader
	expires  atomic.Bool // something in the bucket may expire, so the sweep visits it. Set and cleared under mu.
	sweeping sweepState

	mu struct { // guards the fields inside; writers of index and segments hold Store.path too
		sync.RWMutex
		gone             error // why the bucket cannot be used: deleted, or the store closed
		config           kv.Config
		live             manifest.Liveness
		rulesPending     int // number of changes of the rules that are not applied to the index yet: rules.go
		removalsPending  int // number of operations whose dead records are not removed from the index yet: digest.go
		index            *index.Index
		revision         kv.Revision                // of the newest record that can be read
		written          int64                      // unix ns: the time of that record; after recovery the newest time in the segments. 0: unknown
		segments         []*openSegment             // by index.Version.Segment; nil: it is gone
		numbered         []*openSegment             // those of segments that are not gone
		order            []*openSegment             // those that the manifest names, in ascending order of revisions
		held             map[*heldSegments]struct{} // by listings of entries that go on; nil: never any
		replaced         []*openSegment             // those that compaction replaced while the index could not follow
		compactedEndUpTo kv.Revision                // up to it the ends of keys are forgotten: see manifest.Bucket.CompactedEndUpTo
		forgets          uint64                     // how often the index forgot ends of keys since the store was opened
		doubt            manifest.Doubt             // what damage took; its slices are replaced as a whole
		bound            kv.Revision                // of the doubt, for reads and conditions; 0: nothing is in doubt, or stale state is served
		doubtful         *kv.CorruptError           // what is in doubt; nil: nothing
		unwritable       error                      // why it takes no writes, if that is so because of its doubt
		skipped          []manifest.SkippedRange    // revisions that crashes made the bucket skip; replaced as a whole
	}
}

var (
	_ kv.Bucket  = (*Bucket)(nil)
	_ kv.Watched = (*Bucket)(nil)
)

// openSegment is a segment of an open bucket. Its number is not used again before the
// next open, so a version that was read under an earlier lock never refers to another
// file. Bucket.mu guards the fields without a comment.
type openSegment struct {
	*segment.Segment
	number      uint32            // index.Version.Segment; immutable
	released    <-chan struct{}   // once retired: closed when the last reader is done
	removedUpTo kv.Revision       // the highest revision that compaction left out
	marks       []mark            // where revisions begin: marks.go
	records     int64             // bytes of its records, dead or live
	values      []valueFile       // of its records, dead or live; once it is replaced, those that go with it
	valueBytes  int64             // of values
	deadKept    int64             // bytes of dead records that compaction had to keep
	unfit       atomic.Bool       // compaction leaves it as it is until the next open
	removed     atomic.Bool       // its file is gone
	examined    atomic.Bool       // its damage is noted
	held        atomic.Int64      // bytes that heldTails counts
	warmth                        // of its file, while it is not sealed
	lost        *manifest.Segment // the manifest's entry for a file that could not be opened; Segment is nil then. Immutable
}

func newBucket(s *Store, id, life uint64, created int64, config kv.Config) *Bucket {
	b := &Bucket{store: s, id: id, life: life, name: config.Bucket, created: created, next: 1, ready: make(chan struct{}), noMarkers: config.Kind == msglog.Kind}
	b.sweeping.lock = make(chan struct{}, 1)
	b.unlockSweep()
	b.mu.config = config
	b.setStorage(config.Storage)
	b.setSync(&config)
	b.mu.index = index.New()
	b.hub = watch.NewHub(watchLog{b}, &s.watchBudget)
	return b
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// ID returns the bucket's id: a random number of at most 53 bits. A bucket that is
// deleted and made again has another one, and so has a bucket in memory after a restart.
func (b *Bucket) ID() uint64 { return b.life }

// checkWritable returns nil, or why the bucket takes no writes.
func (b *Bucket) checkWritable() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.checkWritableLocked()
}

func (b *Bucket) checkWritableLocked() error {
	if b.mu.gone != nil {
		return b.mu.gone
	}
	return b.mu.unwritable
}

// config returns the configuration, or why the bucket cannot be used.
func (b *Bucket) config() (kv.Config, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.config, b.mu.gone
}

// checkOpen returns nil, or why a call on the bucket cannot begin.
func (b *Bucket) checkOpen(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.gone
}

// retire ends the bucket: from now on calls fail with why. Its files are released once
// their last reader has finished. The caller holds path.
func (b *Bucket) retire(why error) {
	if !b.memory {
		for _, sl := range b.handles() {
			b.store.tails.end(sl)
			b.store.warm.discard(sl)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.gone != nil {
		return
	}
	b.mu.gone = why
	for _, s := range b.handlesLocked() {
		if b.memory {
			b.retiredMemory = append(b.retiredMemory, s)
		} else {
			s.Pin() // until release: unmapping takes too long under a lock
		}
		s.released = s.Retire()
	}
	b.freeMemory()
	b.mu.index = index.New() // the old one is garbage once its snapshots are
	b.hub.Close(why)
}

// release releases the files of a retired bucket, once.
func (b *Bucket) release() {
	if b.memory {
		b.freeMemory()
		return
	}
	for _, s := range b.handles() {
		s.Unpin()
	}
}

// handles returns the segments that have a file or a mapping open.
func (b *Bucket) handles() []*openSegment {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.handlesLocked()
}

func (b *Bucket) handlesLocked() []*openSegment {
	return slices.Concat(slices.Collect(b.files()), b.mu.replaced)
}

// Status describes the bucket.
func (b *Bucket) Status(ctx context.Context) (kv.Status, error) {
	if err := ctx.Err(); err != nil {
		return kv.Status{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return kv.Status{}, b.mu.gone
	}
	st := kv.Status{
		Config: b.mu.config.WithDefaults(), ID: b.life, Created: time.Unix(0, b.created).UTC(),
		Keys: uint64(b.mu.index.Keys()), Named: uint64(b.mu.index.Len()), Values: uint64(b.mu.index.Count()),
		Bytes: uint64(b.mu.index.Bytes()), Revision: b.mu.revision, Digest: b.digestLocked(),
		ReadOnly: b.checkWritableLocked(), Doubt: b.mu.doubt.Bound, Stale: b.servesStale(),
	}
	if b.mu.doubt.Unknown {
		st.Doubt = boundAll
	}
	if b.mu.written != 0 {
		st.Written = time.Unix(0, b.mu.written).UTC()
	}
	if b.expires.Load() {
		st.ClockLeap = time.Duration(b.sweeping.leap.Load())
	}
	if err := b.store.checkFailure(); err != nil {
		st.ReadOnly = err
	}
	for s := range b.files() {
		if !b.memory {
			st.Disk += uint64(s.Disk() + s.valueBytes)
		}
	}
	return st, nil
}

// notFound is kv.ErrBucketNotFound for a bucket that was deleted.
func (b *Bucket) notFound() error {
	return fmt.Errorf("%w: %q was deleted", kv.ErrBucketNotFound, b.name)
}

// files yields the bucket's segments except lost ones, in ascending order of
// revisions. The caller holds mu, or the bucket is retired, or has no other user.
func (b *Bucket) files() iter.Seq[*openSegment] {
	return func(yield func(*openSegment) bool) {
		for _, s := range b.mu.order {
			if s.lost == nil && !yield(s) {
				return
			}
		}
	}
}
