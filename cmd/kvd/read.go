package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// readCommands are the verbs that read a key.
func (a *app) readCommands() []*cobra.Command {
	return []*cobra.Command{a.getCommand(), a.historyCommand()}
}

func (a *app) getCommand() *cobra.Command {
	var g getter
	c := &cobra.Command{
		Use:   "get BUCKET KEY...",
		Short: "Get the values of keys",
		Long: `Print the value of a key, below a line with its revision and time. With --raw,
print the bytes of the value and nothing else.

The values of several keys are as of one moment, in the order of the keys. Missing keys
are named on standard error, and the exit code is 3; damaged values likewise, and the
exit code is 8. --raw and --revision take one key.`,
		Example: `  kvd get my-kv Key1
  kvd get my-kv report --raw > report.pdf
  kvd get my-kv Key1 Key2 --json`,
		Args:              takes(2, -1),
		ValidArgsFunction: a.completeEach(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 2 {
				return g.many(c, a, args[0], args[1:])
			}
			return g.one(c, a, args[0], args[1])
		},
	}
	c.Flags().BoolVar(&g.raw, "raw", false, "print the value alone, without a newline")
	c.Flags().Var((*revisionFlag)(&g.revision), "revision", "get this revision")
	g.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	exclusive(c, "raw", "json")
	return c
}

// getter is the flags of a get.
type getter struct {
	raw      bool
	revision uint64
	stale    stale
}

// one prints the value of a key.
func (g *getter) one(c *cobra.Command, a *app, bucket, key string) error {
	return a.withBucket(c.Context(), bucket, func(ctx context.Context, b kv.Bucket) error {
		var e kv.Entry
		ctx, err := a.reader(ctx, b, g.stale)
		if err != nil {
			return err
		}
		if c.Flags().Changed("revision") {
			e, err = b.GetRevision(ctx, key, kv.Revision(g.revision))
		} else {
			e, err = b.Get(ctx, key)
		}
		if err != nil {
			return err
		}
		return a.printEntry(&e, g.raw)
	})
}

// many prints the values of several keys.
func (g *getter) many(c *cobra.Command, a *app, bucket string, keys []string) error {
	for _, flag := range []string{"raw", "revision"} {
		if c.Flags().Changed(flag) {
			return usageOf(c, fmt.Errorf("--%s takes one KEY, not %d", flag, len(keys)))
		}
	}
	return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
		b, err := s.Bucket(ctx, bucket)
		if err != nil {
			return err
		}
		if ctx, err = a.reader(ctx, b, g.stale); err != nil {
			return err
		}
		return a.getMany(ctx, b, keys)
	})
}

func (a *app) printEntry(e *kv.Entry, raw bool) error {
	if a.json {
		return a.printJSON(newEntryJSON(e))
	}
	if !raw {
		fmt.Fprintf(a.out, "%s > %s revision: %d created @ %s\n\n", e.Bucket, a.key(e.Key), e.Revision, e.Created.Local().Format(timeLayout))
	}
	value := e.Value
	if a.outTTY && !raw {
		value = harmless(value)
	}
	_, err := a.out.Write(value)
	if !raw {
		_ = a.out.WriteByte('\n') // an error stays for Flush
	}
	return err
}

func (a *app) historyCommand() *cobra.Command {
	var f stale
	c := &cobra.Command{
		Use:   "history BUCKET KEY",
		Short: "Show the history of a key",
		Long: `Show the kept revisions of a key, including markers, oldest first. The output is a
table on a terminal, and tab-separated lines elsewhere: key, revision, operation,
time, length and value.`,
		Example:           "  kvd history my-kv Key1 --json",
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withBucket(c.Context(), args[0], func(ctx context.Context, b kv.Bucket) error {
				ctx, err := a.reader(ctx, b, f)
				if err != nil {
					return err
				}
				return a.printHistory(ctx, b, args[1])
			})
		},
	}
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func (a *app) printHistory(ctx context.Context, b kv.Bucket, key string) error {
	t := a.newList(fmt.Sprintf("History for %s > %s", b.Name(), key), "Key", "Revision", "Op", "Created", "Length", "Value")
	var damaged damagedReads
	for e, err := range b.History(ctx, key) {
		if e.Revision != 0 && damaged.skip(a, &e, err) {
			continue
		}
		if err != nil {
			return err
		}
		if a.json {
			j := newEntryJSON(&e)
			j.Delta = &e.Delta
			if err := a.printJSON(j); err != nil {
				return err
			}
			continue
		}
		t.add(a.key(e.Key), e.Revision, operationName(&e), t.time(e.Created), len(e.Value), t.cell(e.Value))
	}
	if !a.json {
		t.end()
	}
	return damaged.err(b.Name())
}
