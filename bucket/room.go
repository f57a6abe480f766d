package bucket

import (
	"time"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
)

const (
	roomEntries = 16
	roomBytes   = 4 << 10
)

// entryRoom is memory for the entries of a read of many records: for small ones a
// sixteenth of the allocations, and whoever keeps one of them keeps no more than a few
// KiB of others.
type entryRoom struct {
	entries []kv.Entry // none taken beyond len
	bytes   []byte     // likewise
	shared  bool       // what is allocated from now on is for several
}

// entry makes an entry of what a record has. Nothing of it is the record's.
func (r *entryRoom) entry(b *Bucket, rec *segment.Record) *kv.Entry {
	r.reserve(len(rec.Key) + len(rec.Value) + len(rec.Headers))
	r.entries = append(r.entries, kv.Entry{
		Bucket: b.name, Key: view.String(r.clone(rec.Key)), Value: r.clone(rec.Value), Headers: r.clone(rec.Headers),
		Revision: rec.Revision, Created: time.Unix(0, rec.Created).UTC(),
		Operation: kv.Operation(rec.Op), Reason: rec.Reason,
	})
	e := &r.entries[len(r.entries)-1]
	if rec.Deadline != 0 {
		e.Deadline = time.Unix(0, rec.Deadline).UTC()
	}
	return e
}

// reserve sees to it that there is room for an entry with so many bytes.
func (r *entryRoom) reserve(n int) {
	if n > cap(r.bytes)-len(r.bytes) {
		size := n
		if r.shared && n < roomBytes/4 {
			size = roomBytes
		}
		r.bytes = make([]byte, 0, size)
	}
	if len(r.entries) == cap(r.entries) {
		n := 1
		if r.shared {
			n = roomEntries
		}
		r.entries = make([]kv.Entry, 0, n)
		r.shared = true // who wants one is not to pay for many
	}
}

// clone copies bytes that there is room for; nil where there are none.
func (r *entryRoom) clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	start := len(r.bytes)
	r.bytes = append(r.bytes, b...)
	return r.bytes[start:len(r.bytes):len(r.bytes)]
}
