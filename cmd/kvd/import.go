package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"kvd/backup/lines"
	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
)

// importFlags are the flags of kvd import.
type importFlags struct {
	file       string
	bucket     string
	revisions  string
	onConflict string
	from       int
}

// The values of --revisions.
const (
	revisionsKeep = "keep"
	revisionsNew  = "new"
)

// conflicts are the values of --on-conflict.
var conflicts = map[string]lines.Conflict{"fail": lines.Fail, "skip": lines.Skip, "replace": lines.Replace}

func (a *app) importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Make a bucket of an export, or put records into a bucket",
		Long: `Read what "kvd export" has written, from FILE or from standard input.

With --revisions keep a new bucket is made of it, with the revisions, times, deadlines
and headers of its records. It becomes visible once all of it was read and checked: an
export that was cut off or changed, and an import that is interrupted, leave nothing.

With --revisions new the records are put into a bucket that exists, which gives them new
revisions and times. A record whose key has a value is an error, unless --on-conflict
says "skip" or "replace". An error names the line to go on with. Lines of records are
enough there, one {"key":"k","op":"put","value":"v"} each, and no export is needed;
"value64" has base64.`,
		Example: `  kvd import my-kv.jsonl
  kvd import my-kv.jsonl --bucket my-kv-before
  kvd import my-kv.jsonl --bucket my-kv --revisions new --on-conflict skip
  kvd export my-kv --server one:5830 | kvd import --server two:5830`,
		Args: takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			f.file = stdinValue
			if len(args) == 1 {
				f.file = args[0]
			}
			if err := f.check(c, a); err != nil {
				return usageOf(c, err)
			}
			return a.importFile(c.Context(), &f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.bucket, "bucket", "", "name of the bucket, if not that of the export")
	flags.StringVar(&f.revisions, "revisions", revisionsKeep, "keep: make a bucket with the revisions of the export; new: put the records into a bucket")
	flags.StringVar(&f.onConflict, "on-conflict", "fail", "with --revisions new, if a key has a value: fail, skip or replace")
	flags.IntVar(&f.from, "from-line", 0, "with --revisions new: go on with this line")
	completeEnum(c, "revisions", revisionsKeep, revisionsNew)
	completeEnum(c, "on-conflict", "fail", "skip", "replace")
	_ = c.RegisterFlagCompletionFunc("bucket", a.completeArgs(completeBucket)) // it exists
	a.addTarget(c)
	a.addJSON(c)
	return c
}

// check returns what is wrong with the flags.
func (f *importFlags) check(c *cobra.Command, a *app) error {
	if f.revisions != revisionsKeep && f.revisions != revisionsNew {
		return fmt.Errorf("--revisions %q: must be keep or new", f.revisions)
	}
	if _, ok := conflicts[f.onConflict]; !ok {
		return fmt.Errorf("--on-conflict %q: must be fail, skip or replace", f.onConflict)
	}
	for _, name := range []string{"on-conflict", "from-line"} {
		if f.revisions == revisionsKeep && c.Flags().Changed(name) {
			return fmt.Errorf("--%s is for --revisions new: an import that keeps revisions makes a bucket as a whole", name)
		}
	}
	switch {
	case f.from < 0:
		return fmt.Errorf("--from-line %d: must be a line from 1 on", f.from)
	case f.file == stdinValue && a.inTTY:
		return errors.New("FILE is missing, and standard input is a terminal")
	}
	return msglog.CheckUnreserved(f.bucket)
}

// importedJSON is what import prints in JSON.
type importedJSON struct {
	Bucket  string `json:"bucket"`
	Records uint64 `json:"records"` // written
	Skipped uint64 `json:"skipped,omitempty"`
	Expired uint64 `json:"expired,omitempty"`
}

// importFile imports a file, or standard input.
func (a *app) importFile(ctx context.Context, f *importFlags) error {
	in := meter{Reader: a.in}
	if f.file != stdinValue {
		file, err := os.Open(f.file)
		if err != nil {
			return err
		}
		defer file.Close()
		in.Reader = file
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			in.size = info.Size()
		}
	}
	done, err := a.importLines(ctx, f, &in)
	if err != nil {
		name := f.file
		if name == stdinValue {
			name = "standard input"
		}
		return explainImport(name, err)
	}
	if a.json {
		return a.printJSON(done)
	}
	text := fmt.Sprintf("%s into bucket %s", counted(done.Records, "record", "records"), done.Bucket)
	if done.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", done.Skipped)
	}
	if done.Expired > 0 {
		text += fmt.Sprintf(", %d expired", done.Expired)
	}
	fmt.Fprintln(a.out, text)
	return nil
}

// importLines imports what in holds.
func (a *app) importLines(ctx context.Context, f *importFlags, in *meter) (done importedJSON, err error) {
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	defer p.clear()
	progress := func(int) { p.showBytes(bucket.Progress{Stage: "import", Done: in.read, Total: in.size}) }
	r, err := lines.NewReader(in)
	if err != nil {
		return done, err
	}
	done.Bucket = f.bucket
	if head := r.Head(); head != nil && f.bucket == "" {
		done.Bucket = head.Config.Bucket
	}
	if done.Bucket == "" {
		return done, errNoBucketNamed
	}
	if f.revisions == revisionsNew {
		return done, a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
			if _, err := s.Bucket(ctx, done.Bucket); err != nil {
				return err
			}
			report, err := lines.Put(ctx, s, r, lines.PutOptions{Bucket: done.Bucket, OnConflict: conflicts[f.onConflict], From: f.from, Progress: progress})
			done.Records, done.Skipped, done.Expired = report.Written, report.Skipped, report.Expired
			return err
		})
	}
	return done, a.withStore(ctx, mayCreate, func(ctx context.Context, s store) error {
		importer, ok := kv.As[kv.BucketImporter](s)
		if !ok {
			return fmt.Errorf("%w: imports", kv.ErrNotSupported)
		}
		switch _, err := s.Bucket(ctx, done.Bucket); {
		case err == nil:
			return importExists(done.Bucket)
		case !errors.Is(err, kv.ErrBucketNotFound):
			return err
		}
		done.Records, err = lines.Restore(ctx, importer, r, lines.RestoreOptions{Bucket: done.Bucket, Progress: progress})
		return err
	})
}

// errNoBucketNamed is the error of records that are no export, without the name of a bucket.
var errNoBucketNamed = &usageError{"kvd import", errors.New("there is no head that names a bucket: name it with --bucket, and put the records into it with --revisions new")}

// importExists is the error of an import whose bucket exists.
func importExists(bucket string) error {
	return &hintedError{fmt.Errorf("%w: %q (\"--bucket NAME\" imports under another name, \"--revisions new\" puts the records into the bucket)", kv.ErrBucketExists, bucket)}
}

// explainImport adds the ways out to the error of an import.
func explainImport(name string, err error) error {
	var put *lines.PutError
	var line *lines.LineError
	switch {
	case errors.As(err, &put):
		hint := fmt.Sprintf("--from-line %d", put.Next)
		if errors.Is(err, kv.ErrKeyExists) {
			hint += "; --on-conflict skip or replace decides for the bucket or for the import"
		}
		if errors.Is(err, kv.ErrOutcomeUnknown) {
			hint += " --on-conflict replace: they may have been written"
		}
		return &hintedError{fmt.Errorf("%s: %w (%s)", name, err, hint)}
	case errors.Is(err, lines.ErrIncomplete):
		return &hintedError{fmt.Errorf("%s: %w (export it again, or use another copy)", name, err)}
	case errors.As(err, &line):
		return &hintedError{fmt.Errorf("%s: %w", name, err)}
	}
	return err
}

// meter counts what is read.
type meter struct {
	io.Reader
	read, size int64 // bytes; size 0: not known
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.read += int64(n)
	return n, err
}
