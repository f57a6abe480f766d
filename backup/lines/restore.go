package lines

import (
	"context"
	"fmt"
	"io"

	"kvd/kv"
)

// RestoreOptions are the options of a restore. The zero value is ready to use.
type RestoreOptions struct {
	Bucket   string         // its name; empty: that of the export
	Progress func(line int) // is told after some records which line was read; nil: nobody is
}

// Batches of records bound what an import holds in memory.
const (
	batchRecords = 1024
	batchBytes   = 1 << 20
)

// Restore makes a bucket of an export: with the revisions, times, deadlines and headers of its records.
// It returns how many. The bucket becomes visible once all of it was read and checked;
// after an error, and after a crash, there is none. The error is that of the reader, of the
// importer, a *[LineError] for lines without a head, or matches kv.ErrBucketExists.
func Restore(ctx context.Context, s kv.BucketImporter, r *Reader, o RestoreOptions) (records uint64, err error) {
	head := r.Head()
	if head == nil {
		return 0, &LineError{1, fmt.Errorf("%w: there is no head, so these are records to put, not an export", kv.ErrInvalidConfig)}
	}
	config := head.Config
	if o.Bucket != "" {
		config.Bucket = o.Bucket
	}
	i, err := s.ImportBucket(ctx, config, head.Next)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = i.Discard(context.WithoutCancel(ctx)) // the first error is the cause; a restart of the store discards too
		}
	}()
	if err := restoreRecords(ctx, i, r, o.Progress); err != nil {
		return 0, err
	}
	if err := i.Commit(ctx, r.Digest()); err != nil {
		return 0, err
	}
	return r.Records(), nil
}

// restoreRecords writes all records.
func restoreRecords(ctx context.Context, i kv.Importer, r *Reader, progress func(int)) error {
	var batch []kv.Entry
	first, size := r.Line()+1, 0
	write := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := i.Write(ctx, batch); err != nil {
			return fmt.Errorf("lines %d to %d: %w", first, r.Line(), err)
		}
		clear(batch) // the values
		batch, size, first = batch[:0], 0, r.Line()+1
		if progress != nil {
			progress(r.Line())
		}
		return nil
	}
	for {
		e, err := r.Next()
		if err == io.EOF { //nolint:errorlint // Next returns it bare
			return write()
		}
		if err != nil {
			return err
		}
		batch = append(batch, e)
		if size += len(e.Key) + len(e.Value) + len(e.Headers); len(batch) == batchRecords || size >= batchBytes {
			if err := write(); err != nil {
				return err
			}
		}
	}
}
