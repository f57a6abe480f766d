package wire

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
)

// HeaderEnd is the empty line that ends a header block, and the end of each line.
const HeaderEnd = "\r\n"

const (
	headerVersion  = "NATS/1.0\r\n"
	deleteHeader   = headerVersion + "KV-Operation: DEL\r\n\r\n"
	purgeHeader    = headerVersion + "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n\r\n"
	purgeReversed  = headerVersion + "Nats-Rollup: sub\r\nKV-Operation: PURGE\r\n\r\n"
	blockEnd       = "\r\n\r\n"
	operationDel   = "DEL"
	operationPurge = "PURGE"
)

// Names of header fields.
const (
	TTLField          = "Nats-TTL"
	MarkerReasonField = "Nats-Marker-Reason"
)

// IsHeaderBlock reports whether b can be a header block: a version, and an empty line at its end
// alone.
func IsHeaderBlock(b []byte) bool {
	return bytes.HasPrefix(b, []byte(headerVersion)) && bytes.Index(b, []byte(blockEnd)) == len(b)-len(blockEnd)
}

// PublishHeaders are the headers of a message that a stream acts on. A header that is
// absent or empty is nil. The slices are views of the header block.
type PublishHeaders struct {
	Operation []byte // KV-Operation
	Rollup    []byte // Nats-Rollup
	TTL       []byte // Nats-TTL
	MsgID     []byte // Nats-Msg-Id

	ExpectedStream                     []byte // Nats-Expected-Stream, and so on
	ExpectedLastSequence               []byte
	ExpectedLastSubjectSequence        []byte
	ExpectedLastSubjectSequenceSubject []byte
	ExpectedLastMsgID                  []byte

	// Headers that are only refused: whether they are there.
	Batch     bool // Nats-Batch-Id
	Increment bool // Nats-Incr
	Schedule  bool // Nats-Schedule
}

// ReadPublishHeaders reads a header block into h. If a header is repeated, the first
// counts.
func ReadPublishHeaders(block []byte, h *PublishHeaders) {
	*h = PublishHeaders{}
	for name, value := range headerFields(block) {
		h.set(name, value)
	}
}

// headerFields yields name and value of the fields of a header block that have a value.
func headerFields(block []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		_, block, _ := bytes.Cut(block, []byte("\n")) // the version
		for len(block) > 0 {
			var line []byte
			line, block, _ = bytes.Cut(block, []byte("\n"))
			name, value, ok := bytes.Cut(line, []byte(":"))
			if value = bytes.TrimSpace(value); ok && len(value) > 0 && !yield(name, value) {
				return
			}
		}
	}
}

// HeaderField returns the value of a header block's first field of that name, and nil if
// there is none. The value is a view of the block.
func HeaderField(block []byte, name string) []byte {
	for n, value := range headerFields(block) {
		if string(n) == name {
			return value
		}
	}
	return nil
}

func (h *PublishHeaders) set(name, value []byte) {
	keep := func(field *[]byte) {
		if *field == nil {
			*field = value
		}
	}
	switch string(name) {
	case "KV-Operation":
		keep(&h.Operation)
	case "Nats-Rollup":
		keep(&h.Rollup)
	case TTLField:
		keep(&h.TTL)
	case "Nats-Msg-Id":
		keep(&h.MsgID)
	case "Nats-Expected-Stream":
		keep(&h.ExpectedStream)
	case "Nats-Expected-Last-Sequence":
		keep(&h.ExpectedLastSequence)
	case "Nats-Expected-Last-Subject-Sequence":
		keep(&h.ExpectedLastSubjectSequence)
	case "Nats-Expected-Last-Subject-Sequence-Subject":
		keep(&h.ExpectedLastSubjectSequenceSubject)
	case "Nats-Expected-Last-Msg-Id":
		keep(&h.ExpectedLastMsgID)
	case "Nats-Batch-Id":
		h.Batch = true
	case "Nats-Incr":
		h.Increment = true
	case "Nats-Schedule":
		h.Schedule = true
	}
}

// IsMarker reports whether the message deletes or purges its key.
func (h *PublishHeaders) IsMarker() bool {
	return string(h.Operation) == operationDel || string(h.Operation) == operationPurge
}

// MessageTTL is the value of a Nats-TTL header.
type MessageTTL struct {
	TTL   time.Duration // 0 if there is none
	Never bool          // the message does not expire, whatever the stream's max_age
}

// ParseTTL reads a Nats-TTL header: "never", a Go duration or whole seconds. It must be
// one second or more; fractions of a second are cut off. It reports false for another
// value; an empty one stands for no TTL.
func ParseTTL(value string) (MessageTTL, bool) {
	if value == "" {
		return MessageTTL{}, true
	}
	if strings.EqualFold(value, "never") {
		return MessageTTL{Never: true}, true
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(time.Duration(1<<63-1)/time.Second) {
			return MessageTTL{}, false
		}
		d = time.Duration(seconds) * time.Second
	}
	return MessageTTL{TTL: d.Truncate(time.Second)}, d >= time.Second
}

// StoredHeader returns the header block to store with a message. That is nil for the
// blocks that AppendHeader derives from the operation alone. nats.go writes the two fields
// of a purge in the order of a map, which is the other one in one of eight purges. Both
// orders mean the same, so neither is stored.
func StoredHeader(block []byte, op kv.MutationOp) []byte {
	switch {
	case op == kv.MutateDelete && string(block) == deleteHeader,
		op == kv.MutatePurge && string(block) == purgeHeader,
		op == kv.MutatePurge && string(block) == purgeReversed:
		return nil
	}
	return block
}

// HasHeader reports whether a record is a message with a header block.
func HasHeader(e *kv.Entry) bool { return len(e.Headers) > 0 || e.Operation.IsMarker() }

// AppendHeader appends the header block of a record's message, without the empty line at
// its end, so that more fields can follow. Records that no NATS client wrote have headers
// of the same meaning. markerTTL is the bucket's.
func AppendHeader(dst []byte, e *kv.Entry, markerTTL time.Duration) []byte {
	switch {
	case len(e.Headers) > 0:
		return append(dst, bytes.TrimSuffix(e.Headers, []byte(HeaderEnd))...)
	case e.Operation == kv.Delete:
		return append(dst, deleteHeader[:len(deleteHeader)-len(HeaderEnd)]...)
	case e.Operation == kv.Purge && e.Reason == kv.ReasonExpiry:
		return appendLimitMarker(dst, markerTTL)
	case e.Operation == kv.Purge:
		return append(dst, purgeHeader[:len(purgeHeader)-len(HeaderEnd)]...)
	}
	return append(dst, headerVersion...)
}

// appendLimitMarker appends the headers of an expiry marker. nats-server has no
// KV-Operation there; without it, clients that do not know Nats-Marker-Reason would take
// the marker for a value.
func appendLimitMarker(dst []byte, markerTTL time.Duration) []byte {
	dst = append(dst, headerVersion+"Nats-Marker-Reason: MaxAge\r\nNats-TTL: "...)
	dst = append(dst, markerTTL.String()...)
	return append(dst, "\r\nNats-Rollup: sub\r\nKV-Operation: PURGE\r\n"...)
}

// AppendField appends a header field.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, HeaderEnd...)
}

// AppendNumberField appends a header field whose value is a number.
func AppendNumberField(dst []byte, name string, value uint64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendUint(dst, value, 10)
	return append(dst, HeaderEnd...)
}

// AppendTime appends a time as NATS writes it: RFC 3339 with nanoseconds, in UTC.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, time.RFC3339Nano) }
