package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// VerifyOptions changes how a store is verified. The zero value is right for
// almost everyone.
type VerifyOptions struct {
	// Damaged is called for every damage as it is found, also for those that the
	// report has no room for. Nil: not at all.
	Damaged func(*kv.CorruptError)

	// Progress is called at the start of each stage and a few times a second. Nil:
	// not at all.
	Progress func(Progress)

	// FS is where the store lives; nil is the operating system. Its type is
	// internal: it is for the project's own tests.
	FS vfs.FS
}

// The stages of verifying a store, in order.
const (
	StageRecords Stage = "verifying records" // bytes of segment files
	StageLog     Stage = "verifying the log" // frames; the total is not known
)

// VerifyReport says what [Verify] read and what is wrong with it.
type VerifyReport struct {
	Buckets    int
	Segments   int // that could be opened
	Records    int // of the segments, sound
	Bytes      int64
	Frames     int           // of the log, as far as the store needs it
	LogRecords int           // in those
	Torn       *wal.TornTail // an unfinished last write that the next Open drops: it was never acknowledged
	Damage     int           // places
	Damages    []*kv.CorruptError
	Notes      []string // what else an operator may want to know, a sentence each
	Elapsed    time.Duration
}

// verifyDamagesMax bounds VerifyReport.Damages: a segment of garbage may hold a
// damage every few bytes.
const verifyDamagesMax = 1000

// Err returns the first damage, or nil if the store is sound.
func (r *VerifyReport) Err() error {
	if len(r.Damages) == 0 {
		return nil
	}
	return r.Damages[0]
}

// Verify reads everything in the store in dir that counts, and checks it: both
// copies of the manifest; every record, with its value, and every index block of
// every segment, whether the two agree, and whether compressed values decompress;
// every frame of the log that the next Open would replay, with each record and
// operation in it. It changes nothing
// and repairs nothing. The store must not be open: while Verify runs it holds
// the directory's lock, if it may, whose file is the only one that it writes to.
//
// Damage is not an error but part of the report. The error matches kv.ErrLocked
// if another process has the store open, kv.ErrNotStore for a directory without
// a store, kv.ErrVersion for a store of a newer format and kv.ErrCorrupt if both
// copies of the manifest are unreadable, since then nothing says what the store
// holds; other errors are the system's.
func Verify(dir string, opts VerifyOptions) (VerifyReport, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS()
	}
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	v := &verification{dir: dir, opts: opts, fs: &lookFS{opts.FS}, began: time.Now()}
	unlock, err := v.lock()
	if err == nil {
		defer unlock()
		err = v.run()
	}
	v.report.Elapsed = time.Since(v.began)
	if err != nil {
		return v.report, fmt.Errorf("verify store %s: %w", dir, err)
	}
	return v.report, nil
}

// verification is one run of Verify.
type verification struct {
	dir      string
	opts     VerifyOptions
	fs       vfs.FS // writes nothing
	report   VerifyReport
	began    time.Time
	manifest *manifest.Copy
	segments segment.Options
	value    []byte // scratch
}

// lock keeps the store from being opened meanwhile. In a directory that cannot
// be written to nobody can open it.
func (v *verification) lock() (unlock func(), err error) {
	name := path.Join(v.dir, manifest.LockFile)
	if _, err := v.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // never opened
	}
	lock, err := v.opts.FS.Lock(name)
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("%w: %w", kv.ErrLocked, err)
	case errors.Is(readOnlyFS(err), kv.ErrReadOnly):
		v.note("the store could not be locked: %v", err)
		return func() {}, nil
	case err != nil:
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

func (v *verification) run() error {
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
	if err := v.checkSegments(); err != nil {
		return err
	}
	if err := v.checkStrangers(); err != nil {
		return err
	}
	return v.checkLog()
}

func (v *verification) damaged(d *kv.CorruptError) {
	v.report.Damage++
	if len(v.report.Damages) < verifyDamagesMax {
		v.report.Damages = append(v.report.Damages, d)
	}
	if v.opts.Damaged != nil {
		v.opts.Damaged(d)
	}
}

func (v *verification) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

func (v *verification) meter(stage Stage) *meter {
	v.opts.Progress(Progress{Stage: stage})
	return &meter{report: v.opts.Progress, stage: stage, last: time.Now()}
}

// buckets returns the buckets of the manifest in ascending order of ids.
func (v *verification) buckets() []*manifest.Bucket {
	return slices.SortedFunc(maps.Values(v.manifest.State.Buckets), func(a, b *manifest.Bucket) int { return int(a.ID) - int(b.ID) })
}

func (v *verification) checkSegments() error {
	progress := v.meter(StageRecords)
	for _, d := range v.buckets() {
		for i := range d.Segments {
			progress.total += d.Segments[i].Size
		}
	}
	for _, d := range v.buckets() {
		v.report.Buckets++
		last := kv.Revision(0)
		for i := range d.Segments {
			if err := v.checkSegment(d, &d.Segments[i], &last); err != nil {
				return err
			}
			progress.add(d.Segments[i].Size)
		}
	}
	return nil
}

// checkSegment reads a segment twice, by its records and by its index blocks,
// and compares. last is the newest revision in the segments before.
func (v *verification) checkSegment(b *manifest.Bucket, d *manifest.Segment, last *kv.Revision) error {
	file := path.Join(v.segments.Dir, segment.FileName(d.Number))
	seg, err := segment.Open(v.segments, d.Desc)
	var corrupt *kv.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.damaged(&kv.CorruptError{File: file, Offset: -1, Detail: fmt.Sprintf("segment of bucket %q is missing", b.Config.Bucket)})
		return nil
	case errors.As(err, &corrupt):
		v.damaged(corrupt)
		return nil
	case err != nil:
		return err
	}
	defer func() { <-seg.Retire() }() // nobody else has it
	v.report.Segments++
	v.report.Bytes += d.Size
	before := v.report.Damage
	var records, entries digest
	err = seg.Walk(0, d.Size, func(offset int64, r *segment.Record, size int, valueOK bool) error {
		if valueOK && v.decompresses(seg, offset, size, r) {
			v.report.Records++
		}
		v.checkRevision(file, offset, b, r, last)
		records.add(&segment.Entry{
			Key: r.Key, Revision: r.Revision, Floor: r.Floor, Created: r.Created, Deadline: r.Deadline,
			Offset: offset, Size: uint32(size), Op: r.Op, Reason: r.Reason,
		})
		return nil
	}, v.damaged)
	if err != nil {
		return err
	}
	if v.report.Damage > before {
		return nil // what the blocks say in addition is known already
	}
	if err := seg.Entries(func(e *segment.Entry) error { entries.add(e); return nil }, v.damaged); err != nil {
		return err
	}
	if v.report.Damage == before && records.sum() != entries.sum() {
		v.damaged(&kv.CorruptError{File: file, Offset: d.LastIndex, Detail: fmt.Sprintf(
			"its index blocks list %d records, it holds %d, or they differ", entries.count, records.count)})
	}
	return nil
}

// decompresses reports whether the value of a record whose checksums are right
// can be had: checksums say nothing about what a compressed one comes to.
func (v *verification) decompresses(seg *segment.Segment, offset int64, size int, r *segment.Record) bool {
	if !r.Compressed {
		return true
	}
	var err error
	var corrupt *kv.CorruptError
	if _, v.value, err = seg.Read(v.value[:0], offset, uint32(size), view.String(r.Key), r.Revision); errors.As(err, &corrupt) {
		v.damaged(corrupt)
	}
	return err == nil
}

// checkRevision reports a record that no store writes there, although its
// checksums are right.
func (v *verification) checkRevision(file string, offset int64, b *manifest.Bucket, r *segment.Record, last *kv.Revision) {
	if r.Op == segment.Erase {
		return // it has no revision of its own
	}
	if r.Revision <= *last || r.Revision >= b.Next {
		v.damaged(&kv.CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(
			"key %q, revision %d, bucket %q: it stands behind revision %d, and the next is %d",
			r.Key, r.Revision, b.Config.Bucket, *last, b.Next)})
	}
	*last = max(*last, r.Revision)
}

// digest sums up a sequence of entries, so that two of any length compare in
// constant memory.
type digest struct {
	hash  xxhash.Digest
	count int
	buf   []byte
}

func (d *digest) add(e *segment.Entry) {
	if d.count == 0 {
		d.hash.Reset()
	}
	d.count++
	d.buf = d.buf[:0]
	for _, n := range []uint64{
		uint64(e.Revision), uint64(e.Floor), uint64(e.Created), uint64(e.Deadline),
		uint64(e.Offset), uint64(e.Size), uint64(e.Op)<<8 | uint64(e.Reason), uint64(len(e.Key)),
	} {
		d.buf = binary.LittleEndian.AppendUint64(d.buf, n)
	}
	_, _ = d.hash.Write(append(d.buf, e.Key...)) // never fails
}

func (d *digest) sum() [2]uint64 {
	if d.count == 0 {
		return [2]uint64{}
	}
	return [2]uint64{uint64(d.count), d.hash.Sum64()}
}

// checkStrangers notes what lies among the segments and is none of them.
func (v *verification) checkStrangers() error {
	named := make(map[uint64]bool)
	for _, d := range v.manifest.State.Buckets {
		for _, s := range d.Segments {
			named[s.Number] = true
		}
	}
	entries, err := v.fs.List(v.segments.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first Open was cut off
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch number, ok := segment.ParseFileName(e.Name); {
		case !ok || number >= v.manifest.State.Numbers:
			v.note("%s is not the store's: the next open moves it to %s", path.Join(manifest.SegmentDir, e.Name), manifest.LostDir)
		case !named[number]:
			v.note("%s is left from unfinished work: the next open removes it", path.Join(manifest.SegmentDir, e.Name))
		}
	}
	return nil
}

// checkLog reads the frames that a checkpoint does not cover.
func (v *verification) checkLog() error {
	dir := path.Join(v.dir, manifest.LogDir)
	if _, err := v.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) && v.manifest.State.LogLow == 0 {
		return nil // the first Open was cut off
	}
	log, err := wal.Open(wal.Options{FS: v.fs, Dir: dir, StoreID: v.manifest.Identity.StoreID})
	var corrupt *kv.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.damaged(&kv.CorruptError{File: dir, Offset: -1, Detail: "the log is missing"})
		return nil
	case errors.As(err, &corrupt):
		v.damaged(corrupt)
		return nil
	case err != nil:
		return err
	}
	progress := v.meter(StageLog)
	made := make(map[uint64]bool) // buckets that the log makes
	found, err := log.Replay(v.manifest.State.LogLow+1, func(f wal.Frame) error {
		progress.add(1)
		v.checkFrame(&f, made)
		return nil
	})
	if err != nil {
		return err
	}
	v.report.Frames, v.report.Torn = found.Frames, found.Torn
	v.report.Bytes += found.Bytes
	v.report.Notes = append(v.report.Notes, found.Notes...)
	if found.Damage != nil {
		v.damaged(found.Damage.Err)
	}
	return nil
}

// checkFrame reads what is in a frame, whose checksum is right.
func (v *verification) checkFrame(f *wal.Frame, made map[uint64]bool) {
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err == nil {
			err = v.checkItem(kind, body, made)
		}
		if err != nil {
			v.damaged(&kv.CorruptError{File: f.File, Offset: f.Offset, Detail: fmt.Sprintf("log frame of LSN %d", f.LSN), Err: err})
			return
		}
		payload = rest
	}
}

func (v *verification) checkItem(kind journal.Kind, body []byte, made map[uint64]bool) error {
	if kind != journal.Records {
		op, err := journal.Decode(kind, body)
		if create, ok := op.(*journal.Create); ok {
			made[create.Bucket] = true
		}
		return err
	}
	for at := 0; at < len(body); {
		r, size, err := v.segments.Seed.DecodeRecord(body[at:])
		if err != nil {
			return err
		}
		if v.value, err = r.AppendValue(v.value[:0]); err != nil {
			return fmt.Errorf("key %q, revision %d, bucket %d: %w", r.Key, r.Revision, r.BucketID, err)
		}
		// Ids up to the highest that the manifest knows may be of deleted buckets.
		if r.BucketID > v.manifest.State.MaxBucketID && !made[r.BucketID] {
			return fmt.Errorf("record of bucket %d, which nothing made", r.BucketID)
		}
		v.report.LogRecords++
		at += size
	}
	return nil
}

// lookFS is a file system that writes nothing: what would is an error, or for
// syncs of what others wrote no matter.
type lookFS struct{ vfs.FS }

var errLookOnly = fmt.Errorf("%w: the store is only looked at", kv.ErrReadOnly)

func (l *lookFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	if mode != vfs.ReadOnly {
		return nil, errLookOnly
	}
	f, err := l.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return lookFile{f}, nil
}

func (*lookFS) Mkdir(string) error             { return errLookOnly }
func (*lookFS) Rename(_, _ string) error       { return errLookOnly }
func (*lookFS) Remove(string) error            { return errLookOnly }
func (*lookFS) Lock(string) (io.Closer, error) { return nil, errLookOnly }
func (*lookFS) SyncDir(string) error           { return nil }

type lookFile struct{ vfs.File }

func (lookFile) WriteAt([]byte, int64) (int, error) { return 0, errLookOnly }
func (lookFile) Truncate(int64) error               { return errLookOnly }
func (lookFile) Allocate(int64, int64) error        { return errLookOnly }
func (lookFile) Sync() error                        { return nil }
