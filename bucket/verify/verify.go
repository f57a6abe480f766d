package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// Options changes how a store is verified. The zero value is right for almost every
// program.
type Options struct {
	// Damaged is called for every damage as it is found, also for damage that the report
	// has no room for. Nil: it is not called.
	Damaged func(*kv.CorruptError)

	// Progress is called at the start of each stage and a few times a second, from the
	// goroutine of Store. Nil: it is not called.
	Progress func(progress.Progress)

	env environment.Env // of tests; only FS is used
}

func init() {
	environment.Register(func(o *Options, env environment.Env) { o.env = env })
}

// The stages of verifying a store, in order.
const (
	StageRecords progress.Stage = "verifying records" // bytes of segment files
	StageLog     progress.Stage = "verifying the log" // frames; the total is not known
)

// Report describes what [Store] has read and the damage that it found.
type Report struct {
	Buckets    int
	Segments   int // that could be opened
	Values     int // files of large values that records name
	Records    int // undamaged, in the segments
	Bytes      int64
	Frames     int                // of the log: those that the store needs
	LogRecords int                // in these frames
	Torn       *wal.TornTail      // an unfinished last write that the next Open discards: it was never acknowledged
	Damage     int                // places
	Damages    []*kv.CorruptError // the first 1,000
	Notes      []string           // further facts for operators, a sentence each
	Elapsed    time.Duration
}

// damagesMax bounds Report.Damages: a segment of garbage may hold a
// damage every few bytes.
const damagesMax = 1000

// Err returns the first damage, or nil if the store is sound.
func (r *Report) Err() error {
	if len(r.Damages) == 0 {
		return nil
	}
	return r.Damages[0]
}

// Store verifies the store in dir and changes nothing. The store must not be open. While
// Store runs it holds the directory's lock, if the system permits it. The lock's file is
// the only one that it writes to.
//
// Damage is part of the report; it is not returned as an error. The error matches
// kv.ErrLocked if another process has the store open, kv.ErrNotStore for a directory
// without a store, kv.ErrVersion for a store of a newer format, and kv.ErrCorrupt if both
// copies of the manifest are unreadable, since the content of the store is unknown then.
// Other errors are the system's.
func Store(dir string, opts Options) (Report, error) {
	if opts.env.FS == nil {
		opts.env.FS = vfs.OS()
	}
	if opts.Progress == nil {
		opts.Progress = func(progress.Progress) {}
	}
	v := &verification{dir: dir, opts: opts, fs: vfs.ReadOnlyView(opts.env.FS, errReadOnly), began: time.Now()}
	unlock, err := v.lock()
	if err == nil {
		defer unlock()
		err = v.verify()
	}
	v.report.Values = len(v.values)
	v.report.Elapsed = time.Since(v.began)
	if err != nil {
		return v.report, fmt.Errorf("verify store %s: %w", dir, err)
	}
	return v.report, nil
}

var errReadOnly = fmt.Errorf("%w: the store is only looked at", kv.ErrReadOnly)

// verification is one run of Store.
type verification struct {
	dir       string
	opts      Options
	fs        vfs.FS // writes nothing
	report    Report
	began     time.Time
	manifest  *manifest.Copy
	segments  segment.Options
	values    map[uint64]bool // numbers of the value files that records name
	value     []byte          // scratch
	words     wal.Words       // that the next frame of the log must have
	uncounted bool            // what the frame before held is not known
}

// lock prevents that the store is opened meanwhile. A directory that cannot be written to
// needs no lock, since a store in it cannot be opened.
func (v *verification) lock() (unlock func(), err error) {
	name := path.Join(v.dir, manifest.LockFile)
	if _, err := v.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // never opened
	}
	lock, err := v.opts.env.FS.Lock(name)
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("%w: %w", kv.ErrLocked, err)
	case vfs.RefusesWrites(err):
		v.addNote("the store could not be locked: %v", err)
		return func() {}, nil
	case err != nil:
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

func (v *verification) verify() error {
	found, err := manifest.Load(v.fs, v.dir)
	for _, d := range found.Damages {
		v.damaged(d)
	}
	if err != nil {
		return err
	}
	if found.Best == nil {
		return fmt.Errorf("%w: it has no manifest", kv.ErrNotStore)
	}
	v.report.Notes = append(v.report.Notes, found.Notes...)
	v.manifest = found.Best
	v.segments = segment.Options{
		FS: v.fs, Dir: path.Join(v.dir, manifest.SegmentDir),
		Seed: segment.Seed(found.Best.Identity.Seed), StoreID: found.Best.Identity.StoreID,
	}
	v.values = make(map[uint64]bool)
	if err := v.checkSegments(); err != nil {
		return err
	}
	if err := v.checkLog(); err != nil {
		return err
	}
	return v.checkStrays()
}

func (v *verification) damaged(d *kv.CorruptError) {
	v.report.Damage++
	if len(v.report.Damages) < damagesMax {
		v.report.Damages = append(v.report.Damages, d)
	}
	if v.opts.Damaged != nil {
		v.opts.Damaged(d)
	}
}

func (v *verification) addNote(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}
