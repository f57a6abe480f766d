package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvd/kv"
	"kvd/kv/msglog"
)

func (a *app) lsCommand() *cobra.Command {
	var l lister
	c := &cobra.Command{
		Use:     "ls [BUCKET] [PATTERN...]",
		Aliases: []string{"list"},
		Short:   "List buckets, or the keys of a bucket",
		Long: `List all buckets, or the keys of a bucket that match any of the patterns. In a
pattern, "*" stands for one token between dots, and ">" at the end for one or more
tokens. Keys are in ascending order, as of one revision.

The output is a table on a terminal, and tab-separated lines elsewhere. The fields
of a bucket are name, description, creation time, bytes, values and newest
revision. With -v the fields of a key are key, time and revision, and the value
with --display-value.`,
		Example: `  kvd ls -n
  kvd ls my-kv 'service.*.web' 'db.>'`,
		Args:              takes(0, -1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				if len(args) == 0 {
					return l.buckets(ctx, a, s)
				}
				b, err := s.Bucket(ctx, args[0])
				if err != nil {
					return err
				}
				if ctx, err = a.reader(ctx, b, l.stale); err != nil {
					return err
				}
				return l.keys(ctx, a, b, a.patterns(args[1:]))
			})
		},
	}
	c.Flags().BoolVarP(&l.names, "names", "n", false, "print the names of buckets only")
	c.Flags().BoolVar(&l.all, "all", false, "include the buckets that hold JetStream streams")
	c.Flags().BoolVarP(&l.verbose, "verbose", "v", false, "print the revision and time of each key")
	c.Flags().BoolVar(&l.values, "display-value", false, "with -v, print the values")
	l.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// lister is the flags of a listing.
type lister struct {
	names, all, verbose, values bool
	stale                       stale
}

func (l *lister) buckets(ctx context.Context, a *app, s store) error {
	if l.names && !a.json {
		for name, err := range s.BucketNames(ctx) {
			if err != nil {
				return err
			}
			if l.shows(name) {
				fmt.Fprintln(a.out, name)
			}
		}
		return nil
	}
	t := a.newList("Key-Value Buckets", "Bucket", "Description", "Created", "Size", "Values", "Revision")
	found := false
	for st, err := range s.Buckets(ctx) {
		if err != nil {
			return err
		}
		if !l.shows(st.Config.Bucket) {
			continue
		}
		found = true
		switch c := &st.Config; {
		case a.json:
			if err := a.printJSON(newStatusJSON(&st)); err != nil {
				return err
			}
		case a.outTTY:
			t.add(c.Bucket, t.cell([]byte(c.Description)), t.time(st.Created), bytesText(st.Bytes), st.Values, st.Revision)
		default:
			t.add(c.Bucket, t.cell([]byte(c.Description)), t.time(st.Created), st.Bytes, st.Values, st.Revision)
		}
	}
	return a.endList(t, found, "No Key-Value buckets found")
}

// shows reports whether a bucket is listed. Buckets that a front end reserves are
// listed with --all alone.
func (l *lister) shows(bucket string) bool {
	return l.all || !strings.HasPrefix(bucket, msglog.ReservedBucket)
}

// endList prints the table. Where it is empty, only people are told, on standard error.
func (a *app) endList(t *list, found bool, nothing string) error {
	switch {
	case a.json:
	case !found:
		fmt.Fprintln(a.err, nothing)
	default:
		t.end()
	}
	return nil
}

func (l *lister) keys(ctx context.Context, a *app, b kv.Bucket, patterns []string) error {
	if !l.verbose {
		return l.keyNames(ctx, a, b, patterns)
	}
	headings := []string{"Key", "Created", "Revision"}
	if l.values {
		headings = append(headings, "Value")
	}
	t := a.newList(fmt.Sprintf("Contents for bucket '%s'", b.Name()), headings...)
	found := false
	var damaged damagedReads
	for e, err := range b.All(ctx, patterns...) {
		if damaged.skip(a, &e, err) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		if !l.values {
			e.Value = nil
		}
		switch {
		case a.json:
			j := newEntryJSON(&e)
			if !l.values {
				j.Value = nil
			}
			if err := a.printJSON(j); err != nil {
				return err
			}
		case l.values:
			t.add(a.key(e.Key), t.time(e.Created), e.Revision, t.cell(e.Value))
		default:
			t.add(a.key(e.Key), t.time(e.Created), e.Revision)
		}
	}
	if damaged > 0 && !found {
		return damaged.err(b.Name())
	}
	return errors.Join(a.endList(t, found, "No keys found in bucket"), damaged.err(b.Name()))
}

func (l *lister) keyNames(ctx context.Context, a *app, b kv.Bucket, patterns []string) error {
	found := false
	for key, err := range b.Keys(ctx, patterns...) {
		if err != nil {
			return err
		}
		found = true
		if a.json {
			if err := a.printJSON(struct {
				Bucket string `json:"bucket"`
				Key    string `json:"key"`
			}{b.Name(), key}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(a.out, a.key(key))
	}
	if !found && !a.json {
		fmt.Fprintln(a.err, "No keys found in bucket")
	}
	return nil
}

func (a *app) countCommand() *cobra.Command {
	var f stale
	c := &cobra.Command{
		Use:               "count BUCKET [PATTERN...]",
		Short:             "Count the keys of a bucket",
		Long:              "Count the keys that match any of the patterns. Without a pattern, count all keys (instant).",
		Example:           "  kvd count my-kv 'service.>'",
		Args:              takes(1, -1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				b, err := s.Bucket(ctx, args[0])
				if err != nil {
					return err
				}
				if ctx, err = a.reader(ctx, b, f); err != nil {
					return err
				}
				n, err := countKeys(ctx, b, a.patterns(args[1:]))
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						Bucket string `json:"bucket"`
						Keys   uint64 `json:"keys"`
					}{b.Name(), n})
				}
				fmt.Fprintln(a.out, n)
				return nil
			})
		},
	}
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func countKeys(ctx context.Context, b kv.Bucket, patterns []string) (uint64, error) {
	if len(patterns) == 0 {
		st, err := b.Status(ctx)
		if err != nil || st.Doubt == 0 { // otherwise the number may be wrong
			return st.Keys, err
		}
	}
	n := uint64(0)
	for _, err := range b.Keys(ctx, patterns...) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
