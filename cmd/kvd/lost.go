package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"kvd/kv"
)

func (a *app) lostCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lost [BUCKET]",
		Short: "List what damage took",
		Long: `List what damage took from a bucket or may have taken, or from all buckets. The
output is a table on a terminal, and tab-separated lines elsewhere: bucket, what,
revisions, number of records, and key or damaged place. What is:

  doubt     up to this revision records may be missing: keys without a newer record
            cannot be read, and the bucket cannot be listed, unless with --stale
  missing   records with these revisions are missing, and nobody knows of which keys
  lost      the value of this record is lost

A put or a delete of a key ends its loss. A backup may have the values; "kvd repair"
copies what is sound into a new store. The exit code is 0 if nothing is lost or in doubt,
and 8 otherwise.`,
		Example: `  kvd lost
  kvd lost my-kv --json`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				return a.lost(ctx, s, args)
			})
		},
	}
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// lost lists what is lost of these buckets, or of all if none is named.
func (a *app) lost(ctx context.Context, s store, buckets []string) error {
	if len(buckets) == 0 {
		for name, err := range s.BucketNames(ctx) {
			if err != nil {
				return err
			}
			buckets = append(buckets, name)
		}
	}
	l := a.newLosses("Lost and in doubt")
	affected := 0
	for _, name := range buckets {
		d, err := doubtOf(ctx, s, name, kv.Doubtful.Doubt)
		if err != nil {
			return err
		}
		if isSound(&d) {
			continue
		}
		affected++
		if err := l.add(name, &d); err != nil {
			return err
		}
	}
	l.end("Nothing is lost or in doubt.")
	if affected > 0 {
		return fmt.Errorf("%w: %s lost records, or may have: a backup may have them; \"kvd repair\" copies what is sound into a new store",
			errDamaged, counted(uint64(affected), "bucket", "buckets"))
	}
	return nil
}

// doubtOf asks a bucket about its doubt.
func doubtOf(ctx context.Context, s store, name string, ask func(kv.Doubtful, context.Context) (kv.Doubt, error)) (kv.Doubt, error) {
	b, err := s.Bucket(ctx, name)
	if err != nil {
		return kv.Doubt{}, err
	}
	doubtful, ok := kv.As[kv.Doubtful](b)
	if !ok {
		return kv.Doubt{}, fmt.Errorf("%w: this store does not say what damage took", kv.ErrNotSupported)
	}
	return ask(doubtful, ctx)
}

func (a *app) acceptCommand() *cobra.Command {
	var f force
	var buckets bool
	c := &cobra.Command{
		Use:   "accept BUCKET | --buckets --dir DIR",
		Short: "Give up the records that damage took from a bucket",
		Long: `Give up the records of a bucket that are missing after damage, and print what was
given up, as "kvd lost" does. From then on the newest records that are there count as
the newest: an old value may be read as the newest one, and a deleted key may be back.
This cannot be undone: first look for the records in a copy or a backup.

With --buckets it gives up changes of buckets as a whole that are missing, such as a
creation or a deletion: from then on the buckets that are there are all that there are.
The store must not be served then.`,
		Example: `  kvd lost my-kv
  kvd accept my-kv
  kvd accept --buckets --dir data`,
		Args:              takes(0, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			if buckets == (len(args) == 1) {
				return usageOf(c, errors.New("name a bucket, or use --buckets"))
			}
			if buckets {
				return a.acceptBuckets(c, f)
			}
			question := fmt.Sprintf("Give up the missing records of bucket %s? Old values may count as the newest from then on.", args[0])
			if ok, err := a.confirm(c, f, question); !ok {
				return err
			}
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				return a.accept(ctx, s, args[0])
			})
		},
	}
	c.Flags().BoolVar(&buckets, "buckets", false, "give up changes of buckets as a whole")
	f.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// acceptBuckets gives up changes of buckets that damage took.
func (a *app) acceptBuckets(c *cobra.Command, f force) error {
	question := "Give up the missing changes of buckets? Deleted buckets may be back, and others may be gone."
	if ok, err := a.confirm(c, f, question); !ok {
		return err
	}
	return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
		d, ok := kv.As[kv.DoubtfulStore](s)
		if !ok {
			return fmt.Errorf("%w: stop the server, and name its directory with --dir", kv.ErrNotSupported)
		}
		given, err := d.AcceptOperations(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "Given up: %d changes of buckets\n", given)
		return nil
	})
}

func (a *app) accept(ctx context.Context, s store, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, a.target.wait())
	defer cancel()
	given, err := doubtOf(ctx, s, bucket, kv.Doubtful.AcceptLoss)
	if err != nil {
		return err
	}
	l := a.newLosses("Given up")
	if a.json || !isSound(&given) {
		if err := l.add(bucket, &given); err != nil {
			return err
		}
	}
	l.end(fmt.Sprintf("Nothing of bucket %s is in doubt.", bucket))
	return nil
}

func isSound(d *kv.Doubt) bool {
	return d.Bound == 0 && !d.Unknown && len(d.Missing) == 0 && len(d.Lost) == 0
}

// losses prints what is lost of buckets.
type losses struct {
	app   *app
	list  *list
	found bool
}

func (a *app) newLosses(title string) *losses {
	return &losses{app: a, list: a.newList(title, "Bucket", "What", "Revisions", "Records", "Key or place")}
}

// doubtJSON is what is lost of a bucket in JSON.
type doubtJSON struct {
	Bucket  string        `json:"bucket"`
	Doubt   kv.Revision   `json:"doubt"`         // 0: none
	All     bool          `json:"all,omitempty"` // the bucket is in doubt as a whole
	Missing []missingJSON `json:"missing"`
	Lost    []lostJSON    `json:"lost"`
}

type missingJSON struct {
	After   kv.Revision `json:"after"`
	UpTo    kv.Revision `json:"up_to"`
	Records uint64      `json:"records,omitempty"` // 0: unknown
	File    string      `json:"file"`
	Offset  int64       `json:"offset"` // -1: the file as a whole
}

type lostJSON struct {
	Key      string      `json:"key"`
	Revision kv.Revision `json:"revision"`
}

func (l *losses) add(bucket string, d *kv.Doubt) error {
	l.found = true
	if l.app.json {
		j := doubtJSON{Bucket: bucket, Doubt: d.Bound, All: d.Unknown, Missing: []missingJSON{}, Lost: []lostJSON{}}
		for _, m := range d.Missing {
			j.Missing = append(j.Missing, missingJSON(m))
		}
		for _, r := range d.Lost {
			j.Lost = append(j.Lost, lostJSON(r))
		}
		return l.app.printJSON(j)
	}
	switch {
	case d.Unknown:
		l.list.add(bucket, "doubt", "all", "", "")
	case d.Bound != 0:
		l.list.add(bucket, "doubt", fmt.Sprintf("1-%d", d.Bound), "", "")
	}
	for _, m := range d.Missing {
		records, place := "", m.File
		if m.Records != 0 {
			records = fmt.Sprint(m.Records)
		}
		if m.Offset >= 0 {
			place += fmt.Sprintf(" at offset %d", m.Offset)
		}
		l.list.add(bucket, "missing", revisions(m.After+1, m.UpTo), records, place)
	}
	for _, r := range d.Lost {
		l.list.add(bucket, "lost", r.Revision, 1, l.list.cell([]byte(r.Key)))
	}
	return nil
}

// revisions returns a range of revisions, both included.
func revisions(first, last kv.Revision) string {
	switch {
	case first == last:
		return fmt.Sprint(first)
	case last == math.MaxUint64:
		return fmt.Sprintf("%d and above", first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// end prints the table. If it is empty, only people are told, on standard error.
func (l *losses) end(nothing string) {
	_ = l.app.endList(l.list, l.found, nothing) // it returns nil
}

// counted returns a number with its noun.
func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// isDamaged reports whether err is that of one entry of a listing, which goes on.
func isDamaged(e *kv.Entry, err error) bool {
	return errors.Is(err, kv.ErrCorrupt) && e.Key != ""
}
