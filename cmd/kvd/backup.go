package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kvd/backup"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/bucket/verify"
	"kvd/kv"
)

func (a *app) backupCommand() *cobra.Command {
	var o bucket.BackupOptions
	var rate sizeFlag
	var place placeOptions
	c := &cobra.Command{
		Use:   "backup FILE|REPOSITORY",
		Short: "Copy a store to one file, or to a repository, while it is used",
		Long: `Write all buckets, or those of --bucket, to one file, as they were at one moment.
Reads and writes go on meanwhile. FILE appears once it is whole and on the disk; it
must not exist yet. "-" is standard output, which must not be a terminal. Buckets in
memory are in the backup with their configurations alone. The file holds values in
plain: only you can read it. The users file and certificates are not in it. A server
with users wants the permissions admin and get in each bucket, or for the pattern "*".

A repository is a directory that exists or ends with "/", or s3://bucket/prefix. It keeps
many backups of one store, and each uploads what is new. S3 credentials come from the
environment, the AWS files or the machine's role. "kvd serve --backup" makes backups at
regular times.

What is copied is verified. If the store is damaged, the backup has everything that
can be read, says what is damaged, and the exit code is 8.`,
		Example: `  kvd backup kvd-2026-11-30.tar
  kvd backup orders.tar --bucket orders --rate 50M --dir ./kvd-data
  kvd backup - | age -r RECIPIENT > kvd.tar.age
  kvd backup s3://my-backups/kvd`,
		Args: takesBackup,
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "-" && a.outTTY {
				return usageOf(c, errors.New("standard output is a terminal: name a file, or a pipe"))
			}
			o.Rate = int64(rate)
			if isPlace(args[0]) {
				return a.backupToRepository(c.Context(), args[0], place, o)
			}
			return a.backup(c.Context(), args[0], o)
		},
	}
	c.Flags().StringArrayVar(&o.Buckets, "bucket", nil, "back up this bucket alone (several times: these)")
	c.Flags().Var(&rate, "rate", "most bytes to read from the disk a second (0: no bound)")
	place.addFlags(c.Flags())
	a.addTarget(c)
	a.addJSON(c)
	c.AddCommand(a.backupVerifyCommand(), a.backupLsCommand())
	return c
}

// takenJSON is what backup prints in JSON.
type takenJSON struct {
	File    string    `json:"file"`
	LSN     uint64    `json:"lsn"`
	Time    time.Time `json:"time"`
	Buckets int       `json:"buckets"`
	Bytes   int64     `json:"bytes"` // of files
	Size    int64     `json:"size"`  // of the backup
	Damage  int       `json:"damage"`
	Seconds float64   `json:"seconds"`
}

// backup writes a backup to a file, or to standard output.
func (a *app) backup(ctx context.Context, name string, o bucket.BackupOptions) error {
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	o.Progress = p.showBytes
	return a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
		source, ok := kv.As[backup.Source](s)
		if !ok {
			return a.backupServer(ctx, s, name, o)
		}
		var report cut.Report
		size, err := a.writeWhole(name, func(w io.Writer) (err error) {
			report, err = backup.Write(ctx, w, source, o)
			p.clear()
			return err
		})
		if err != nil {
			return err
		}
		return a.printTaken(name, size, &report)
	})
}

// backupServer has a server write the backup.
func (a *app) backupServer(ctx context.Context, s store, name string, o bucket.BackupOptions) error {
	source, ok := kv.As[kv.Backuper](s)
	if !ok {
		return fmt.Errorf("%w: backups", kv.ErrNotSupported)
	}
	began := time.Now()
	report := cut.Report{}
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	size, err := a.writeWhole(name, func(w io.Writer) error {
		received := countingWriter{w: w, told: func(n int64) { p.show("bytes received", n, 0) }}
		taken, err := source.WriteBackup(ctx, &received, kv.BackupOptions{Buckets: o.Buckets, Rate: o.Rate})
		report.Damage = taken.Damage
		p.clear()
		return err
	})
	if err != nil {
		return err
	}
	report.Elapsed = time.Since(began)
	if name == "-" {
		return a.sourceDamaged(report.Damage, nil)
	}
	r, err := os.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	archive, err := backup.Open(name, r)
	if err != nil {
		return archiveError(err)
	}
	defer archive.Close()
	report.Content = archive.Content()
	report.Bytes = report.Content.Bytes()
	return a.printTaken(name, size, &report)
}

// writeWhole has a file written, which appears once it is whole, or standard output. It returns the size.
func (a *app) writeWhole(name string, write func(io.Writer) error) (size int64, err error) {
	if name == "-" {
		w := countingWriter{w: a.out}
		err := write(&w)
		return w.n, err
	}
	f, err := backup.Create(name)
	if err != nil {
		return 0, err
	}
	if err := write(f); err != nil {
		f.Abort()
		return 0, err
	}
	return f.Size(), f.Commit()
}

// countingWriter counts bytes.
type countingWriter struct {
	w    io.Writer
	n    int64
	told func(int64) // is called with n after each write; nil: it is not
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.told != nil {
		c.told(c.n)
	}
	return n, err
}

// printTaken prints what is in a backup that was made: to standard error, if the backup itself is on
// standard output.
func (a *app) printTaken(name string, size int64, r *cut.Report) error {
	c := r.Content
	out := io.Writer(a.out)
	if name == "-" {
		out = a.err
	}
	switch {
	case name == "-" && a.json:
	case a.json:
		err := a.printJSON(takenJSON{name, uint64(c.LSN), c.Time, len(c.Buckets), r.Bytes, size, r.Damage, r.Elapsed.Seconds()})
		if err != nil {
			return err
		}
	default:
		text := fmt.Sprintf("%s: %s as of %s, %s", name, counted(uint64(len(c.Buckets)), "bucket", "buckets"), c.Time.Format(time.RFC3339), bytesText(uint64(r.Bytes)))
		if name != "-" {
			text += " in " + bytesText(uint64(size))
		}
		fmt.Fprintf(out, "%s, taken in %v\n", text, r.Elapsed.Round(time.Millisecond))
	}
	return a.sourceDamaged(r.Damage, r.Damages)
}

// sourceDamaged prints the damage of the store that is in a backup, and returns the error for it.
func (a *app) sourceDamaged(places int, first []*kv.CorruptError) error {
	if places == 0 {
		return nil
	}
	for _, d := range first {
		fmt.Fprintln(a.err, "kvd: warning:", d)
	}
	return &sourceDamagedError{places}
}

// sourceDamagedError is the error of a backup of a damaged store, which is whole otherwise.
type sourceDamagedError struct{ places int }

func (e *sourceDamagedError) Error() string {
	return fmt.Sprintf("the store was damaged in %s: the backup has everything else", counted(uint64(e.places), "place", "places"))
}

// Unwrap returns errDamaged, for the exit code.
func (e *sourceDamagedError) Unwrap() error { return errDamaged }

// archiveError gives damage of a backup its way out.
func archiveError(err error) error {
	if err == nil || !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	return &hintedError{fmt.Errorf("%w (it is no whole backup: use another one, or make it anew)", err)}
}

// openArchive opens a backup to read; "-" is standard input.
func (a *app) openArchive(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(name)
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var deep bool
	var scratch string
	var at pointFlags
	c := &cobra.Command{
		Use:   "verify FILE|REPOSITORY",
		Short: "Check every bit of a backup",
		Long: `Read a whole backup and check every bit of it. With --deep, also make a store of it in
a directory below --scratch, recover it as the server would, verify every record, and
remove it again: that takes the room of the store. The exit code is 0 if the backup is
whole and sound, and 8 otherwise, also if the store was damaged when it was made. "-" is
standard input. Of a repository it checks what the newest state needs, or that of --lsn
or --at: a backup, and the log behind it.`,
		Example: "  kvd backup verify kvd-2026-11-30.tar --deep",
		Args:    takesBackup,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case !isPlace(args[0]):
				if err := at.checkUnused(); err != nil {
					return usageOf(c, err)
				}
			case deep:
				return usageOf(c, errors.New("--deep is for files: restore a backup of a repository, and verify that"))
			default:
				return a.verifyRepository(c.Context(), args[0], at)
			}
			if deep {
				return archiveError(a.verifyDeep(c.Context(), args[0], scratch))
			}
			return archiveError(a.verifyBackup(c.Context(), args[0]))
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "make a store of it, recover and verify that")
	c.Flags().StringVar(&scratch, "scratch", os.TempDir(), "directory for that store")
	_ = c.MarkFlagDirname("scratch") // it exists
	at.addFlags(c.Flags())
	a.addJSON(c)
	return c
}

// verifiedJSON is what backup verify prints in JSON.
type verifiedJSON struct {
	File    string    `json:"file"`
	LSN     uint64    `json:"lsn"`
	Time    time.Time `json:"time"`
	Buckets int       `json:"buckets"`
	Bytes   int64     `json:"bytes"`
	Records int       `json:"records,omitempty"` // with --deep
	Damage  int       `json:"damage"`            // of the store that it was made of
}

func (a *app) verifyBackup(ctx context.Context, name string) error {
	r, err := a.openArchive(name)
	if err != nil {
		return err
	}
	defer r.Close()
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	v, err := backup.Verify(ctx, name, r, p.showBytes)
	p.clear()
	if err != nil {
		return err
	}
	return a.printBackupVerified(name, &v, 0)
}

func (a *app) printBackupVerified(name string, v *backup.Verified, records int) error {
	c := v.Content
	if a.json {
		if err := a.printJSON(verifiedJSON{name, uint64(c.LSN), c.Time, len(c.Buckets), c.Bytes(), records, v.Damage}); err != nil {
			return err
		}
	} else {
		with := ""
		if records > 0 {
			with = fmt.Sprintf(" with %s", counted(uint64(records), "record", "records"))
		}
		fmt.Fprintf(a.out, "%s: whole: %s%s as of %s, %s\n", name, counted(uint64(len(c.Buckets)), "bucket", "buckets"), with, c.Time.Format(time.RFC3339), bytesText(uint64(c.Bytes())))
	}
	return a.sourceDamaged(v.Damage, v.Damages)
}

// verifyDeep makes a store of a backup, recovers and verifies it, and removes it.
func (a *app) verifyDeep(ctx context.Context, name, scratch string) (err error) {
	r, err := a.openArchive(name)
	if err != nil {
		return err
	}
	defer r.Close()
	dir, err := os.MkdirTemp(scratch, "kvd-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	defer p.clear()
	none := uint64(0)
	o := backup.RestoreOptions{Options: cut.Options{Bump: &none, SameIDs: true}, Progress: p.showBytes}
	restored, err := backup.Restore(ctx, name, r, dir, o)
	if err != nil {
		return err
	}
	report, err := recoverAndVerify(dir, p)
	p.clear()
	if err != nil {
		return err
	}
	if report.Damage > 0 && restored.Damage == 0 {
		restored.Damage, restored.Damages = report.Damage, report.Damages
	}
	return a.printBackupVerified(name, &restored.Verified, report.Records+report.LogRecords)
}

// recoverAndVerify opens and closes a store, as a server does, and then verifies it.
func recoverAndVerify(dir string, p *progress) (verify.Report, error) {
	show := func(b bucket.Progress) { p.show(string(b.Stage), b.Done, b.Total) }
	s, err := bucket.Open(dir, bucket.Options{Progress: show})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return verify.Report{}, err
	}
	return verify.Store(dir, verify.Options{Progress: show})
}

func (a *app) backupLsCommand() *cobra.Command {
	var place placeOptions
	c := &cobra.Command{
		Use:   "ls FILE|REPOSITORY",
		Short: "List what a backup holds",
		Long: `List the buckets of a backup: name, keys with a record, newest revision, bytes of files,
and when the bucket was created. It reads the beginning of the file alone: "kvd backup
verify" says whether the rest is there. "-" is standard input. Of a repository it lists
the backups: LSN, time, buckets, bytes of files, bytes of its objects, and whether it is
sound. Then it lists the ranges of the log that were shipped: first and last LSN, objects
and their bytes. Between two ranges is a gap.`,
		Example: "  kvd backup ls kvd-2026-11-30.tar",
		Args:    takesBackup,
		RunE: func(c *cobra.Command, args []string) error {
			if isPlace(args[0]) {
				return a.listRepository(c.Context(), args[0], place)
			}
			return archiveError(a.listBackup(args[0]))
		},
	}
	place.addFlags(c.Flags())
	a.addJSON(c)
	return c
}

// heldJSON is a bucket of a backup in JSON.
type heldJSON struct {
	Bucket   string      `json:"bucket"`
	Keys     uint64      `json:"keys"`
	Revision kv.Revision `json:"revision"`
	Bytes    int64       `json:"bytes"`
	Memory   bool        `json:"memory,omitempty"` // its records are not in the backup
	Created  time.Time   `json:"created"`
	LSN      uint64      `json:"lsn"`
	Time     time.Time   `json:"time"`
}

func (a *app) listBackup(name string) error {
	r, err := a.openArchive(name)
	if err != nil {
		return err
	}
	defer r.Close()
	archive, err := backup.Open(name, r)
	if err != nil {
		return err
	}
	defer archive.Close()
	c := archive.Content()
	bytes := make(map[uint64]int64)
	for _, f := range c.Files {
		bytes[f.Bucket] += f.Size
	}
	l := a.newList("Backup as of "+c.Time.Local().Format(timeLayout), "Bucket", "Keys", "Revision", "Size", "Created")
	for _, b := range c.Buckets {
		held := heldJSON{b.Config.Bucket, b.Keys, b.Revision, bytes[b.ID], false, b.Created, uint64(c.LSN), c.Time}
		if held.Memory = b.Config.Storage == kv.MemoryStorage; held.Memory {
			held.Keys, held.Revision = 0, 0 // its records are not there
		}
		if a.json {
			if err := a.printJSON(held); err != nil {
				return err
			}
			continue
		}
		l.add(held.Bucket, held.Keys, held.Revision, l.size(held.Bytes), l.time(held.Created))
	}
	return a.endList(l, len(c.Buckets) > 0, "The backup has no buckets.")
}
