package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// removeCommands are the verbs that remove something.
func (a *app) removeCommands() []*cobra.Command {
	return []*cobra.Command{a.delCommand(), a.purgeCommand(), a.compactCommand()}
}

func (a *app) delCommand() *cobra.Command {
	var f force
	var last uint64
	var m matcher
	c := &cobra.Command{
		Use:     "del BUCKET [KEY]",
		Aliases: []string{"rm"},
		Short:   "Delete a key, keys that match, or a whole bucket",
		Long: `Delete a key by writing a delete marker, whose revision is printed. The history of
the key stays. Without a key, delete the bucket and everything in it; this cannot
be undone.

With --match, delete the keys that match any of the patterns; how many there are is in
the question, and how many were deleted is printed. They are deleted one by one: another
client may see some deleted and others not. Keys whose values are damaged are deleted
too; keys that are written after the count stay.`,
		Example: `  kvd del my-kv Key1 -f
  kvd del my-kv --match 'session.>'
  kvd rm my-kv`,
		Args:              takes(1, 2),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			if err := m.check(c, args); err != nil {
				return usageOf(c, err)
			}
			if c.Flags().Changed("match") {
				return m.run(c, a, f, args[0])
			}
			if len(args) == 1 {
				return a.deleteBucket(c, f, args[0])
			}
			if ok, err := a.confirm(c, f, fmt.Sprintf("Delete key %s > %s?", args[0], args[1])); !ok {
				return err
			}
			return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
				return b.Delete(ctx, args[1], expected(c, last)...)
			})
		},
	}
	f.addFlag(c)
	c.Flags().Var((*revisionFlag)(&last), "revision", "delete only if this is the newest revision of the key")
	c.Flags().StringArrayVar(&m.patterns, "match", nil, "delete the keys that match this `pattern`; may be repeated")
	m.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// expected returns the write option for the flag --revision.
func expected(c *cobra.Command, last uint64) []kv.WriteOption {
	if !c.Flags().Changed("revision") {
		return nil
	}
	return []kv.WriteOption{kv.LastRevision(kv.Revision(last))}
}

func (a *app) deleteBucket(c *cobra.Command, f force, name string) error {
	if ok, err := a.confirm(c, f, fmt.Sprintf("Delete bucket %s?", name)); !ok {
		return err
	}
	return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
		ctx, cancel := context.WithTimeout(ctx, a.target.wait())
		defer cancel()
		if err := s.DeleteBucket(ctx, name); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(struct {
				Bucket  string `json:"bucket"`
				Deleted bool   `json:"deleted"`
			}{name, true})
		}
		return nil
	})
}

func (a *app) purgeCommand() *cobra.Command {
	var f force
	var last uint64
	var ttl ageFlag
	c := &cobra.Command{
		Use:   "purge BUCKET KEY",
		Short: "Delete a key and its history",
		Long: `Delete a key and its history, and write a purge marker, whose revision is printed.
With --ttl the marker is removed after that time.`,
		Example:           "  kvd purge my-kv Key1 -f",
		Args:              takes(2, 2),
		ValidArgsFunction: a.completeArgs(completeBucket, completeKey),
		RunE: func(c *cobra.Command, args []string) error {
			if ok, err := a.confirm(c, f, fmt.Sprintf("Purge key %s > %s?", args[0], args[1])); !ok {
				return err
			}
			opts := expected(c, last)
			if ttl != 0 {
				opts = append(opts, kv.PurgeTTL(time.Duration(ttl)))
			}
			return a.writeKey(c, args, func(ctx context.Context, b kv.Bucket) (kv.Revision, error) {
				return b.Purge(ctx, args[1], opts...)
			})
		},
	}
	f.addFlag(c)
	c.Flags().Var((*revisionFlag)(&last), "revision", "delete only if this is the newest revision of the key")
	c.Flags().Var(&ttl, "ttl", "time after which the marker is removed")
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func (a *app) compactCommand() *cobra.Command {
	var f force
	older := ageFlag(kv.DefaultMarkerAge)
	c := &cobra.Command{
		Use:   "compact BUCKET",
		Short: "Remove the history of deleted keys, and old markers",
		Long: `Remove the history of keys that are deleted or purged, and the markers that are
older than --older-than. With 0s, remove all markers.`,
		Example:           "  kvd compact my-kv -f",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			question := fmt.Sprintf("Remove the history of all deleted keys in bucket %s?", args[0])
			if ok, err := a.confirm(c, f, question); !ok {
				return err
			}
			age := time.Duration(older)
			if age == 0 {
				age = -1 // in the contract 0 is the default
			}
			return a.withBucket(c.Context(), args[0], func(ctx context.Context, b kv.Bucket) error {
				return b.PurgeDeletes(ctx, age)
			})
		},
	}
	f.addFlag(c)
	c.Flags().Var(&older, "older-than", "age from which markers are removed")
	a.addTarget(c)
	return c
}
