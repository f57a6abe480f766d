package kvtest

import (
	"fmt"
	"strings"

	"kvd/kv"
)

// logged is a bucket with a log of the writes to it. A write is a word:
//
//	key=value   a put
//	-key        a delete
//	--key       a purge
//
// All puts of a log must be different, so that a word names one record. The word of a
// marker names the newest such marker.
type logged struct {
	kv.Bucket
	t       *trial
	entries map[string]kv.Entry // by word
}

// logged creates a bucket that keeps that many revisions per key.
func (t *trial) logged(history int) *logged {
	t.Helper()
	return &logged{Bucket: t.bucket(history), t: t, entries: map[string]kv.Entry{}}
}

// write carries out the writes, and returns the revision of the last.
func (l *logged) write(words string) (last kv.Revision) {
	l.t.Helper()
	for word := range strings.FieldsSeq(words) {
		e := kv.Entry{Bucket: l.Name(), Reason: kv.ReasonClient}
		key, value, put := strings.Cut(word, "=")
		switch {
		case put:
			e.Key, e.Value, e.Operation, e.Reason = key, []byte(value), kv.Put, kv.ReasonNone
			e.Revision = l.t.put(l, key, value)
		case strings.HasPrefix(word, "--"):
			e.Key, e.Operation = word[2:], kv.Purge
			e.Revision = l.t.purge(l, e.Key)
		default:
			e.Key, e.Operation = word[1:], kv.Delete
			e.Revision = l.t.delete(l, e.Key)
		}
		l.entries[word] = e
		last = e.Revision
	}
	return last
}

// revision returns the revision of a record.
func (l *logged) revision(word string) kv.Revision { return l.entries[word].Revision }

// word returns the word of a record, for messages.
func word(e *kv.Entry) string {
	switch e.Operation {
	case kv.Put:
		return fmt.Sprintf("%s=%s at revision %d", e.Key, abbreviate(e.Value), e.Revision)
	case kv.Delete:
		return fmt.Sprintf("-%s at revision %d", e.Key, e.Revision)
	case kv.Purge:
		return fmt.Sprintf("--%s at revision %d", e.Key, e.Revision)
	}
	return fmt.Sprintf("%v of %s at revision %d", e.Operation, e.Key, e.Revision)
}
