package lineproto

import (
	"strconv"

	"kvd/kv"
)

// This file has the replies to LOST and ACCEPT: +DOUBT, and then a line for each range of
// missing revisions and for each record whose value is lost.

// AppendDoubt appends the lines of a doubt, without the end of the listing, and returns
// their number.
func AppendDoubt(dst []byte, d *kv.Doubt) ([]byte, uint64) {
	dst = strconv.AppendUint(append(dst, "+DOUBT "...), uint64(d.Bound), 10)
	dst = append(appendYes(dst, "all", d.Unknown), crlf...)
	for i := range d.Missing {
		dst = appendMissing(dst, &d.Missing[i])
	}
	for _, l := range d.Lost {
		dst = append(appendKey(append(dst, "+LOSTRECORD "...), l.Key), ' ')
		dst = append(strconv.AppendUint(dst, uint64(l.Revision), 10), crlf...)
	}
	return dst, uint64(1 + len(d.Missing) + len(d.Lost))
}

func appendMissing(dst []byte, m *kv.MissingRange) []byte {
	dst = append(strconv.AppendUint(append(dst, "+MISSING "...), uint64(m.After), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(m.UpTo), 10)
	if m.Records != 0 {
		dst = appendNumberOption(dst, "records=", m.Records)
	}
	dst = appendString(dst, " file=", m.File)
	dst = strconv.AppendInt(append(dst, " offset="...), m.Offset, 10)
	return append(dst, crlf...)
}

// parseDoubt reads a line that AppendDoubt wrote. Unknown options are ignored.
func (r *Reply) parseDoubt(kind ReplyKind, w *words) bool {
	switch kind {
	case ReplyDoubt:
		return takeRevision(w, &r.Bound) && takeOptions(w, func(name string, value []byte) (ok bool) {
			if name == "all" {
				r.Unknown, ok = parseYesNo(value)
				return ok
			}
			return true
		})
	case ReplyMissing:
		m := &r.Missing
		return takeRevision(w, &m.After) && takeRevision(w, &m.UpTo) && takeOptions(w, func(name string, value []byte) bool {
			return setMissing(m, name, value)
		})
	}
	return takeKey(w, &r.LostRecord.Key) && takeRevision(w, &r.LostRecord.Revision) && !w.more
}

func setMissing(m *kv.MissingRange, name string, value []byte) (ok bool) {
	var err error
	switch name {
	case "records":
		m.Records, ok = parseNumber(value)
		return ok
	case "file":
		m.File, ok = parseText(value)
		return ok
	case "offset":
		m.Offset, err = strconv.ParseInt(string(value), 10, 64)
		return err == nil
	}
	return true
}

func takeRevision(w *words, into *kv.Revision) bool {
	word, err := w.next()
	return err == nil && parseRevision(word, into)
}

// takeOptions calls set for each of the options that end a line.
func takeOptions(w *words, set func(name string, value []byte) bool) bool {
	for w.more {
		word, err := w.nextOption()
		if err != nil {
			return false
		}
		name, value, ok := cutOption(word)
		if !ok || !set(string(name), value) {
			return false
		}
	}
	return true
}
