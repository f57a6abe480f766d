package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/bucket/verify"
	"kvd/kv"
)

func (a *app) verifyCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Check every byte of a store",
		Long: `Read the manifest, every record of every segment and every frame of the log, and
report damage by file and offset. Nothing is changed. The store must not be open in
another process. The exit code is 0 for a sound store and 8 for a damaged one.`,
		Example: "  kvd verify ./kvd-data",
		Args:    takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if c.Flags().Changed("data") {
					return usageOf(c, errors.New("the directory is given twice: as DIR and with --data"))
				}
				data = args[0]
			}
			return a.verify(data)
		},
	}
	c.Flags().StringVar(&data, "data", a.env("KVD_DATA", dataDefault), "directory of the store (KVD_DATA)")
	a.addJSON(c)
	return c
}

// damageJSON is one place of damage in JSON.
type damageJSON struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"` // -1: the file as a whole
	Detail string `json:"detail"`
	Cause  string `json:"cause,omitempty"`
}

// summaryJSON is the last object that verify prints.
type summaryJSON struct {
	Store      string   `json:"store"`
	Sound      bool     `json:"sound"`
	Damage     int      `json:"damage"` // places
	Buckets    int      `json:"buckets"`
	Segments   int      `json:"segments"`
	Records    int      `json:"records"`
	Frames     int      `json:"frames"`
	LogRecords int      `json:"log_records"`
	Bytes      int64    `json:"bytes"`
	TornLSN    uint64   `json:"torn_lsn,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	Seconds    float64  `json:"seconds"`
}

func (a *app) verify(dir string) error {
	if !holdsStore(dir) {
		return fmt.Errorf("%w in %s", errNoStore, dir)
	}
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	report, err := verify.Store(dir, verify.Options{
		Progress: func(b bucket.Progress) { p.show(string(b.Stage), b.Done, b.Total) },
		Damaged: func(d *kv.CorruptError) {
			p.clear()
			a.printDamage(d)
		},
	})
	p.clear()
	if err != nil {
		return err
	}
	if a.json {
		s := summaryJSON{
			Store: dir, Sound: report.Damage == 0, Damage: report.Damage, Buckets: report.Buckets, Segments: report.Segments,
			Records: report.Records, Frames: report.Frames, LogRecords: report.LogRecords, Bytes: report.Bytes,
			Notes: report.Notes, Seconds: report.Elapsed.Seconds(),
		}
		if report.Torn != nil {
			s.TornLSN = uint64(report.Torn.LSN)
		}
		if err := a.printJSON(s); err != nil {
			return err
		}
	} else {
		a.printVerified(dir, &report)
	}
	if report.Damage > 0 {
		return &damagedError{dir: dir, places: report.Damage}
	}
	return nil
}

func (a *app) printDamage(d *kv.CorruptError) {
	if !a.json {
		fmt.Fprintln(a.out, d)
		return
	}
	j := damageJSON{File: d.File, Offset: d.Offset, Detail: d.Detail}
	if d.Err != nil {
		j.Cause = d.Err.Error()
	}
	_ = a.printJSON(j) // an error stays for Flush
}

func (a *app) printVerified(dir string, r *verify.Report) {
	for _, n := range r.Notes {
		fmt.Fprintln(a.out, "note:", n)
	}
	if r.Torn != nil {
		fmt.Fprintf(a.out, "note: %s ends at offset %d in an unfinished write that was never acknowledged\n", r.Torn.File, r.Torn.Offset)
	}
	verdict := "sound"
	if r.Damage > 0 {
		verdict = fmt.Sprintf("damaged in %d places", r.Damage)
	}
	fmt.Fprintf(a.out, "%s: %s: %d buckets, %d segments with %d records, %d log frames with %d records, %s in %v\n",
		dir, verdict, r.Buckets, r.Segments, r.Records, r.Frames, r.LogRecords,
		bytesText(uint64(r.Bytes)), r.Elapsed.Round(time.Millisecond))
}

// damagedError is the error of a verification that found damage, which it has printed.
type damagedError struct {
	dir    string
	places int
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("store %s is damaged in %d places: restore a backup, or copy what is sound into a new store with \"kvd repair\"", e.dir, e.places)
}

// Unwrap returns errDamaged, for the exit code.
func (e *damagedError) Unwrap() error { return errDamaged }

var errDamaged = errors.New("damaged")
