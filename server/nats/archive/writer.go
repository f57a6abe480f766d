package archive

import (
	"io"
	"time"

	"github.com/klauspost/compress/s2"
)

// blockSize bounds the bytes that are compressed together, and so a Writer's memory.
const blockSize = 256 << 10

// Writer writes an archive. It is for one goroutine.
type Writer struct {
	out  *s2.Writer
	head []byte // scratch
}

// NewWriter begins an archive with the state of the stream, which is JSON. What is written to w
// comes in blocks: see Close.
func NewWriter(w io.Writer, state []byte, now time.Time) (*Writer, error) {
	a := &Writer{out: s2.NewWriter(w, s2.WriterConcurrency(1), s2.WriterBlockSize(blockSize))}
	a.head = append(a.head, magic...)
	return a, a.write(&head{name: stateName, time: now.UnixNano(), payload: uint64(len(state))}, state)
}

// Write writes a message. Its slices are the caller's.
func (a *Writer) Write(m *Message) error {
	return a.write(&head{
		name: m.Subject, time: m.Time.UnixNano(), sequence: m.Sequence,
		header: uint64(len(m.Header)), payload: uint64(len(m.Payload)),
	}, m.Header, m.Payload)
}

// Close writes the end, and the blocks that were not written before. It does not close the
// writer below.
func (a *Writer) Close() error {
	if err := a.write(&head{}); err != nil {
		return err
	}
	return a.out.Close()
}

func (a *Writer) write(h *head, content ...[]byte) error {
	a.head = h.appendTo(a.head)
	_, err := a.out.Write(a.head)
	a.head = a.head[:0]
	for _, part := range content {
		if err == nil {
			_, err = a.out.Write(part)
		}
	}
	return err
}
