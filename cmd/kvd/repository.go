package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"kvd/backup"
	"kvd/backup/repo"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/kv"
	"kvd/wal"
)

// pointFlags name a state in a repository, and how the repository is reached.
type pointFlags struct {
	placeOptions
	lsn revisionFlag
	at  string
}

func (p *pointFlags) addFlags(f *pflag.FlagSet) {
	f.Var(&p.lsn, "lsn", "of a repository: the state at this position of the log")
	f.StringVar(&p.at, "at", "", "of a repository: the state at this time, such as 2026-11-30T20:00:00.123456789Z")
	p.placeOptions.addFlags(f)
}

// checkUnused returns an error if a flag is given that needs a repository.
func (p *pointFlags) checkUnused() error {
	if p.lsn != 0 || p.at != "" {
		return errors.New("--lsn and --at are for repositories: a file is one backup")
	}
	return nil
}

// find returns how the state that the flags name is made, or the newest one.
func (p *pointFlags) find(ctx context.Context, r *repo.Repository) (*repo.Plan, error) {
	target := repo.Target{LSN: wal.LSN(p.lsn)}
	if p.at != "" {
		at, err := time.Parse(time.RFC3339Nano, p.at)
		if err != nil || p.lsn != 0 {
			return nil, fmt.Errorf("%w: give either --lsn, or --at with a time such as 2026-11-30T20:00:00Z", kv.ErrInvalidOption)
		}
		target.Time = at
	}
	return r.Plan(ctx, target)
}

// repositoryJSON is what backup prints in JSON for a repository.
type repositoryJSON struct {
	Repository string    `json:"repository"`
	LSN        uint64    `json:"lsn"`
	Time       time.Time `json:"time"`
	Buckets    int       `json:"buckets"`
	Bytes      int64     `json:"bytes"`    // of files
	Size       int64     `json:"size"`     // of the objects that it needs
	Uploaded   int64     `json:"uploaded"` // of those that were new
	Damage     int       `json:"damage"`
	Seconds    float64   `json:"seconds"`
}

// backupToRepository adds a backup to a repository.
func (a *app) backupToRepository(ctx context.Context, name string, o placeOptions, options bucket.BackupOptions) error {
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	options.Progress = p.showBytes
	return a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
		source, err := sourceOf(s)
		if err != nil {
			return err
		}
		place, done, err := openPlace(ctx, name, o)
		if err != nil {
			return err
		}
		defer done()
		w, err := repo.Write(ctx, place, source, options)
		p.clear()
		if err != nil {
			return err
		}
		c := w.Content
		if a.json {
			err = a.printJSON(repositoryJSON{name, uint64(c.LSN), c.Time, len(c.Buckets), w.Report.Bytes, w.Bytes, w.NewBytes, w.Damage, w.Elapsed.Seconds()})
		} else {
			fmt.Fprintf(a.out, "%s: %s as of %s, %s in %s, %s of them new, taken in %v\n", name, counted(uint64(len(c.Buckets)), "bucket", "buckets"),
				c.Time.Format(time.RFC3339), bytesText(uint64(w.Report.Bytes)), bytesText(uint64(w.Bytes)), bytesText(uint64(w.NewBytes)), w.Elapsed.Round(time.Millisecond))
		}
		if err != nil {
			return err
		}
		return a.sourceDamaged(w.Damage, w.Damages)
	})
}

// sourceOf returns what backups of a store are made of: of a server's, the archive that it sends.
func sourceOf(s store) (backup.Source, error) {
	if source, ok := kv.As[backup.Source](s); ok {
		return source, nil
	}
	if server, ok := kv.As[kv.Backuper](s); ok {
		return serverSource{server}, nil
	}
	return nil, fmt.Errorf("%w: backups", kv.ErrNotSupported)
}

// serverSource is a store of a server.
type serverSource struct{ server kv.Backuper }

// Backup implements [backup.Source].
func (s serverSource) Backup(ctx context.Context, o bucket.BackupOptions, sink cut.Sink) (report cut.Report, err error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() { // ends with the archive, or with the reader
		taken, err := s.server.WriteBackup(ctx, w, kv.BackupOptions{Buckets: o.Buckets, Rate: o.Rate})
		_ = w.CloseWithError(err) // it never fails
		report.Damage = taken.Damage
		sent <- err
	}()
	content, err := receive(ctx, r, o, sink)
	if err != nil {
		cancel()
	}
	_ = r.CloseWithError(err) // it never fails
	if sending := <-sent; err == nil {
		err = sending
	}
	report.Content, report.Elapsed = content, time.Since(began)
	if content != nil {
		report.Bytes = content.Bytes()
	}
	return report, err
}

// receive hands an archive to a sink.
func receive(ctx context.Context, r io.Reader, o bucket.BackupOptions, sink cut.Sink) (*cut.Content, error) {
	archive, err := backup.Open("the server's backup", r)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	if err := sink.Begin(archive.Content()); err != nil {
		return nil, err
	}
	return archive.Content(), archive.Files(ctx, sink.File)
}

// pointJSON is a backup of a repository in JSON.
type pointJSON struct {
	LSN      uint64    `json:"lsn"`
	Time     time.Time `json:"time"`
	Buckets  int       `json:"buckets"`
	Bytes    int64     `json:"bytes"` // of files
	Size     int64     `json:"size"`  // of the objects that it needs; backups share objects
	Verified bool      `json:"verified"`
	Damage   int       `json:"damage,omitempty"` // of the store that it was made of
}

// listRepository lists the backups of a repository.
func (a *app) listRepository(ctx context.Context, name string, o placeOptions) error {
	return withRepository(ctx, name, o, func(r *repo.Repository) error {
		points, broken, err := r.Points(ctx)
		if err != nil {
			return err
		}
		l := a.newList("Backups in "+name, "LSN", "Time", "Buckets", "Size", "Stored", "State")
		for _, p := range points {
			if a.json {
				if err := a.printJSON(pointJSON{uint64(p.LSN), p.Time, len(p.Buckets), p.Size, p.Stored, p.Verified, p.Damage}); err != nil {
					return err
				}
				continue
			}
			l.add(uint64(p.LSN), p.Time.UTC().Format(time.RFC3339Nano), len(p.Buckets), l.size(p.Size), l.size(p.Stored), stateText(p))
		}
		if err := a.endList(l, len(points) > 0, "The repository has no backups."); err != nil {
			return err
		}
		return errors.Join(append(broken, a.listRanges(ctx, name, r))...)
	})
}

// rangeJSON is a range of the log of a repository in JSON.
type rangeJSON struct {
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Objects int    `json:"objects"`
	Size    int64  `json:"size"` // of the objects
}

// listRanges lists the ranges of the log that a repository has, if it has any. Between two of them is a gap.
func (a *app) listRanges(ctx context.Context, name string, r *repo.Repository) error {
	ranges, err := r.Logs(ctx)
	if err != nil || len(ranges) == 0 {
		return err
	}
	l := a.newList("Log in "+name+": behind a backup, each of its positions can be restored", "First", "Last", "Objects", "Stored")
	for _, x := range ranges {
		if a.json {
			if err := a.printJSON(rangeJSON{uint64(x.First), uint64(x.Last), x.Objects, x.Stored}); err != nil {
				return err
			}
			continue
		}
		l.add(uint64(x.First), uint64(x.Last), x.Objects, l.size(x.Stored))
	}
	return a.endList(l, true, "")
}

// remarkPlan says on standard error which state was restored, and what follows it.
func (a *app) remarkPlan(p *repo.Plan) {
	if a.json {
		return
	}
	next := "It is the newest one in the repository."
	switch {
	case p.Next.LSN != 0:
		next = fmt.Sprintf("The next one is %s.", p.Next)
	case p.Cut != 0:
		next = fmt.Sprintf("The repository has the log up to LSN %d, but not all of it: no backup follows the gap yet.", p.Cut)
	}
	fmt.Fprintf(a.err, "The state of %s. %s\n", p.Instant, next)
}

// stateText says whether a backup can be relied on.
func stateText(p *repo.Point) string {
	switch {
	case !p.Verified:
		return "incomplete"
	case p.Damage > 0:
		return "of a damaged store"
	}
	return "verified"
}

// verifyRepository checks a backup of a repository.
func (a *app) verifyRepository(ctx context.Context, name string, at pointFlags) error {
	return withRepository(ctx, name, at.placeOptions, func(r *repo.Repository) error {
		plan, err := at.find(ctx, r)
		if err != nil {
			return archiveError(err)
		}
		p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
		v, err := r.VerifyPlan(ctx, plan, p.showBytes)
		p.clear()
		if err != nil {
			return archiveError(err)
		}
		return a.printBackupVerified(name, &v, 0)
	})
}

// restoreRepository makes a store of a backup of a repository.
func (a *app) restoreRepository(ctx context.Context, name string, at pointFlags, dir string, o backup.RestoreOptions) (done backup.Restored, err error) {
	err = withRepository(ctx, name, at.placeOptions, func(r *repo.Repository) error {
		plan, err := at.find(ctx, r)
		if err != nil {
			return archiveError(err)
		}
		p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
		o.Progress = p.showBytes
		done, err = r.RestorePlan(ctx, plan, dir, o)
		p.clear()
		if err != nil {
			return archiveError(err)
		}
		a.remarkPlan(plan)
		return nil
	})
	return done, err
}
