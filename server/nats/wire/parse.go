package wire

import (
	"errors"
)

// Verb names an operation.
type Verb uint8

// The operations of a client.
const (
	VerbNone Verb = iota
	VerbConnect
	VerbPing
	VerbPong
	VerbSub
	VerbUnsub
	VerbPub
	VerbHPub
	VerbIgnored // +OK and INFO, which only a server sends
)

// Operation is one operation of a client. Its slices are views of the input of Parse:
// they are valid as long as that is. Fields that the operation does not have are zero.
type Operation struct {
	Verb    Verb
	Subject []byte
	Reply   []byte // nil if there is none
	Queue   []byte
	SID     []byte
	Max     uint64 // of UNSUB, deliveries; 0 if it is not given
	JSON    []byte // of CONNECT
	Header  []byte // the block of HPUB; nil if it is empty
	Payload []byte
	Size    int // of header and payload, bytes; known as soon as the line is; -1 for operations without a payload
}

// maxControlLine is the largest line, without its end, bytes.
const maxControlLine = 4096

// ErrIncomplete says that the input ends before the operation does.
var ErrIncomplete = errors.New("incomplete")

// ProtocolError is an error that ends a connection. Its text goes to the client.
type ProtocolError string

func (e ProtocolError) Error() string { return string(e) }

// The errors that end a connection, in nats-server's words: clients act on some of them.
// nats-server closes without a word where kvd says ErrMalformed or ErrLate.
const (
	ErrMalformed     ProtocolError = "Parser Error"
	ErrUnknown       ProtocolError = "Unknown Protocol Operation"
	ErrControlLine   ProtocolError = "maximum control line exceeded"
	ErrMaxPayload    ProtocolError = "Maximum Payload Violation"
	ErrAuthorization ProtocolError = "Authorization Violation"
	ErrAuthTimeout   ProtocolError = "Authentication Timeout"
	ErrStale         ProtocolError = "Stale Connection"
	ErrLate          ProtocolError = "Operation Timeout"
	ErrNoHeaders     ProtocolError = "no responders requires headers support"
)

const crlfSize = len("\r\n")

// Parse reads the operation at the start of in into o and returns its size in bytes.
// With ErrIncomplete the size is the least that the operation can have. Any other error is
// a ProtocolError. A header and payload of more than maxPayload bytes are
// ErrMaxPayload. Parse allocates nothing.
func Parse(in []byte, maxPayload int, o *Operation) (int, error) {
	*o = Operation{Size: -1}
	line, n, err := cutLine(in)
	if err != nil {
		return n, err
	}
	name, rest := cutField(line)
	o.Verb = verbOf(name)
	switch o.Verb {
	case VerbPub:
		err = o.parsePub(rest)
	case VerbHPub:
		return o.parsePayload(in, n, maxPayload, rest)
	case VerbSub:
		return n, o.parseSub(rest)
	case VerbUnsub:
		return n, o.parseUnsub(rest)
	case VerbConnect:
		o.JSON = rest
		return n, nil
	case VerbNone:
		return n, ErrUnknown
	default:
		return n, nil
	}
	if err != nil {
		return n, err
	}
	return o.cutPayload(in, n, maxPayload, 0)
}

// cutLine returns the line at the start of in without its end, and its size with the end.
// A line ends in CRLF or LF.
func cutLine(in []byte) ([]byte, int, error) {
	limit := min(len(in), maxControlLine+1)
	for i, c := range in[:limit] {
		if c != '\n' {
			continue
		}
		end := i
		if end > 0 && in[end-1] == '\r' {
			end--
		}
		return in[:end], i + 1, nil
	}
	if len(in) > 0 && !canStartVerb(in[0]) {
		return nil, 0, ErrUnknown // no need to wait for the rest of the line
	}
	if limit > maxControlLine {
		return nil, 0, ErrControlLine
	}
	return nil, len(in) + 1, ErrIncomplete
}

// canStartVerb reports whether an operation can begin with c.
func canStartVerb(c byte) bool {
	switch c | 0x20 {
	case 'c', 'p', 's', 'u', 'h', 'i':
		return true
	}
	return c == '+' || c == ' ' || c == '\t' || c == '\r'
}

// cutField returns the first field of a line and the rest, without the blanks around them.
func cutField(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && isBlank(line[start]) {
		start++
	}
	end := start
	for end < len(line) && !isBlank(line[end]) {
		end++
	}
	next := end
	for next < len(line) && isBlank(line[next]) {
		next++
	}
	return line[start:end], line[next:]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// fields splits a line into at most four fields. If there are more, n is 5.
func fields(line []byte) (f [4][]byte, n int) {
	for len(line) > 0 {
		var field []byte
		if field, line = cutField(line); len(field) == 0 {
			break
		}
		if n == len(f) {
			return f, n + 1
		}
		f[n] = field
		n++
	}
	return f, n
}

// verbOf returns the operation of that name, in any case.
func verbOf(name []byte) Verb {
	var upper [8]byte
	if len(name) == 0 || len(name) > len(upper) {
		return VerbNone
	}
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	switch string(upper[:len(name)]) {
	case "PUB":
		return VerbPub
	case "HPUB":
		return VerbHPub
	case "SUB":
		return VerbSub
	case "UNSUB":
		return VerbUnsub
	case "PING":
		return VerbPing
	case "PONG":
		return VerbPong
	case "CONNECT":
		return VerbConnect
	case "+OK", "INFO":
		return VerbIgnored
	}
	return VerbNone
}

func (o *Operation) parsePub(line []byte) error {
	f, n := fields(line)
	switch n {
	case 2:
		o.Subject = f[0]
	case 3:
		o.Subject, o.Reply = f[0], f[1]
	default:
		return ErrMalformed
	}
	size, ok := parseSize(f[n-1])
	if !ok {
		return ErrMalformed
	}
	o.Size = size
	return nil
}

func (o *Operation) parsePayload(in []byte, n, maxPayload int, line []byte) (int, error) {
	f, count := fields(line)
	switch count {
	case 3:
		o.Subject = f[0]
	case 4:
		o.Subject, o.Reply = f[0], f[1]
	default:
		return n, ErrMalformed
	}
	header, ok := parseSize(f[count-2])
	total, ok2 := parseSize(f[count-1])
	if !ok || !ok2 || header > total {
		return n, ErrMalformed
	}
	o.Size = total
	return o.cutPayload(in, n, maxPayload, header)
}

// cutPayload reads the header block and the payload that follow a line of n bytes.
func (o *Operation) cutPayload(in []byte, n, maxPayload, header int) (int, error) {
	if o.Size > maxPayload {
		return n, ErrMaxPayload
	}
	end := n + o.Size
	if len(in) < end+crlfSize {
		if len(in) > end && in[end] != '\r' {
			return n, ErrUnknown
		}
		return end + crlfSize, ErrIncomplete
	}
	if in[end] != '\r' || in[end+1] != '\n' {
		return n, ErrUnknown
	}
	if header > 0 {
		o.Header = in[n : n+header : n+header]
	}
	o.Payload = in[n+header : end : end]
	return end + crlfSize, nil
}

func (o *Operation) parseSub(line []byte) error {
	f, n := fields(line)
	switch n {
	case 2:
		o.Subject, o.SID = f[0], f[1]
	case 3:
		o.Subject, o.Queue, o.SID = f[0], f[1], f[2]
	default:
		return ErrMalformed
	}
	return nil
}

func (o *Operation) parseUnsub(line []byte) error {
	f, n := fields(line)
	if n < 1 || n > 2 {
		return ErrMalformed
	}
	o.SID = f[0]
	if n == 2 {
		size, ok := parseSize(f[1])
		if !ok {
			return ErrMalformed
		}
		o.Max = uint64(size)
	}
	return nil
}

// parseSize reads a number of one to nine digits.
func parseSize(digits []byte) (int, bool) {
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
