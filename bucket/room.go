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

// entryRoom is memory for the entries of a read of many records. Small entries share it,
// which takes a sixteenth of the allocations. A caller that keeps one entry keeps at most
// a few KiB of others in memory.
type entryRoom struct {
	entries []kv.Entry // free beyond len
	bytes   []byte     // likewise
	shared  bool       // further allocations are for several entries
	lends   bool       // an entry shares the record's memory, and is valid until the next one
}

// entry makes an entry from a record. It shares no memory with the record, unless the room
// lends entries.
func (r *entryRoom) entry(b *Bucket, rec *segment.Record) *kv.Entry {
	if r.lends {
		r.entries = append(r.entries[:0], b.viewOf(rec))
		return &r.entries[0]
	}
	r.reserve(len(rec.Key) + len(rec.Value) + len(rec.Headers))
	r.entries = append(r.entries, b.viewOf(rec))
	e := &r.entries[len(r.entries)-1]
	e.Key, e.Value, e.Headers = view.String(r.clone(rec.Key)), r.clone(rec.Value), r.clone(rec.Headers)
	return e
}

// viewOf returns an entry of a record. It shares the record's memory.
func (b *Bucket) viewOf(rec *segment.Record) kv.Entry {
	e := kv.Entry{
		Bucket: b.name, Key: view.String(rec.Key), Value: rec.Value, Headers: rec.Headers,
		Revision: rec.Revision, Created: time.Unix(0, rec.Created).UTC(),
		Operation: kv.Operation(rec.Op), Reason: rec.Reason,
	}
	if rec.Deadline != 0 {
		e.Deadline = time.Unix(0, rec.Deadline).UTC()
	}
	return e
}

// reserve makes room for an entry whose key, value and headers have n bytes.
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
		r.shared = true // the first entry is allocated alone: a reader of one does not pay for many
	}
}

// clone copies b into room that was reserved. It returns nil if b is empty.
func (r *entryRoom) clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	start := len(r.bytes)
	r.bytes = append(r.bytes, b...)
	return r.bytes[start:len(r.bytes):len(r.bytes)]
}
