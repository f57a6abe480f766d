package streamconfig

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"kvd/kv"
	"kvd/server/nats/wire"
)

// Transform makes a subject of another one. A token of the destination is taken as it is, or
// is $n or {{wildcard(n)}}: the token of the subject that the source's n-th * matches. A > at
// the end stands for the tokens that the source's > matches. Immutable.
type Transform struct {
	source      string
	destination []destinationToken
	keeps       int // tokens of the source before its >, whose rest is kept; -1: it has none
}

// destinationToken is a token of a transform's destination.
type destinationToken struct {
	text string
	from int // number of the subject's token that replaces it; -1 if text is taken as it is
}

var (
	errTransform = errors.New("the source and the destination do not agree")
	errFunction  = errors.New("functions but {{wildcard(n)}} are not supported")

	wildcardFunction = regexp.MustCompile(`^\{\{\s*[wW]ildcard\s*\(\s*(\d+)\s*\)\s*\}\}$`)
	otherFunction    = regexp.MustCompile(`^\{\{\s*([pP]artition|[sS]plit|[sS]plit[fF]rom[lL]eft|[sS]plit[fF]rom[rR]ight|[sS]lice[fF]rom[lL]eft|[sS]lice[fF]rom[rR]ight|[lL]eft|[rR]ight|[rR]andom)\s*\(.*\)\s*\}\}$`)
)

// NewTransform returns the transform from one pattern to another, neither of which is empty.
func NewTransform(source, destination string) (*Transform, error) {
	if !wire.ValidSubject([]byte(source)) || !wire.ValidSubject([]byte(destination)) {
		return nil, errTransform
	}
	t := &Transform{source: source, keeps: -1}
	var wildcards []int
	tokens := strings.Split(source, ".")
	for i, token := range tokens {
		if token == "*" {
			wildcards = append(wildcards, i)
		}
	}
	if tokens[len(tokens)-1] == ">" {
		t.keeps = len(tokens) - 1
	}
	for token := range strings.SplitSeq(destination, ".") {
		switch n, err := placeholder(token); {
		case err != nil:
			return nil, err
		case n > len(wildcards), token == "*":
			return nil, errTransform
		case n > 0:
			t.destination = append(t.destination, destinationToken{text: token, from: wildcards[n-1]})
		default:
			t.destination = append(t.destination, destinationToken{text: token, from: -1})
		}
	}
	if t.endsInRest() != (t.keeps >= 0) {
		return nil, errTransform
	}
	return t, nil
}

func (t *Transform) endsInRest() bool { return t.destination[len(t.destination)-1].text == ">" }

// placeholder returns the number of the wildcard that a token of a destination stands for; 0
// for another token.
func placeholder(token string) (n int, err error) {
	if number, ok := strings.CutPrefix(token, "$"); ok {
		if n, err := strconv.Atoi(number); err == nil {
			return wildcardNumber(n)
		}
		return 0, nil // a token like $KV
	}
	if m := wildcardFunction.FindStringSubmatch(token); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, errTransform
		}
		return wildcardNumber(n)
	}
	switch {
	case otherFunction.MatchString(token):
		return 0, errFunction
	case strings.HasPrefix(token, "{{") && strings.HasSuffix(token, "}}") && len(token) > 4:
		return 0, errTransform
	}
	return 0, nil
}

func wildcardNumber(n int) (int, error) {
	if n < 1 {
		return 0, errTransform
	}
	return n, nil
}

// Append appends what a literal subject becomes. It reports false if the source does not match.
func (t *Transform) Append(dst, subject []byte) ([]byte, bool) {
	if !kv.Match(t.source, string(subject)) {
		return dst, false
	}
	for i, token := range t.destination {
		if i > 0 {
			dst = append(dst, '.')
		}
		switch {
		case token.from >= 0:
			dst = append(dst, tokenAt(subject, token.from)...)
		case token.text == ">":
			dst = append(dst, tokensFrom(subject, t.keeps)...)
		default:
			dst = append(dst, token.text...)
		}
	}
	return dst, true
}

// tokensFrom returns a subject without its first n tokens.
func tokensFrom(subject []byte, n int) []byte {
	for range n {
		_, subject, _ = bytes.Cut(subject, []byte{'.'})
	}
	return subject
}

func tokenAt(subject []byte, n int) []byte {
	token, _, _ := bytes.Cut(tokensFrom(subject, n), []byte{'.'})
	return token
}

// Pattern returns a pattern that everything matches which the transform appends.
func (t *Transform) Pattern() string {
	tokens := make([]string, len(t.destination))
	for i, token := range t.destination {
		if tokens[i] = token.text; token.from >= 0 {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}
