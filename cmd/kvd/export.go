package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"kvd/backup/lines"
	"kvd/kv"
)

// exportFlags are the flags of kvd export.
type exportFlags struct {
	out     string
	history bool
	stale   stale
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export BUCKET",
		Short: "Write a bucket as lines of JSON",
		Long: `Write a bucket as lines of JSON: its configuration, the newest record of each key with
revision and time, markers too, and a last line that proves the export whole. All records
are of one moment, and writers go on. With --out, FILE appears once it is whole and on
the disk; it must not exist yet, and only you can read it. "kvd import" makes a bucket of
it, or puts its records into one that exists. It holds values in plain.

If many records are superseded while a large bucket is read, the export fails, and can
be tried again; "kvd backup" does not fail so. With --stale a bucket in doubt is exported
as it is known, without the values that cannot be read: they are named, and the exit code
is 8.`,
		Example: `  kvd export my-kv --out my-kv.jsonl
  kvd export my-kv --history | zstd > my-kv.jsonl.zst
  kvd export my-kv | jq -r 'select(.op == "put") | .key'`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			if f.out == stdinValue && a.outTTY {
				return usageOf(c, errors.New("standard output is a terminal: name a file with --out, or a pipe"))
			}
			return a.export(c.Context(), args[0], &f)
		},
	}
	c.Flags().BoolVar(&f.history, "history", false, "all records that are kept, and not the newest of each key alone")
	c.Flags().StringVar(&f.out, "out", stdinValue, "file to write; \"-\" is standard output")
	f.stale.addFlag(c)
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// exportedJSON is what export prints in JSON.
type exportedJSON struct {
	Bucket  string `json:"bucket"`
	File    string `json:"file"`
	Records uint64 `json:"records"`
}

// export writes a bucket to a file, or to standard output.
func (a *app) export(ctx context.Context, name string, f *exportFlags) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a.target.interrupted = func(err error) { // what comes on another connection is of another moment
		if err != nil {
			stop(err)
		}
	}
	var damaged damagedReads
	err := a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
		b, err := s.Bucket(ctx, name)
		if err != nil {
			return err
		}
		if ctx, err = a.reader(ctx, b, f.stale); err != nil {
			return err
		}
		records, err := a.writeExport(ctx, b, f, &damaged)
		if err != nil {
			return err
		}
		return a.printExported(name, f.out, records)
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	if errors.Is(err, lines.ErrChanged) {
		err = &hintedError{fmt.Errorf("%w (try again when fewer clients write, or use \"kvd backup\")", err)}
	}
	if err != nil {
		return err
	}
	return damaged.err(name)
}

// writeExport writes a bucket to the file of the flags. It returns how many records that are.
func (a *app) writeExport(ctx context.Context, b kv.Bucket, f *exportFlags, damaged *damagedReads) (records uint64, err error) {
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	defer p.clear()
	o := lines.ExportOptions{
		History:  f.history,
		Progress: func(done, total uint64) { p.showRecords("export", done, total) },
	}
	if f.stale {
		o.Damaged = func(e *kv.Entry, err error) {
			p.clear()
			damaged.skip(a, e, err)
		}
	}
	_, err = a.writeWhole(f.out, func(w io.Writer) (err error) {
		records, err = lines.Export(ctx, b, w, o)
		return err
	})
	return records, err
}

// printExported says what was exported: on standard error, if the export is on standard output.
func (a *app) printExported(bucket, file string, records uint64) error {
	out := io.Writer(a.out)
	switch {
	case file == stdinValue:
		out = a.err
	case a.json:
		return a.printJSON(exportedJSON{bucket, file, records})
	}
	if file != stdinValue || a.errTTY {
		fmt.Fprintf(out, "%s: %s of bucket %s\n", file, counted(records, "record", "records"), bucket)
	}
	return nil
}
