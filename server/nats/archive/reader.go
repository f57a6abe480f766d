package archive

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/s2"
)

var (
	// ErrFormat is matched by the error of input that is no archive of this format.
	ErrFormat = errors.New("not a stream backup of nats-server 2.15 or later, nor one of kvd")
	// ErrIncomplete is matched by the error of an archive that is cut off.
	ErrIncomplete = errors.New("the backup is cut off")
	// ErrInvalid is matched by the error of an archive that breaks a rule of the format.
	ErrInvalid = errors.New("the backup is damaged")
)

// Limits bound what is allocated for an entry, bytes.
const (
	nameMax     = 64 << 10
	metaMax     = 1 << 20   // the state, or a consumer
	consumerMax = 100_000   // consumers
	compressed  = 4 << 20   // uncompressed bytes of a block of S2
	bufferSize  = 64 << 10  // of the uncompressed stream
	growth      = 256 << 10 // more is allocated as it arrives
)

// State is what an archive says of its stream. Other fields of the JSON are passed over.
type State struct {
	Messages  uint64 `json:"messages"`
	FirstSeq  uint64 `json:"first_seq"`
	LastSeq   uint64 `json:"last_seq"`
	Consumers int    `json:"consumer_count"`
}

// Reader reads an archive. It is for one goroutine.
type Reader struct {
	raw     source
	in      *bufio.Reader
	sizeMax uint64 // of a message, header block and payload
	state   State
	last    uint64 // sequence of the message read last
	err     error  // of the first failed call, or the end
}

// NewReader reads the state of an archive. messageMax bounds the headers and payload of a message
// together, bytes. The errors match [ErrFormat], [ErrIncomplete] or [ErrInvalid], or are those of
// r.
func NewReader(r io.Reader, messageMax int) (*Reader, error) {
	a := &Reader{sizeMax: uint64(messageMax), raw: source{r: r}}
	if err := a.raw.begin(); err != nil {
		return nil, err
	}
	a.in = bufio.NewReaderSize(s2.NewReader(&a.raw, s2.ReaderMaxBlockSize(compressed), s2.ReaderAllocBlock(bufferSize)), bufferSize)
	if err := a.begin(); err != nil {
		return nil, err
	}
	return a, nil
}

// State returns what the archive says of its stream.
func (a *Reader) State() State { return a.state }

// begin reads the magic and the state.
func (a *Reader) begin() error {
	start := make([]byte, len(magic))
	switch _, err := io.ReadFull(a.in, start); {
	case err != nil:
		return a.cutOff(err)
	case string(start) != magic:
		return fmt.Errorf("%w: make the backup with such a server", ErrFormat)
	}
	h, err := a.readHead()
	if err != nil {
		return err
	}
	if h.name != stateName || h.sequence != 0 {
		return fmt.Errorf("%w: it begins with %.64q, not with %s", ErrInvalid, h.name, stateName)
	}
	if err := a.readJSON(&h, &a.state); err != nil {
		return err
	}
	return a.state.check()
}

// check refuses a state that no stream has.
func (s *State) check() error {
	empty := s.Messages == 0 && (s.FirstSeq == 0 && s.LastSeq == 0 || s.FirstSeq > 0 && s.FirstSeq-1 == s.LastSeq)
	filled := s.FirstSeq > 0 && s.FirstSeq <= s.LastSeq && s.Messages <= s.LastSeq-s.FirstSeq+1
	if !empty && !filled {
		return fmt.Errorf("%w: %d messages cannot have the sequences %d to %d", ErrInvalid, s.Messages, s.FirstSeq, s.LastSeq)
	}
	if s.Consumers < 0 || s.Consumers > consumerMax {
		return fmt.Errorf("%w: %d consumers, must be 0 to %d", ErrInvalid, s.Consumers, consumerMax)
	}
	return nil
}

// Consumers calls fn with the JSON of each consumer, which is fn's until it returns. It has to be
// called before Next.
func (a *Reader) Consumers(fn func(consumer []byte) error) error {
	for range a.state.Consumers {
		h, err := a.readHead()
		if err != nil {
			return err
		}
		if h.sequence != 0 || len(h.name) < len(consumersPrefix) || h.name[:len(consumersPrefix)] != consumersPrefix {
			return fmt.Errorf("%w: a consumer is missing, as %.64q comes instead", ErrInvalid, h.name)
		}
		var text json.RawMessage
		if err := a.readJSON(&h, &text); err != nil {
			return err
		}
		if err := fn(text); err != nil {
			return err
		}
	}
	a.state.Consumers = 0
	return nil
}

// Next returns the next message. Its slices are the caller's. The error is io.EOF behind the last
// message of an archive that is whole; otherwise it is as that of NewReader. Every further call
// returns the same error.
func (a *Reader) Next() (Message, error) {
	if a.err != nil {
		return Message{}, a.err
	}
	m, err := a.next()
	a.err = err
	return m, err
}

func (a *Reader) next() (Message, error) {
	h, err := a.readHead()
	switch {
	case err != nil:
		return Message{}, err
	case h.isEnd():
		return Message{}, a.end()
	case h.sequence == 0:
		return Message{}, fmt.Errorf("%w: %.64q behind sequence %d has no sequence", ErrInvalid, h.name, a.last)
	case h.sequence <= a.last:
		return Message{}, fmt.Errorf("%w: sequence %d follows %d", ErrInvalid, h.sequence, a.last)
	case h.sequence < a.state.FirstSeq || h.sequence > a.state.LastSeq:
		return Message{}, fmt.Errorf("%w: sequence %d, but those of the stream are %d to %d", ErrInvalid, h.sequence, a.state.FirstSeq, a.state.LastSeq)
	case h.header > a.sizeMax || h.payload > a.sizeMax-h.header:
		return Message{}, fmt.Errorf("%w: the message of sequence %d has a header of %d and a payload of %d bytes: at most %d bytes are allowed",
			ErrInvalid, h.sequence, h.header, h.payload, a.sizeMax)
	}
	content, err := a.read(h.header + h.payload)
	if err != nil {
		return Message{}, err
	}
	a.last = h.sequence
	return Message{
		Subject: h.name, Sequence: h.sequence, Time: time.Unix(0, h.time),
		Header: content[:h.header:h.header], Payload: content[h.header:],
	}, nil
}

// end returns io.EOF if nothing follows the end.
func (a *Reader) end() error {
	switch _, err := a.in.ReadByte(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return a.cutOff(err)
	}
	return fmt.Errorf("%w: something follows its end", ErrInvalid)
}

// readHead reads the head of an entry.
func (a *Reader) readHead() (h head, err error) {
	name := number(a, binary.Uvarint, &err)
	h.time = number(a, binary.Varint, &err)
	h.sequence, h.header, h.payload = number(a, binary.Uvarint, &err), number(a, binary.Uvarint, &err), number(a, binary.Uvarint, &err)
	if err != nil {
		return head{}, err
	}
	if name > nameMax || h.header > math.MaxInt32 || h.payload > math.MaxInt32 {
		return head{}, fmt.Errorf("%w: the entry behind sequence %d has a name of %d bytes, a header of %d and a payload of %d",
			ErrInvalid, a.last, name, h.header, h.payload)
	}
	text, err := a.read(name)
	h.name = string(text)
	return h, err
}

// number reads a number by a function of encoding/binary, unless there was an error before.
func number[T uint64 | int64](a *Reader, decode func([]byte) (T, int), err *error) T {
	if *err != nil {
		return 0
	}
	b, end := a.in.Peek(binary.MaxVarintLen64 + 1) // one more tells a number that is too long
	n, size := decode(b)
	switch {
	case size > 0:
		_, _ = a.in.Discard(size) // it was peeked at
	case size < 0:
		*err = fmt.Errorf("%w: a number behind sequence %d has more than 64 bits", ErrInvalid, a.last)
	default: // fewer bytes are left than a number can have
		*err = a.cutOff(end)
	}
	return n
}

// readJSON reads the content of an entry that is JSON.
func (a *Reader) readJSON(h *head, into any) error {
	if h.header != 0 || h.payload > metaMax {
		return fmt.Errorf("%w: %.64q has %d bytes, must be at most %d", ErrInvalid, h.name, h.header+h.payload, metaMax)
	}
	text, err := a.read(h.payload)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %.64q: %w", ErrInvalid, h.name, err)
	}
	return nil
}

// read reads n bytes. It allocates as they arrive, so that a head that promises much costs little.
func (a *Reader) read(n uint64) ([]byte, error) {
	b := make([]byte, 0, min(n, growth))
	for uint64(len(b)) < n {
		have := len(b)
		b = append(b, make([]byte, min(n-uint64(have), uint64(max(have, growth))))...)
		if _, err := io.ReadFull(a.in, b[have:]); err != nil {
			return nil, a.cutOff(err)
		}
	}
	return b, nil
}

// cutOff returns the error of an archive that cannot be read further.
func (a *Reader) cutOff(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, s2.ErrCorrupt) && a.raw.ended:
		return ErrIncomplete
	case errors.Is(err, s2.ErrCorrupt), errors.Is(err, s2.ErrCRC), errors.Is(err, s2.ErrUnsupported), errors.Is(err, s2.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

// source is the compressed input. It tells an end from damage, where S2 does not.
type source struct {
	r     io.Reader
	start []byte // was read already
	ended bool
}

// streamStart is what an S2 stream begins with.
const streamStart = "\xff\x06\x00\x00S2sTwO"

// begin refuses input that is no S2 stream.
func (s *source) begin() error {
	start := make([]byte, len(streamStart))
	n, err := io.ReadFull(s.r, start)
	switch s.start = start[:n]; {
	case string(s.start) != streamStart[:n]:
		return fmt.Errorf("%w: it is no S2 stream", ErrFormat)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrIncomplete
	}
	return err
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.start) > 0 {
		n := copy(p, s.start)
		s.start = s.start[n:]
		return n, nil
	}
	n, err := s.r.Read(p)
	s.ended = s.ended || errors.Is(err, io.EOF)
	return n, err
}
