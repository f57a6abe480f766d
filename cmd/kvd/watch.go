package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// watchFlags are the options of a watch on a command line.
type watchFlags struct {
	history, updates, noDeletes, metaOnly, raw bool
	revision                                   uint64
	stale                                      stale
}

func (a *app) watchCommand() *cobra.Command {
	var flags watchFlags
	c := &cobra.Command{
		Use:   "watch BUCKET [PATTERN...]",
		Short: "Print changes as they happen",
		Long: `Print the newest entry of each key that matches any of the patterns, then every
change, until interrupted.`,
		Example: `  kvd watch my-kv
  kvd watch my-kv 'service.>' --updates --json
  kvd watch my-kv --revision 100           everything from revision 100 on`,
		Args:              takes(1, -1),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				b, err := s.Bucket(ctx, args[0])
				if err != nil {
					return err
				}
				if ctx, err = a.reader(ctx, b, flags.stale); err != nil {
					return err
				}
				return a.watch(ctx, b, a.patterns(args[1:]), &flags)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&flags.history, "history", false, "begin with all kept entries, not the newest ones")
	f.BoolVar(&flags.updates, "updates", false, "print changes only")
	f.BoolVar(&flags.noDeletes, "no-deletes", false, "omit delete and purge markers")
	f.BoolVar(&flags.metaOnly, "meta-only", false, "omit values")
	f.BoolVar(&flags.raw, "raw", false, "print the values alone, one per line")
	f.Var((*revisionFlag)(&flags.revision), "revision", "begin with this revision")
	flags.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	exclusive(c, "raw", "json")
	exclusive(c, "history", "updates")
	return c
}

func (w *watchFlags) options() []kv.WatchOption {
	var opts []kv.WatchOption
	for _, o := range []struct {
		set bool
		opt kv.WatchOption
	}{
		{w.history, kv.IncludeHistory()},
		{w.updates, kv.UpdatesOnly()},
		{w.noDeletes, kv.IgnoreDeletes()},
		{w.metaOnly, kv.MetaOnly()},
		{w.revision > 0, kv.ResumeFromRevision(kv.Revision(w.revision))},
	} {
		if o.set {
			opts = append(opts, o.opt)
		}
	}
	return opts
}

// watch prints events until the context ends. It flushes the output before it waits.
func (a *app) watch(ctx context.Context, b kv.Bucket, patterns []string, flags *watchFlags) error {
	w, err := b.Watch(ctx, patterns, flags.options()...)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // the watch has ended, or the program ends
	for updates := w.Updates(); ; {
		if len(updates) == 0 {
			if err := a.out.Flush(); err != nil {
				return err
			}
		}
		u, ok := <-updates
		if !ok {
			return w.Err()
		}
		if err := a.printUpdate(&u, flags); err != nil {
			return err
		}
	}
}

func (a *app) printUpdate(u *kv.Update, flags *watchFlags) error {
	e := u.Entry
	switch {
	case e == nil: // the end of the initial entries: nothing to print
		return nil
	case u.Err != nil:
		fmt.Fprintf(a.err, "kvd: %s > %s, revision %d: %s\n", e.Bucket, e.Key, e.Revision, explain(u.Err))
		return nil //nolint:nilerr // the watch goes on with the next entry
	case a.json:
		j := newEntryJSON(e)
		j.Delta = &e.Delta
		if flags.metaOnly {
			j.Value, j.Encoding = nil, ""
		}
		return a.printJSON(j)
	case flags.raw:
		if !e.Operation.IsMarker() {
			_, _ = a.out.Write(e.Value) // an error stays for Flush
			_ = a.out.WriteByte('\n')
		}
		return nil
	}
	fmt.Fprintf(a.out, "[%s] %s %s > %s", e.Created.Local().Format(timeLayout), operationName(e), e.Bucket, a.key(e.Key))
	if !e.Operation.IsMarker() && !flags.metaOnly {
		fmt.Fprintf(a.out, ": %s", printable(e.Value))
	}
	fmt.Fprintf(a.out, " (revision %d)\n", e.Revision)
	return nil
}
