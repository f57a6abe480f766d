package segment

import (
	"errors"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Scanner reads the records of one segment after another in file order, and their values only
// on request. Its buffer is reused for many scans. It must be used by one goroutine at a time.
// The zero Scanner is ready to use.
type Scanner struct {
	buf   []byte
	value []byte // value of the current record, if it is larger than the buffer or in a file
	plain []byte // value of the current record, decompressed
	w     walker
}

// scanWindow is how much of the file a Scanner reads at once, in bytes: some hundred small
// records. It is small because each of many watchers may have a Scanner.
const scanWindow = 128 << 10

// Scan reads from the offset from on: 0, or the beginning of a record or an index block. It
// ends at the end of what was appended before the call. It calls fn for every record with a
// sound header, until fn returns false; that record is not consumed. Scan returns the offset
// of the first record that was not consumed, or the end; the next Scan continues there. The
// record is decoded up to its key; [Scanner.Value] reads the rest. Both are valid until fn
// returns.
//
// Ranges without valid records are passed to damaged and skipped. The error is the system's,
// of opening the file, or matches kv.ErrVersion at a record of a later version. Scan needs no
// pin, but the file must not be removed during the call.
func (c *Scanner) Scan(s *Segment, from int64, fn func(offset int64, r *Record, size int) bool, damaged func(*kv.CorruptError)) (int64, error) {
	file, err := s.openToRead()
	if err != nil {
		return from, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	from = max(int64(align(int(from))), HeaderSize)
	c.begin(s, file, damaged)
	defer c.end()
	next := from
	end := c.w.end
	c.w.end = s.readable(end)
	err = c.w.walk(from, c.w.end, func(f *found) error {
		if next = f.offset; !fn(f.offset, &f.record, f.size) {
			return errStopped
		}
		next += int64(f.size)
		return nil
	})
	if errors.Is(err, errStopped) {
		return next, nil
	}
	if err != nil {
		return next, err
	}
	if c.w.end < end {
		damaged(s.tooShort())
	}
	return max(from, end), nil
}

// errStopped ends a walk early.
var errStopped = errors.New("stopped")

func (c *Scanner) begin(s *Segment, file vfs.File, damaged func(*kv.CorruptError)) {
	c.w = walker{s: s, window: window{file: file, end: s.size.Load(), size: scanWindow, buf: c.buf[:0]}, key: c.w.key, damaged: damaged}
}

// end keeps the buffers for the next scan and drops the reference to the file.
func (c *Scanner) end() {
	c.buf = c.w.buf
	c.w = walker{key: c.w.key}
	if cap(c.value) > scanWindow {
		c.value = nil
	}
	if cap(c.plain) > scanWindow {
		c.plain = nil
	}
}

// Value reads the Headers and the Value of the record with which fn was called, and decompresses
// the value. They are valid until fn returns. Afterwards the record is no longer marked as
// compressed, nor as one with a value file. If they are damaged, or the record is a Lost one,
// Value returns a *kv.CorruptError that names bucket, key and revision. Another error is the
// system's, of opening a value file.
func (c *Scanner) Value(r *Record) error {
	f := &c.w.found
	if r.Lost {
		return c.w.s.lost(f.offset, string(r.Key), r.Revision, nil, "%s", detailLost)
	}
	end := f.offset + int64(f.size)
	body := c.body(f, end)
	if c.w.s.seed.sum(body) != f.bodySum {
		return c.w.s.lost(f.offset, string(r.Key), r.Revision, c.w.cause(f.offset, end), "%v", errRecordBodySum)
	}
	r.Headers, r.Value = nil, body[f.headers:f.headers+f.value]
	if f.headers > 0 {
		r.Headers = body[:f.headers]
	}
	var err error
	if r.File.Number != 0 {
		if c.value, err = c.w.s.appendValue(c.value[:0], r.File); err != nil {
			return c.w.s.valueError(err, string(r.Key), r.Revision)
		}
		r.Value, r.File = c.value, ValueFile{}
	}
	if !r.Compressed {
		return nil
	}
	if c.plain, err = r.AppendValue(c.plain[:0]); err != nil {
		return c.w.s.lost(f.offset, string(r.Key), r.Revision, nil, "%v", err)
	}
	r.Value, r.Compressed, r.RawLen = c.plain, false, 0
	return nil
}

// ValueSize returns the length of the value before compression, in bytes, of the record with
// which fn was called.
func (c *Scanner) ValueSize() int { return c.w.found.valueSize(&c.w.found.record) }

// HasHeaders reports whether the record with which fn was called has headers. Value reads them.
func (c *Scanner) HasHeaders() bool { return c.w.found.headers > 0 }

// body returns the bytes after the head of the current record.
func (c *Scanner) body(f *found, end int64) []byte {
	start := f.offset + int64(f.head)
	n := int(end - start)
	if n <= scanWindow {
		return c.w.at(start, n)
	}
	c.value = slices.Grow(c.value[:0], n)[:n]
	for at := 0; at < n; {
		at += copy(c.value[at:], c.w.at(start+int64(at), min(scanWindow, n-at)))
	}
	return c.value
}
