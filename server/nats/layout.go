package nats

import (
	"bytes"
	"strconv"
	"strings"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
)

// layout says where a stream's messages are: in which bucket, and under which key.
//
//	stream                               bucket           subject     key
//	KV_b                                 b                $KV.b.a.b   a.b
//	S, with a limit of each subject      _kvd_stream_S    a.b         a.b
//	S, with none: every message is kept  _kvd_stream_S    a.b         a.b.<suffix of its revision>
//
// Names and subjects of plain streams, which the latter two are, may have bytes that
// buckets and keys may not: these are escaped, see escapeName and appendEscaped.
// Immutable.
type layout struct {
	stream string
	quoted string // stream, as JSON has it
	bucket string
	prefix string // of the subjects of a key/value bucket, with its dot; empty: the stream is plain
	apart  bool   // every message has a key of its own, see msglog.Append
}

// plainPrefix begins the names of the buckets of plain streams.
const plainPrefix = msglog.ReservedBucket + "stream_"

// bucketOf returns the bucket of the stream of that name. It reports false for one
// that no stream of kvd can have.
func bucketOf(stream string) (bucket string, ok bool) {
	if bucket, ok = strings.CutPrefix(stream, streamPrefix); ok {
		return bucket, kv.CheckBucketName(bucket) == nil && !strings.HasPrefix(bucket, msglog.ReservedBucket)
	}
	bucket = plainPrefix + escapeName(stream)
	return bucket, isStreamName(stream) && len(bucket) <= kv.MaxBucketNameSize
}

// streamOf returns the name of the stream that a bucket is. It reports false for a
// bucket that a front end keeps for something else.
func streamOf(bucket string) (stream string, ok bool) {
	if name, ok := strings.CutPrefix(bucket, plainPrefix); ok {
		return unescapeName(name), true
	}
	return streamPrefix + bucket, !strings.HasPrefix(bucket, msglog.ReservedBucket)
}

// isStreamName reports whether a stream may have that name, as nats-server has it.
func isStreamName(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`.*>/\`, r)
	}) < 0
}

// escapeName writes a stream's name with the bytes of a bucket's: "_" is doubled, and
// what is none of those is "_" and two hexadecimal digits.
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

// appendEscaped appends a subject's token, or some, with the bytes of a key: what is
// none of those, and "=", is "=" and two hexadecimal digits.
func appendEscaped[T string | []byte](dst []byte, subject T) []byte {
	for i := range len(subject) {
		if c := subject[i]; isPlain(c) {
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

// isPlain reports whether a byte of a subject stands for itself in a key.
func isPlain(c byte) bool { return isAlphanumeric(c) || c == '.' || c == '-' || c == '_' || c == '/' }

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func hexDigits(c byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// appendUnhex appends the byte that the first two digits of rest stand for, and
// returns what follows. What somebody else wrote stays as it is: a blank or the end of a
// line, which would end a subject where it is sent.
func appendUnhex(dst []byte, mark byte, rest string) ([]byte, string) {
	if len(rest) >= 2 {
		if c, err := strconv.ParseUint(rest[:2], 16, 8); err == nil && !strings.ContainsRune(" \t\r\n", rune(c)) {
			return append(dst, byte(c)), rest[2:]
		}
	}
	return append(dst, mark), rest
}

// newLayout returns the layout of a bucket's stream; apart counts for plain ones.
func newLayout(bucket string, apart bool) *layout {
	stream, _ := streamOf(bucket)
	l := &layout{stream: stream, quoted: string(encodeJSON(stream)), bucket: bucket}
	if strings.HasPrefix(bucket, plainPrefix) {
		l.apart = apart
	} else {
		l.prefix = keyPrefix + bucket + "."
	}
	return l
}

// isPlain reports whether the stream is no key/value bucket.
func (l *layout) isPlain() bool { return l.prefix == "" }

// key returns the key of a literal subject, for a message apart what its key begins
// with. It may be a view of the subject.
func (l *layout) key(subject []byte) (string, bool) {
	if l.isPlain() {
		if bytes.IndexFunc(subject, func(r rune) bool { return r > 0x7f || !isPlain(byte(r)) }) >= 0 {
			subject = appendEscaped(nil, subject)
		}
		return view.String(subject), true
	}
	key, ok := bytes.CutPrefix(subject, []byte(l.prefix))
	return view.String(key), ok
}

// appendSubject appends the subject of a record's key.
func (l *layout) appendSubject(dst []byte, key string) []byte {
	if !l.isPlain() {
		dst = append(dst, l.prefix...)
		return append(dst, key...)
	}
	return appendUnescaped(dst, l.base(key))
}

// base returns the part of a record's key that its subject has to say. What somebody
// else wrote stays as it is.
func (l *layout) base(key string) string {
	n := len(key) - msglog.AppendedKeySize
	if !l.apart || n <= 0 || key[n] != '.' || strings.Trim(key[n+1:], "0123456789abcdef") != "" {
		return key
	}
	return key[:n]
}

// pattern turns a filter of subjects into the pattern of keys that it selects. It
// reports false for one that selects none.
func (l *layout) pattern(filter string) (string, bool) {
	if !l.isPlain() {
		return keyPattern(filter, l.bucket)
	}
	var b []byte
	rest := false // it ends in ">"
	for more := true; more; {
		var token string
		token, filter, more = strings.Cut(filter, ".")
		switch rest = token == ">"; {
		case rest && more:
			return "", false
		case rest && l.apart:
			b = append(b, "*.>"...) // of a subject's tokens there is one at least
		case rest || token == "*":
			b = append(b, token...)
		default:
			b = appendEscaped(b, token)
		}
		if more {
			b = append(b, '.')
		}
	}
	if l.apart && !rest {
		b = append(b, ".*"...)
	}
	return string(b), kv.CheckPattern(string(b)) == nil
}
