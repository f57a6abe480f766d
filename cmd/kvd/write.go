package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// writeCommands are the verbs that write a value.
func (a *app) writeCommands() []*cobra.Command {
	return []*cobra.Command{a.putCommand(), a.createCommand(), a.updateCommand(), a.touchCommand(), a.revertCommand()}
}

const valueHelp = `If VALUE is "-", or absent and standard
input is not a terminal, it is read from standard input. The revision is printed.`

func (a *app) putCommand() *cobra.Command {
	return a.writeCommand(&cobra.Command{
		Use:   "put BUCKET KEY [VALUE]",
		Short: "Write a value to a key",
		Long:  "Write a value to a key, whether it exists or not. " + valueHelp,
		Example: `  kvd put my-kv Key1 Value1
  kvd put my-kv report --ttl 24h < report.pdf`,
	}, kv.Bucket.Put)
}

func (a *app) createCommand() *cobra.Command {
	return a.writeCommand(&cobra.Command{
		Use:   "create BUCKET KEY [VALUE]",
		Short: "Write a value to a key that does not exist",
		Long: `Write a value to a key that is new, deleted, purged or expired. The check and the
write are one atomic step: if several clients try, one succeeds and the others get
exit code 4. ` + valueHelp,
		Example: "  kvd create my-sem Semaphore1 \"$HOSTNAME\" --ttl 30s && run-the-job",
	}, kv.Bucket.Create)
}

// writeCommand completes the command of a verb with the arguments bucket, key and value.
func (a *app) writeCommand(c *cobra.Command, write func(kv.Bucket, context.Context, string, []byte, ...kv.WriteOption) (kv.Revision, error)) *cobra.Command {
	var ttl ttlFlag
	c.Args = takes(2, 3)
	c.ValidArgsFunction = a.completeArgs(completeBucket, completeKey)
	c.RunE = func(c *cobra.Command, args []string) error {
		value, err := a.value(c, args, 2)
		if err != nil {
			return err
		}
		return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
			return write(b, ctx, args[1], value, ttl.options()...)
		})
	}
	ttl.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// writeKey runs a write of the key in args[1] and prints its revision.
func (a *app) writeKey(c *cobra.Command, args []string, write func(context.Context, kv.Bucket) (kv.Revision, error)) error {
	return a.withBucket(c.Context(), args[0], func(ctx context.Context, b kv.Bucket) error {
		revision, err := write(ctx, b)
		if err != nil {
			return err
		}
		return a.printWritten(args[0], args[1], revision)
	})
}

// ttlFlag is the flag --ttl of a write.
type ttlFlag struct{ age ageFlag }

func (t *ttlFlag) addFlag(c *cobra.Command) {
	c.Flags().Var(&t.age, "ttl", "time after which the key expires")
}

func (t *ttlFlag) options() []kv.WriteOption {
	if t.age == 0 {
		return nil
	}
	return []kv.WriteOption{kv.KeyTTL(time.Duration(t.age))}
}

func (a *app) updateCommand() *cobra.Command {
	var ttl ttlFlag
	var last uint64
	c := &cobra.Command{
		Use:   "update BUCKET KEY [VALUE] [REVISION]",
		Short: "Replace the value of a key if its revision matches",
		Long: `Replace the value of a key if REVISION is the revision of its newest record, which
may be a marker; 0 means that the key has no record. Otherwise nothing is written
and the exit code is 4. ` + valueHelp + `
The revision is the last argument; use --revision if the value comes from standard
input.`,
		Example: `  kvd update my-kv Key1 Value2 1
  kvd update my-kv Key1 --revision 1 < value`,
		Args:              takes(2, 4),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			if err := updateRevision(c, args, &last); err != nil {
				return err
			}
			value, err := a.value(c, args, 2)
			if err != nil {
				return err
			}
			return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
				return b.Update(ctx, args[1], value, kv.Revision(last), ttl.options()...)
			})
		},
	}
	c.Flags().Var((*revisionFlag)(&last), "revision", "expected revision")
	ttl.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// updateRevision finds the expected revision: the fourth argument or the flag.
func updateRevision(c *cobra.Command, args []string, last *uint64) (err error) {
	flag := c.Flags().Changed("revision")
	switch {
	case flag && len(args) == 4:
		return usageOf(c, errors.New("the revision is given twice"))
	case flag:
		return nil
	case len(args) < 4:
		return usageOf(c, errors.New("REVISION is missing: pass the revision that the key has now"))
	}
	*last, err = parseRevision(c, args[3])
	return err
}

func parseRevision(c *cobra.Command, s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usageOf(c, fmt.Errorf("revision %q: must be a number", s))
	}
	return n, nil
}

func (a *app) touchCommand() *cobra.Command {
	var ttl ttlFlag
	c := &cobra.Command{
		Use:   "touch BUCKET KEY",
		Short: "Write the value of a key again, with a new TTL",
		Long: `Write the value of a key again, with a new revision and the TTL of --ttl. Without
--ttl only the TTL of the bucket applies. The revision is printed.`,
		Example:           "  kvd touch my-sem Semaphore1 --ttl 30s",
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
				return b.Touch(ctx, args[1], ttl.options()...)
			})
		},
	}
	ttl.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func (a *app) revertCommand() *cobra.Command {
	var f force
	c := &cobra.Command{
		Use:   "revert BUCKET KEY REVISION",
		Short: "Restore an earlier value of a key",
		Long: `Write the value of an earlier revision as a new revision, which is printed. If
another client writes the key meanwhile, nothing is written and the exit code is 4.`,
		Example:           "  kvd revert my-kv Key1 3 -f",
		Args:              takes(3, 3),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey, completeRevision),
		RunE: func(c *cobra.Command, args []string) error {
			revision, err := parseRevision(c, args[2])
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Revert %s > %s to revision %d?", args[0], args[1], revision)
			if ok, err := a.confirm(c, f, question); !ok {
				return err
			}
			return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
				return revert(ctx, b, args[1], kv.Revision(revision))
			})
		},
	}
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// revert writes the value of an earlier revision, unless the key is written meanwhile.
func revert(ctx context.Context, b kv.Bucket, key string, to kv.Revision) (kv.Revision, error) {
	old, err := b.GetRevision(ctx, key, to)
	if errors.Is(err, kv.ErrKeyNotFound) {
		return 0, fmt.Errorf("%w has no revision %d, or no longer (\"kvd history\" shows the kept ones)", err, to)
	}
	if err != nil {
		return 0, err
	}
	last := to
	for e, err := range b.History(ctx, key) {
		if err != nil {
			return 0, err
		}
		last = max(last, e.Revision)
	}
	return b.Update(ctx, key, old.Value, last)
}
