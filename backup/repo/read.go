package repo

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"
	"time"

	"kvd/backup"
	"kvd/bucket/cut"
	"kvd/bucket/progress"
)

// reader reads a base. It is for one goroutine.
type reader struct {
	ctx     context.Context
	repo    *Repository
	point   *Point
	packer  *packer
	content *cut.Content
	marker  string    // name of the object
	marked  time.Time // when it was put, or refused
}

// read opens a base, and says in the repository that it is read. The caller closes the reader.
func (r *Repository) read(ctx context.Context, p *Point) (*reader, error) {
	packer, err := newPacker()
	if err != nil {
		return nil, err
	}
	x := &reader{ctx: ctx, repo: r, point: p, packer: packer}
	if err := x.begin(); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *reader) begin() error {
	if err := x.mark(); err != nil {
		return err
	}
	if _, err := x.repo.place.Stat(x.ctx, x.point.id.list()); err != nil {
		return err // it was removed, before the marker
	}
	files, err := x.point.list.files()
	if err != nil {
		return corrupt(x.repo.place, x.point.id.list(), "%v", err)
	}
	x.content = &cut.Content{Files: files}
	m := &x.point.list.Manifest
	for i, p := range m.Parts {
		raw, err := x.packer.read(x.ctx, x.repo.place, p, m.sizeOf(i), nil)
		if err != nil {
			return err
		}
		x.content.Manifest = append(x.content.Manifest, raw...)
	}
	name := x.point.id.list()
	if err := x.content.Complete(name); err != nil {
		return err
	}
	if x.content.LSN != x.point.LSN || x.content.StoreID != x.repo.StoreID() || !x.content.Time.Equal(x.point.Time) {
		return corrupt(x.repo.place, name, "it is not about this manifest")
	}
	return nil
}

// mark puts a marker, or another one when that is getting old.
func (x *reader) mark() error {
	if !x.marked.IsZero() && time.Since(x.marked) < markerRenewal {
		return nil
	}
	old := x.marker
	info, err := x.repo.mark(x.ctx, restoringDir, markerJSON{Epoch: uint64(x.point.id.epoch), LSN: uint64(x.point.LSN)})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		x.marked = time.Now()
		return nil // a place that is only read: what is removed meanwhile is an error of the read
	}
	if err != nil {
		return err
	}
	x.marker, x.marked = info.Name, time.Now()
	if old != "" {
		x.repo.unmark(x.ctx, old)
		return nil
	}
	return x.repo.checkPruning(x.ctx, info.Modified)
}

func (x *reader) close() {
	x.packer.close()
	if x.marker != "" {
		x.repo.unmark(x.ctx, x.marker)
	}
}

// files calls fn for each file, in the order of the content. fn reads data to its end. Everything that
// data has is verified; what follows may not be. An error of fn ends the reading.
func (x *reader) files(fn func(f cut.File, data io.Reader) error) error {
	for i, f := range x.content.Files {
		if err := fn(f, &fileReader{reader: x, parts: &x.point.list.Files[i].partsJSON}); err != nil {
			return err
		}
	}
	return nil
}

// fileReader reads the parts of a file.
type fileReader struct {
	*reader
	parts *partsJSON
	next  int
	rest  []byte // of the part before
	raw   []byte
}

func (f *fileReader) Read(b []byte) (int, error) {
	if len(f.rest) == 0 {
		if f.next == len(f.parts.Parts) {
			return 0, io.EOF
		}
		if err := errors.Join(f.ctx.Err(), f.mark()); err != nil {
			return 0, err
		}
		raw, err := f.packer.read(f.ctx, f.repo.place, f.parts.Parts[f.next], f.parts.sizeOf(f.next), f.raw[:0])
		if err != nil {
			return 0, err
		}
		f.next, f.rest, f.raw = f.next+1, raw, raw
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Verify reads a base completely and checks every bit of it. The error matches kv.ErrCorrupt if something is
// missing or not right. report is called now and then; nil: it is not.
func (r *Repository) Verify(ctx context.Context, p *Point, report func(progress.Progress)) (backup.Verified, error) {
	x, err := r.read(ctx, p)
	if err != nil {
		return backup.Verified{}, err
	}
	defer x.close()
	meter := progress.Start(backup.StageVerify, x.content.Bytes(), report)
	err = x.files(func(f cut.File, data io.Reader) error {
		n, err := io.Copy(io.Discard, data)
		meter.Add(n)
		return err
	})
	return backup.Verified{Content: x.content, Damage: p.Damage}, err
}

// Restore makes a store of a base, or of some of its buckets, in a directory, which is new or empty. The
// directory is a store only once all was read and right; after an error it is as it was before, as far as
// the system allows, and no store opens what is left. The errors are those of the place, kv.ErrCorrupt, those
// of cut.NewPlan, cut.ErrNotEmpty, and the system's.
func (r *Repository) Restore(ctx context.Context, p *Point, dir string, o backup.RestoreOptions) (backup.Restored, error) {
	x, err := r.read(ctx, p)
	if err != nil {
		return backup.Restored{}, err
	}
	defer x.close()
	plan, err := cut.NewPlan(p.id.list(), x.content, o.Options)
	if err != nil {
		return backup.Restored{}, err
	}
	done := backup.Restored{Verified: backup.Verified{Content: x.content, Damage: p.Damage}, Buckets: plan.Buckets, Bytes: plan.Bytes}
	meter := progress.Start(backup.StageRestore, plan.Bytes, o.Progress)
	if o.DryRun {
		return done, x.files(func(f cut.File, data io.Reader) error {
			if !plan.Wants(f) {
				return nil
			}
			n, err := io.Copy(io.Discard, data)
			meter.Add(n)
			return err
		})
	}
	to, err := plan.Begin(dir)
	if err != nil {
		return done, err
	}
	err = x.files(func(f cut.File, data io.Reader) error {
		if !plan.Wants(f) {
			return nil
		}
		meter.Add(f.Size)
		return to.File(f, data)
	})
	if err == nil {
		err = to.Commit()
	}
	if err != nil {
		to.Abort()
	}
	return done, err
}
