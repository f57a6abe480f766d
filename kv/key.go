package kv

import (
	"fmt"
	"unicode/utf8"
)

// inBucketName has the bytes of which a bucket's name consists. They are NATS'.
var inBucketName = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

func bytesOf(s string) (set [256]bool) {
	for _, c := range []byte(s) {
		set[c] = true
	}
	return set
}

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
		if !inBucketName[name[i]] {
			return badByte(ErrInvalidBucketName, name, i)
		}
	}
	return nil
}

// CheckKey returns nil if key can be a key, else a *NameError. A key is what NATS takes as
// the end of a subject: tokens with dots between them, none of them empty or a wildcard, of
// UTF-8 without blanks and control characters; at most 1,024 bytes.
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
	for i := 0; ; {
		end := i == len(name)
		switch {
		case end || name[i] == '.':
			if reason := badToken(name[start:i], end, wildcards); reason != "" {
				return nameError(kind, name, min(start, len(name)-1), reason)
			}
			if end {
				return nil
			}
			i++
			start = i
		case ' ' < name[i] && name[i] < delete:
			i++
		default:
			size := wideCharacter(name[i:])
			if size == 0 {
				return badByte(kind, name, i)
			}
			i += size
		}
	}
}

// badToken returns what is wrong with a token beside its characters, or the empty string.
func badToken(token string, last, wildcards bool) string {
	switch {
	case token == "":
		return "empty token"
	case token != "*" && token != ">":
		return ""
	case !wildcards:
		return fmt.Sprintf("the token %q is a wildcard", token)
	case token == ">" && !last:
		return `">" is not the last token`
	}
	return ""
}

const delete = 0x7f // the control character

// wideCharacter returns the size of the first character of s, 0 if it is not one beyond
// ASCII that a key may have. U+0080 to U+009F are control characters.
func wideCharacter(s string) int {
	const controlsEnd = 0xa0
	r, size := utf8.DecodeRuneInString(s)
	if r < controlsEnd || r == utf8.RuneError && size == 1 {
		return 0
	}
	return size
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
