package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"time"

	"kvd/bucket"
	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

// source is the damaged store, as recovery leaves it in memory.
type source struct {
	dir     string
	fs      vfs.FS // keeps in memory what is written to it
	store   *bucket.Store
	rebuilt map[string]bool // names of the buckets whose rules are lost; nil: the manifest was read
	clock   time.Time       // of the store; nothing expires behind it

	mu struct { // guards the fields inside
		sync.Mutex
		lost map[lostPage]error
	}
}

// lostPage is a page that the disk did not give back.
type lostPage struct {
	file string
	from int64
}

// openSource opens the damaged store. Its errors are those of [Store].
func openSource(dir string, o *Options, found func(*Finding) error) (*source, error) {
	s := &source{dir: dir}
	s.mu.lost = make(map[lostPage]error)
	s.fs = vfs.Overlay(vfs.Forgiving(o.env.FS, s.notePage))
	if err := s.checkStore(); err != nil {
		return nil, err
	}
	lock, err := s.lock()
	if err != nil {
		return nil, err
	}
	if err := s.loadManifest(found); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := lock.Close(); err != nil { // the store takes it again
		return nil, err
	}
	for tries := 0; ; tries++ {
		s.store, err = bucket.Open(dir, s.options(o))
		strange, ok := s.strangeFile(err)
		if err == nil || !ok || tries >= strangeMax {
			return s, err
		}
		if err := found(&Finding{Kind: KindDamage, File: strange, Text: err.Error() + ": the file is left out"}); err != nil {
			return nil, err
		}
		if err := s.fs.Remove(strange); err != nil {
			return nil, err
		}
	}
}

// strangeMax bounds how many files of the log are left out.
const strangeMax = 1000

// strangeFile returns the file of the log because of which the store does not open: one of another
// store.
func (s *source) strangeFile(err error) (file string, ok bool) {
	var damage *kv.CorruptError
	if !errors.As(err, &damage) || path.Dir(damage.File) != path.Join(s.dir, manifest.LogDir) {
		return "", false
	}
	_, err = s.fs.Stat(damage.File)
	return damage.File, err == nil
}

// options are those with which recovery runs in memory. Its clock stands still at the newest time
// of the store, so that nothing expires because of the repair.
func (s *source) options(o *Options) bucket.Options {
	return environment.With(bucket.Options{
		LogFileSize: 1 << 20, ReserveSize: -1, ImageKeys: -1, CompactionRate: -1, Progress: o.Progress,
		Logger: slog.New(slog.DiscardHandler), AcceptClock: true,
	}, environment.Env{FS: s.fs, Manual: true, Now: func() time.Time { return s.clock }})
}

// checkStore refuses a directory that has nothing of a store.
func (s *source) checkStore() error {
	for _, name := range []string{manifest.Names[0], manifest.Names[1], manifest.SegmentDir, manifest.LogDir} {
		if _, err := s.fs.Stat(path.Join(s.dir, name)); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w: it has no manifest, no log and no segments", kv.ErrNotStore)
}

func (s *source) lock() (interface{ Close() error }, error) {
	lock, err := s.fs.Lock(path.Join(s.dir, manifest.LockFile))
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		err = fmt.Errorf("%w: %w", kv.ErrLocked, err)
	}
	return lock, err
}

// loadManifest makes a manifest if none can be read.
func (s *source) loadManifest(found func(*Finding) error) error {
	m, err := manifest.Load(s.fs, s.dir)
	switch {
	case err != nil && !errors.Is(err, kv.ErrCorrupt):
		return err
	case err == nil && m.Best != nil:
		s.clock = time.Unix(0, m.Best.State.Clock)
		return nil
	}
	why := "both copies of the manifest are missing"
	if err != nil {
		why = err.Error()
	}
	if err := found(&Finding{Kind: KindDamage, File: s.dir, Text: why + ": a manifest is made from what the segments and the log say"}); err != nil {
		return err
	}
	return s.rebuild(found)
}

// notePage notes a page that the disk did not give back.
func (s *source) notePage(file string, from, _ int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.lost) < lostPagesMax {
		s.mu.lost[lostPage{file, from}] = err
	}
}

// lostPagesMax bounds how many pages are told one by one.
const lostPagesMax = 100_000

// lostPages returns how many pages the disk did not give back.
func (s *source) lostPages() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.lost)
}

// buckets returns the buckets of the store, in order of names.
func (s *source) buckets(ctx context.Context) (list []*bucket.Bucket, err error) {
	for name, err := range s.store.BucketNames(kv.WithStale(ctx)) {
		if err != nil {
			return nil, err
		}
		b, err := s.store.Bucket(kv.WithStale(ctx), name)
		if err != nil {
			return nil, err
		}
		own, ok := b.(*bucket.Bucket)
		if !ok {
			return nil, fmt.Errorf("bucket %q is a %T", name, b)
		}
		list = append(list, own)
	}
	return list, nil
}

// close ends the recovered store. What it writes stays in memory and is gone.
func (s *source) close() {
	if s.store != nil {
		_ = s.store.Close() // there is nothing to lose
	}
}
