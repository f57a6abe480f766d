package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// watchFlags are the options of a watch on a command line.
type watchFlags struct {
	history, updates, noDeletes, metaOnly, raw bool
	untilSynced                                bool
	count                                      uint64 // 0: no end
	exec                                       string // command of the shell for each entry; empty: print it
	revision                                   uint64
	stale                                      stale
}

func (a *app) watchCommand() *cobra.Command {
	var flags watchFlags
	c := &cobra.Command{
		Use:   "watch BUCKET [PATTERN...]",
		Short: "Print changes as they happen",
		Long: `Print the newest entry of each key that matches any of the patterns, then every
change, until interrupted. When the server is lost, and when the watch goes on, a line
on standard error says so; no change is missed.

With --json, the line {"synced":true} separates the entries that were there from the
changes. --exec runs a command of the shell for each entry, one after the other, with
the value on standard input, and KVD_BUCKET, KVD_KEY, KVD_REVISION and KVD_OPERATION
in the environment.`,
		Example: `  kvd watch my-kv
  kvd watch my-kv 'service.>' --updates --json
  kvd watch my-kv --revision 100           everything from revision 100 on
  kvd watch my-kv --until-synced --json    what is there, and no more
  kvd watch cfg app.conf --exec 'cat > app.conf && systemctl reload app'`,
		Args:              takes(1, -1),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			a.target.interrupted = a.sayInterrupted
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
	f.BoolVar(&flags.untilSynced, "until-synced", false, "end after the entries that are there")
	f.Uint64Var(&flags.count, "count", 0, "end after so many entries; 0: never")
	f.StringVar(&flags.exec, "exec", "", "command to run for each entry, instead of printing it")
	flags.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	exclusive(c, "raw", "json")
	exclusive(c, "history", "updates")
	exclusive(c, "until-synced", "updates")
	exclusive(c, "exec", "raw")
	exclusive(c, "exec", "json")
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
	seen := uint64(0)
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
		if err := a.showUpdate(ctx, &u, flags); err != nil {
			return err
		}
		if u.Entry != nil {
			seen++
		}
		if flags.ends(&u, seen) {
			return nil
		}
	}
}

// ends reports whether the watch ends after an update, the one of that number.
func (w *watchFlags) ends(u *kv.Update, seen uint64) bool {
	if u.Entry == nil {
		return w.untilSynced
	}
	return w.count > 0 && seen >= w.count
}

// sayInterrupted says that a watch has lost its server, or goes on. An idle watch would look
// the same otherwise.
func (a *app) sayInterrupted(err error) {
	if err != nil {
		fmt.Fprintf(a.err, "kvd: the server is lost, trying again: %s\n", explain(err))
		return
	}
	fmt.Fprintln(a.err, "kvd: connected again, the watch goes on")
}

// showUpdate runs the command of --exec for an update, or prints it.
func (a *app) showUpdate(ctx context.Context, u *kv.Update, flags *watchFlags) error {
	if flags.exec == "" || u.Entry == nil || u.Err != nil {
		return a.printUpdate(u, flags)
	}
	return a.runFor(ctx, flags.exec, u.Entry)
}

// runFor runs a command of the shell for an entry. One that fails is reported, and the watch
// goes on.
func (a *app) runFor(ctx context.Context, command string, e *kv.Entry) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(e.Value), a.out, a.err
	cmd.Env = append(os.Environ(), "KVD_BUCKET="+e.Bucket, "KVD_KEY="+e.Key,
		fmt.Sprintf("KVD_REVISION=%d", e.Revision), "KVD_OPERATION="+operationName(e))
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(a.err, "kvd: --exec for %s, revision %d: %v\n", a.key(e.Key), e.Revision, err)
	}
	return nil
}

func (a *app) printUpdate(u *kv.Update, flags *watchFlags) error {
	e := u.Entry
	switch {
	case e == nil && a.json:
		return a.printJSON(struct {
			Synced bool `json:"synced"`
		}{true})
	case e == nil: // the end of the initial entries
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
