package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"kvd/bucket/image"
	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// This file is the first part of an open: it finds the store and its log in the
// directory, and claims the store by writing a manifest with a new block of file numbers.

// makeDir makes dir and its missing parents.
func makeDir(fsys vfs.FS, dir string) error {
	err := fsys.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && path.Dir(dir) != dir {
		if err := makeDir(fsys, path.Dir(dir)); err != nil {
			return err
		}
		err = fsys.Mkdir(dir)
	}
	if err == nil {
		return vfs.SyncDir(fsys, path.Dir(dir))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := fsys.Stat(dir)
	if err != nil {
		return err
	}
	if !info.Dir {
		return fmt.Errorf("%w: it is a file, not a directory", kv.ErrNotStore)
	}
	return nil
}

// checkDir refuses a directory that belongs to something else, before anything is written
// to it. The last step of a restore replays the log of a directory that no other open takes.
func checkDir(fsys vfs.FS, dir string, replaying bool) error {
	entries, err := fsys.List(dir)
	if err != nil {
		return err
	}
	var foreign string
	for _, e := range entries {
		if e.Name == manifest.RestoreFile && !replaying {
			return fmt.Errorf("%w: it holds %q: a restore into it was not finished. Remove what is in it, and restore again", kv.ErrNotStore, e.Name)
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, manifest.Names[0]) || strings.HasPrefix(e.Name, manifest.Names[1]) {
			return nil
		}
		if !slices.Contains([]string{manifest.LockFile, manifest.LogDir, manifest.SegmentDir, manifest.LostDir, manifest.ReserveFile, image.Dir}, e.Name) {
			foreign = e.Name
		}
	}
	if foreign != "" {
		return fmt.Errorf("%w: it holds %q and no manifest; name an empty or a new directory", kv.ErrNotStore, foreign)
	}
	return nil
}

// holdsManifest reports whether the directory has a copy of a manifest.
func holdsManifest(fsys vfs.FS, dir string) bool {
	entries, err := fsys.List(dir)
	return err == nil && slices.ContainsFunc(entries, func(e vfs.Info) bool { return slices.Contains(manifest.Names[:], e.Name) })
}

// findStore reads the manifest, or prepares that of a new store.
func (r *recovery) findStore() error {
	s := r.store
	m, err := manifest.Load(s.opts.env.FS, s.dir)
	if err != nil {
		return err
	}
	s.report.Damages = append(s.report.Damages, m.Damages...)
	s.report.Notes = append(s.report.Notes, m.Notes...)
	found := m.Best
	if found == nil {
		if err := r.refuseOrphans(); err != nil {
			return err
		}
		found = r.newStore()
	}
	r.found = found
	s.identity = found.Identity
	s.segments = segment.Options{
		FS: s.opts.env.FS, Dir: path.Join(s.dir, manifest.SegmentDir),
		Seed: segment.Seed(found.Identity.Seed), StoreID: found.Identity.StoreID,
		Reads: make(chan struct{}, readsOf(s.opts.MaxFiles)), Released: s.segmentReleased,
	}
	r.high = found.State.MaxBucketID
	s.clock.raise(found.State.Clock)
	s.path.nextID = r.high + 1
	s.path.replayed = found.State.LogLow
	s.path.totals.begin(found.State.LogWords)
	return nil
}

func (r *recovery) newStore() *manifest.Copy {
	r.store.report.Created = true
	c := &manifest.Copy{}
	for i := range c.Identity.StoreID {
		c.Identity.StoreID[i] = byte(r.store.opts.env.Random())
	}
	c.Identity.Seed = r.store.opts.env.Random()
	c.State = manifest.NewState()
	c.State.Numbers = 1
	return c
}

// refuseOrphans returns an error if there are files of a store without its manifest.
// Otherwise such a store would be taken for a new one. Open makes the manifest before the
// other files, so a crash there leaves none of them.
func (r *recovery) refuseOrphans() error {
	for _, dir := range []string{manifest.LogDir, manifest.SegmentDir} {
		dir := path.Join(r.store.dir, dir)
		entries, err := r.store.opts.env.FS.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			return &kv.CorruptError{File: path.Join(r.store.dir, manifest.Names[0]), Offset: -1,
				Detail: fmt.Sprintf("both copies of the manifest are missing, and %s holds %d files", dir, len(entries))}
		}
	}
	return nil
}

// openLog finds the log's files.
func (r *recovery) openLog() error {
	for _, dir := range []string{manifest.LogDir, manifest.SegmentDir} {
		if err := r.store.opts.env.FS.Mkdir(path.Join(r.store.dir, dir)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	dir, err := r.store.opts.env.FS.OpenDir(r.store.segments.Dir)
	if err != nil {
		return err
	}
	r.store.segmentDir = dir
	log, err := wal.Open(wal.Options{
		FS: r.store.opts.env.FS, Dir: path.Join(r.store.dir, manifest.LogDir), StoreID: r.store.identity.StoreID,
		FileSize: r.store.opts.LogFileSize, MaxSize: r.store.opts.LogMaxSize, Salt: r.store.opts.env.Random,
		FirstFileSize: r.store.opts.firstLogFileSize(), MakeRoom: r.store.spendReserve,
	})
	if err != nil {
		return err
	}
	r.log = log
	return r.checkLogMissing()
}

// checkLogMissing makes the store read-only if its log is missing and there was no
// checkpoint yet. Before the first checkpoint the manifest needs no frame; only a segment
// that the manifest does not name shows that there were frames. After a checkpoint the
// replay finds that they are missing.
func (r *recovery) checkLogMissing() error {
	files, err := r.store.opts.env.FS.List(path.Join(r.store.dir, manifest.LogDir))
	files = slices.DeleteFunc(files, func(e vfs.Info) bool { return e.Name == wal.MarkFile })
	if err != nil || len(files) > 0 || r.found.State.LogLow > 0 {
		return err
	}
	segments, err := r.store.opts.env.FS.List(r.store.segments.Dir)
	if err != nil {
		return err
	}
	named := r.named()
	for _, e := range segments {
		if number, ok := segment.ParseFileName(e.Name); ok && number < r.found.State.Numbers && !named[number] {
			r.readOnly(&kv.CorruptError{File: path.Join(r.store.dir, manifest.LogDir), Offset: -1,
				Detail: fmt.Sprintf("the log is gone that %s was written from", path.Join(r.store.segments.Dir, e.Name))})
			return nil
		}
	}
	return nil
}

// fileNumber returns the number in the name of a segment or a value file.
func fileNumber(name string) (number uint64, ok bool) {
	if number, ok = segment.ParseFileName(name); ok {
		return number, true
	}
	return segment.ParseValueFileName(name)
}

// setStraysAside moves files that are not the store's out of the segments' directory. The
// moves are durable before claim hands out more file numbers: later, a stray with such a
// number would be taken for scratch.
func (r *recovery) setStraysAside() error {
	entries, err := r.store.opts.env.FS.List(r.store.segments.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := fileNumber(e.Name)
		if ok && number < r.found.State.Numbers {
			continue
		}
		if err := r.setAside(r.store.segments.Dir, e.Name); err != nil {
			return err
		}
	}
	return r.syncAside(r.store.segments.Dir)
}

// syncAside makes durable what setAside has moved out of a directory, the new names before
// the old ones are gone.
func (r *recovery) syncAside(from string) error {
	if len(r.store.report.Strays) == 0 {
		return nil
	}
	for _, dir := range []string{r.store.dir, path.Join(r.store.dir, manifest.LostDir), from} {
		if err := vfs.SyncDir(r.store.opts.env.FS, dir); err != nil {
			return err
		}
	}
	return nil
}

// setAside moves a file out of a directory to lost/.
func (r *recovery) setAside(dir, name string) error {
	lost := path.Join(r.store.dir, manifest.LostDir)
	if err := r.store.opts.env.FS.Mkdir(lost); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	to := path.Join(lost, name)
	if _, err := r.store.opts.env.FS.Stat(to); err == nil {
		to = fmt.Sprintf("%s.%016x", to, r.store.opts.env.Random()) // keep a file that was set aside before
	}
	if err := r.store.opts.env.FS.Rename(path.Join(dir, name), to); err != nil {
		return err
	}
	r.store.report.Strays = append(r.store.report.Strays, to)
	return nil
}

// claim rewrites both copies of the manifest with a new block of file numbers. From then
// on, files with lower numbers that the manifest does not name are scratch: unfinished
// work left them.
func (r *recovery) claim() error {
	s := r.store
	state := r.found.State
	first := state.Numbers
	s.lostOperations.Store(state.LostOperations)
	state.Numbers += numberBlock
	state.Clean = false // until the store is closed
	s.numbers.begin(first, state.Numbers)
	s.values.declared.Store(state.ValueFiles)
	if err := s.openReserve(); err != nil {
		return err
	}
	return s.withReserve(func() error {
		m, err := manifest.Rewrite(s.opts.env.FS, s.dir, s.identity, r.found.Generation+1, &state)
		if err == nil {
			s.checkpoint.manifest, s.checkpoint.state = m, state
		}
		return err
	})
}
