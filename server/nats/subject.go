package nats

import (
	"bytes"
	"strings"

	"kvd/kv"
)

// Prefixes of the subjects that the server itself answers.
const (
	keyPrefix    = "$KV."
	streamPrefix = "KV_"
	apiPrefix    = "$JS.API."
	directPrefix = "$JS.API.DIRECT.GET."
	ackPrefix    = "$JS.ACK."
	flowPrefix   = "$JS.FC."
	systemPrefix = "$SYS."
	jsPrefix     = "$JS."
)

// validSubject reports whether a subject has no empty token and, where it has one,
// its ">" last. A wildcard within a longer token is an ordinary character.
func validSubject(subject []byte) bool {
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

// isLiteral reports whether a subject is valid and has no wildcard: one to publish to.
func isLiteral(subject []byte) bool {
	if !validSubject(subject) {
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

// matches reports whether the pattern selects the literal subject, byte for byte.
func matches(pattern, subject string) bool { return kv.Match(pattern, subject) }

// overlap reports whether some subject matches both patterns.
func overlap(p, q string) bool {
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

// cutKey splits the subject of a key into bucket and key.
func cutKey(subject []byte) (bucket, key []byte, ok bool) {
	rest, ok := bytes.CutPrefix(subject, []byte(keyPrefix))
	if !ok {
		return nil, nil, false
	}
	return bytes.Cut(rest, dot)
}

// keyPattern turns a filter of subjects into the pattern of a bucket's keys that it
// selects. It reports false for one that selects none.
func keyPattern(filter, bucket string) (string, bool) {
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
	// A token such as "a*" is literal to NATS, and no key can be named so.
	return filter, kv.CheckPattern(filter) == nil
}
