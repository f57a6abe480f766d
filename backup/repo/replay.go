package repo

import (
	"context"
	"io"

	"kvd/backup"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/bucket/progress"
)

// RestorePlan makes a store of a plan as [Repository.Restore] does of a base. If there are frames, the store is
// restored as a whole and recovers as after a crash: the disk has to have room for it and for the frames. Buckets
// that are not wanted are then removed. Without writing (DryRun), the buckets are those of the base.
func (r *Repository) RestorePlan(ctx context.Context, p *Plan, dir string, o backup.RestoreOptions) (backup.Restored, error) {
	if p.Frames == 0 {
		return r.Restore(ctx, p.Base, dir, o)
	}
	x, err := r.read(ctx, p.Base)
	if err != nil {
		return backup.Restored{}, err
	}
	defer x.close()
	plan, err := cut.NewReplay(p.Base.id.list(), x.content, o.Options, p.words, p.numbers)
	if err != nil {
		return backup.Restored{}, err
	}
	done := backup.Restored{Verified: backup.Verified{Content: x.content, Damage: p.Base.Damage}, Buckets: plan.Buckets, Bytes: plan.Bytes + p.Bytes}
	done.Content = p.content(x.content)
	meter := progress.Start(backup.StageRestore, done.Bytes, o.Progress)
	if o.DryRun {
		done.Buckets = chosen(plan.Buckets, o.Buckets)
		return done, x.files(func(_ cut.File, data io.Reader) error {
			n, err := io.Copy(io.Discard, data)
			meter.Add(n)
			return err
		})
	}
	to, err := plan.Begin(dir)
	if err != nil {
		return done, err
	}
	err = x.replay(p, to, meter)
	if err == nil {
		err = bucket.Replay(ctx, to, p.LSN, o.Progress)
	}
	if err == nil {
		done.Buckets, err = to.Renew()
	}
	if err != nil {
		to.Abort()
	}
	return done, err
}

// replay writes the base, and the frames behind it.
func (x *reader) replay(p *Plan, to *cut.Restore, meter *progress.Meter) error {
	err := x.files(func(f cut.File, data io.Reader) error {
		meter.Add(f.Size)
		return to.File(f, data)
	})
	if err != nil {
		return err
	}
	err = x.frames(p.logs, func(f *bucket.TailFrame) (more bool, err error) {
		if err := x.ctx.Err(); err != nil {
			return false, err
		}
		for _, v := range f.Values {
			if err := to.Value(v.Bucket, v.Number, v.Value); err != nil {
				return false, err
			}
		}
		meter.Add(f.Size())
		return f.LSN < p.LSN, to.Frame(f.LSN, f.Time, f.Payload, f.Next)
	})
	if err != nil {
		return err
	}
	return to.EndLog()
}

// chosen returns the buckets that are wanted, with their new names. Nil: all.
func chosen(all []cut.Restored, wanted map[string]string) (some []cut.Restored) {
	for _, b := range all {
		to, ok := wanted[b.From]
		if ok {
			b.To = to
		}
		if ok || wanted == nil {
			some = append(some, b)
		}
	}
	return some
}

// content returns the content of the base, as of the state of the plan.
func (p *Plan) content(base *cut.Content) *cut.Content {
	c := *base
	c.LSN, c.Time = p.LSN, p.Time
	return &c
}

// VerifyPlan is [Repository.Verify] for the base of a plan, whose log objects are checked already.
func (r *Repository) VerifyPlan(ctx context.Context, p *Plan, report func(progress.Progress)) (backup.Verified, error) {
	v, err := r.Verify(ctx, p.Base, report)
	if err == nil {
		v.Content = p.content(v.Content)
	}
	return v, err
}
