package wire

import (
	"bytes"
	"strings"

	"kvd/kv"
)

// Prefixes of the subjects that the server itself answers, and BucketStreamPrefix, which
// begins the names of the streams of key/value buckets.
const (
	KeyPrefix          = "$KV."
	BucketStreamPrefix = "KV_"
	APIPrefix          = "$JS.API."
	DirectGetPrefix    = "$JS.API.DIRECT.GET."
	AckPrefix          = "$JS.ACK."
	FlowControlPrefix  = "$JS.FC."
	SnapshotPrefix     = "$JS.SNAPSHOT."
	SystemPrefix       = "$SYS."
)

// ValidSubject reports whether a subject, or a pattern of subjects, has no empty token,
// and ">" only at its end.
func ValidSubject(subject []byte) bool {
	for {
		token, rest, more := bytes.Cut(subject, dot)
		if len(token) == 0 || len(token) == 1 && token[0] == '>' && more {
			return false
		}
		if !more {
			return true
		}
		subject = rest
	}
}

// IsLiteral reports whether a subject is valid and has no wildcard, so that messages can
// be published to it.
func IsLiteral(subject []byte) bool {
	if !ValidSubject(subject) {
		return false
	}
	for {
		token, rest, more := bytes.Cut(subject, dot)
		if len(token) == 1 && (token[0] == '*' || token[0] == '>') {
			return false
		}
		if !more {
			return true
		}
		subject = rest
	}
}

var dot = []byte{'.'}

// Overlap reports whether some subject matches both patterns, which are valid.
func Overlap(p, q string) bool {
	for {
		pToken, pRest, pMore := strings.Cut(p, ".")
		qToken, qRest, qMore := strings.Cut(q, ".")
		switch {
		case pToken == ">" || qToken == ">":
			return true
		case pToken != qToken && pToken != "*" && qToken != "*", pMore != qMore:
			return false
		case !pMore:
			return true
		}
		p, q = pRest, qRest
	}
}

// CutKey splits the subject of a key, $KV.<bucket>.<key>. It reports false for another
// subject. The parts are views of subject.
func CutKey(subject []byte) (bucket, key []byte, ok bool) {
	rest, ok := bytes.CutPrefix(subject, []byte(KeyPrefix))
	if !ok {
		return nil, nil, false
	}
	return bytes.Cut(rest, dot)
}

// KeyPattern returns the pattern of the bucket's keys that a filter of subjects selects.
// It reports false if the filter selects none.
func KeyPattern(filter, bucket string) (string, bool) {
	for _, want := range [...]string{"$KV", bucket} {
		token, rest, more := strings.Cut(filter, ".")
		switch {
		case token == ">" && !more:
			return ">", true
		case token != want && token != "*", !more:
			return "", false
		}
		filter = rest
	}
	return filter, kv.CheckPattern(filter) == nil
}
