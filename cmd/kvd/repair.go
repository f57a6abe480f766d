package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
	"kvd/repair"
)

// repairFlags are the flags of kvd repair.
type repairFlags struct {
	dir, into, prefer, report string
	acceptLogLoss, dryRun     bool
}

func (a *app) repairCommand() *cobra.Command {
	var f repairFlags
	c := &cobra.Command{
		Use:   "repair --dir DIR --into NEW",
		Short: "Copy what is sound of a damaged store into a new one",
		Long: `Copy what is sound of a damaged store into a new directory, and say record by record
what is lost. The damaged store is not changed; it must not be open in another process.
Revisions, times and headers stay; the next revision of each bucket is far above the
damaged one's.

The report says of each bucket how many records and keys were recovered, and:

  lost       values that are lost; their keys and revisions are known
  left out   keys whose newest value is lost. An older value must not pass for the newest
             one: it is in NEW/lost.jsonl. --prefer older takes it
  missing    records that are lost and whose keys nobody knows
  at risk    keys that may have had a newer value, or have been deleted, and are copied

With --report each of them is a line of JSON in a file. The exit code is 0 if nothing is
lost, 8 if something is, and 1 if nothing could be recovered.`,
		Example: `  kvd repair --dir ./kvd-data --dry-run
  kvd repair --dir ./kvd-data --into ./kvd-new --report report.jsonl`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case f.into == "" && !f.dryRun:
				return usageOf(c, errors.New("name the new directory with --into, or see what would be lost with --dry-run"))
			case f.into != "" && f.dryRun:
				return usageOf(c, errors.New("--dry-run makes no new store: --into has no meaning"))
			case f.prefer != "newest" && f.prefer != "older":
				return usageOf(c, fmt.Errorf("--prefer %q: must be newest or older", f.prefer))
			}
			return a.repair(c.Context(), &f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.dir, "dir", a.env("KVD_DATA", dataDefault), "directory of the damaged store (KVD_DATA)")
	flags.StringVar(&f.into, "into", "", "directory of the new store, which must not exist or be empty")
	flags.StringVar(&f.prefer, "prefer", "newest", "newest leaves out a key whose newest value is lost, older takes an older one")
	flags.BoolVar(&f.acceptLogLoss, "accept-log-loss", false, "take buckets of which a change as a whole may be missing")
	flags.StringVar(&f.report, "report", "", "write the report to this file, one JSON object per line")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be recovered and lost")
	_ = c.MarkFlagDirname("dir")  // it exists
	_ = c.MarkFlagDirname("into") // it exists
	completeEnum(c, "prefer", "newest", "older")
	a.addJSON(c)
	return c
}

// errLost is the outcome of a repair that could not recover everything.
var errLost = fmt.Errorf("%w: not everything could be recovered", errDamaged)

func (a *app) repair(ctx context.Context, f *repairFlags) (err error) {
	out, err := newReportFile(f.report)
	if err != nil {
		return err
	}
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	report, err := repair.Store(ctx, f.dir, f.into, repair.Options{
		PreferOlder: f.prefer == "older", AcceptLogLoss: f.acceptLogLoss,
		Progress: func(b bucket.Progress) { p.show(string(b.Stage), b.Done, b.Total) },
		Found: func(line *repair.Finding) error {
			if a.json {
				if err := a.printJSON(line); err != nil {
					return err
				}
			}
			return out.add(line)
		},
	})
	p.clear()
	if err = errors.Join(err, out.close()); err != nil {
		out.remove()
		if errors.Is(err, kv.ErrNotStore) {
			return fmt.Errorf("%w in %s", errNoStore, f.dir)
		}
		return err
	}
	if !a.json {
		a.printRepair(f, &report)
	}
	if !report.Sound() {
		return &hintedError{fmt.Errorf("%w: %s", errLost, f.wayOut())}
	}
	return nil
}

// wayOut says where the details are.
func (f *repairFlags) wayOut() string {
	if f.report == "" {
		return "--report FILE lists each record and key"
	}
	return f.report + " lists each record and key"
}

func (a *app) printRepair(f *repairFlags, r *repair.Report) {
	if r.Rebuilt {
		fmt.Fprintln(a.out, "note: the manifest is lost: one was made from the segments and the log. Buckets whose names are lost are called recovered-ID")
	}
	if r.MissingChanges > 0 {
		fmt.Fprintf(a.out, "note: %s of buckets as a whole are missing: buckets may be missing, and deleted ones may be back\n", counted(r.MissingChanges, "change", "changes"))
	}
	if r.LostPages > 0 {
		fmt.Fprintf(a.out, "note: the disk did not give back %s\n", counted(uint64(r.LostPages), "page", "pages"))
	}
	list := a.newList("Recovered and lost", "Bucket", "Records", "Keys", "Lost", "Left out", "Missing", "At risk", "")
	for i := range r.Buckets {
		b := &r.Buckets[i]
		missing := fmt.Sprint(b.Missing)
		if b.Unsure {
			missing += " or more"
		}
		list.add(b.Name, b.Records, b.Keys, b.Lost, b.LeftOut, missing, b.AtRisk, b.Skipped)
	}
	list.end()
	if f.into != "" {
		fmt.Fprintf(a.out, "The new store is in %s. Check it, then serve it in place of %s.\n", f.into, f.dir)
	}
}

// reportFile is the file of --report; the zero value writes nothing.
type reportFile struct {
	file *os.File
	out  *bufio.Writer
}

// newReportFile makes the file, which must not exist. It has keys, so others may not read it.
func newReportFile(name string) (r reportFile, err error) {
	if name == "" {
		return r, nil
	}
	if r.file, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return r, err
	}
	r.out = bufio.NewWriter(r.file)
	return r, nil
}

func (r *reportFile) add(line *repair.Finding) error {
	if r.file == nil {
		return nil
	}
	e := json.NewEncoder(r.out)
	e.SetEscapeHTML(false)
	return e.Encode(line)
}

func (r *reportFile) close() error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.out.Flush(), r.file.Sync(), r.file.Close())
}

// remove removes the file of a repair that failed: it would be in the way of the next one.
func (r *reportFile) remove() {
	if r.file != nil {
		_ = os.Remove(r.file.Name()) // the repair's error is the cause
	}
}
