package lines

import (
	"context"
	"errors"
	"fmt"
	"io"

	"kvd/kv"
)

// ErrChanged is matched by the error of an export of a bucket whose records were superseded and
// removed before they were read.
var ErrChanged = errors.New("the bucket changed while it was read")

// ExportOptions are the options of an export. The zero value is ready to use.
type ExportOptions struct {
	History bool // all records that the bucket keeps, and not the newest of each key alone
	// Progress is told after some records how many were written, and of how many. Nil: nobody is.
	Progress func(done, total uint64)
	// Damaged is told of each record whose value cannot be read. The export leaves it out. Nil: the
	// export fails.
	Damaged func(*kv.Entry, error)
}

// progressStep is how many records come between two calls of Progress.
const progressStep = 256

// Export writes a bucket to w: its records at one moment, in the order of revisions. It returns
// how many. After an error w has a part of an export, which every reader refuses. The errors are
// those of a watch, of w, and an error that matches [ErrChanged]: then Export may be tried again.
//
// A watch that goes on after an interruption may not have the records of one moment. The caller
// has to end the context then.
func Export(ctx context.Context, b kv.Bucket, w io.Writer, o ExportOptions) (records uint64, err error) {
	var opts []kv.WatchOption
	if o.History {
		opts = append(opts, kv.IncludeHistory())
	}
	watcher, err := b.Watch(ctx, nil, opts...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = watcher.Stop() }() // it always succeeds
	e := exporter{options: &o, out: w}
	for u := range watcher.Updates() {
		done, err := e.take(ctx, b, &u)
		if done || err != nil {
			return e.seen - e.damaged, err
		}
	}
	if err = watcher.Err(); err == nil {
		err = kv.ErrWatchStopped
	}
	return 0, err
}

// exporter writes the initial entries of a watch.
type exporter struct {
	options *ExportOptions
	out     io.Writer

	writer        *Writer     // nil before the first update
	newest        kv.Revision // of the bucket once the first update had come: no initial entry is above
	total         uint64      // initial entries
	seen, damaged uint64
	last          kv.Revision
}

// take writes an update, and reports whether it was the last.
func (e *exporter) take(ctx context.Context, b kv.Bucket, u *kv.Update) (done bool, err error) {
	if e.writer == nil {
		if err := e.begin(ctx, b, u); err != nil {
			return false, err
		}
	}
	if u.Entry == nil {
		if e.seen != e.total {
			return false, e.changed(b)
		}
		return true, e.writer.End()
	}
	if err := e.check(b, u.Entry); err != nil {
		return false, err
	}
	switch {
	case u.Err == nil:
		err = e.writer.Write(u.Entry)
	case e.options.Damaged != nil:
		e.damaged++
		e.options.Damaged(u.Entry, u.Err)
	default:
		err = u.Err
	}
	if e.options.Progress != nil && e.seen%progressStep == 0 {
		e.options.Progress(e.seen, e.total)
	}
	return false, err
}

// begin writes the head. The initial entries were selected before the first update came, so the
// newest revision is now at least theirs.
func (e *exporter) begin(ctx context.Context, b kv.Bucket, first *kv.Update) error {
	status, err := b.Status(ctx)
	if err != nil {
		return err
	}
	if first.Entry != nil {
		e.total = first.Entry.Delta + 1
	}
	e.newest = status.Revision
	e.writer, err = NewWriter(e.out, Head{Next: e.newest + 1, History: e.options.History, Config: status.Config})
	return err
}

// check counts an entry, and returns an error if it is a change and no initial entry. Changes
// come before the end only if initial entries are missing, and Delta counts them in their place. The
// watch reads them up to the bucket's newest revision, which is above that of begin unless nobody
// has written since.
func (e *exporter) check(b kv.Bucket, entry *kv.Entry) error {
	e.seen++
	if entry.Revision <= e.last || entry.Revision > e.newest || entry.Delta != e.total-e.seen {
		return e.changed(b)
	}
	e.last = entry.Revision
	return nil
}

func (e *exporter) changed(b kv.Bucket) error {
	return fmt.Errorf("%w: bucket %q: records of it were superseded and removed meanwhile", ErrChanged, b.Name())
}
