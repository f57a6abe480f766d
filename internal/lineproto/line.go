package lineproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"kvd/internal/view"
	"kvd/kv"
)

// Limits of the protocol.
const (
	// Version is the version of the protocol in HELLO.
	Version = 1
	// MaxLine bounds a line of either direction in bytes, its CRLF included.
	MaxLine = 4096
	// maxLength bounds a payload in bytes. A payload over kv.MaxValueSizeLimit is
	// refused and discarded; a larger length than maxLength does not parse.
	maxLength = 99_999_999
	// maxConfigPayload bounds the payload of a configuration in bytes.
	maxConfigPayload = 1 << 20
)

// ErrIncomplete is returned if a buffer ends within a command or reply, with a lower
// bound of its size, which is more than the buffer has.
var ErrIncomplete = errors.New("incomplete")

// ErrSyntax is matched by every *SyntaxError.
var ErrSyntax = errors.New("syntax error")

// SyntaxError is a line or payload outside the grammar. The beginning of the next command
// is unknown then.
type SyntaxError struct{ Reason string }

func (e *SyntaxError) Error() string { return ErrSyntax.Error() + ": " + e.Reason }

// Is matches ErrSyntax.
func (e *SyntaxError) Is(target error) bool { return target == ErrSyntax }

func syntaxError(format string, args ...any) error {
	return &SyntaxError{Reason: fmt.Sprintf(format, args...)}
}

// cutLine returns the first line of buf, without its CRLF, and the size with it.
// Errors are reported in the order of bytes, so that the answer for a prefix
// agrees with that for the whole.
func cutLine(buf []byte) (line []byte, size int, err error) {
	for i, c := range buf {
		if i == MaxLine-1 && c != '\n' {
			return nil, 0, syntaxError("a line has at most %d bytes", MaxLine)
		}
		if c >= 0x20 && c != 0x7f {
			continue
		}
		switch {
		case c == '\n' && i > 0 && buf[i-1] == '\r':
			return buf[:i-1], i + 1, nil
		case c == '\n':
			return nil, 0, syntaxError("a line ends in CRLF, not in LF alone (nc -C sends CRLF)")
		case c != '\r':
			return nil, 0, syntaxError("byte 0x%02x in a line", c)
		case i+1 < len(buf) && buf[i+1] != '\n':
			return nil, 0, syntaxError("a line ends in CRLF, not in CR alone")
		}
	}
	return nil, len(buf) + 1, ErrIncomplete
}

// cutPayload returns the payload of that length which begins at start, and the
// size of everything up to its CRLF.
func cutPayload(buf []byte, start, length int) (payload []byte, size int, err error) {
	end := start + length
	if err := CheckPayloadEnd(buf[min(end, len(buf)):], length); err != nil {
		return nil, 0, err
	}
	if len(buf) < end+2 {
		return nil, end + 2, ErrIncomplete
	}
	return buf[start:end:end], end + 2, nil
}

// CheckPayloadEnd returns a *SyntaxError if what follows a payload of that length does not
// begin with CRLF, as far as it has arrived.
func CheckPayloadEnd(rest []byte, length int) error {
	if len(rest) > 0 && rest[0] != '\r' || len(rest) > 1 && rest[1] != '\n' {
		return syntaxError("CRLF is missing after a payload of %d bytes", length)
	}
	return nil
}

// words cuts a line at its blanks.
type words struct {
	rest []byte
	more bool // rest is a word or begins with one, also an empty word
}

func newWords(line []byte) words { return words{rest: line, more: true} }

// next returns the next word. It is an error if there is none, or if two blanks
// follow each other.
func (w *words) next() ([]byte, error) {
	if !w.more {
		return nil, errNoWord
	}
	word, rest, more := bytes.Cut(w.rest, space)
	w.rest, w.more = rest, more
	if len(word) == 0 {
		return nil, errBlank
	}
	return word, nil
}

// nextText is next for a word that may be a JSON string, with blanks in it.
func (w *words) nextText() ([]byte, error) {
	line := w.rest
	word, err := w.next()
	if err != nil || word[0] != '"' {
		return word, err
	}
	return w.closeText(line, 1)
}

// nextOption is next for an option, or for another word without blanks. The value may be
// a JSON string.
func (w *words) nextOption() ([]byte, error) {
	line := w.rest
	word, err := w.next()
	if err != nil {
		return nil, err
	}
	if i := bytes.IndexByte(word, '='); i >= 0 && i+1 < len(word) && word[i+1] == '"' {
		return w.closeText(line, i+2)
	}
	return word, nil
}

// closeText ends a word at the closing quote of the string whose content begins at i. A
// blank or the end of the line has to follow the quote.
func (w *words) closeText(line []byte, i int) ([]byte, error) {
	for ; i < len(line) && line[i] != '"'; i++ {
		if line[i] == '\\' {
			i++
		}
	}
	if i >= len(line) {
		return nil, syntaxError("a string has no closing quote")
	}
	i++
	if i < len(line) && line[i] != ' ' {
		return nil, syntaxError("a blank is due after a string")
	}
	w.rest, w.more = nil, i < len(line)
	if w.more {
		w.rest = line[i+1:]
	}
	return line[:i], nil
}

var (
	space     = []byte{' '}
	errNoWord = syntaxError("a word is missing")
	errBlank  = syntaxError("one blank stands between two words, and none elsewhere")
)

// parseNumber reads plain digits: no sign, no leading zero.
func parseNumber(b []byte) (uint64, bool) {
	const digitsMax = 20 // of 1<<64 - 1
	if len(b) == 0 || len(b) > digitsMax || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// parseLength reads the length of a payload.
func parseLength(b []byte) (int, error) {
	n, ok := parseNumber(b)
	if !ok || n > maxLength {
		return 0, syntaxError("length %.32q is not a number from 0 to %d in plain digits", b, maxLength)
	}
	return int(n), nil
}

// parseTime reads an instant in UTC, RFC 3339 with up to nine digits of fraction.
func parseTime(b []byte) (time.Time, bool) {
	if len(b) == 0 || b[len(b)-1] != 'Z' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, view.String(b))
	return t, err == nil
}

// appendTime is time.Time.AppendFormat for the format of parseTime. It takes six tenths
// of the time, and every entry has a time.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, time.RFC3339Nano)
	}
	hour, minute, second := t.Clock()
	dst = append(dst, "yyyy-mm-ddThh:mm:ss"...)
	d := dst[len(dst)-len("yyyy-mm-ddThh:mm:ss"):]
	putTwoDigits(d, 0, year/100)
	putTwoDigits(d, 2, year%100)
	putTwoDigits(d, 5, int(month))
	putTwoDigits(d, 8, day)
	putTwoDigits(d, 11, hour)
	putTwoDigits(d, 14, minute)
	putTwoDigits(d, 17, second)
	return append(appendFraction(dst, t.Nanosecond()), 'Z')
}

func putTwoDigits(dst []byte, at, n int) {
	dst[at], dst[at+1] = byte('0'+n/10), byte('0'+n%10)
}

// appendFraction appends a point and the nanoseconds without trailing zeros. It appends
// nothing for a whole second.
func appendFraction(dst []byte, nanos int) []byte {
	if nanos == 0 {
		return dst
	}
	const digits = 9
	dst = append(dst, ".nnnnnnnnn"...)
	for i := 1; i <= digits; i++ {
		dst[len(dst)-i] = byte('0' + nanos%10)
		nanos /= 10
	}
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// parseText reads a word that may be a JSON string.
func parseText(word []byte) (string, bool) {
	if len(word) == 0 || word[0] != '"' {
		return view.String(word), utf8.Valid(word) // other text could not be written again
	}
	var s string
	if !utf8.Valid(word) || json.Unmarshal(word, &s) != nil {
		return "", false
	}
	return s, true
}

// appendText appends a word that parseText reads: unchanged if possible, otherwise as a
// JSON string. Bytes that are not UTF-8 become replacement characters.
func appendText(dst []byte, s string) []byte {
	if isWord(s) && s[0] != '"' {
		return append(dst, s...)
	}
	return appendQuoted(dst, s)
}

// appendQuoted appends a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

// appendKey appends a key as a word: unchanged, or as a JSON string if it begins with a
// quote. A key has no blank and no control character.
func appendKey(dst []byte, key string) []byte {
	if strings.HasPrefix(key, `"`) {
		return appendQuoted(dst, key)
	}
	return append(dst, key...)
}

// parseKey reads a word that appendKey wrote.
func parseKey(word []byte) (string, bool) {
	if word[0] != '"' {
		return view.String(word), true
	}
	return parseText(word)
}

// isWord reports whether a line can hold s unchanged.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return s != ""
}

// appendNumberOption appends a blank, the name with its = and the number.
func appendNumberOption(dst []byte, name string, n uint64) []byte {
	return strconv.AppendUint(append(append(dst, ' '), name...), n, 10)
}

// cutOption splits a word into the name and value of an option.
func cutOption(word []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(word, equals)
	return name, value, ok && len(name) > 0
}

var equals = []byte{'='}

// invalidOption is an error matching kv.ErrInvalidOption.
func invalidOption(format string, args ...any) error {
	return fmt.Errorf("%w: %s", kv.ErrInvalidOption, fmt.Sprintf(format, args...))
}
