package lineproto

import (
	"math"
	"time"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/records"
)

// parseOptions reads the rest of the line after the arguments: the options and, if the
// verb has a payload, its length.
func (c *Command) parseOptions(w *words, s *shape) error {
	var seen optionSet
	line := w.rest
	for w.more {
		left := len(w.rest)
		word, err := w.nextOption()
		if err != nil {
			return err
		}
		name, value, ok := cutOption(word)
		if !ok {
			if s.payload == noPayload || w.more {
				return syntaxError("%.32q is neither an option nor the end of the line: %s", word, s.usage())
			}
			c.Length, err = parseLength(word)
			line = line[:len(line)-left]
			if err != nil {
				return err
			}
			break
		}
		if s.options&optConfig == 0 {
			c.refuse(c.parseOption(s, &seen, view.String(name), value))
		}
	}
	if s.options&optConfig != 0 && len(line) > 0 {
		if line[len(line)-1] == ' ' { // before the length
			line = line[:len(line)-1]
		}
		c.Options = view.String(line)
	}
	return nil
}

// refuse records why the command cannot be carried out. The first reason counts.
func (c *Command) refuse(err error) {
	if c.Refused == nil {
		c.Refused = err
	}
}

func (c *Command) parseOption(s *shape, seen *optionSet, name string, value []byte) error {
	o := optionNamed(name)
	if o == optFrom && s.options&optFromKey != 0 {
		o = optFromKey
	}
	if o == 0 || s.options&o == 0 {
		return invalidOption("%s has no option %.32q", s.name, name)
	}
	if *seen&o != 0 {
		return invalidOption("%s is given twice", name)
	}
	*seen |= o
	if o == optTTL {
		return c.setTTL(value)
	}
	if !c.setOption(o, value) {
		return invalidOption("%s cannot be %.32q", name, value)
	}
	return nil
}

func (c *Command) setOption(o optionSet, value []byte) (ok bool) {
	switch o {
	case optID:
		c.BucketID, ok = parseNumber(value)
		return ok && c.BucketID != 0
	case optIs:
		c.Is, ok = condKinds[string(value)]
	case optNotRevision:
		c.HasNotRevision = true
		return parseRevision(value, &c.NotRevision)
	case optRevision:
		c.HasRevision = true
		return parseRevision(value, &c.Revision)
	case optFrom:
		c.HasRevision = true
		return parseRevision(value, &c.Revision) && c.Revision != 0
	case optMode:
		for m, name := range watchModes {
			if name == string(value) {
				c.Mode = WatchMode(m)
				return true
			}
		}
		return false
	case optDeletes:
		c.IgnoreDeletes, ok = parseYesNo(value)
		c.IgnoreDeletes = !c.IgnoreDeletes
	case optMeta:
		c.MetaOnly, ok = parseYesNo(value)
	case optStatus:
		c.Status, ok = parseYesNo(value)
	case optStale:
		c.Stale, ok = parseYesNo(value)
	case optDigest:
		var err error
		c.hasDigest = true
		c.Digest, err = kv.ParseDigest(view.String(value))
		return err == nil
	case optRate:
		n, ok := parseNumber(value)
		c.Rate = int64(n)
		return ok && 0 < n && n <= math.MaxInt64
	case optOlder:
		if string(value) == olderAll {
			c.OlderThan = -1
			return true
		}
		d, err := time.ParseDuration(view.String(value))
		c.OlderThan = d
		return err == nil && d > 0
	default:
		return c.setRangeOption(o, value)
	}
	return ok
}

// olderAll is the threshold of PURGEDELETES that removes every marker.
const olderAll = "0s"

func (c *Command) setTTL(value []byte) error {
	ttl, err := time.ParseDuration(view.String(value))
	if err != nil {
		return invalidOption("ttl cannot be %.32q: it is a duration such as 90s or 1h30m", value)
	}
	if ttl <= 0 {
		return &kv.LimitError{What: "TTL", Got: int64(ttl), Min: 1, Duration: true, Err: kv.ErrInvalidOption}
	}
	c.TTL = ttl
	return nil
}

// refuseLength refuses a payload that is over every limit.
func (c *Command) refuseLength(v Verb) {
	switch {
	case c.Length < 0:
	case v == VerbRecords:
		if c.Length > records.LineMax {
			c.refuse(&kv.LimitError{What: "size of the records", Got: int64(c.Length), Min: 0, Max: records.LineMax, Err: kv.ErrInvalidRecord})
		}
	case v == VerbGetMany:
		if c.Length > keysPayloadMax {
			c.refuse(&kv.LimitError{What: "size of the keys", Got: int64(c.Length), Max: keysPayloadMax, Err: kv.ErrInvalidOption})
		}
	case v == VerbRange:
		if c.Length > PatternsPayloadMax {
			c.refuse(&kv.LimitError{What: "size of the patterns", Got: int64(c.Length), Max: PatternsPayloadMax, Err: kv.ErrInvalidPattern})
		}
	case v == VerbAdd || v == VerbEdit || v == VerbImport:
		if c.Length > maxConfigPayload {
			c.refuse(&kv.LimitError{What: "size of the configuration", Got: int64(c.Length), Max: maxConfigPayload, Err: kv.ErrInvalidConfig})
		}
	case c.Length > kv.MaxValueSizeLimit:
		c.refuse(&kv.LimitError{What: "value size", Got: int64(c.Length), Max: kv.MaxValueSizeLimit, Err: kv.ErrValueTooLarge})
	}
}

func parseYesNo(value []byte) (yes, ok bool) {
	switch string(value) {
	case "yes":
		return true, true
	case "no":
		return false, true
	}
	return false, false
}

func appendYes(dst []byte, name string, yes bool) []byte {
	if !yes {
		return dst
	}
	return append(append(append(dst, ' '), name...), "=yes"...)
}

func appendDuration(dst []byte, name string, d time.Duration) []byte {
	return append(append(append(dst, ' '), name...), d.String()...)
}
