package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvd/backup"
	"kvd/bucket/cut"
	"kvd/kv"
)

func (a *app) restoreCommand() *cobra.Command {
	var r restoration
	c := &cobra.Command{
		Use:   "restore FILE|REPOSITORY --dir NEW|--server ADDRESS",
		Short: "Make a store of a backup",
		Long: `Make a store of a backup in a new or empty directory, with all buckets or those of
--bucket. The directory is a store only once the whole backup was read and checked.
"-" is standard input. Of a repository it restores the newest state, or that of --lsn or
--at: "kvd backup ls" lists them. Between two backups there are states only of a log that
was shipped ("kvd serve --ship"). If the repository does not know the state, the error
names the last one before, and nothing is restored.

The store is another one for its clients: store and buckets have new ids, and each
bucket goes on far above the revisions that were told after the backup was made, so
that no old revision is given away again. A watch that resumes with an id is told that
its bucket is gone, and one that resumes by a revision alone that records are missing.
For a store that moves, and is not used any more where it was, --same-ids and --bump 0
keep ids and revisions. Deadlines pass while a store is a backup.

With --server the buckets of --bucket are restored into a running server, one after the
other. Each appears there once it is whole, and none is replaced: name another one with
BUCKET=NAME. A store of the backup is made in a directory below --scratch meanwhile, which
takes its room. A server with users wants the permissions admin and put in each bucket.`,
		Example: `  kvd restore kvd-2026-11-30.tar --dir ./new-data
  kvd restore kvd-2026-11-30.tar --dir ./new-data --bucket orders=orders-old
  kvd restore kvd-2026-11-30.tar --dir ./new-data --dry-run
  kvd restore kvd-2026-11-30.tar --server 127.0.0.1:5830 --bucket orders=orders-old
  kvd restore s3://my-backups/kvd --dir ./new-data`,
		Args: takesBackup,
		RunE: func(c *cobra.Command, args []string) error {
			intoServer := c.Flags().Changed("server")
			o, err := r.options(c.Flags().Changed("bump"))
			if err == nil {
				err = r.check(args[0], a.target.dir, intoServer)
			}
			if err != nil {
				return usageOf(c, err)
			}
			if intoServer {
				return a.restoreIntoServer(c.Context(), args[0], &r, o)
			}
			return a.restoreIntoDir(c.Context(), args[0], &r, o)
		},
	}
	f := c.Flags()
	f.StringVar(&r.scratch, "scratch", os.TempDir(), "with --server: directory for the store that is made meanwhile")
	f.StringArrayVar(&r.buckets, "bucket", nil, "BUCKET or BUCKET=NAME: restore this bucket alone, under that name (several times: these)")
	f.Var(&r.bump, "bump", "skip so many revisions of each bucket (default: a billion, or a million for each second since the backup)")
	f.BoolVar(&r.sameIDs, "same-ids", false, "keep the ids of store and buckets: the old store is not used any more")
	f.BoolVar(&r.dryRun, "dry-run", false, "check the backup and print what would be restored")
	_ = c.MarkFlagDirname("scratch") // it exists
	r.at.addFlags(f)
	a.addTarget(c)
	showFlag(f, "dir", "new directory of the store")
	showFlag(f, "server", "restore the buckets of --bucket into the server at this address or URL")
	a.addJSON(c)
	return c
}

// restoration is the flags of restore.
type restoration struct {
	scratch string
	buckets []string
	bump    revisionFlag
	sameIDs bool
	dryRun  bool
	at      pointFlags
}

// check returns what is wrong with the flags for a backup of that name.
func (r *restoration) check(name, dir string, intoServer bool) error {
	switch {
	case !intoServer && dir == "" && !r.dryRun:
		return errors.New("name a new directory with --dir, or a running server with --server")
	case intoServer && len(r.buckets) == 0:
		return errors.New("--bucket is missing: name each bucket to restore into the server")
	case intoServer && r.sameIDs:
		return errors.New("--same-ids is for --dir: a server gives its buckets new ids")
	case !isPlace(name):
		return r.at.checkUnused()
	}
	return nil
}

func (r *restoration) options(bumped bool) (backup.RestoreOptions, error) {
	o := backup.RestoreOptions{Options: cut.Options{SameIDs: r.sameIDs}, DryRun: r.dryRun}
	if bumped {
		n := uint64(r.bump)
		o.Bump = &n
	}
	for _, text := range r.buckets {
		from, to, renamed := strings.Cut(text, "=")
		if !renamed {
			to = from
		}
		if o.Buckets == nil {
			o.Buckets = make(map[string]string)
		}
		if _, twice := o.Buckets[from]; twice {
			return o, fmt.Errorf("--bucket %s is given twice", from)
		}
		o.Buckets[from] = to
	}
	return o, nil
}

// restoredJSON is a restored bucket in JSON.
type restoredJSON struct {
	Bucket   string      `json:"bucket"`
	From     string      `json:"from"` // its name in the backup
	Keys     uint64      `json:"keys"`
	Revision kv.Revision `json:"revision"` // the newest one in the backup
	Next     kv.Revision `json:"next"`     // that of the next record
	Memory   bool        `json:"memory,omitempty"`
}

// restoreIntoDir makes a store of a backup.
func (a *app) restoreIntoDir(ctx context.Context, name string, r *restoration, o backup.RestoreOptions) error {
	dir := a.target.dir
	done, err := a.makeStore(ctx, name, r, dir, o)
	if err != nil {
		return err
	}
	if err := a.printRestored(name, &done); err != nil {
		return err
	}
	a.remarkRestored(dir, o, &done)
	return a.sourceDamaged(done.Damage, done.Damages)
}

// makeStore makes a store of a backup, which is a file or in a repository.
func (a *app) makeStore(ctx context.Context, name string, r *restoration, dir string, o backup.RestoreOptions) (done backup.Restored, err error) {
	if isPlace(name) {
		return a.restoreRepository(ctx, name, r.at, dir, o)
	}
	in, err := a.openArchive(name)
	if err != nil {
		return done, err
	}
	defer in.Close()
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	o.Progress = p.showBytes
	done, err = backup.Restore(ctx, name, in, dir, o)
	p.clear()
	return done, archiveError(err)
}

// printRestored prints what was restored.
func (a *app) printRestored(name string, done *backup.Restored) error {
	l := a.newList("Restored from "+name, "Bucket", "From", "Keys", "Revision", "Next revision")
	for _, b := range done.Buckets {
		if a.json {
			if err := a.printJSON(restoredJSON{b.To, b.From, b.Keys, b.Revision, b.Next, b.Memory}); err != nil {
				return err
			}
			continue
		}
		l.add(b.To, b.From, b.Keys, b.Revision, b.Next)
	}
	return a.endList(l, len(done.Buckets) > 0, "The backup has no buckets.")
}

// remarkRestored says on standard error what changes for clients.
func (a *app) remarkRestored(dir string, o backup.RestoreOptions, done *backup.Restored) {
	if a.json {
		return
	}
	if o.DryRun {
		fmt.Fprintln(a.err, "Nothing was written (--dry-run).")
		return
	}
	fmt.Fprintf(a.err, "%s is a store as of %s. Serve it with: kvd serve --data %s\n", dir, done.Content.Time.Format("2006-01-02T15:04:05Z07:00"), dir)
	if o.SameIDs {
		fmt.Fprintln(a.err, "It has the ids of the old store, which must not be used any more.")
		return
	}
	fmt.Fprintln(a.err, `Watches of the old store begin anew. Compare-and-sets with revisions told after the backup fail. Mirrors
and consumers of NATS clients have to be made anew.`)
}
