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
	var raw bool
	var f stale
	var revision uint64
	c := &cobra.Command{
		Use:   "get BUCKET KEY",
		Short: "Get the value of a key",
		Long: `Print the value of a key, below a line with its revision and time. With --raw,
print the bytes of the value and nothing else.`,
		Example: `  kvd get my-kv Key1
  kvd get my-kv report --raw > report.pdf`,
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withBucket(c.Context(), args[0], func(ctx context.Context, b kv.Bucket) error {
				var e kv.Entry
				ctx, err := a.reader(ctx, b, f)
				if err != nil {
					return err
				}
				if c.Flags().Changed("revision") {
					e, err = b.GetRevision(ctx, args[1], kv.Revision(revision))
				} else {
					e, err = b.Get(ctx, args[1])
				}
				if err != nil {
					return err
				}
				return a.printEntry(&e, raw)
			})
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "print the value alone, without a newline")
	c.Flags().Var((*revisionFlag)(&revision), "revision", "get this revision")
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	exclusive(c, "raw", "json")
	return c
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
