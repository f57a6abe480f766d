package line

import (
	"errors"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// ranges answers RANGE.
func (c *conn) ranges(cmd *lineproto.Command) {
	o, err := c.rangeOf(cmd)
	var from kv.Reader
	if err == nil {
		from, err = c.source(cmd)
	}
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.InStore(func() { c.listRange(from, cmd, &o) })
}

// rangeOf returns the options of a RANGE, if the client may get the keys that it selects.
func (c *conn) rangeOf(cmd *lineproto.Command) (kv.RangeOptions, error) {
	o := cmd.Ranges()
	if err := o.Validate(); err != nil {
		return o, err
	}
	return o, denied(c.permitPatterns(server.MayGet, cmd.Bucket, o.Patterns))
}

// listRange lists a range. It stops at its limits itself, so that it knows whether more follows.
func (c *conn) listRange(from kv.Reader, cmd *lineproto.Command, o *kv.RangeOptions) {
	p := page{limit: o.Limit, maxBytes: o.MaxBytes}
	if o.MaxBytes = 0; o.Limit > 0 {
		o.Limit++ // one behind the page
	}
	for e, err := range from.Range(c.reader(cmd), *o) {
		if err != nil && e.Key == "" {
			c.fail(err, cmd.Bucket)
			return
		}
		if !p.take(&e) {
			break
		}
		c.addEntry(&e, err)
		if c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendPageEnd(c.replies.b, uint64(p.count), p.more)
}

// page counts the entries of a range up to its limits; 0: there is none.
type page struct {
	limit    int
	maxBytes int64

	count int
	bytes int64
	last  string // key
	more  string // the last key, once an entry did not fit
}

// take reports whether an entry belongs to the page. The first one always does.
func (p *page) take(e *kv.Entry) bool {
	p.bytes += int64(len(e.Key) + len(e.Value))
	if p.count > 0 && (p.limit > 0 && p.count == p.limit || p.maxBytes > 0 && p.bytes > p.maxBytes) {
		p.more = p.last
		return false
	}
	p.count, p.last = p.count+1, e.Key
	return true
}

// addEntry answers with an entry: +LOST where its record is damaged, +NONE where nobody knows one.
func (c *conn) addEntry(e *kv.Entry, err error) {
	switch {
	case err == nil:
		c.replies.b = lineproto.AppendEntry(c.replies.b, e)
	case errors.Is(err, kv.ErrKeyNotFound):
		c.replies.b = lineproto.AppendNone(c.replies.b, e.Key, nil)
	case e.Revision == 0:
		c.replies.b = lineproto.AppendNone(c.replies.b, e.Key, err)
	default:
		c.replies.b = lineproto.AppendLost(c.replies.b, e, err)
	}
	c.full()
}
