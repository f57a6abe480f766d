package lineproto

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"kvd/kv"
)

// An error on the wire is
//
//	CODE [NAME=VALUE …] : TEXT
//
// The text is the text of the error. If it begins with the text of the error's kind, that
// part is left out, since the code stands for it. The pairs are the fields of the typed
// errors.

const (
	textMax   = 1024 // bytes of an error's text
	stringMax = 384  // bytes of a string among its details
	swellMax  = 64   // bytes of a string with control characters: JSON makes six bytes of each
)

// appendFailure appends an error. For a bare sentinel the text is the subject. The bucket
// and the key of a *kv.KeyError are not sent: they are the command's, so the client has
// them.
func appendFailure(dst []byte, err error, subject string) []byte {
	line, ofLine := err.(*LineError)
	if ofLine {
		err = line.Err
	}
	if named, ok := err.(*kv.KeyError); ok {
		err = named.Err
	}
	code := codeOf(err)
	kind := sentinel(string(code))
	dst = append(dst, code...)
	if ofLine {
		dst = appendNumberOption(dst, "op=", uint64(line.Line))
	}
	text := ""
	if err != kind { // a GET that finds nothing does not need the work below
		dst = appendDetails(dst, err)
		text = failureText(err, kind)
	}
	dst = append(dst, " : "...)
	return appendClean(dst, clip(cmp.Or(text, subject, kind.Error()), textMax))
}

// failureText returns the error's text on the wire.
func failureText(err, kind error) string {
	var mismatch *kv.RevisionMismatchError
	switch {
	case errors.As(err, &mismatch) && mismatch.Create:
		return fmt.Sprintf("%s is at revision %d", mismatch.Key, mismatch.Got)
	case errors.As(err, &mismatch):
		return fmt.Sprintf("%s is at revision %d, expected %d", mismatch.Key, mismatch.Got, mismatch.Want)
	}
	text := err.Error()
	rest, found := strings.CutPrefix(text, kind.Error()+": ")
	if found && !strings.Contains(rest, kind.Error()) {
		return rest
	}
	return text
}

// appendDetails appends the fields of the typed errors.
func appendDetails(dst []byte, err error) []byte {
	var mismatch *kv.RevisionMismatchError
	var name *kv.NameError
	var limit *kv.LimitError
	var corrupt *kv.CorruptError
	var compacted *kv.CompactedError
	var future *kv.FutureRevisionError
	var digest *kv.DigestError
	if errors.As(err, &mismatch) {
		dst = appendNumberOption(dst, "actual=", uint64(mismatch.Got))
		if !mismatch.Create {
			dst = appendNumberOption(dst, "expected=", uint64(mismatch.Want))
		}
	}
	if errors.As(err, &name) {
		dst = appendString(dst, " name=", name.Name)
		dst = strconv.AppendInt(append(dst, " at="...), int64(name.Offset), 10)
		dst = appendString(dst, " reason=", name.Reason)
	}
	if errors.As(err, &limit) {
		dst = appendString(dst, " what=", limit.What)
		dst = strconv.AppendInt(append(dst, " got="...), limit.Got, 10)
		dst = strconv.AppendInt(append(dst, " min="...), limit.Min, 10)
		dst = strconv.AppendInt(append(dst, " max="...), limit.Max, 10)
		if limit.Duration {
			dst = append(dst, " unit=ns"...)
		}
	}
	if errors.As(err, &corrupt) {
		dst = appendCorrupt(dst, corrupt)
	}
	if errors.As(err, &compacted) {
		dst = appendNumberOption(dst, "first=", uint64(compacted.First))
		dst = appendNumberOption(dst, "wanted=", uint64(compacted.Wanted))
	}
	if errors.As(err, &digest) {
		dst = append(append(dst, " digest="...), digest.Got.String()...)
		dst = append(append(dst, " wanted="...), digest.Want.String()...)
	}
	if errors.As(err, &future) {
		dst = appendNumberOption(dst, "newest=", uint64(future.Newest))
		dst = appendNumberOption(dst, "wanted=", uint64(future.Wanted))
	}
	return dst
}

// appendCorrupt appends where damage is and, if records are missing, which.
func appendCorrupt(dst []byte, e *kv.CorruptError) []byte {
	dst = appendString(dst, " file=", e.File)
	dst = strconv.AppendInt(append(dst, " offset="...), e.Offset, 10)
	dst = appendString(dst, " detail=", corruptDetail(e))
	if e.Bucket != "" {
		dst = appendString(dst, " bucket=", clip(e.Bucket, kv.MaxBucketNameSize))
	}
	if e.UpTo != 0 {
		dst = appendNumberOption(dst, "after=", uint64(e.After))
		dst = appendNumberOption(dst, "upto=", uint64(e.UpTo))
	}
	return dst
}

// corruptDetail returns the detail with the text of the cause. The type of the cause is
// not sent.
func corruptDetail(e *kv.CorruptError) string {
	switch {
	case e.Err == nil:
		return e.Detail
	case e.Detail == "":
		return e.Err.Error()
	}
	return e.Detail + ": " + e.Err.Error()
}

// appendString appends a name and a string, quoted if necessary. It cuts the string so
// that the quoted form is bounded too: an error with all its details fits a line.
func appendString(dst []byte, name, s string) []byte {
	limit := stringMax
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		limit = swellMax
	}
	return appendText(append(dst, name...), clip(s, limit))
}

// clip cuts a text to so many bytes, at a rune.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// appendClean appends text, with blanks for bytes that cannot stand in a line.
func appendClean(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == 0x7f {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// failure holds the parts of an error on the wire. They refer to the buffer.
type failure struct {
	code    []byte
	details []byte
	text    []byte
}

// parseFailure cuts an error into its parts.
func parseFailure(body []byte) (f failure, ok bool) {
	w := words{rest: body, more: len(body) > 0}
	f.code, _ = w.next()
	details := w.rest
	for len(f.code) > 0 && w.more {
		left := len(w.rest)
		word, err := w.nextOption()
		if err != nil {
			return f, false
		}
		if string(word) == ":" {
			f.details, f.text = bytes.TrimSuffix(details[:len(details)-left], space), w.rest
			return f, true
		}
		if _, _, ok := cutOption(word); !ok {
			return f, false
		}
	}
	return f, false
}

// wireError is an error that was received: the sender's text, and the errors that it
// matches.
type wireError struct {
	text    string
	matches []error
}

func (e *wireError) Error() string   { return e.text }
func (e *wireError) Unwrap() []error { return e.matches }

// decode returns the error, in memory of its own. bucket and key are those of the
// answered command.
func (f *failure) decode(bucket, key string) error {
	kind := sentinel(string(f.code))
	if kind == kv.ErrKeyNotFound && string(f.text) == key && len(f.details) == 0 {
		return kind
	}
	text := string(f.text)
	typed := f.typed(kind, text, bucket, key)
	if len(typed) == 1 {
		if _, ok := typed[0].(*kv.RevisionMismatchError); ok {
			return typed[0]
		}
	}
	switch {
	case text == "" || text == key || len(f.details) == 0 && text == bucket:
		text = kind.Error()
	case !strings.Contains(text, kind.Error()):
		text = kind.Error() + ": " + text
	}
	if len(typed) == 1 && isText(typed[0], kind, text) {
		return typed[0]
	}
	if len(typed) == 0 && text == kind.Error() {
		return kind
	}
	return &wireError{text: text, matches: append([]error{kind}, typed...)}
}

// isText reports whether a text that was received is that of the error, which may be too
// long for a line. The text of missing records, with its ways out, can be.
func isText(err, kind error, text string) bool {
	whole := err.Error()
	if len(whole) <= textMax {
		return text == whole
	}
	return text == kind.Error()+": "+clip(failureText(err, kind), textMax)
}

// typed returns the typed errors that the details describe.
func (f *failure) typed(kind error, text, bucket, key string) []error {
	if len(f.details) == 0 {
		if kind == ErrSyntax {
			return []error{&SyntaxError{Reason: text}}
		}
		return nil
	}
	d := f.readDetails()
	var typed []error
	if d.has("actual") {
		typed = append(typed, &kv.RevisionMismatchError{
			Bucket: bucket, Key: key, Want: kv.Revision(d.number("expected")), Got: kv.Revision(d.number("actual")),
			Create: kind == kv.ErrKeyExists,
		})
	}
	if d.has("reason") {
		typed = append(typed, &kv.NameError{Name: d["name"], Offset: int(d.int("at")), Reason: d["reason"], Err: kind})
	}
	if d.has("what") {
		typed = append(typed, &kv.LimitError{What: d["what"], Got: d.int("got"), Min: d.int("min"), Max: d.int("max"), Duration: d["unit"] == "ns", Err: kind})
	}
	if d.has("file") {
		typed = append(typed, &kv.CorruptError{
			File: d["file"], Offset: d.int("offset"), Detail: d["detail"],
			Bucket: d["bucket"], After: kv.Revision(d.number("after")), UpTo: kv.Revision(d.number("upto")),
		})
	}
	if d.has("first") {
		typed = append(typed, &kv.CompactedError{Bucket: bucket, Wanted: kv.Revision(d.number("wanted")), First: kv.Revision(d.number("first"))})
	}
	if d.has("digest") {
		digest := &kv.DigestError{Bucket: bucket}
		digest.Got, _ = kv.ParseDigest(d["digest"])
		digest.Want, _ = kv.ParseDigest(d["wanted"])
		typed = append(typed, digest)
	}
	if d.has("newest") {
		typed = append(typed, &kv.FutureRevisionError{Bucket: bucket, Wanted: kv.Revision(d.number("wanted")), Newest: kv.Revision(d.number("newest"))})
	}
	return typed
}

// details are the pairs of an error.
type details map[string]string

func (f *failure) readDetails() details {
	d := details{}
	for w := newWords(f.details); w.more; {
		word, err := w.nextOption()
		if err != nil {
			break // parseFailure has checked the words
		}
		name, value, _ := cutOption(word)
		if text, ok := parseText(value); ok {
			d[string(name)] = strings.Clone(text)
		}
	}
	return d
}

func (d details) has(name string) bool { _, ok := d[name]; return ok }

func (d details) number(name string) uint64 {
	n, _ := parseNumber([]byte(d[name]))
	return n
}

func (d details) int(name string) int64 {
	n, _ := strconv.ParseInt(d[name], 10, 64)
	return n
}

// failureString returns an error in the form that follows -ERR, for a status.
func failureString(err error) string { return string(appendFailure(nil, err, "")) }

// errorOf is the reverse of failureString.
func errorOf(s string) error {
	f, ok := parseFailure([]byte(s))
	if !ok {
		return &wireError{text: s, matches: []error{ErrInternal}}
	}
	return f.decode("", "")
}
