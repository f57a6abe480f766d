package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
tokens. Keys are in ascending order, as of one revision. --from, --to and --after
compare keys byte by byte. --after with the last key of a page lists the next page.

With --tree the arguments are BUCKET and a PREFIX such as "service.web", and the output
is one level of the tree of keys below it: name, number of keys below it ("1000+" is
more than 1000), and whether the name itself is a key.

The output is a table on a terminal, and tab-separated lines elsewhere. The fields
of a bucket are name, description, creation time, bytes, values and newest
revision. With -v the fields of a key are key, time and revision, and the value
with --display-value; --values is both.`,
		Example: `  kvd ls -n
  kvd ls my-kv 'service.*.web' 'db.>'
  kvd ls my-kv --from 2026-01 --to 2026-02 --reverse --limit 10 --values
  kvd ls my-kv --tree service`,
		Args:              takes(0, -1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			if err := l.check(c, args); err != nil {
				return usageOf(c, err)
			}
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
				if l.tree {
					return l.children(ctx, a, b, args[1:])
				}
				return l.keys(ctx, a, b, a.patterns(args[1:]))
			})
		},
	}
	l.addFlags(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// lister is the flags of a listing.
type lister struct {
	names, all, verbose, values, both bool
	bounds                            kv.RangeOptions // From, To, After, Reverse and Limit
	ranged                            bool            // one of these is given
	tree                              bool
	separators                        string
	stale                             stale
}

// rangeFlags are those that select a range of keys, besides --limit.
var rangeFlags = []string{"from", "to", "after", "reverse"}

func (l *lister) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVarP(&l.names, "names", "n", false, "print the names of buckets only")
	f.BoolVar(&l.all, "all", false, "include the buckets that hold JetStream streams")
	f.BoolVarP(&l.verbose, "verbose", "v", false, "print the revision and time of each key")
	f.BoolVar(&l.values, "display-value", false, "with -v, print the values")
	f.BoolVar(&l.both, "values", false, "print the revision, time and value of each key")
	f.StringVar(&l.bounds.From, "from", "", "first `key`")
	f.StringVar(&l.bounds.To, "to", "", "end of the range: a `key` that is not included")
	f.StringVar(&l.bounds.After, "after", "", "go on behind this `key`, which may be gone")
	f.BoolVar(&l.bounds.Reverse, "reverse", false, "descending order")
	f.IntVar(&l.bounds.Limit, "limit", 0, "largest `number` of keys, or of names with --tree; 0: all")
	f.BoolVar(&l.tree, "tree", false, "list one level of the tree of keys")
	f.StringVar(&l.separators, "separators", ".", "with --tree, the `characters` between the levels, such as ./")
	l.stale.addFlag(c)
}

// check returns what is wrong with the flags.
func (l *lister) check(c *cobra.Command, args []string) error {
	changed := c.Flags().Changed
	for _, name := range append([]string{"limit", "values", "tree", "separators"}, rangeFlags...) {
		if changed(name) && len(args) == 0 {
			return fmt.Errorf("--%s needs a BUCKET", name)
		}
	}
	for _, name := range append([]string{"verbose", "display-value", "values"}, rangeFlags...) {
		if l.tree && changed(name) {
			return fmt.Errorf("use --tree or --%s, not both", name)
		}
	}
	switch {
	case l.bounds.Limit < 0:
		return fmt.Errorf("--limit %d: must not be negative", l.bounds.Limit)
	case l.separators == "":
		return errors.New("--separators is empty")
	case !l.tree && changed("separators"):
		return errors.New("--separators is for --tree")
	case l.tree && len(args) > 2:
		return fmt.Errorf("--tree takes one PREFIX: unexpected argument %q", args[2])
	}
	l.verbose, l.values = l.verbose || l.both, l.values || l.both
	l.ranged = slices.ContainsFunc(append([]string{"limit"}, rangeFlags...), changed)
	return nil
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
