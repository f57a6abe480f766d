package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// recovery is one run of opening a directory. Its order is what makes a crash
// in the middle harmless: nothing that the manifest names is changed before a
// manifest says so, and the log stays until its effects are synced elsewhere.
type recovery struct {
	*Store
	found  *manifest.Copy
	log    *wal.Reader
	damage sync.Mutex // guards report.Damages while buckets load in parallel
	began  time.Time
	high   uint64 // the highest bucket id that the manifest knew
}

func (s *Store) recover() error {
	r := &recovery{Store: s, began: time.Now()}
	if err := r.findStore(); err != nil {
		return err
	}
	if err := r.openLog(); err != nil {
		return err
	}
	if s.writable() == nil {
		if err := r.setStraysAside(); err != nil {
			return err
		}
		if err := r.claim(); err != nil {
			return err
		}
	}
	if err := r.loadBuckets(); err != nil {
		return err
	}
	if s.writable() == nil {
		if err := r.removeScratch(); err != nil {
			return err
		}
		if err := r.replay(); err != nil {
			return err
		}
	}
	if s.writable() == nil {
		r.skipLost()
		r.renewMemory()
		if err := r.begin(); err != nil {
			return err
		}
	}
	r.finish()
	return nil
}

// makeDir makes dir and the parents that are missing.
func makeDir(fsys vfs.FS, dir string) error {
	err := fsys.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) && path.Dir(dir) != dir {
		if err := makeDir(fsys, path.Dir(dir)); err != nil {
			return err
		}
		err = fsys.Mkdir(dir)
	}
	if err == nil {
		return fsys.SyncDir(path.Dir(dir))
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

// checkDir refuses a directory of something else, before anything is written
// to it.
func checkDir(fsys vfs.FS, dir string) error {
	entries, err := fsys.List(dir)
	if err != nil {
		return err
	}
	var stranger string
	for _, e := range entries {
		if strings.HasPrefix(e.Name, manifest.Names[0]) || strings.HasPrefix(e.Name, manifest.Names[1]) {
			return nil
		}
		if !slices.Contains([]string{manifest.LockFile, manifest.LogDir, manifest.SegmentDir, manifest.LostDir, manifest.ReserveFile}, e.Name) {
			stranger = e.Name
		}
	}
	if stranger != "" {
		return fmt.Errorf("%w: it holds %q and no manifest; name an empty or a new directory", kv.ErrNotStore, stranger)
	}
	return nil
}

// findStore reads the manifest, or makes up that of a new store.
func (r *recovery) findStore() error {
	m, err := manifest.Load(r.opts.FS, r.dir)
	if err != nil {
		return err
	}
	r.report.Damages = append(r.report.Damages, m.Damages...)
	r.report.Notes = append(r.report.Notes, m.Notes...)
	found := m.Best
	if found == nil {
		if err := r.refuseOrphans(); err != nil {
			return err
		}
		found = r.newStore()
	}
	r.found = found
	r.identity = found.Identity
	r.segments = segment.Options{
		FS: r.opts.FS, Dir: path.Join(r.dir, manifest.SegmentDir),
		Seed: segment.Seed(found.Identity.Seed), StoreID: found.Identity.StoreID,
		Released: r.segmentReleased,
	}
	r.high = found.State.MaxBucketID
	r.clock.raise(found.State.Clock)
	r.path.nextID = r.high + 1
	r.path.replayed = found.State.LogLow
	return nil
}

func (r *recovery) newStore() *manifest.Copy {
	r.report.Created = true
	c := &manifest.Copy{}
	for i := range c.Identity.StoreID {
		c.Identity.StoreID[i] = byte(r.opts.Random())
	}
	c.Identity.Seed = r.opts.Random()
	c.State = manifest.NewState()
	c.State.Numbers = 1
	return c
}

// refuseOrphans keeps a store whose manifest is gone from being taken for a new
// one. The manifest is the first file that Open makes, so a crash there leaves
// none of the others.
func (r *recovery) refuseOrphans() error {
	for _, dir := range []string{manifest.LogDir, manifest.SegmentDir} {
		dir := path.Join(r.dir, dir)
		entries, err := r.opts.FS.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			return &kv.CorruptError{File: path.Join(r.dir, manifest.Names[0]), Offset: -1,
				Detail: fmt.Sprintf("both copies of the manifest are missing, and %s holds %d files", dir, len(entries))}
		}
	}
	return nil
}

// openLog finds the log's files. A log that begins above what the manifest needs
// makes the store read-only, with nothing touched.
func (r *recovery) openLog() error {
	for _, dir := range []string{manifest.LogDir, manifest.SegmentDir} {
		if err := r.opts.FS.Mkdir(path.Join(r.dir, dir)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	log, err := wal.Open(wal.Options{
		FS: r.opts.FS, Dir: path.Join(r.dir, manifest.LogDir), StoreID: r.identity.StoreID,
		FileSize: r.opts.LogFileSize, MaxSize: r.opts.LogMaxSize, Salt: r.opts.Random,
	})
	if err != nil {
		return err
	}
	r.log = log
	if low := r.found.State.LogLow; log.First() > low+1 {
		r.readOnly(&kv.CorruptError{File: path.Join(r.dir, manifest.LogDir), Offset: -1,
			Detail: fmt.Sprintf("the log begins at LSN %d, and the manifest needs it from %d", log.First(), low+1)})
		return nil
	}
	return r.missLog()
}

// missLog makes a store read-only whose log is gone before the first checkpoint:
// the manifest needs no frame then, and only a segment that it does not know
// shows that there were some. After a checkpoint the replay misses them.
func (r *recovery) missLog() error {
	files, err := r.opts.FS.List(path.Join(r.dir, manifest.LogDir))
	if err != nil || len(files) > 0 || r.found.State.LogLow > 0 {
		return err
	}
	segments, err := r.opts.FS.List(r.segments.Dir)
	if err != nil {
		return err
	}
	named := r.named()
	for _, e := range segments {
		if number, ok := segment.ParseFileName(e.Name); ok && number < r.found.State.Numbers && !named[number] {
			r.readOnly(&kv.CorruptError{File: path.Join(r.dir, manifest.LogDir), Offset: -1,
				Detail: fmt.Sprintf("the log is gone that %s was written from", path.Join(r.segments.Dir, e.Name))})
			return nil
		}
	}
	return nil
}

// readOnly makes the store serve what it has and take no writes.
func (r *recovery) readOnly(cause *kv.CorruptError) {
	r.report.Damages = append(r.report.Damages, cause)
	r.failure.CompareAndSwap(nil, &failure{cause})
	r.report.ReadOnly = r.writable()
}

// claim rewrites both copies of the manifest with a fresh block of file numbers:
// from here on, what an unfinished run left under lower numbers is scratch.
func (r *recovery) claim() error {
	state := r.found.State
	r.path.numbers = state.Numbers
	state.Numbers += numberBlock
	state.Clean = false // until the store is closed
	r.path.reserved = state.Numbers
	if err := r.openReserve(); err != nil {
		return err
	}
	return r.withReserve(func() error {
		m, err := manifest.Rewrite(r.opts.FS, r.dir, r.identity, r.found.Generation+1, &state)
		if err == nil {
			r.checkpoint.manifest, r.checkpoint.state = m, state
		}
		return err
	})
}

// loadBuckets builds every bucket's index out of its segments' index blocks.
func (r *recovery) loadBuckets() error {
	state := &r.found.State
	descs := slices.SortedFunc(maps.Values(state.Buckets), func(a, b *manifest.Bucket) int { return int(a.ID) - int(b.ID) })
	total := int64(0)
	for _, d := range descs {
		for _, s := range d.Segments {
			total += s.Size
		}
	}
	meter := progress.Start(StageIndex, total, r.opts.Progress)
	workers := 1
	if !r.opts.Manual {
		workers = min(runtime.GOMAXPROCS(0), len(descs))
	}
	var next, failed atomic.Int64
	errs := make([]error, len(descs))
	buckets := make([]*Bucket, len(descs))
	load := func() {
		for failed.Load() == 0 {
			i := int(next.Add(1)) - 1
			if i >= len(descs) {
				return
			}
			buckets[i], errs[i] = r.loadBucket(descs[i], meter)
			if errs[i] != nil {
				failed.Store(1)
			}
		}
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(load)
	}
	group.Wait()
	for _, b := range buckets {
		if b != nil {
			r.mu.buckets[b.name] = b
			r.mu.ids[b.id] = b
		}
	}
	return errors.Join(errs...)
}

// loadBucket opens a bucket's segments and loads their entries. A segment that
// is missing or unreadable makes the bucket read-only and leaves the others be.
func (r *recovery) loadBucket(d *manifest.Bucket, meter *progress.Meter) (*Bucket, error) {
	b := newBucket(r.Store, d.ID, d.Created, d.Config)
	b.next, b.mu.live, b.mu.ended, b.mu.lost, b.position = d.Next, d.Live, d.CompactedEndUpTo, d.Lost, d.Position
	b.mu.revision = d.Next - 1
	b.mu.index.Grow(expectedKeys(d))
	for i := range d.Segments {
		if err := r.loadSegment(b, &d.Segments[i], i == len(d.Segments)-1); err != nil {
			return b, err
		}
		meter.Add(d.Segments[i].Size)
	}
	if !b.mu.live.Empty() {
		b.settleAll()
	}
	return b, nil
}

// expectedKeys returns how large the index is going to be. What the manifest says
// is a hint, and bounded by what its segments can hold.
func expectedKeys(d *manifest.Bucket) int {
	var most int64
	for i := range d.Segments {
		most += d.Segments[i].Size / int64(segment.RecordSize(1, 0, 0, false, false))
	}
	return int(min(d.Keys, uint64(most)))
}

func (r *recovery) loadSegment(b *Bucket, d *manifest.Segment, last bool) error {
	open := d.Desc
	open.Sealed = open.Sealed || !last // only the last is ever appended to
	seg, err := segment.Open(r.segments, open)
	var corrupt *kv.CorruptError
	if errors.Is(err, fs.ErrNotExist) {
		corrupt = &kv.CorruptError{File: path.Join(r.segments.Dir, segment.FileName(d.Number)), Offset: -1,
			Detail: fmt.Sprintf("segment of bucket %q is missing", b.name)}
	}
	if corrupt != nil || errors.As(err, &corrupt) {
		b.addSlot(nil, d, true)
		b.mu.readOnly = fmt.Errorf("%w: bucket %q: %w", kv.ErrReadOnly, b.name, corrupt)
		r.damaged(corrupt)
		return nil //nolint:nilerr // the bucket says what is wrong with it
	}
	if err != nil {
		return err
	}
	sl := b.addSlot(seg, d, true)
	if !open.Sealed {
		b.active = sl
	}
	damaged := func(c *kv.CorruptError) {
		sl.damaged.Store(true)
		r.damaged(c)
	}
	return seg.Entries(func(e *segment.Entry) error {
		if e.Op != segment.Erase && e.Revision > b.mu.revision {
			// Records look the same in the log and in segments. Where an index is
			// unreadable, a sector of the log that went astray can pass for them; the
			// log has them still. The number is not used for anything else.
			b.next = max(b.next, e.Revision+1)
			damaged(&kv.CorruptError{File: path.Join(r.segments.Dir, segment.FileName(d.Number)), Offset: e.Offset,
				Detail: fmt.Sprintf("key %q, revision %d, bucket %d: newer than the segment", e.Key, e.Revision, b.id)})
			return nil
		}
		b.load(e, sl)
		return nil
	}, damaged)
}

// load puts one entry of an index block into the index.
func (b *Bucket) load(e *segment.Entry, sl *slot) {
	hash := index.Hash(view.String(e.Key))
	sl.records += int64(e.Size)
	if e.Op == segment.Erase {
		b.mu.index.Trim(hash, view.String(e.Key), e.Floor, nil)
		return
	}
	sl.note(e.Revision, e.Offset)
	b.mu.written = max(b.mu.written, e.Created) // they never fall as revisions rise
	b.mu.index.Load(hash, e.Key, index.Version{
		Revision: e.Revision, Created: e.Created, Deadline: e.Deadline,
		Segment: sl.number, Offset: e.Offset, Size: e.Size,
		Op: kv.Operation(e.Op), Reason: e.Reason,
	}, e.Floor)
}

func (r *recovery) damaged(c *kv.CorruptError) {
	r.damage.Lock()
	defer r.damage.Unlock()
	r.report.Damages = append(r.report.Damages, c)
}

// named returns the numbers of the segments that the manifest names.
func (r *recovery) named() map[uint64]bool {
	named := make(map[uint64]bool)
	for _, d := range r.found.State.Buckets {
		for _, s := range d.Segments {
			named[s.Number] = true
		}
	}
	return named
}

// removeScratch removes the files of unfinished work, unless a file is missing
// that might be among them.
func (r *recovery) removeScratch() error {
	named := r.named()
	for _, b := range r.mu.buckets {
		if b.mu.readOnly != nil {
			return nil //nolint:nilerr // the bucket says what is wrong with it
		}
	}
	entries, err := r.opts.FS.List(r.segments.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := segment.ParseFileName(e.Name)
		if !ok || number >= r.path.numbers || named[number] {
			continue
		}
		if err := segment.Remove(r.segments, number, func() {}); err != nil {
			return err
		}
		r.report.Scratch++
	}
	return nil
}

// setStraysAside moves what is not the store's out of the segments' directory.
// It is durable before claim hands out more file numbers: afterwards a stray of
// such a number would pass for scratch.
func (r *recovery) setStraysAside() error {
	entries, err := r.opts.FS.List(r.segments.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := segment.ParseFileName(e.Name)
		if ok && number < r.found.State.Numbers {
			continue
		}
		if err := r.setAside(e.Name); err != nil {
			return err
		}
	}
	if len(r.report.Strays) == 0 {
		return nil
	}
	for _, dir := range []string{r.dir, path.Join(r.dir, manifest.LostDir), r.segments.Dir} { // the new name before the old one goes
		if err := r.opts.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// setAside moves a stray to lost/.
func (r *recovery) setAside(name string) error {
	lost := path.Join(r.dir, manifest.LostDir)
	if err := r.opts.FS.Mkdir(lost); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	to := path.Join(lost, name)
	if _, err := r.opts.FS.Stat(to); err == nil {
		to = fmt.Sprintf("%s.%016x", to, r.opts.Random()) // keep what was set aside before
	}
	if err := r.opts.FS.Rename(path.Join(r.segments.Dir, name), to); err != nil {
		return err
	}
	r.report.Strays = append(r.report.Strays, to)
	return nil
}

// replay applies what the log holds beyond the manifest. It always writes the
// records, also where the page cache shows them already: after a failed sync a
// page can be clean and yet not be on the disk.
func (r *recovery) replay() error {
	meter := progress.Start(StageReplay, 0, r.opts.Progress)
	found, err := r.log.Replay(r.found.State.LogLow+1, func(f wal.Frame) error {
		meter.Add(1)
		return r.replayFrame(f)
	})
	if err != nil {
		return err
	}
	r.report.Frames = found.Frames
	r.report.Torn = found.Torn
	r.report.Notes = append(r.report.Notes, found.Notes...)
	r.path.replayed = max(r.path.replayed, found.Last)
	if found.Damage != nil {
		r.readOnly(found.Damage.Err)
	}
	return nil
}

func (r *recovery) replayFrame(f wal.Frame) error {
	r.path.replayed = f.LSN
	r.clock.raise(f.Time)
	g := &r.commit.group
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err == nil {
			if kind == journal.Records {
				err = r.replayRecords(g, body, f.LSN)
			} else {
				err = r.replayOperation(kind, body, f.LSN)
			}
		}
		if err != nil {
			return fmt.Errorf("replay %s at offset %d, LSN %d: %w", f.File, f.Offset, f.LSN, err)
		}
		payload = rest
	}
	return nil
}

func (r *recovery) replayOperation(kind journal.Kind, body []byte, lsn wal.LSN) error {
	op, err := journal.Decode(kind, body)
	if err != nil {
		return err
	}
	_, creates := op.(*journal.Create)
	b := r.byID(op.BucketID())
	switch {
	case creates && op.BucketID() <= r.high: // known to the manifest, or deleted since
	case b != nil && lsn <= b.position:
	default:
		r.apply(op)
	}
	return nil
}

// replayRecords takes a run of records through the second half of the commit
// path: segments and index.
func (r *recovery) replayRecords(g *group, run []byte, lsn wal.LSN) error {
	g.forget()
	g.frame = run
	defer func() {
		g.frame = nil // the log's
		g.forget()
	}()
	for at := 0; at < len(run); {
		rec, size, err := r.segments.Seed.DecodeHeader(run[at:])
		if err != nil {
			return err
		}
		b := r.byID(rec.BucketID)
		switch {
		case b == nil && rec.BucketID > r.high:
			return &kv.CorruptError{File: "log", Offset: -1, Detail: fmt.Sprintf("record of bucket %d, which nothing made", rec.BucketID)}
		case b == nil: // deleted since
		case lsn <= b.position: // in its segments already
		default:
			g.replayRecord(b, &rec, at, size)
			r.report.Records++
		}
		at += size
	}
	if len(g.effects) == 0 {
		return nil
	}
	if err := r.makeRoom(g); err != nil {
		return err
	}
	if err := g.writeSegments(); err != nil {
		return err
	}
	g.publish()
	return nil
}

// replayRecord is judging, where all is decided already.
func (g *group) replayRecord(b *Bucket, rec *segment.Record, at, size int) {
	e := effect{
		key: view.String(rec.Key), hash: index.Hash(view.String(rec.Key)), floor: rec.Floor, prev: -1, at: at,
		op: rec.Op, part: g.partOf(b),
		version: index.Version{
			Revision: rec.Revision, Created: rec.Created, Deadline: rec.Deadline, Size: uint32(size),
			Op: kv.Operation(rec.Op), Reason: rec.Reason,
		},
	}
	p := &g.parts[e.part]
	p.size += size
	p.entries += segment.EntryBound(len(rec.Key))
	b.next = max(b.next, rec.Revision+1)
	g.store.clock.raise(rec.Created)
	g.effects = append(g.effects, e)
}

// makeRoom reserves room in the segments; recovery may draw on the reserve.
func (r *recovery) makeRoom(g *group) error {
	for i := range g.parts {
		p := &g.parts[i]
		err := r.withReserve(func() error { return p.bucket.reserve(int64(p.size), int64(p.entries)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// begin makes what was replayed durable and starts a fresh log file behind it.
func (r *recovery) begin() error {
	if r.path.replayed > r.found.State.LogLow || len(r.path.dirty) > 0 {
		r.opts.Progress(Progress{Stage: StageCheckpoint})
		if err := r.runCheckpoint(unpaced); err != nil {
			if f := r.failure.Load(); f != nil {
				err = f.cause // nobody waits for the outcome of a write
			}
			return err
		}
	}
	err := r.withReserve(func() error {
		log, err := r.log.Start(r.path.replayed)
		r.Store.log = log
		return err
	})
	if err != nil {
		return err
	}
	return r.Store.log.Recycle(r.path.replayed + 1)
}

func (r *recovery) finish() {
	r.settleBuckets()
	r.startClock()
	rep := &r.report
	rep.Buckets = len(r.mu.buckets)
	for _, b := range r.mu.buckets {
		rep.Keys += b.mu.index.Len()
	}
	rep.Elapsed = time.Since(r.began)
	for _, d := range rep.Damages {
		r.opts.Logger.Error("damage found", "cause", d)
	}
}

// settleBuckets does what was left for when the whole log is replayed.
func (r *recovery) settleBuckets() {
	for _, b := range r.mu.buckets {
		if b.stale {
			b.stale = false
			b.settleAll()
		}
		b.expires.Store(b.mu.config.TTL != 0 || b.mu.index.Deadlines() > 0)
	}
}

// startClock begins the store's time, and says so if the wall clock is so far
// ahead that it may be wrong.
func (r *recovery) startClock() {
	newest := r.clock.newest.Load()
	r.clock.start(&r.opts)
	if newest == 0 || r.clock.base-newest <= int64(clockLeap) || r.opts.AcceptClock || len(r.expiring()) == 0 {
		return
	}
	r.leapt = true
	note := fmt.Sprintf("the clock says %s, and the newest time in the store is %s: what expired in between is invisible, and stays on the disk. If the clock is right, open the store with it accepted (kvd --accept-clock); if it is wrong, set it right and open the store again before anything is written",
		time.Unix(0, r.clock.base).UTC().Format(time.RFC3339), time.Unix(0, newest).UTC().Format(time.RFC3339))
	r.report.Notes = append(r.report.Notes, note)
	r.opts.Logger.Warn("the clock may be wrong: nothing is swept", "clock", time.Unix(0, r.clock.base).UTC(), "newest", time.Unix(0, newest).UTC())
}
