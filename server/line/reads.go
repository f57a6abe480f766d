package line

import (
	"context"
	"errors"
	"slices"
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// reader returns the context of a read.
func (c *conn) reader(cmd *lineproto.Command) context.Context {
	if cmd.Stale {
		return kv.WithStale(c.ctx)
	}
	return c.ctx
}

// get answers GET. It reads the value into the buffer of replies, behind room for the
// line, whose length is not known yet.
func (c *conn) get(cmd *lineproto.Command) {
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	if cmd.HasRevision {
		c.getRevision(b, cmd)
		return
	}
	start := len(c.replies.b)
	value := start + lineproto.EntryHeaderMax(len(cmd.Key))
	dst := slices.Grow(c.replies.b, value-start)[:value]
	c.EnterStore()
	dst, e, err := b.GetAppend(c.reader(cmd), dst, cmd.Key)
	c.LeaveStore()
	c.replies.b = dst[:start]
	if err != nil {
		c.fail(err, cmd.Key)
		return
	}
	size := len(dst) - value
	line := lineproto.AppendEntryHeader(dst[:start], &e, size)
	copy(dst[len(line):], dst[value:])
	c.replies.b = append(dst[:len(line)+size], "\r\n"...)
}

func (c *conn) getRevision(b kv.Bucket, cmd *lineproto.Command) {
	c.EnterStore()
	e, err := b.GetRevision(c.reader(cmd), cmd.Key, cmd.Revision)
	c.LeaveStore()
	if err != nil {
		c.fail(err, cmd.Key)
		return
	}
	c.replies.b = lineproto.AppendEntry(c.replies.b, &e)
}

// history answers HISTORY. After a damaged entry the others follow.
func (c *conn) history(cmd *lineproto.Command) {
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.InStore(func() { c.listHistory(b, cmd) })
}

func (c *conn) listHistory(b kv.Bucket, cmd *lineproto.Command) {
	count := uint64(0)
	for e, err := range b.History(c.reader(cmd), strings.Clone(cmd.Key)) {
		switch {
		case err == nil:
			c.replies.b = lineproto.AppendEntry(c.replies.b, &e)
		case errors.Is(err, kv.ErrCorrupt) && e.Revision != 0:
			c.replies.b = lineproto.AppendLost(c.replies.b, &e, err)
		default:
			c.fail(err, cmd.Key)
			return
		}
		count++
		if c.full(); c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}

// keys answers KEYS.
func (c *conn) keys(cmd *lineproto.Command) {
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.InStore(func() { c.listKeys(b, cmd) })
}

func (c *conn) listKeys(b kv.Bucket, cmd *lineproto.Command) {
	count := uint64(0)
	for key, err := range b.Keys(c.reader(cmd), lineproto.SplitPatterns(cmd.Patterns)...) {
		if err != nil {
			c.fail(err, cmd.Patterns)
			return
		}
		c.replies.b = lineproto.AppendKey(c.replies.b, key)
		count++
		if c.full(); c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}

// count answers COUNT.
func (c *conn) count(cmd *lineproto.Command) {
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.EnterStore()
	n, err := countKeys(c.reader(cmd), b, cmd.Patterns)
	c.LeaveStore()
	if err != nil {
		c.fail(err, cmd.Patterns)
		return
	}
	c.replies.b = lineproto.AppendNumber(c.replies.b, n)
}

// countKeys counts keys. For all keys it uses the status of the bucket, which does not say
// whether the number is right while there is doubt.
func countKeys(ctx context.Context, b kv.Bucket, patterns string) (n uint64, err error) {
	if patterns == lineproto.AllPatterns {
		st, err := b.Status(ctx)
		if err != nil || st.Doubt == 0 {
			return st.Keys, err
		}
	}
	for _, err := range b.Keys(ctx, lineproto.SplitPatterns(patterns)...) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
