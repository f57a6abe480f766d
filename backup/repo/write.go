package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"kvd/backup"
	"kvd/backup/blob"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/kv"
)

// Written says what [Write] has done.
type Written struct {
	cut.Report
	NewParts int   // that the place did not have
	NewBytes int64 // of their objects
	Bytes    int64 // of all objects that the base needs
}

// Write adds a base of a whole store to the repository in a place, which it makes if there is none. After an
// error the base does not count, and what was uploaded is there for the next one. The errors are those of
// bucket.Store.Backup and of the place, ErrRepoTaken, ErrBusy, and ErrUnsafePlace. The report names the
// damage that the store has; the base has it too. Options that name buckets are kv.ErrInvalidOption.
func Write(ctx context.Context, place blob.Store, s backup.Source, o bucket.BackupOptions) (Written, error) {
	return writeAs(ctx, place, s, o, &claimant{token: random()})
}

// writeAs is Write for a writer that may have generations.
func writeAs(ctx context.Context, place blob.Store, s backup.Source, o bucket.BackupOptions, by *claimant) (Written, error) {
	if len(o.Buckets) > 0 {
		return Written{}, fmt.Errorf("%w: a repository holds the whole store: buckets can be chosen for an archive, or when it is restored", kv.ErrInvalidOption)
	}
	w := &writer{ctx: ctx, place: place, claimant: by, raw: make([]byte, partSize)}
	report, err := s.Backup(ctx, o, w)
	if w.uploads != nil {
		if failed := w.uploads.wait(); err == nil {
			err = failed // otherwise the backup ended with that one already, or with one of its own
		}
	}
	if err == nil {
		err = w.finish(&report)
	}
	if w.generation != nil {
		w.generation.close(ctx)
	}
	done := Written{Report: report}
	if w.uploads != nil {
		done.NewParts, done.NewBytes = w.uploads.parts, w.uploads.bytes
	}
	if err == nil {
		done.Bytes = w.list.stored()
	}
	return done, err
}

// writer is a sink that makes a base.
type writer struct {
	ctx        context.Context
	place      blob.Store
	claimant   *claimant
	repo       *Repository
	generation *generation
	uploads    *uploads
	list       *listJSON
	raw        []byte // a part
}

// Begin claims a generation, and uploads the manifest.
func (w *writer) Begin(c *cut.Content) (err error) {
	if len(c.Manifest) > manifestMax {
		return fmt.Errorf("repository: a manifest of %d bytes, at most %d are allowed", len(c.Manifest), manifestMax)
	}
	if w.repo, err = openFor(w.ctx, w.place, c.StoreID); err != nil {
		return err
	}
	if w.generation, err = w.repo.claim(w.ctx, Instant{c.LSN, c.Time}, w.claimant); err != nil {
		return err
	}
	known, err := w.repo.parts(w.ctx)
	if err != nil {
		return err
	}
	w.uploads = startUploads(w.ctx, w.place, known)
	w.list = newList(c)
	for rest := c.Manifest; len(rest) > 0; {
		n := min(len(rest), partSize)
		if err := w.part(&w.list.Manifest, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// File uploads the parts of a file that are new.
func (w *writer) File(f cut.File, data io.Reader) error {
	j := fileJSON{Bucket: f.Bucket, Name: f.Name()}
	for {
		n, err := io.ReadFull(data, w.raw)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if n > 0 {
			if err := w.part(&j.partsJSON, w.raw[:n]); err != nil {
				return err
			}
		}
		if last {
			w.list.Files = append(w.list.Files, j)
			return nil
		}
	}
}

// part adds a part to a file. It returns an earlier error of an upload.
func (w *writer) part(p *partsJSON, raw []byte) error {
	sum := sumOf(raw)
	p.Size += int64(len(raw))
	p.Parts = append(p.Parts, part{sum: sum})
	return w.uploads.add(sum, raw)
}

// finish puts the list, and says that the base counts, once all parts are in their place.
func (w *writer) finish(r *cut.Report) error {
	w.list.Damage = r.Damage
	if err := w.generation.check(w.ctx); err != nil {
		return err
	}
	known, err := w.repo.parts(w.ctx)
	if err != nil {
		return err
	}
	for p := range w.list.all {
		for i := range p.Parts {
			x := &p.Parts[i]
			x.stored = w.uploads.known[x.sum]
			if known[x.sum] != x.stored {
				return corrupt(w.place, partName(x.sum), "it has %d bytes, not %d: make another backup", known[x.sum], x.stored)
			}
		}
	}
	object, sum, err := seal(w.list)
	if err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	if len(object) > listMax {
		return fmt.Errorf("repository: the list of %d files has %d bytes, at most %d are allowed", len(w.list.Files), len(object), listMax)
	}
	id := baseID{w.generation.epoch, w.list.LSN}
	if err := w.place.Put(w.ctx, id.list(), object); err != nil {
		return err
	}
	if back, err := w.repo.list(w.ctx, id); err != nil || back.sum != sum {
		return errors.Join(err, corrupt(w.place, id.list(), "it was read back differently"))
	}
	return put(w.ctx, w.place, id.verified(), verifiedJSON{format, sum})
}

// verifiedJSON is LSN.verified.json.
type verifiedJSON struct {
	Format int    `json:"format"`
	Sum    string `json:"sum"`
}

// parts returns the sums of the parts in the repository, with the sizes of their objects.
func (r *Repository) parts(ctx context.Context) (map[string]int64, error) {
	infos, err := r.place.List(ctx, partDir)
	if err != nil {
		return nil, err
	}
	known := make(map[string]int64, len(infos))
	for _, info := range infos {
		if isPartName(info.Name) && info.Size > 0 && info.Size <= storedMax {
			known[info.Name[len(partDir):len(partDir)+2*sha256.Size]] = info.Size
		}
	}
	return known, nil
}
