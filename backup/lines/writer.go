package lines

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/records"
)

// Writer writes an export. It is for one goroutine.
type Writer struct {
	out     *bufio.Writer
	sum     hash.Hash // of what was written
	line    []byte
	records uint64
	digest  kv.Digest
}

const bufferSize = 64 << 10

// NewWriter writes the head to w, and returns a Writer for the rest. The error matches
// kv.ErrNotSupported if the bucket is no key/value bucket.
func NewWriter(w io.Writer, head Head) (*Writer, error) {
	line, err := head.encode()
	if err != nil {
		return nil, err
	}
	writer := &Writer{out: bufio.NewWriterSize(w, bufferSize), sum: sha256.New()}
	return writer, writer.write(line)
}

func (w *Writer) write(line []byte) error {
	_, _ = w.sum.Write(line) // it never fails
	_, err := w.out.Write(line)
	return err
}

// Write writes a record, whose revision is above those before it. The bucket of the entry is left
// out. The errors are those of records.Append, and of the output.
func (w *Writer) Write(e *kv.Entry) (err error) {
	own := *e
	own.Bucket = ""
	if cap(w.line) > 2*bufferSize { // do not keep the memory of one huge value
		w.line = nil
	}
	if w.line, err = records.Append(w.line[:0], &own); err != nil {
		return err
	}
	w.records++
	w.digest = w.digest.Add(digest.OfEntry(e))
	return w.write(w.line)
}

// End writes the last line and flushes the output. Without it the export is incomplete.
func (w *Writer) End() error {
	line, err := encodeLine(endLine{true, w.records, w.digest.String(), hex.EncodeToString(w.sum.Sum(nil))})
	if err != nil {
		return err
	}
	if _, err := w.out.Write(line); err != nil {
		return err
	}
	return w.out.Flush()
}

// Records returns how many records were written.
func (w *Writer) Records() uint64 { return w.records }

// Digest returns the sum of the records that were written.
func (w *Writer) Digest() kv.Digest { return w.digest }
