package streamconfig

import (
	"bytes"
	"strconv"
	"strings"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// Layout says in which bucket a stream's messages are, and under which keys. See the
// package's page. It is immutable.
type Layout struct {
	Stream        string // its name
	QuotedStream  string // its name as JSON
	Bucket        string // the name of its bucket
	Grants        string // the name of the bucket that grants on the stream are about, see GrantsOf
	OnePerMessage bool   // every message has a key of its own, see msglog.Append

	prefix string // of the subjects of a key/value bucket, with the last dot; empty for a message stream
}

// MessageStreamPrefix begins the names of the buckets of message streams.
const MessageStreamPrefix = msglog.ReservedBucket + "stream_"

// KeyBucketOf returns the name of the key/value bucket whose stream has that name. It
// reports false if no key/value bucket can have such a stream.
func KeyBucketOf(stream string) (bucket string, ok bool) {
	bucket, ok = strings.CutPrefix(stream, wire.BucketStreamPrefix)
	return bucket, ok && kv.CheckBucketName(bucket) == nil && !strings.HasPrefix(bucket, msglog.ReservedBucket)
}

// MessageBucketOf returns the name of the bucket of a message stream. It reports false if
// kvd can have no message stream of that name.
func MessageBucketOf(stream string) (bucket string, ok bool) {
	bucket = MessageStreamPrefix + escapeName(stream)
	return bucket, isStreamName(stream) && len(bucket) <= kv.MaxBucketNameSize
}

// GrantsOf returns the name of the bucket that grants on a stream are about: b for the
// stream KV_b, whichever kind it has, and otherwise that of the message stream's bucket. It
// reports false if kvd can have no stream of that name.
func GrantsOf(stream string) (bucket string, ok bool) {
	if bucket, ok = KeyBucketOf(stream); ok {
		return bucket, true
	}
	return MessageBucketOf(stream)
}

// KeysCaptured returns the bucket whose keys a pattern of subjects can match: its name, or "*"
// for more than one bucket. It reports false if the pattern matches no key of any bucket.
func KeysCaptured(pattern string) (bucket string, ok bool) {
	if !wire.Overlap(pattern, wire.KeyPrefix+"*.>") {
		return "", false
	}
	_, rest, _ := strings.Cut(pattern, ".")
	if bucket, _, _ = strings.Cut(rest, "."); bucket == "*" || bucket == ">" || rest == "" {
		return "*", true
	}
	return bucket, kv.CheckBucketName(bucket) == nil
}

// StreamOf returns the name of a bucket's stream. It reports false for a reserved bucket
// that is no stream.
func StreamOf(bucket string) (stream string, ok bool) {
	if name, ok := strings.CutPrefix(bucket, MessageStreamPrefix); ok {
		return unescapeName(name), true
	}
	return wire.BucketStreamPrefix + bucket, !strings.HasPrefix(bucket, msglog.ReservedBucket)
}

// isStreamName reports whether nats-server allows the name of a stream.
func isStreamName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`.*>/\`, r)
	}) < 0
}

// escapeName escapes the name of a stream for that of a bucket: "_" is doubled, and a
// byte that no bucket's name has is "_" and two hexadecimal digits.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_':
			b.WriteString("__")
		case isAlphanumeric(c) || c == '-':
			b.WriteByte(c)
		default:
			b.WriteByte('_')
			b.WriteString(hexDigits(c))
		}
	}
	return b.String()
}

func unescapeName(name string) string {
	var b []byte
	for len(name) > 0 {
		literal, rest, escaped := strings.Cut(name, "_")
		b = append(b, literal...)
		switch {
		case !escaped:
		case strings.HasPrefix(rest, "_"):
			b, rest = append(b, '_'), rest[1:]
		default:
			b, rest = appendUnhex(b, '_', rest)
		}
		name = rest
	}
	return string(b)
}

// appendEscaped appends a subject, or some of its tokens, escaped for a key: "=", and a
// byte that no key has, is "=" and two hexadecimal digits.
func appendEscaped[T string | []byte](dst []byte, subject T) []byte {
	for i := range len(subject) {
		if c := subject[i]; isKeyByte(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=')
			dst = append(dst, hexDigits(c)...)
		}
	}
	return dst
}

func appendUnescaped(dst []byte, key string) []byte {
	for {
		literal, rest, escaped := strings.Cut(key, "=")
		dst = append(dst, literal...)
		if !escaped {
			return dst
		}
		dst, key = appendUnhex(dst, '=', rest)
	}
}

// isKeyByte reports whether a byte of a subject needs no escape in a key.
func isKeyByte(c byte) bool { return isAlphanumeric(c) || c == '.' || c == '-' || c == '_' || c == '/' }

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func hexDigits(c byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// appendUnhex appends the byte that the first two digits of rest stand for, and returns
// what follows them. Where rest begins with no two digits it appends the mark instead. So
// it does for a blank and the ends of a line, which would break the protocol: keys that
// kvd's tools wrote may have them.
func appendUnhex(dst []byte, mark byte, rest string) ([]byte, string) {
	if len(rest) >= 2 {
		if c, err := strconv.ParseUint(rest[:2], 16, 8); err == nil && !strings.ContainsRune(" \t\r\n", rune(c)) {
			return append(dst, byte(c)), rest[2:]
		}
	}
	return append(dst, mark), rest
}

// NewLayout returns the layout of a bucket's stream. For the stream of a key/value bucket
// onePerMessage is ignored.
func NewLayout(bucket string, onePerMessage bool) *Layout {
	stream, _ := StreamOf(bucket)
	l := &Layout{Stream: stream, QuotedStream: string(jsapi.EncodeJSON(stream)), Bucket: bucket}
	l.Grants, _ = GrantsOf(stream)
	if strings.HasPrefix(bucket, MessageStreamPrefix) {
		l.OnePerMessage = onePerMessage
	} else {
		l.prefix = wire.KeyPrefix + bucket + "."
	}
	return l
}

// IsMessageStream reports whether the stream is not that of a key/value bucket.
func (l *Layout) IsMessageStream() bool { return l.prefix == "" }

// Key returns the key of a literal subject; with OnePerMessage, the key without its
// suffix. It reports false if the stream has no such subject. The key may be a view of
// the subject.
func (l *Layout) Key(subject []byte) (string, bool) {
	if l.IsMessageStream() {
		if bytes.IndexFunc(subject, func(r rune) bool { return r > 0x7f || !isKeyByte(byte(r)) }) >= 0 {
			subject = appendEscaped(nil, subject)
		}
		return view.String(subject), true
	}
	key, ok := bytes.CutPrefix(subject, []byte(l.prefix))
	return view.String(key), ok
}

// AppendSubject appends the subject of a record's key.
func (l *Layout) AppendSubject(dst []byte, key string) []byte {
	if !l.IsMessageStream() {
		dst = append(dst, l.prefix...)
		return append(dst, key...)
	}
	return appendUnescaped(dst, l.SubjectPart(key))
}

// SubjectPart returns a record's key without the suffix of its revision. A key without
// such a suffix, which the front end did not write, is returned whole.
func (l *Layout) SubjectPart(key string) string {
	n := len(key) - msglog.AppendedKeySize
	if !l.OnePerMessage || n <= 0 || key[n] != '.' || strings.Trim(key[n+1:], "0123456789abcdef") != "" {
		return key
	}
	return key[:n]
}

// SubjectPattern returns the pattern of subjects that a filter selects, in the form of keys
// without suffixes: see SubjectPart. It reports false if the filter selects none.
func (l *Layout) SubjectPattern(filter string) (string, bool) {
	return l.pattern(filter, false)
}

// Pattern returns the pattern of keys that a filter of subjects selects. It reports false
// if the filter selects none.
func (l *Layout) Pattern(filter string) (string, bool) {
	return l.pattern(filter, l.OnePerMessage)
}

// pattern returns the pattern of keys, with a token for the suffix if they have one.
func (l *Layout) pattern(filter string, suffix bool) (string, bool) {
	if !l.IsMessageStream() {
		return wire.KeyPattern(filter, l.Bucket)
	}
	var b []byte
	rest := false // it ends in ">"
	for more := true; more; {
		var token string
		token, filter, more = strings.Cut(filter, ".")
		switch rest = token == ">"; {
		case rest && more:
			return "", false
		case rest && suffix:
			b = append(b, "*.>"...) // a subject has one token or more
		case rest || token == "*":
			b = append(b, token...)
		default:
			b = appendEscaped(b, token)
		}
		if more {
			b = append(b, '.')
		}
	}
	if suffix && !rest {
		b = append(b, ".*"...)
	}
	return string(b), kv.CheckPattern(string(b)) == nil
}
