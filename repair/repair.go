package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/records"
)

// Options says how a store is repaired. The zero value claims nothing that is not known.
type Options struct {
	// PreferOlder takes the newest value that can be read of a key whose newest value is lost.
	// Without it the key is left out.
	PreferOlder bool

	// AcceptLogLoss takes a bucket as it reads of which a change as a whole may be missing.
	// Without it the bucket is left out.
	AcceptLogLoss bool

	// Found is called for each line of the report, as it is found. Nil: it is not called.
	Found func(*Finding) error

	// Progress is called as by bucket.Open. Nil: it is not called.
	Progress func(bucket.Progress)

	env environment.Env // of tests; only FS and Manual are used
}

func init() {
	environment.Register(func(o *Options, env environment.Env) { o.env = env })
}

// RevisionGap is how much higher the next revision of a bucket is in the new store than in the
// damaged one. Revisions that nobody knows of may have been given away.
const RevisionGap = 1_000_000_000

// partial is added to the name of a new store that is not complete.
const partial = ".partial"

// Store copies what is sound of the store in dir into a new one in the directory into, which must
// not exist, or be empty. An empty into makes none: Store only says what it would do. After an
// error there may be a directory into + ".partial", which is to be removed.
//
// The store in dir must not be open. It is not changed. Damage is part of the report, and told to
// Options.Found in detail. The error is that of Found; or matches kv.ErrLocked if another process
// has the store open, kv.ErrNotStore for a directory without files of a store, kv.ErrVersion
// for a store of a newer format, fs.ErrExist if into is there, kv.ErrCorrupt if nothing can be
// recovered; or is the system's.
func Store(ctx context.Context, dir, into string, opts Options) (report Report, err error) {
	if opts.env.FS == nil {
		opts.env.FS = vfs.OS()
	}
	if opts.Found == nil {
		opts.Found = func(*Finding) error { return nil }
	}
	if into != "" {
		into = path.Clean(into) // new/ + ".partial" would be in it
		if err := checkTarget(opts.env.FS, into); err != nil {
			return report, fmt.Errorf("repair store %s: %w", dir, err)
		}
	}
	s, err := openSource(dir, &opts, opts.Found)
	if err != nil {
		return report, fmt.Errorf("repair store %s: %w", dir, err)
	}
	defer s.close()
	r := repair{opts: &opts, source: s, report: &report}
	if into != "" {
		err = r.makeTarget(ctx, into)
	} else {
		err = r.buckets(ctx)
	}
	report.LostPages = s.lostPages()
	if err != nil {
		return report, fmt.Errorf("repair store %s: %w", dir, err)
	}
	return report, nil
}

// checkTarget refuses a target that has something.
func checkTarget(fsys vfs.FS, into string) error {
	if _, err := fsys.Stat(into + partial); err == nil {
		return fmt.Errorf("%s is left from a repair that did not end: remove it: %w", into+partial, fs.ErrExist)
	}
	entries, err := fsys.List(into)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: a repair makes a new store: %w", into, fs.ErrExist)
	}
	return nil
}

// repair is one call of Store.
type repair struct {
	opts   *Options
	source *source
	report *Report
	target *target // nil: only the report is wanted
}

// makeTarget makes the new store beside its place, and moves it there.
func (r *repair) makeTarget(ctx context.Context, into string) error {
	t, err := openTarget(into+partial, r.opts)
	if err != nil {
		return err
	}
	r.target = t
	err = r.buckets(ctx)
	if err = errors.Join(err, t.close()); err != nil {
		return err
	}
	fsys := r.opts.env.FS
	if err := fsys.Remove(into); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty
		return err
	}
	if err := fsys.Rename(into+partial, into); err != nil {
		return err
	}
	return vfs.SyncDir(fsys, path.Dir(into))
}

// buckets audits all buckets and copies them to the target.
func (r *repair) buckets(ctx context.Context) error {
	if err := r.tellDamage(ctx); err != nil {
		return err
	}
	list, err := r.source.buckets(ctx)
	if err != nil {
		return err
	}
	auditor := auditor{opts: r.opts, rebuilt: r.source.rebuilt, found: r.opts.Found}
	for _, b := range list {
		a, err := auditor.bucket(ctx, b)
		if err == nil && r.target != nil && a.Skipped == "" {
			err = r.target.take(ctx, a)
		}
		if err != nil {
			return fmt.Errorf("bucket %q: %w", b.Name(), err)
		}
		r.report.Buckets = append(r.report.Buckets, a.BucketReport)
	}
	return nil
}

// tellDamage tells what recovery has found.
func (r *repair) tellDamage(ctx context.Context) error {
	opened := r.source.store.Report()
	r.report.Damages, r.report.Rebuilt = len(opened.Damages), r.source.rebuilt != nil
	for _, d := range opened.Damages {
		own := *d
		own.UpTo = 0 // the ways out are for those who serve the store
		if err := r.opts.Found(&Finding{Kind: KindDamage, Bucket: d.Bucket, File: d.File, Offset: &own.Offset, Text: own.Error()}); err != nil {
			return err
		}
	}
	for _, note := range opened.Notes {
		if err := r.opts.Found(&Finding{Kind: KindNote, Text: note}); err != nil {
			return err
		}
	}
	missing, err := r.source.store.AcceptOperations(ctx) // in memory
	if err != nil && !errors.Is(err, kv.ErrReadOnly) && !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	if r.report.MissingChanges = missing; missing == 0 {
		return nil
	}
	return r.opts.Found(&Finding{Kind: KindMissing, Records: missing,
		Text: "changes of buckets as a whole are missing: buckets may be missing, and deleted ones may be back"})
}

// target is the new store.
type target struct {
	store    *bucket.Store
	importer kv.BucketImporter
	fs       vfs.FS
	file     vfs.File // LostFile; nil: nothing was saved yet
	name     string   // its path
	end      int64
	line     []byte // buffer
}

func openTarget(dir string, o *Options) (*target, error) {
	store, err := bucket.Open(dir, environment.With(bucket.Options{}, environment.Env{FS: o.env.FS, Manual: o.env.Manual}))
	if err != nil {
		return nil, err
	}
	importer, ok := kv.As[kv.BucketImporter](kv.Store(store))
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: the new store takes no imports", kv.ErrNotSupported), store.Close())
	}
	return &target{store: store, importer: importer, fs: o.env.FS, name: path.Join(dir, LostFile)}, nil
}

// close ends the new store and makes everything durable.
func (t *target) close() error {
	err := t.store.Close()
	if t.file != nil {
		err = errors.Join(err, t.file.Sync(), t.file.Close(), vfs.SyncDir(t.fs, path.Dir(t.name)))
	}
	return err
}

// batchBytes and batchRecords bound what is written at a time.
const (
	batchBytes   = 2 << 20
	batchRecords = 4096
)

// take imports a bucket.
func (t *target) take(ctx context.Context, a *audit) error {
	im, err := t.importer.ImportBucket(ctx, a.config, a.Next+RevisionGap)
	if err != nil {
		return err
	}
	w := importing{audit: a, target: t, importer: im}
	err = a.bucket.Records(ctx, func(k *bucket.Kept) error { return w.record(ctx, k) })
	if err == nil {
		err = w.flush(ctx)
	}
	if err == nil {
		err = im.Commit(ctx, w.sum)
	}
	if err != nil {
		return errors.Join(err, im.Discard(ctx))
	}
	return nil
}

// importing is the import of one bucket.
type importing struct {
	audit    *audit
	target   *target
	importer kv.Importer
	batch    []kv.Entry
	size     int // of its values, bytes
	sum      kv.Digest
}

func (w *importing) record(ctx context.Context, k *bucket.Kept) error {
	if !w.audit.takes(k) {
		if k.Damage != nil {
			return nil //nolint:nilerr // the report has it
		}
		return w.target.save(&k.Entry)
	}
	e := k.Entry
	e.Value, e.Headers = slices.Clone(e.Value), slices.Clone(e.Headers)
	w.batch, w.size = append(w.batch, e), w.size+len(e.Value)
	w.sum = w.sum.Add(digest.OfEntry(&e))
	if len(w.batch) < batchRecords && w.size < batchBytes {
		return nil
	}
	return w.flush(ctx)
}

func (w *importing) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	err := w.importer.Write(ctx, w.batch)
	w.batch, w.size = w.batch[:0], 0
	return err
}

// save writes a record of a key that is left out to LostFile, as a line of package records.
func (t *target) save(e *kv.Entry) (err error) {
	if t.file == nil {
		if t.file, err = t.fs.Open(t.name, vfs.Create); err != nil {
			return err
		}
	}
	if t.line, err = records.Append(t.line[:0], e); err != nil {
		return err
	}
	n, err := t.file.WriteAt(t.line, t.end)
	t.end += int64(n)
	return err
}
