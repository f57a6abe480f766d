package nats

import (
	"bytes"
	"iter"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
)

const (
	headerLine     = "NATS/1.0\r\n"
	headerEnd      = "\r\n"
	deleteHeader   = headerLine + "KV-Operation: DEL\r\n\r\n"
	purgeHeader    = headerLine + "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n\r\n"
	operationDel   = "DEL"
	operationPurge = "PURGE"
)

// publishHeaders are what a message's headers ask of a stream. A header that is
// absent or empty is nil.
type publishHeaders struct {
	operation       []byte // KV-Operation
	rollup          []byte
	ttl             []byte
	msgID           []byte
	stream          []byte // expected
	last            []byte // sequence expected of the stream
	lastSubject     []byte // sequence expected of the subject
	lastSubjectFor  []byte // the subject that lastSubject is about
	lastMsgID       []byte
	batch, schedule bool
	increment       bool
}

// readPublishHeaders reads a header block. Names are compared as they are written.
func readPublishHeaders(block []byte, h *publishHeaders) {
	*h = publishHeaders{}
	for name, value := range headerFields(block) {
		h.set(name, value)
	}
}

// headerFields yields the fields of a header block that have a value.
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

// headerField returns the value of a header block's first field of that name, nil if
// there is none.
func headerField(block []byte, name string) []byte {
	for n, value := range headerFields(block) {
		if string(n) == name {
			return value
		}
	}
	return nil
}

func (h *publishHeaders) set(name, value []byte) {
	keep := func(field *[]byte) {
		if *field == nil {
			*field = value
		}
	}
	switch string(name) {
	case "KV-Operation":
		keep(&h.operation)
	case "Nats-Rollup":
		keep(&h.rollup)
	case "Nats-TTL":
		keep(&h.ttl)
	case "Nats-Msg-Id":
		keep(&h.msgID)
	case "Nats-Expected-Stream":
		keep(&h.stream)
	case "Nats-Expected-Last-Sequence":
		keep(&h.last)
	case "Nats-Expected-Last-Subject-Sequence":
		keep(&h.lastSubject)
	case "Nats-Expected-Last-Subject-Sequence-Subject":
		keep(&h.lastSubjectFor)
	case "Nats-Expected-Last-Msg-Id":
		keep(&h.lastMsgID)
	case "Nats-Batch-Id":
		h.batch = true
	case "Nats-Incr":
		h.increment = true
	case "Nats-Schedule":
		h.schedule = true
	}
}

// messageTTL is what a Nats-TTL header asks for.
type messageTTL struct {
	ttl   time.Duration // 0: none
	never bool          // neither this nor the stream's
}

// parseTTL reads a Nats-TTL header: never, a Go duration or whole seconds, at least
// one second; fractions of a second are cut off.
func parseTTL(value string) (messageTTL, bool) {
	if value == "" {
		return messageTTL{}, true
	}
	if strings.EqualFold(value, "never") {
		return messageTTL{never: true}, true
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(time.Duration(1<<63-1)/time.Second) {
			return messageTTL{}, false
		}
		d = time.Duration(seconds) * time.Second
	}
	return messageTTL{ttl: d.Truncate(time.Second)}, d >= time.Second
}

// storedHeader returns what to keep of a message's header block: nothing where
// appendHeader makes the same of the operation alone.
func storedHeader(block []byte, op kv.MutationOp) []byte {
	if op == kv.MutateDelete && string(block) == deleteHeader || op == kv.MutatePurge && string(block) == purgeHeader {
		return nil
	}
	return block
}

// hasHeader reports whether a record is a message with a header block.
func hasHeader(e *kv.Entry) bool { return len(e.Headers) > 0 || e.Operation.IsMarker() }

// appendHeader appends the header block of a record's message, without the line that
// ends it, so that more can follow. A record that no NATS client wrote shows the
// headers that say the same.
func appendHeader(dst []byte, e *kv.Entry, markerTTL time.Duration) []byte {
	switch {
	case len(e.Headers) > 0:
		return append(dst, bytes.TrimSuffix(e.Headers, []byte(headerEnd))...)
	case e.Operation == kv.Delete:
		return append(dst, deleteHeader[:len(deleteHeader)-len(headerEnd)]...)
	case e.Operation == kv.Purge && e.Reason == kv.ReasonExpiry:
		return appendLimitMarker(dst, markerTTL)
	case e.Operation == kv.Purge:
		return append(dst, purgeHeader[:len(purgeHeader)-len(headerEnd)]...)
	}
	return append(dst, headerLine...)
}

// appendLimitMarker appends the headers of the message that takes the place of an
// expired one. KV-Operation is not nats-server's: clients that do not know the
// reason would take the marker for a value.
func appendLimitMarker(dst []byte, markerTTL time.Duration) []byte {
	dst = append(dst, headerLine+"Nats-Marker-Reason: MaxAge\r\nNats-TTL: "...)
	dst = append(dst, markerTTL.String()...)
	return append(dst, "\r\nNats-Rollup: sub\r\nKV-Operation: PURGE\r\n"...)
}

// appendField appends a header field.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, headerEnd...)
}

// appendNumberField appends a header field that is a number.
func appendNumberField(dst []byte, name string, value uint64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendUint(dst, value, 10)
	return append(dst, headerEnd...)
}

// appendTime appends a time as NATS writes it: RFC 3339 with nanoseconds, UTC.
func appendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, time.RFC3339Nano) }
