package lines

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/records"
)

// ErrIncomplete is matched by the errors of an export that does not have all its records: it was
// cut off, or lines of it are missing or changed.
var ErrIncomplete = errors.New("the export is incomplete")

// Reader reads an export, or lines of records. It is for one goroutine.
type Reader struct {
	in      *bufio.Reader
	line    int // number of the line that was read last
	head    *Head
	first   []byte    // the first line, if it is a record; nil: it was taken
	raw     []byte    // the line that was read last, as it is in the input
	sum     hash.Hash // of the lines before it
	buffer  []byte
	cut     bool // the line that was read last has no line feed
	records uint64
	digest  kv.Digest
	err     error // of the head, or the end
}

// LineError is an error of one line. Its text has nothing of the line but names.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the error without the line.
func (e *LineError) Unwrap() error { return e.Err }

// NewReader reads the head. Its errors are those of r, and otherwise come from the first Next.
func NewReader(r io.Reader) (*Reader, error) {
	reader := &Reader{in: bufio.NewReaderSize(r, bufferSize), sum: sha256.New()}
	line, err := reader.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, &LineError{reader.line, fmt.Errorf("%w: it is empty", ErrIncomplete)}
	case err != nil:
		return nil, err
	case bytes.HasPrefix(line, []byte(`{"kvd":`)):
		head, err := decodeHead(line)
		if err != nil {
			return nil, reader.at(fmt.Errorf("the head of the export: %w", err))
		}
		reader.head = &head
	default:
		reader.first = line
	}
	return reader, nil
}

// Head returns the head; nil if these are lines of records that are no export. It is the
// Reader's.
func (r *Reader) Head() *Head { return r.head }

// Line returns the number of the line that was read last, from 1.
func (r *Reader) Line() int { return r.line }

// Digest returns the sum of the records that were read.
func (r *Reader) Digest() kv.Digest { return r.digest }

// Records returns how many records were read.
func (r *Reader) Records() uint64 { return r.records }

// Next returns the next record. Its slices are the caller's. The error is io.EOF behind the last
// record, if an export is whole. It is a *LineError for a line that cannot be read, and for an export that
// is not whole, which matches ErrIncomplete. It can also be that of the input. Every
// further call returns the same error.
func (r *Reader) Next() (kv.Entry, error) {
	if r.err != nil {
		return kv.Entry{}, r.err
	}
	e, err := r.record()
	if err != nil {
		r.err = err
		return kv.Entry{}, err
	}
	r.records++
	r.digest = r.digest.Add(digest.OfEntry(&e))
	return e, nil
}

func (r *Reader) record() (kv.Entry, error) {
	line := r.first
	r.first = nil
	if line == nil {
		var err error
		if line, err = r.next(); err != nil {
			if errors.Is(err, io.EOF) && r.head != nil {
				err = &LineError{r.line + 1, fmt.Errorf("%w: its last line is missing", ErrIncomplete)}
			}
			return kv.Entry{}, err
		}
	}
	if r.head != nil && bytes.HasPrefix(line, []byte(`{"end":`)) {
		return kv.Entry{}, r.end(line)
	}
	e, err := records.Decode(line)
	if err == nil && r.head != nil && e.Bucket != "" && e.Bucket != r.head.Config.Bucket {
		err = fmt.Errorf("%w: it is of bucket %.64q, not %q", kv.ErrInvalidRecord, e.Bucket, r.head.Config.Bucket)
	}
	if err != nil {
		return kv.Entry{}, r.at(err)
	}
	return e, nil
}

// end returns io.EOF if the export is whole.
func (r *Reader) end(line []byte) error {
	var l endLine
	if err := decodeLine(line, &l); err != nil {
		return r.at(fmt.Errorf("the end of the export: %w", err))
	}
	if err := l.check(r.records, r.digest, r.sum.Sum(nil)); err != nil {
		return r.at(err)
	}
	switch _, err := r.next(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return err
	}
	return r.at(fmt.Errorf("%w: something follows its end", ErrIncomplete))
}

// next returns the next line that has more than blanks, without those around it. It is valid until
// the next call.
func (r *Reader) next() ([]byte, error) {
	for {
		text, err := r.read()
		if err != nil {
			return nil, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
	}
}

// read returns the next line. The last one may lack its line feed.
func (r *Reader) read() (line []byte, err error) {
	_, _ = r.sum.Write(r.raw) // it never fails
	defer func() { r.raw = line }()
	part, err := r.in.ReadSlice('\n')
	if len(part) > 0 {
		r.line++
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, r.lineEnd(part, err)
	}
	if cap(r.buffer) > 32*bufferSize { // do not keep the memory of one huge value
		r.buffer = nil
	}
	for r.buffer = r.buffer[:0]; ; part, err = r.in.ReadSlice('\n') {
		if len(r.buffer)+len(part) > records.LineMax {
			return nil, r.at(fmt.Errorf("it has more than %d bytes", records.LineMax))
		}
		r.buffer = append(r.buffer, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r.buffer, r.lineEnd(r.buffer, err)
		}
	}
}

// lineEnd is nil instead of io.EOF behind a last line without a line feed.
func (r *Reader) lineEnd(line []byte, err error) error {
	if len(line) > 0 && errors.Is(err, io.EOF) {
		r.cut = true
		return nil
	}
	return err
}

// at returns the error of the line that was read last.
func (r *Reader) at(err error) error {
	if r.cut && r.head != nil && !errors.Is(err, ErrIncomplete) {
		err = fmt.Errorf("%w: it is cut off within a line: %w", ErrIncomplete, err)
	}
	return &LineError{r.line, err}
}
