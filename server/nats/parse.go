package nats

import (
	"errors"
)

// verb is what a client asks for.
type verb uint8

const (
	verbNone verb = iota
	verbConnect
	verbPing
	verbPong
	verbSub
	verbUnsub
	verbPub
	verbHPub
	verbIgnored // +OK and INFO, which are the server's to say
)

// op is one operation of a client. Its slices are views of the input.
type op struct {
	verb    verb
	subject []byte
	reply   []byte // nil: none
	queue   []byte
	sid     []byte
	max     uint64 // of UNSUB; 0: not given
	json    []byte // of CONNECT
	header  []byte // block of HPUB; nil: none
	payload []byte
	size    int // of header and payload, from the control line on; -1: there is none
}

// maxControlLine is how long a line may be without its end, bytes.
const maxControlLine = 4096

// errIncomplete is returned for an operation that is not all there.
var errIncomplete = errors.New("incomplete")

// protocolError ends a connection. Its text goes to the client; where there is none,
// the connection is closed without a word, as nats-server does.
type protocolError string

func (e protocolError) Error() string {
	if e == "" {
		return "malformed operation"
	}
	return string(e)
}

// What ends a connection, in nats-server's words: clients act on some of them.
const (
	errMalformed     protocolError = ""
	errUnknown       protocolError = "Unknown Protocol Operation"
	errControlLine   protocolError = "maximum control line exceeded"
	errMaxPayload    protocolError = "Maximum Payload Violation"
	errAuthorization protocolError = "Authorization Violation"
	errAuthTimeout   protocolError = "Authentication Timeout"
	errStale         protocolError = "Stale Connection"
	errNoHeaders     protocolError = "no responders requires headers support"
	errSlowConsumer  protocolError = "Slow Consumer"
)

const crlfSize = len("\r\n")

// parse reads the operation at the start of in into o and returns how many bytes it
// takes. errIncomplete comes with how many bytes the operation takes at least; a
// protocolError ends the connection. It allocates nothing.
func parse(in []byte, maxPayload int, o *op) (int, error) {
	*o = op{size: -1}
	line, n, err := cutLine(in)
	if err != nil {
		return n, err
	}
	name, rest := cutField(line)
	o.verb = verbOf(name)
	switch o.verb {
	case verbPub:
		err = o.parsePub(rest)
	case verbHPub:
		return o.parsePayload(in, n, maxPayload, rest)
	case verbSub:
		return n, o.parseSub(rest)
	case verbUnsub:
		return n, o.parseUnsub(rest)
	case verbConnect:
		o.json = rest
		return n, nil
	case verbNone:
		return n, errUnknown
	default:
		return n, nil
	}
	if err != nil {
		return n, err
	}
	return o.cutPayload(in, n, maxPayload, 0)
}

// cutLine returns the line at the start of in without its end, and its size with it.
// A bare LF ends a line too.
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
	if len(in) > 0 && !startsVerb(in[0]) {
		return nil, 0, errUnknown // whatever follows: no need to wait for it
	}
	if limit > maxControlLine {
		return nil, 0, errControlLine
	}
	return nil, len(in) + 1, errIncomplete
}

// startsVerb reports whether an operation can begin so.
func startsVerb(c byte) bool {
	switch c | 0x20 {
	case 'c', 'p', 's', 'u', 'h', 'i':
		return true
	}
	return c == '+' || c == ' ' || c == '\t' || c == '\r'
}

// cutField returns the first field of a line and what follows it.
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

// fields splits a line into at most four fields; with more, n is 5.
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

// verbOf finds an operation by its name, in any case.
func verbOf(name []byte) verb {
	var upper [8]byte
	if len(name) == 0 || len(name) > len(upper) {
		return verbNone
	}
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	switch string(upper[:len(name)]) {
	case "PUB":
		return verbPub
	case "HPUB":
		return verbHPub
	case "SUB":
		return verbSub
	case "UNSUB":
		return verbUnsub
	case "PING":
		return verbPing
	case "PONG":
		return verbPong
	case "CONNECT":
		return verbConnect
	case "+OK", "INFO":
		return verbIgnored
	}
	return verbNone
}

func (o *op) parsePub(line []byte) error {
	f, n := fields(line)
	switch n {
	case 2:
		o.subject = f[0]
	case 3:
		o.subject, o.reply = f[0], f[1]
	default:
		return errMalformed
	}
	size, ok := parseSize(f[n-1])
	if !ok {
		return errMalformed
	}
	o.size = size
	return nil
}

func (o *op) parsePayload(in []byte, n, maxPayload int, line []byte) (int, error) {
	f, count := fields(line)
	switch count {
	case 3:
		o.subject = f[0]
	case 4:
		o.subject, o.reply = f[0], f[1]
	default:
		return n, errMalformed
	}
	header, ok := parseSize(f[count-2])
	total, ok2 := parseSize(f[count-1])
	if !ok || !ok2 || header > total {
		return n, errMalformed
	}
	o.size = total
	return o.cutPayload(in, n, maxPayload, header)
}

// cutPayload takes the header block and the payload that follow the line of n bytes.
func (o *op) cutPayload(in []byte, n, maxPayload, header int) (int, error) {
	if o.size > maxPayload {
		return n, errMaxPayload
	}
	end := n + o.size
	if len(in) < end+crlfSize {
		if len(in) > end && in[end] != '\r' {
			return n, errUnknown
		}
		return end + crlfSize, errIncomplete
	}
	if in[end] != '\r' || in[end+1] != '\n' {
		return n, errUnknown
	}
	if header > 0 {
		o.header = in[n : n+header : n+header]
	}
	o.payload = in[n+header : end : end]
	return end + crlfSize, nil
}

func (o *op) parseSub(line []byte) error {
	f, n := fields(line)
	switch n {
	case 2:
		o.subject, o.sid = f[0], f[1]
	case 3:
		o.subject, o.queue, o.sid = f[0], f[1], f[2]
	default:
		return errMalformed
	}
	return nil
}

func (o *op) parseUnsub(line []byte) error {
	f, n := fields(line)
	if n < 1 || n > 2 {
		return errMalformed
	}
	o.sid = f[0]
	if n == 2 {
		size, ok := parseSize(f[1])
		if !ok {
			return errMalformed
		}
		o.max = uint64(size)
	}
	return nil
}

// parseSize reads a number of at most nine digits.
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
