package kv

import (
	"fmt"
	"unicode/utf8"
)

// Classes of bytes in names.
const (
	inBucketName = 1 << iota
	inKey
)

// classes maps a byte to the names it may stand in. The alphabets are NATS'.
var classes = func() (t [256]uint8) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = inBucketName | inKey
	}
	for _, c := range []byte("/=.") {
		t[c] = inKey
	}
	return t
}()

// CheckBucketName returns nil if name is [A-Za-z0-9_-]+ of at most 255 bytes,
// else a *NameError.
func CheckBucketName(name string) error {
	if name == "" {
		return nameError(ErrInvalidBucketName, name, -1, "it is empty")
	}
	if len(name) > MaxBucketNameSize {
		return nameError(ErrInvalidBucketName, name, -1, fmt.Sprintf("%d bytes, at most %d", len(name), MaxBucketNameSize))
	}
	for i := 0; i < len(name); i++ {
		if classes[name[i]]&inBucketName == 0 {
			return badByte(ErrInvalidBucketName, name, i)
		}
	}
	return nil
}

// CheckKey returns nil if key is [-/_=.a-zA-Z0-9]+ of at most 1,024 bytes with
// no empty token between, before or after its dots, else a *NameError.
func CheckKey(key string) error { return checkTokens(ErrInvalidKey, key, false) }

// CheckPattern returns nil if pattern is a key in which any token may be "*"
// and the last may be ">", else a *NameError.
func CheckPattern(pattern string) error { return checkTokens(ErrInvalidPattern, pattern, true) }

func checkTokens(kind error, name string, wildcards bool) error {
	if name == "" {
		return nameError(kind, name, -1, "it is empty")
	}
	if len(name) > MaxKeySize {
		return nameError(kind, name, -1, fmt.Sprintf("%d bytes, at most %d", len(name), MaxKeySize))
	}
	start := 0 // of the current token
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '.':
			if i == start {
				return nameError(kind, name, i, "empty token")
			}
			start = i + 1
		case classes[c]&inKey != 0:
		case wildcards && (c == '*' || c == '>'):
			if i != start || i+1 < len(name) && name[i+1] != '.' {
				return nameError(kind, name, i, fmt.Sprintf("%q is not a token of its own", c))
			}
			if c == '>' && i+1 < len(name) {
				return nameError(kind, name, i, `">" is not the last token`)
			}
		default:
			return badByte(kind, name, i)
		}
	}
	if start == len(name) {
		return nameError(kind, name, len(name)-1, "empty token")
	}
	return nil
}

func badByte(kind error, name string, i int) error {
	r, size := utf8.DecodeRuneInString(name[i:])
	if r == utf8.RuneError && size == 1 {
		return nameError(kind, name, i, fmt.Sprintf("byte 0x%02x is not allowed", name[i]))
	}
	return nameError(kind, name, i, fmt.Sprintf("%q is not allowed", r))
}

func nameError(kind error, name string, offset int, reason string) error {
	const shown = 64 // bytes of the name kept: it may be a caller's garbage of any size
	if len(name) > shown {
		name = name[:shown]
	}
	return &NameError{Name: name, Offset: offset, Reason: reason, Err: kind}
}
