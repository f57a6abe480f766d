package lineproto

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"kvd/kv"
	"kvd/kv/records"
)

// AppendCommand appends the command to dst and returns the extended slice. It refuses a
// command that would not parse as the same command, and then returns dst unchanged. The
// error is a *kv.NameError for a bad name of a bucket, a *SyntaxError for another word
// that a line cannot hold or for a line over MaxLine, and a *kv.LimitError for a value
// over kv.MaxValueSizeLimit, or records over records.LineMax.
func AppendCommand(dst []byte, c *Command) ([]byte, error) {
	start := len(dst)
	if c.Verb == 0 || int(c.Verb) >= len(shapes) {
		return dst, syntaxError("there is no verb %d", c.Verb)
	}
	s := &shapes[c.Verb]
	line := append(dst, s.name...)
	line, err := c.appendArguments(line, s)
	if err != nil {
		return dst, err
	}
	if err := c.checkRange(); err != nil {
		return dst, err
	}
	line = c.appendOptions(line, s.options)
	withPayload := s.payload == hasPayload || s.payload == mayHavePayload && c.Value != nil
	if withPayload {
		if limit := payloadLimit(c.Verb); len(c.Value) > limit {
			return dst, &kv.LimitError{What: "value size", Got: int64(len(c.Value)), Max: int64(limit), Err: kv.ErrValueTooLarge}
		}
		line = strconv.AppendInt(append(line, ' '), int64(len(c.Value)), 10)
	}
	line = append(line, crlf...)
	if len(line)-start > MaxLine {
		return dst, syntaxError("a line of %d bytes, at most %d are allowed", len(line)-start, MaxLine)
	}
	if withPayload {
		line = append(append(line, c.Value...), crlf...)
	}
	return line, nil
}

const crlf = "\r\n"

// payloadLimit returns the size in bytes of the largest payload of a verb.
func payloadLimit(v Verb) int {
	switch v {
	case VerbRecords:
		return records.LineMax
	case VerbGetMany:
		return keysPayloadMax
	case VerbRange:
		return PatternsPayloadMax
	}
	return kv.MaxValueSizeLimit
}

func (c *Command) appendArguments(dst []byte, s *shape) ([]byte, error) {
	for _, a := range s.args {
		dst = append(dst, ' ')
		switch a {
		case argWatch:
			dst = strconv.AppendUint(dst, c.Watch, 10)
		case argImport:
			dst = strconv.AppendUint(dst, c.Import, 10)
		case argConditions:
			dst = strconv.AppendUint(dst, c.Txn.Conditions, 10)
		case argThen:
			dst = strconv.AppendUint(dst, c.Txn.Then, 10)
		case argElse:
			dst = strconv.AppendUint(dst, c.Txn.Else, 10)
		case argRevision:
			dst = strconv.AppendUint(dst, uint64(c.Revision), 10)
		case argPrefix:
			dst = appendText(dst, c.Prefix)
		case argPassword:
			if !utf8.ValidString(c.Password) {
				return dst, syntaxError("the password is not UTF-8")
			}
			dst = appendText(dst, c.Password)
		case argKey:
			if c.Key == "" || strings.ContainsFunc(c.Key, isBlankOrControl) || c.Key[0] == '"' && !utf8.ValidString(c.Key) {
				return dst, syntaxError("%s cannot be %.64q", argumentNames[a], c.Key)
			}
			dst = appendKey(dst, c.Key)
		case argPatterns:
			if _, ok := cutPatterns(c.Patterns); !ok || strings.ContainsFunc(c.Patterns, isBlankOrControl) || c.Patterns == "" {
				return dst, syntaxError("%s cannot be %.64q", argumentNames[a], c.Patterns)
			}
			dst = append(dst, c.Patterns...)
		default:
			word := c.word(a)
			if err := checkBucket(a, word); err != nil {
				return dst, err
			}
			if !isWord(word) {
				return dst, syntaxError("%s cannot be %.64q", argumentNames[a], word)
			}
			dst = append(dst, word...)
		}
	}
	return dst, nil
}

// isBlankOrControl reports whether a character ends a word or cannot be in a line.
func isBlankOrControl(r rune) bool { return r <= ' ' || r == 0x7f }

func checkBucket(a argument, word string) error {
	switch a {
	case argBucket:
		return kv.CheckBucketName(word)
	case argBuckets:
		return checkBuckets(word)
	}
	return nil
}

func (c *Command) word(a argument) string {
	switch a {
	case argBucket:
		return c.Bucket
	case argBuckets:
		return c.Buckets
	}
	return c.User
}

// appendOptions appends the options that the verb has and the command carries.
func (c *Command) appendOptions(dst []byte, has optionSet) []byte {
	if has&optConfig != 0 && c.Options != "" {
		dst = append(append(dst, ' '), c.Options...)
	}
	if c.Verb == VerbImport && c.Next != 0 {
		dst = appendNumberOption(dst, "next=", uint64(c.Next))
	}
	if has&optDigest != 0 {
		dst = append(append(dst, " digest="...), c.Digest.String()...)
	}
	if has&optTTL != 0 && c.TTL > 0 {
		dst = appendDuration(dst, "ttl=", c.TTL)
	}
	if has&optIs != 0 {
		dst = appendCondKind(dst, c.Is)
	}
	if has&optRevision != 0 && c.HasRevision {
		dst = appendNumberOption(dst, "rev=", uint64(c.Revision))
	}
	if has&optNotRevision != 0 && c.HasNotRevision {
		dst = appendNumberOption(dst, "not-rev=", uint64(c.NotRevision))
	}
	if has&optMode != 0 && c.Mode != WatchLast {
		dst = append(append(dst, " mode="...), c.Mode.String()...)
	}
	if has&optFrom != 0 && c.HasRevision {
		dst = appendNumberOption(dst, "from=", uint64(c.Revision))
	}
	if has&optDeletes != 0 && c.IgnoreDeletes {
		dst = append(dst, " deletes=no"...)
	}
	dst = appendYes(dst, "meta", has&optMeta != 0 && c.MetaOnly)
	dst = appendYes(dst, "status", has&optStatus != 0 && c.Status)
	dst = appendYes(dst, "stale", has&optStale != 0 && c.Stale)
	if has&optRate != 0 && c.Rate > 0 {
		dst = appendNumberOption(dst, "rate=", uint64(c.Rate))
	}
	if has&(optLimit|optFromKey) != 0 {
		dst = c.appendRangeOptions(dst)
	}
	if has&optOlder != 0 {
		dst = c.appendOlder(dst)
	}
	if has&optID != 0 && c.BucketID != 0 {
		dst = appendNumberOption(dst, "id=", c.BucketID)
	}
	return dst
}

func (c *Command) appendOlder(dst []byte) []byte {
	switch {
	case c.OlderThan > 0:
		return appendDuration(dst, "older=", c.OlderThan)
	case c.OlderThan < 0:
		return append(dst, " older="+olderAll...)
	}
	return dst
}
