package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
	"kvd/watch"
)

// Store is an open directory of buckets. It implements [kv.Store] and
// [kv.Submitter]. All methods are safe for concurrent use.
type Store struct {
	// Immutable after Open.
	opts     Options
	dir      string
	fullDisk error // of a put that the full disk refuses: matches kv.ErrNoSpace
	identity manifest.Identity
	segments segment.Options
	files    *storeFS  // opts.env.FS
	lock     io.Closer // of the directory

	segmentDir vfs.Dir  // of the segments: stays open, so that no sync of it needs a descriptor
	log        *wal.Log // nil in a store that is read-only since it was opened
	refusal    error    // why the file system takes no writes; nil: it takes them
	report     Report
	maintain   *maintainer // nil in manual mode and in a read-only store

	clock   clock
	commit  committer
	failure atomic.Pointer[failure] // set once: why there are no more writes
	logged  atomic.Int64            // bytes of frames that groups appended to the log, and of large values
	closed  atomic.Bool

	// path is the right to write the log and to change what is visible. It is held for
	// one group of commits, for one operation, or for a short step of a checkpoint
	// between two groups. It guards the fields inside, and the fields of buckets that are
	// marked so.
	path struct {
		sync.Mutex
		nextID       uint64 // of the next bucket
		dirty        []*Bucket
		using        []*openSegment // whose files the group at hand uses
		syncPending  []*Bucket      // with writes that were acknowledged and not synced
		full         bool           // puts are refused: the disk has no room
		fullCause    error          // why
		fullLogged   bool           // what was logged last of full
		fullLoggedAt int64          // unix ns by the store's clock: when; 0: never
		placeChecked time.Time      // when checkPlace looked
		deleted      []*Bucket      // since the last checkpoint; their files still exist
		removedIDs   []uint64       // ids in the manifest whose buckets no longer exist
		frame        []byte         // scratch for operations
		reserve      reserve
		totals       totals  // of the log up to its last frame
		tail         *Tail   // takes the frames; nil: nobody wants them
		replayed     wal.LSN // while recovering: the newest frame replayed
	}

	// checkpoint is held by the one checkpoint under way. It is locked before path.
	checkpoint struct {
		sync.Mutex
		manifest *manifest.Writer
		state    manifest.State
	}

	numbers    fileNumbers // of segments and value files
	values     valueFiles
	warm       warmFiles
	tails      heldTails
	compacting sync.Mutex // held by the one compaction under way. It is locked before checkpoint
	retired    retiredFiles

	mu struct {
		sync.RWMutex
		buckets map[string]*Bucket // without hidden ones
		ids     map[uint64]*Bucket // all
	}

	full           atomic.Bool   // path.full, for Space
	hasImages      atomic.Bool   // in the directory of images
	unwritten      atomic.Bool   // the doubt of a bucket has changed: Bucket.unwritten
	lostOperations atomic.Uint64 // manifest.State.LostOperations, and those that this open found

	snapshots   chan struct{}         // a token for each listing that holds a snapshot
	readings    chan struct{}         // likewise, for each call of a Bucket as a kv.Reader
	held        heldSnapshots         // those of callers
	scanners    chan *segment.Scanner // scanners that are not in use
	watchBudget watch.Budget
}

var (
	_ kv.Store     = (*Store)(nil)
	_ kv.Submitter = (*Store)(nil)
)

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// Open opens the store in dir, and recovers it after a crash. It makes the directory and
// the store if they do not exist. It returns an error matching kv.ErrLocked if another
// process has the store open (with its pid, as a *vfs.LockedError), kv.ErrNotStore for a
// directory that belongs to something else, kv.ErrVersion for a store of a newer format,
// and kv.ErrCorrupt if nothing can be served. A store with less damage opens: see Report. A
// store on a file system that is mounted read-only opens for reading; what its recovery would
// write stays in memory.
func Open(dir string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := open(dir, opts, nil)
	if errors.Is(err, syscall.EROFS) && holdsManifest(opts.env.FS, dir) {
		opts.env.FS = vfs.Overlay(opts.env.FS)
		s, err = open(dir, opts, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, readOnlyFS(err))
	}
	s.start()
	return s, nil
}

// open opens and recovers the store. If refusal is not nil, the file system of the directory
// takes no writes, and opts has an overlay of it.
func open(dir string, opts Options, refusal error) (*Store, error) {
	s := &Store{opts: opts, dir: dir, refusal: refusal}
	s.fullDisk = fmt.Errorf("%w on the file system of %s: free some there; reads and deletes go on", kv.ErrNoSpace, dir)
	s.files = &storeFS{FS: opts.env.FS, max: opts.MaxFiles, spare: s.warm.spare}
	opts.env.FS = s.files
	s.opts = opts
	s.warm.init(s, warmOf(opts.MaxFiles))
	s.tails.init(s)
	s.commit.init(s)
	s.values.init(s)
	s.mu.buckets = make(map[string]*Bucket)
	s.mu.ids = make(map[uint64]*Bucket)
	s.snapshots = make(chan struct{}, snapshotsOpen)
	s.readings = make(chan struct{}, snapshotsHeld)
	s.scanners = make(chan *segment.Scanner, scannersMax)
	for range scannersMax {
		s.scanners <- new(segment.Scanner)
	}
	err := makeDir(opts.env.FS, dir)
	if err == nil {
		err = checkDir(opts.env.FS, dir, opts.replaying)
	}
	if err != nil {
		return nil, err
	}
	if err := s.lockDir(); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// OpenMemory opens a new, empty store without files, for tests and caches. Close removes
// everything in it. It is the same engine on files in memory. Its buckets behave the
// same, and a bucket with storage=file is in memory too. LogFileSize defaults to 256 KiB
// and LogMaxSize to 4 MiB: the log takes that much memory. It takes more for a moment
// while a value of more than 256 KiB is written. ReserveSize and ImageKeys are ignored. The
// errors are those that Open returns for opts.
func OpenMemory(opts Options) (*Store, error) {
	if opts.LogFileSize == 0 {
		opts.LogFileSize = memoryLogFileSize
	}
	if opts.LogMaxSize == 0 {
		opts.LogMaxSize = max(memoryLogMaxSize, 2*opts.LogFileSize)
	}
	opts.ReserveSize = -1
	opts.ImageKeys = -1
	opts.env.FS = vfs.NewRAM()
	return Open("memory", opts)
}

func (s *Store) lockDir() error {
	lock, err := s.opts.env.FS.Lock(path.Join(s.dir, manifest.LockFile))
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return fmt.Errorf("%w: %w", kv.ErrLocked, err)
	case err != nil:
		return err
	}
	s.lock = lock
	return nil
}

// start begins the background work of an open store.
func (s *Store) start() {
	if s.opts.env.Manual {
		for _, b := range s.mu.buckets {
			b.buildTree()
		}
		return
	}
	s.maintain = newMaintainer(s)
	s.maintain.start()
}

// Close waits for calls that write, writes a checkpoint so that the next Open is quick,
// and releases the directory's lock. All later calls return kv.ErrClosed, those of Close
// too. If a fault has made the store read-only, Close writes nothing and returns the
// fault.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return kv.ErrClosed
	}
	s.held.close()
	if s.maintain != nil {
		s.maintain.stop()
	}
	s.values.close()
	s.compacting.Lock() // a caller's compaction ends at its next step
	defer s.compacting.Unlock()
	err := s.checkFailure()
	if err == nil {
		s.markMemory()
		err = s.vouch() // before the checkpoint, which then covers this frame too
	}
	if err == nil {
		_ = s.shrinkLog(false) // a refusal leaves the log large
		err = s.checkFailure()
	}
	if err == nil {
		err = s.makeCheckpoint(unpaced)
	}
	if err == nil {
		s.writeImages()
	}
	s.release()
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// vouch syncs the log and records in it that all of it is durable.
func (s *Store) vouch() error {
	s.path.Lock()
	defer s.path.Unlock()
	if err := s.checkFailure(); err != nil {
		return err
	}
	if err := s.checkPlaceLocked(); err != nil {
		return err
	}
	now := s.clock.newest.Load()
	// A rest or a close alone does not store a time that may come from a leap of the
	// clock. A write does.
	if !s.clock.unconfirmed() {
		now = s.clock.advance()
	}
	if err := s.vouchLocked(now); err != nil {
		return s.poisonLog(err)
	}
	s.recordDurable()
	return nil
}

// vouchLocked writes a vouching frame, unless the log is vouched or the disk has no room. The
// caller holds path.
func (s *Store) vouchLocked(now int64) error {
	if s.log.Vouched() {
		return nil
	}
	before := s.path.totals
	s.path.totals.add(tally{})
	err := s.log.Vouch(now, s.path.totals.words)
	if errors.Is(err, vfs.ErrNoSpace) {
		s.path.totals = before
		return nil
	}
	if err == nil {
		s.path.tail.add(now, before.words, s.path.totals.words, nil)
	}
	return err
}

// release releases files, mappings and the lock. It writes nothing.
func (s *Store) release() {
	s.closed.Store(true)
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	s.path.Lock() // waits for a commit under way
	defer s.path.Unlock()
	s.tails.release()
	for _, b := range s.all() {
		b.retire(kv.ErrClosed)
		b.release()
	}
	for _, b := range s.path.deleted { // retired already
		b.release()
	}
	if s.log != nil {
		if s.log.Err() == nil { // a failure of other files may have kept Close from it
			_ = s.vouchLocked(s.clock.newest.Load())
		}
		_ = s.log.Close() // everything that counts is synced
	}
	if s.checkpoint.manifest != nil {
		s.checkpoint.manifest.Close()
		s.checkpoint.manifest = nil
	}
	s.path.reserve.close()
	if s.segmentDir != nil {
		_ = s.segmentDir.Close() // it holds nothing
	}
	_ = s.lock.Close()
}

// list returns the buckets in ascending order of names.
func (s *Store) list() []*Bucket {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := slices.Collect(maps.Values(s.mu.buckets))
	slices.SortFunc(list, func(a, b *Bucket) int { return strings.Compare(a.name, b.name) })
	return list
}

// all returns the buckets in ascending order of ids, hidden ones too.
func (s *Store) all() []*Bucket {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.mu.ids), func(a, b *Bucket) int { return cmp.Compare(a.id, b.id) })
}

// lookup returns the bucket of that name.
func (s *Store) lookup(name string) (*Bucket, error) {
	if s.closed.Load() {
		return nil, kv.ErrClosed
	}
	s.mu.RLock()
	b := s.mu.buckets[name]
	s.mu.RUnlock()
	if b != nil {
		return b, nil
	}
	if err := kv.CheckBucketName(name); err != nil {
		return nil, err
	}
	if err := s.checkOperations(context.Background()); err != nil {
		return nil, fmt.Errorf("bucket %q: %w", name, err)
	}
	return nil, fmt.Errorf("%w: %q", kv.ErrBucketNotFound, name)
}

// ID returns the store's id: random bits, made with the store.
func (s *Store) ID() [16]byte { return s.identity.StoreID }

// Report returns what Open found and did.
func (s *Store) Report() Report { return s.report }
