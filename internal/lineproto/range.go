package lineproto

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"kvd/internal/view"
	"kvd/kv"
)

const (
	// keysPayloadMax bounds the keys of an MGET, in bytes: it has room for as many as it may have.
	keysPayloadMax = kv.GetManyMax * (kv.MaxKeySize + 1)
	// PatternsPayloadMax bounds the patterns in the payload of a RANGE, in bytes.
	PatternsPayloadMax = 64 << 10

	orderAscending  = "asc"
	orderDescending = "desc"
	blank           = " "
	// separator is the one of CHILDREN by default.
	separator = "."
)

// JoinWords returns the payload of keys or patterns, with blanks between them: none has one.
func JoinWords(words []string) []byte { return []byte(strings.Join(words, blank)) }

// Keys returns the keys of a parsed MGET. They refer to the command's buffer. The error matches
// kv.ErrInvalidOption if they are too many, or kv.ErrInvalidKey.
func (c *Command) Keys() ([]string, error) {
	if len(c.Value) == 0 {
		return nil, nil
	}
	if n := bytes.Count(c.Value, space) + 1; n > kv.GetManyMax {
		return nil, &kv.LimitError{What: "number of keys", Got: int64(n), Max: kv.GetManyMax, Err: kv.ErrInvalidOption}
	}
	keys := strings.Split(view.String(c.Value), blank)
	for _, key := range keys {
		if err := kv.CheckKey(key); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Ranges returns the options of a parsed RANGE, in memory of their own. It does not check the
// patterns.
func (c *Command) Ranges() kv.RangeOptions {
	o := c.Range
	o.From, o.To, o.After = strings.Clone(o.From), strings.Clone(o.To), strings.Clone(o.After)
	o.KeysOnly = c.MetaOnly
	o.Patterns = SplitPatterns(c.Patterns)
	if len(c.Value) > 0 && o.Patterns != nil { // otherwise all keys are selected already
		o.Patterns = append(o.Patterns, strings.Split(string(c.Value), blank)...)
	}
	return o
}

// SetRange makes the command the RANGE of those options. Patterns that do not fit the line go to the
// payload.
func (c *Command) SetRange(o *kv.RangeOptions, lineMax int) {
	c.Verb, c.Range, c.MetaOnly = VerbRange, *o, o.KeysOnly
	c.Range.Patterns, c.Range.KeysOnly = nil, false
	if c.Patterns = JoinPatterns(o.Patterns); len(c.Patterns) > lineMax {
		c.Patterns, c.Value = JoinPatterns(o.Patterns[:1]), JoinWords(o.Patterns[1:])
	}
}

// setRangeOption takes an option of RANGE or CHILDREN.
func (c *Command) setRangeOption(o optionSet, value []byte) (ok bool) {
	var n uint64
	switch o {
	case optFromKey:
		c.Range.From, ok = parseText(value)
	case optTo:
		c.Range.To, ok = parseText(value)
	case optAfter:
		c.Range.After, ok = parseText(value)
	case optOrder:
		c.Range.Reverse = string(value) == orderDescending
		ok = c.Range.Reverse || string(value) == orderAscending
	case optLimit:
		n, ok = parseNumber(value)
		c.Range.Limit = int(n)
		ok = ok && 0 < n && n < math.MaxInt32
	case optBytes:
		n, ok = parseNumber(value)
		c.Range.MaxBytes = int64(n)
		ok = ok && 0 < n && n < math.MaxInt64
	case optMarkers:
		c.Range.Markers, ok = parseYesNo(value)
	case optChanged:
		ok = parseRevision(value, &c.Range.ChangedAfter)
	case optBy:
		c.Separators, ok = parseText(value)
		ok = ok && c.Separators != ""
	}
	return ok
}

// checkRange returns an error for a text that would not arrive unchanged.
func (c *Command) checkRange() error {
	for _, text := range [...]struct{ name, value string }{
		{"from", c.Range.From}, {"to", c.Range.To}, {"after", c.Range.After}, {"PREFIX", c.Prefix}, {"by", c.Separators},
	} {
		if !utf8.ValidString(text.value) {
			return syntaxError("%s cannot be %.64q: it is not UTF-8", text.name, text.value)
		}
	}
	return nil
}

// appendRangeOptions appends the options of RANGE or CHILDREN.
func (c *Command) appendRangeOptions(dst []byte) []byte {
	for _, text := range [...]struct{ name, value string }{
		{" from=", c.Range.From}, {" to=", c.Range.To}, {" after=", c.Range.After}, {" by=", c.Separators},
	} {
		if text.value != "" {
			dst = appendText(append(dst, text.name...), text.value)
		}
	}
	if c.Range.Reverse {
		dst = append(dst, " order="+orderDescending...)
	}
	if c.Range.Limit > 0 {
		dst = appendNumberOption(dst, "limit=", uint64(c.Range.Limit))
	}
	if c.Range.MaxBytes > 0 {
		dst = appendNumberOption(dst, "bytes=", uint64(c.Range.MaxBytes))
	}
	dst = appendYes(dst, "markers", c.Range.Markers)
	if c.Range.ChangedAfter > 0 {
		dst = appendNumberOption(dst, "changed=", uint64(c.Range.ChangedAfter))
	}
	return dst
}

// SeparatorsOrDefault returns the separators of a parsed CHILDREN.
func (c *Command) SeparatorsOrDefault() string {
	if c.Separators == "" {
		return separator
	}
	return c.Separators
}

// AppendNone appends +NONE: a key that was asked for has no value, or err is why nobody knows; nil
// for the former.
func AppendNone(dst []byte, key string, err error) []byte {
	dst = appendKey(append(dst, "+NONE "...), key)
	if err != nil {
		dst = appendFailure(append(dst, ' '), err, key)
	}
	return append(dst, crlf...)
}

// AppendChild appends +CHILD: a name on the next level of a tree of keys.
func AppendChild(dst []byte, c *kv.Child) []byte {
	dst = appendText(append(dst, "+CHILD "...), c.Name)
	dst = strconv.AppendInt(append(dst, " keys="...), int64(c.Keys), 10)
	dst = appendYes(dst, "more", c.More)
	return append(appendYes(dst, "key", c.Key), crlf...)
}

// AppendPageEnd appends +END of a range that stopped at a limit behind the key more; it is empty if
// the range is complete.
func AppendPageEnd(dst []byte, count uint64, more string) []byte {
	dst = strconv.AppendUint(append(dst, "+END "...), count, 10)
	if more != "" {
		dst = appendText(append(dst, " more="...), more)
	}
	return append(dst, crlf...)
}

// parseChild reads a +CHILD.
func (r *Reply) parseChild(w *words) bool {
	word, err := w.nextText()
	if err != nil {
		return false
	}
	var ok bool
	if r.Child.Name, ok = parseText(word); !ok {
		return false
	}
	for w.more {
		word, err := w.nextOption()
		if err != nil {
			return false
		}
		name, value, ok := cutOption(word)
		switch string(name) {
		case "keys":
			var n uint64
			n, ok = parseNumber(value)
			r.Child.Keys = int(n)
			ok = ok && n <= math.MaxInt32
		case "more":
			r.Child.More, ok = parseYesNo(value)
		case "key":
			r.Child.Key, ok = parseYesNo(value)
		}
		if !ok {
			return false
		}
	}
	return true
}
