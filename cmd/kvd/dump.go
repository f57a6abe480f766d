package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket/dump"
	"kvd/kv"
	"kvd/wal"
)

// dumpFlags are the flags of kvd dump.
type dumpFlags struct {
	dir, file, what, bucket, key, lsn, values, seed string
	offset                                          int64
	snapshot                                        bool
}

func (a *app) dumpCommand() *cobra.Command {
	var f dumpFlags
	c := &cobra.Command{
		Use:   "dump [DIR]",
		Short: "Show what the files of a store hold, part by part",
		Long: `Show each edit of the manifest, each frame, operation and record of the log, and each
record and index page of the segments: offset, size, content and checksums. Nothing is
changed. The store must not be open in another process, unless with --snapshot, which
reads the files as they stand.

Each record has a verdict:

  live      the store keeps it
  dead      a rule removed it: floor (a newer record of its key), expired, cut (a shorter
            history), forgotten (purge-deletes), marker expired (its deadline), deleted (the
            bucket). The line says what decided that
  covered   a record of the log that the segments have
  damaged   the store keeps it, and its value cannot be read
  ignored   it does not count: the manifest does not name it

With --bucket and --key it tells the biography of a key. --file shows a file without its
store.`,
		Example: `  kvd dump --bucket my-kv --key Key1 --values full
  kvd dump ./kvd-data --what manifest
  kvd dump --lsn 100..120
  kvd dump --file lost/000000000000002a.seg --offset 4096`,
		Args: takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if c.Flags().Changed("dir") {
					return usageOf(c, errors.New("the directory is given twice: as DIR and with --dir"))
				}
				f.dir = args[0]
			}
			opts, err := f.options(c)
			if err != nil {
				return usageOf(c, err)
			}
			return a.dump(&f, opts)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", a.env("KVD_DATA", dataDefault), "directory of the store (KVD_DATA)")
	flags.StringVar(&f.file, "file", "", "show this file alone, without verdicts")
	flags.Int64Var(&f.offset, "offset", 0, "with --file: the part at this offset alone")
	flags.StringVar(&f.what, "what", "all", "manifest, log, segments, index or all, joined by commas")
	flags.StringVar(&f.bucket, "bucket", "", "show this bucket alone")
	flags.StringVar(&f.key, "key", "", "show the records of this key alone")
	flags.StringVar(&f.lsn, "lsn", "", "show these frames of the log alone: A..B, A.., ..B or A")
	flags.StringVar(&f.values, "values", "none", "none, prefix or full")
	flags.StringVar(&f.seed, "seed", "", "the store's seed in hexadecimal, where the manifest is gone")
	flags.BoolVar(&f.snapshot, "snapshot", false, "read the files of a store that may be open")
	_ = c.MarkFlagDirname("dir") // it exists
	completeEnum(c, "what", "all", "manifest", "log", "segments", "index")
	completeEnum(c, "values", "none", "prefix", "full")
	exclusive(c, "dir", "file")
	a.addJSON(c)
	return c
}

// options returns what the flags ask for.
func (f *dumpFlags) options(c *cobra.Command) (o dump.Options, err error) {
	o = dump.Options{Bucket: f.bucket, Key: f.key, Snapshot: f.snapshot}
	if o.What, err = dump.ParseWhat(f.what); err != nil {
		return o, err
	}
	if o.Values, err = dump.ParseValues(f.values); err != nil {
		return o, err
	}
	if o.First, o.Last, err = parseLSNs(f.lsn); err != nil {
		return o, err
	}
	if f.seed != "" {
		if o.Seed, err = strconv.ParseUint(strings.TrimPrefix(f.seed, "0x"), 16, 64); err != nil {
			return o, fmt.Errorf("--seed %q: must be up to 16 hexadecimal digits", f.seed)
		}
	}
	if c.Flags().Changed("offset") {
		if f.file == "" {
			return o, errors.New("--offset is a place in a file: name the file with --file")
		}
		o.Offset = &f.offset
	}
	return o, nil
}

// parseLSNs reads a range of frames: A..B, A.., ..B or A; both included.
func parseLSNs(text string) (first, last wal.LSN, err error) {
	if text == "" {
		return 0, 0, nil
	}
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		to = from
	}
	parse := func(s string) wal.LSN {
		if s == "" && isRange {
			return 0
		}
		n, bad := strconv.ParseUint(s, 10, 64)
		if bad != nil || n == 0 {
			err = fmt.Errorf("--lsn %q: must be A..B, A.., ..B or A, from 1 on", text)
		}
		return wal.LSN(n)
	}
	first, last = parse(from), parse(to)
	if err == nil && first == 0 {
		first = 1
	}
	return first, last, err
}

func (a *app) dump(f *dumpFlags, opts dump.Options) error {
	tell := func(i *dump.Item) error {
		if a.json {
			return a.printJSON(i)
		}
		a.printItem(i)
		return nil
	}
	if f.file != "" {
		return dump.File(f.file, opts, tell)
	}
	err := dump.Store(f.dir, opts, tell)
	switch {
	case errors.Is(err, kv.ErrLocked):
		err = &hintedError{fmt.Errorf("%w (stop that process, or read the files as they stand with --snapshot)", err)}
	case errors.Is(err, kv.ErrNotStore):
		err = fmt.Errorf("%w in %s", errNoStore, f.dir)
	}
	return err
}

// printItem prints a part of a file in one line: offset, size, kind, verdict, content, checksums.
func (a *app) printItem(i *dump.Item) {
	switch {
	case i.Kind == dump.KindFile:
		fmt.Fprintf(a.out, "%s: %s, %d bytes\n", i.File, i.Text, i.Size)
		return
	case i.Offset < 0:
		fmt.Fprintf(a.out, "%s: %s: %s\n", i.File, i.Kind, i.Text)
		return
	}
	var parts []string
	for _, part := range []string{itemText(i), i.Text, verdictText(i), sumsText(i.Sums)} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	line := fmt.Sprintf("%10d %8d  %-9s %-8s  %s", i.Offset, i.Size, i.Kind, i.Verdict.State, strings.Join(parts, "; "))
	fmt.Fprintln(a.out, strings.TrimRight(line, " "))
}

func verdictText(i *dump.Item) string {
	switch v := &i.Verdict; {
	case v.Rule != "" && v.By != "":
		return v.Rule + ": " + v.By
	default:
		return v.By
	}
}

func sumsText(sums []dump.Sum) string {
	var parts []string
	for _, s := range sums {
		if s.Matches() {
			parts = append(parts, fmt.Sprintf("%s %v", s.Of, s.Stored))
		} else {
			parts = append(parts, fmt.Sprintf("%s %v is stored, %v is computed", s.Of, s.Stored, s.Computed))
		}
	}
	return strings.Join(parts, ", ")
}

// itemText returns the content of a part of a file.
func itemText(i *dump.Item) string {
	switch {
	case i.Header != nil && i.Kind == dump.KindHeader:
		return headerText(i.Header)
	case i.Edit != nil:
		return editText(i.Edit)
	case i.Frame != nil:
		f := i.Frame
		return fmt.Sprintf("LSN %d, synced %d, %s, payload of %d bytes, %d records and %d operations before", f.LSN, f.Synced,
			f.Time.Format(time.RFC3339Nano), f.Payload, f.Words.Records, f.Words.Operations)
	case i.Operation != nil:
		return operationText(i.Operation)
	case i.Record != nil:
		return recordText(i.Record)
	case i.Page != nil:
		p := i.Page
		return fmt.Sprintf("of the index block of %d pages at %d, the one before at %d; %d records from %d on, %d before", p.Pages, p.Block, p.Previous, p.Records, p.First, p.RecordsBefore)
	case i.Entry != nil:
		e := i.Entry
		return fmt.Sprintf("%s %s revision %d, %d bytes at %d", e.Operation, printable([]byte(e.Key)), e.Revision, e.Size, e.At)
	}
	return ""
}

func headerText(h *dump.Header) string {
	text := fmt.Sprintf("version %d, store %s", h.Version, h.Store)
	if h.Seed != 0 {
		text += fmt.Sprintf(", seed %v", h.Seed)
	}
	switch h.Of {
	case "manifest":
		text += fmt.Sprintf(", generation %d", h.Generation)
	case "log":
		text += fmt.Sprintf(", use %d of file %d, %d bytes, salt %v, after LSN %d of use %d", h.Number, h.FileID, h.FileSize, h.Salt, h.After, h.Previous)
	case "segment", "value":
		text += fmt.Sprintf(", %s %d of bucket %d", h.Of, h.Number, h.Bucket)
	}
	if h.Features != 0 {
		text += fmt.Sprintf(", features %#x", h.Features)
	}
	return text
}

// editText returns what an edit of the manifest sets.
func editText(e *dump.Edit) string {
	var parts []string
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(e.LogLow != 0, "log position %d", e.LogLow)
	add(e.Clock != 0, "clock %s", nanosText(e.Clock))
	add(e.Numbers != 0, "file numbers from %d", e.Numbers)
	add(e.MaxBucketID != 0, "highest bucket %d", e.MaxBucketID)
	add(e.ValueFiles, "value files")
	add(e.LostOperations != nil, "lost operations")
	for _, id := range e.Deleted {
		parts = append(parts, fmt.Sprintf("bucket %d deleted", id))
	}
	for i := range e.Buckets {
		parts = append(parts, bucketText(&e.Buckets[i]))
	}
	add(e.Clean, "closed in good order")
	return strings.Join(parts, ", ")
}

func bucketText(b *dump.Bucket) string {
	text := fmt.Sprintf("bucket %d %s (life %d, position %d, next revision %d", b.ID, b.Name, b.Life, b.Position, b.Next)
	r := &b.Rules
	for _, rule := range []struct {
		name string
		upTo kv.Revision
	}{{"expired", r.ExpiredUpTo}, {"purge-deletes", r.PurgedDeletesUpTo}, {"markers forgotten", r.ForgottenMarkers}} {
		if rule.upTo != 0 {
			text += fmt.Sprintf(", %s up to %d", rule.name, rule.upTo)
		}
	}
	for _, c := range r.Cuts {
		text += fmt.Sprintf(", cut to %d at %d", c.Keep, c.UpTo)
	}
	if b.Doubt != nil {
		text += fmt.Sprintf(", in doubt up to %d, %d values lost", b.Doubt.Bound, len(b.Doubt.Lost))
	}
	for i := range b.Segments {
		s := &b.Segments[i]
		state := "active"
		if s.Sealed {
			state = "sealed"
		}
		text += fmt.Sprintf(", %s segment %d of %d bytes with %d records %d to %d", state, s.Number, s.Size, s.Records, s.First, s.Last)
	}
	return text + ")"
}

func operationText(o *dump.Operation) string {
	text := fmt.Sprintf("%s bucket %d", o.Name, o.Bucket)
	if o.Second {
		text += ", second copy"
	}
	return withParts(text,
		part{o.Keep != 0, fmt.Sprintf("the history is cut to %d", o.Keep)},
		part{o.UpTo != 0, fmt.Sprintf("up to revision %d", o.UpTo)},
		part{o.MarkersUpTo != 0, fmt.Sprintf("markers up to revision %d", o.MarkersUpTo)},
		part{o.UnmarkedUpTo != 0, fmt.Sprintf("unmarked up to revision %d", o.UnmarkedUpTo)},
		part{o.MarkersExpiredUpTo != 0, "deadlines up to " + nanosText(o.MarkersExpiredUpTo)},
		part{o.Hidden, "an import begins"},
		part{o.Name == "Reveal", fmt.Sprintf("the import up to revision %d is committed, the next is %d", o.Last, o.Next)},
		part{o.Life != 0, fmt.Sprintf("life %d", o.Life)},
		part{o.Config != nil, string(o.Config)},
	)
}

// part is a part of a line, if it is set.
type part struct {
	set  bool
	text string
}

// withParts adds the parts that are set.
func withParts(text string, parts ...part) string {
	for _, p := range parts {
		if p.set {
			text += ", " + p.text
		}
	}
	return text
}

func nanosText(ns int64) string {
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

func recordText(r *dump.Record) string {
	where := fmt.Sprintf("bucket %d", r.Bucket)
	if r.Name != "" {
		where = r.Name
	}
	text := fmt.Sprintf("%s %s > %s revision %d, floor %d, %s", r.Operation, where, printable([]byte(r.Key)), r.Revision, r.Floor, r.Created.Format(time.RFC3339Nano))
	text = withParts(text,
		part{r.Reason != "", "by " + r.Reason},
		part{r.First, "first of its key"},
		part{r.Deadline != nil, "deadline " + timeText(r.Deadline)},
		part{r.Operation == "PUT" && !r.Lost, fmt.Sprintf("value of %d bytes", r.Length)},
		part{r.Compressed, fmt.Sprintf("compressed to %d", r.Stored)},
		part{r.ValueFile != 0, fmt.Sprintf("in value file %d", r.ValueFile)},
		part{r.Headers != 0, fmt.Sprintf("headers of %d bytes", r.Headers)},
		part{r.Lost, "the value was lost before"},
		part{r.Unverified, "unverified: the store's seed is not known"},
	)
	if r.Value != nil {
		value := printable([]byte(*r.Value))
		if r.Cut {
			value += "…"
		}
		text += ": " + value
	}
	return text
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
