package line

import (
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// children answers CHILDREN.
func (c *conn) children(cmd *lineproto.Command) {
	from, err := c.source(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.InStore(func() { c.listChildren(from, cmd) })
}

func (c *conn) listChildren(from kv.Reader, cmd *lineproto.Command) {
	count := uint64(0)
	for child, err := range from.Children(c.reader(cmd), strings.Clone(cmd.Prefix), cmd.SeparatorsOrDefault(), cmd.Range.Limit) {
		if err != nil {
			c.fail(err, cmd.Bucket)
			return
		}
		c.replies.b = lineproto.AppendChild(c.replies.b, &child)
		count++
		if c.full(); c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}
