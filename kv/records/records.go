package records

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"kvd/kv"
)

// LineMax bounds a line in bytes, with its line feed: a value and headers of the greatest size in
// base64, and everything else.
const LineMax = (kv.MaxValueSizeLimit+2)/3*4 + (kv.MaxHeadersSize+2)/3*4 + 16<<10

// line is a record as JSON. Nil and empty fields are left out.
type line struct {
	Bucket    string      `json:"bucket,omitempty"`
	Key       string      `json:"key"`
	Revision  kv.Revision `json:"rev"`
	Op        string      `json:"op"`
	Created   time.Time   `json:"created"`
	Deadline  *time.Time  `json:"deadline,omitempty"`
	Value     *string     `json:"value,omitempty"`
	Value64   []byte      `json:"value64,omitempty"`
	Headers64 []byte      `json:"headers64,omitempty"`
}

const opExpire = "expire"

// ops are the names of the operations.
var ops = map[kv.Operation]string{kv.Put: "put", kv.Delete: "del", kv.Purge: "purge"}

// Append appends the line of a record to dst and returns the extended slice. It does not use Delta
// and Previous. The error matches kv.ErrInvalidRecord if the record has no such form.
func Append(dst []byte, e *kv.Entry) ([]byte, error) {
	l := line{Bucket: e.Bucket, Key: e.Key, Revision: e.Revision, Op: ops[e.Operation], Created: e.Created.UTC(), Headers64: e.Headers}
	if e.Operation == kv.Purge && e.Reason == kv.ReasonExpiry {
		l.Op = opExpire
	}
	switch {
	case l.Op == "":
		return dst, fmt.Errorf("%w: %v", kv.ErrInvalidRecord, e.Operation)
	case !utf8.ValidString(e.Key):
		return dst, fmt.Errorf("%w: key %.64q is not UTF-8", kv.ErrInvalidRecord, e.Key)
	case len(e.Value) > kv.MaxValueSizeLimit, len(e.Headers) > kv.MaxHeadersSize, len(e.Key) > kv.MaxKeySize, len(e.Bucket) > kv.MaxBucketNameSize:
		return dst, fmt.Errorf("%w: a value of %d bytes, headers of %d, a key of %d", kv.ErrInvalidRecord, len(e.Value), len(e.Headers), len(e.Key))
	case e.Operation.IsMarker() && len(e.Value) > 0:
		return dst, fmt.Errorf("%w: %v with a value", kv.ErrInvalidRecord, e.Operation)
	}
	if !e.Deadline.IsZero() {
		deadline := e.Deadline.UTC()
		l.Deadline = &deadline
	}
	if e.Operation == kv.Put {
		if text := string(e.Value); isShort(text) {
			l.Value = &text
		} else {
			l.Value64 = e.Value
		}
	}
	b := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(&l); err != nil { // a year beyond 9999
		return dst, fmt.Errorf("%w: %w", kv.ErrInvalidRecord, err)
	}
	return b.Bytes(), nil
}

// isShort reports whether a value is UTF-8 and as a string of JSON no longer than in base64.
func isShort(value string) bool {
	const escape = len(`\u0000`)
	size := 0
	for _, r := range value {
		switch {
		case r < ' ', r == 0x7f, r == '\u2028', r == '\u2029', r == utf8.RuneError:
			size += escape
		case r == '"', r == '\\':
			size += 2
		default:
			size += utf8.RuneLen(r)
		}
	}
	return utf8.ValidString(value) && size <= max(base64.StdEncoding.EncodedLen(len(value)), escape)
}

// Decode reads one line, with or without its line feed. The entry keeps no part of it. The error
// matches kv.ErrInvalidRecord. Decode checks the form alone; an import checks the rules of a
// record.
func Decode(text []byte) (kv.Entry, error) {
	var l line
	if len(text) > LineMax {
		return kv.Entry{}, fmt.Errorf("%w: a line of %d bytes, must be at most %d", kv.ErrInvalidRecord, len(text), LineMax)
	}
	if !utf8.Valid(text) {
		return kv.Entry{}, fmt.Errorf("%w: a line that is not UTF-8", kv.ErrInvalidRecord)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&l)
	if err == nil {
		if _, rest := decoder.Token(); !errors.Is(rest, io.EOF) {
			err = errors.New("something follows the record in its line")
		}
	}
	if err != nil {
		return kv.Entry{}, fmt.Errorf("%w: %.300s", kv.ErrInvalidRecord, err.Error()) // without the text, which has the value; a name may be long
	}
	return l.entry()
}

// entry returns the record of a line.
func (l *line) entry() (kv.Entry, error) {
	e := kv.Entry{Bucket: l.Bucket, Key: l.Key, Revision: l.Revision, Created: l.Created.UTC(), Value: l.Value64, Headers: l.Headers64}
	for op, name := range ops {
		if name == l.Op {
			e.Operation = op
		}
	}
	e.Reason = kv.ReasonClient
	switch {
	case l.Op == opExpire:
		e.Operation, e.Reason = kv.Purge, kv.ReasonExpiry
	case e.Operation == kv.Put:
		e.Reason = kv.ReasonNone
	}
	if l.Value != nil {
		e.Value = []byte(*l.Value)
	}
	if l.Deadline != nil {
		e.Deadline = l.Deadline.UTC()
	}
	values := 0
	if l.Value != nil {
		values++
	}
	if l.Value64 != nil {
		values++
	}
	switch {
	case e.Operation == 0:
		return kv.Entry{}, fmt.Errorf("%w: key %.64q, revision %d: op %.64q, must be put, del, purge or expire", kv.ErrInvalidRecord, l.Key, l.Revision, l.Op)
	case e.Operation == kv.Put && values != 1, e.Operation != kv.Put && values != 0:
		return kv.Entry{}, fmt.Errorf("%w: key %.64q, revision %d: a put has either value or value64, a marker neither", kv.ErrInvalidRecord, l.Key, l.Revision)
	}
	return e, nil
}

// Cut cuts the first line off lines, without its line feed. The last line may lack it.
func Cut(lines []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(lines, []byte{'\n'})
	return line, rest
}
