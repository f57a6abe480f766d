package backup

import (
	"context"
	"io"

	"kvd/bucket/cut"
	"kvd/bucket/progress"
)

// RestoreOptions says what [Restore] does.
type RestoreOptions struct {
	cut.Options

	// DryRun reads and checks the archive, and writes nothing.
	DryRun bool

	// Progress is called now and then; nil: it is not.
	Progress func(progress.Progress)
}

// Restored is what [Restore] has done.
type Restored struct {
	Verified
	Buckets []cut.Restored // ascending by their names in the archive
	Bytes   int64          // of files
}

// Restore makes a store of an archive, or of some of its buckets, in a directory, which is new or empty.
// The directory is a store only once the whole archive was read and every bit of it was right; after an
// error it is as it was before, as far as the system allows, and no store opens what is left. The errors
// are those of [Open], of [cut.NewPlan], [cut.ErrNotEmpty], and the
// system's.
func Restore(ctx context.Context, name string, r io.Reader, dir string, o RestoreOptions) (Restored, error) {
	a, err := Open(name, r)
	if err != nil {
		return Restored{}, err
	}
	defer a.Close()
	plan, err := cut.NewPlan(name, a.Content(), o.Options)
	if err != nil {
		return Restored{}, err
	}
	done := Restored{Verified: Verified{Content: a.Content()}, Buckets: plan.Buckets, Bytes: plan.Bytes}
	var to *cut.Restore
	if !o.DryRun {
		if to, err = plan.Begin(dir); err != nil {
			return done, err
		}
	}
	meter := progress.Start(StageRestore, a.Content().Bytes(), o.Progress)
	err = a.Files(ctx, func(f cut.File, data io.Reader) error {
		meter.Add(f.Size)
		if to == nil || !plan.Wants(f) {
			return nil
		}
		return to.File(f, data)
	})
	done.Damage, done.Damages = a.Damage()
	if to == nil {
		return done, err
	}
	if err == nil {
		err = to.Commit()
	}
	if err != nil {
		to.Abort()
	}
	return done, err
}
