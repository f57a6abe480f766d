package lines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kvd/kv"
)

// Conflict says what becomes of a record whose key has a value in the bucket already.
type Conflict uint8

// The choices.
const (
	Fail    Conflict = iota // an error
	Skip                    // the bucket keeps its value
	Replace                 // the record is written
)

// PutOptions are the options of [Put].
type PutOptions struct {
	Bucket     string // must be given
	OnConflict Conflict
	// From is the first line that is written. Those before it are read, and count as written by an
	// earlier Put. 0: all.
	From     int
	Now      func() time.Time // nil: time.Now
	Progress func(line int)   // is told after some records which line was read; nil: nobody is
}

// PutReport says what became of the records.
type PutReport struct {
	Written uint64
	Skipped uint64 // by Skip, and markers of keys that Put has not written
	Expired uint64 // their deadlines have passed
}

// PutError is the error of a record that the store refused.
type PutError struct {
	Line   int // of the first such record
	Failed int // records of the lines before Next that were refused; all others of these lines are done
	Next   int // the line to go on with: PutOptions.From of the next Put
	Err    error
}

func (e *PutError) Error() string {
	switch {
	case e.Next == e.Line:
		return fmt.Sprintf("line %d: %v; the lines before it are done, go on with line %d", e.Line, e.Err, e.Next)
	case e.Failed > 1:
		return fmt.Sprintf("line %d: %v; it and %d more of the lines before %d were refused, all others of these are done", e.Line, e.Err, e.Failed-1, e.Next)
	}
	return fmt.Sprintf("line %d: %v; all other lines before %d are done", e.Line, e.Err, e.Next)
}

// Unwrap returns the store's error.
func (e *PutError) Unwrap() error { return e.Err }

// Put writes the records of an export, or of lines without head, into a bucket that exists, with
// new revisions and times. A record with a deadline keeps what is left of its time to live.
//
// With Fail and Skip a key is written if it has no value, and belongs to the Put from then on: its further
// records follow. Markers of other keys are skipped. With Replace every record is written. Put remembers the keys that
// it writes, unless with Replace: about 100 bytes each beside the key.
//
// The error is a *[PutError] if the store refuses a record, or that of the reader.
// Records of lines before it were written then. For an export the error at its end may match
// ErrIncomplete: its lines are written, and others are missing.
func Put(ctx context.Context, s kv.Submitter, r *Reader, o PutOptions) (PutReport, error) {
	p := putter{store: s, reader: r, options: &o, own: map[string]bool{}}
	if o.Now == nil {
		o.Now = time.Now
	}
	for {
		e, err := r.Next()
		if err != nil {
			if flushed := p.flush(ctx); flushed != nil {
				return p.report, flushed
			}
			if err == io.EOF { //nolint:errorlint // Next returns it bare
				err = nil
			}
			return p.report, err
		}
		if err := p.take(ctx, &e); err != nil {
			return p.report, err
		}
	}
}

// putter is one Put.
type putter struct {
	store   kv.Submitter
	reader  *Reader
	options *PutOptions
	own     map[string]bool // keys that Put has written; false: it is in the batch; unless with Replace
	report  PutReport

	batch []kv.Mutation
	lines []int // of the batch
	size  int   // of the batch, bytes
}

// take adds a record to the batch, and submits a full one.
func (p *putter) take(ctx context.Context, e *kv.Entry) error {
	line := p.reader.Line()
	if line < p.options.From {
		p.keep(e.Key, true)
		return nil
	}
	if written, known := p.own[e.Key]; known && !written { // whether it will be is not known yet
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	m, ok := p.mutation(e)
	if !ok {
		return nil
	}
	if m.Op == kv.MutateCreate {
		p.keep(e.Key, false)
	}
	p.batch, p.lines = append(p.batch, m), append(p.lines, line)
	p.size += len(e.Key) + len(e.Value) + len(e.Headers)
	if len(p.batch) == batchRecords || p.size >= batchBytes {
		return p.flush(ctx)
	}
	return nil
}

// keep remembers a key.
func (p *putter) keep(key string, written bool) {
	if p.options.OnConflict != Replace {
		p.own[key] = written
	}
}

// mutation returns the write for a record. ok is false if there is none.
func (p *putter) mutation(e *kv.Entry) (m kv.Mutation, ok bool) {
	m = kv.Mutation{Bucket: p.options.Bucket, Op: kv.MutatePut, Key: e.Key, Value: e.Value, Headers: e.Headers}
	if !e.Deadline.IsZero() {
		m.TTL = max(0, e.Deadline.Sub(p.options.Now()))
	}
	expired := !e.Deadline.IsZero() && m.TTL == 0
	free := p.options.OnConflict == Replace || p.own[e.Key]
	switch {
	case expired && !free:
		p.report.Expired++
		return m, false
	case e.Operation.IsMarker() && !free:
		p.report.Skipped++
		return m, false
	case expired: // the key had an older value: it is gone
		m.Op, m.Value, m.Headers = kv.MutatePurge, nil, nil
	case e.Operation == kv.Delete:
		m.Op, m.TTL = kv.MutateDelete, 0
	case e.Operation == kv.Purge:
		m.Op = kv.MutatePurge
	case !free:
		m.Op = kv.MutateCreate
	}
	return m, true
}

// flush submits the batch. The error is a *PutError.
func (p *putter) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	err := p.store.Submit(ctx, p.batch)
	var failed *PutError
	for n := range p.batch {
		m := &p.batch[n]
		if m.Err == nil && m.Revision == 0 {
			m.Err = err // it was not taken
		}
		switch {
		case m.Err == nil:
			p.report.Written++
			p.keep(m.Key, true)
			continue
		case m.Op == kv.MutateCreate:
			delete(p.own, m.Key)
		}
		switch {
		case p.options.OnConflict == Skip && errors.Is(m.Err, kv.ErrKeyExists):
			p.report.Skipped++
		case failed == nil:
			failed = &PutError{Line: p.lines[n], Failed: 1, Next: p.lines[len(p.lines)-1] + 1, Err: m.Err}
			if !refuses(m.Err) {
				failed.Next = failed.Line
			}
		default:
			failed.Failed++
		}
	}
	clear(p.batch) // the values
	p.batch, p.lines, p.size = p.batch[:0], p.lines[:0], 0
	if failed != nil {
		return failed
	}
	if p.options.Progress != nil {
		p.options.Progress(p.reader.Line())
	}
	return nil
}

// refuses reports whether an error is about one record: the store took those around it.
func refuses(err error) bool {
	for _, of := range []error{kv.ErrKeyExists, kv.ErrInvalidKey, kv.ErrValueTooLarge, kv.ErrInvalidOption} {
		if errors.Is(err, of) {
			return true
		}
	}
	return false
}
