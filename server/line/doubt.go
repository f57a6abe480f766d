package line

import (
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// doubt answers LOST with what damage took from a bucket, or may have taken, and ACCEPT
// with what was given up.
func (c *conn) doubt(cmd *lineproto.Command) {
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	doubtful, ok := kv.As[kv.Doubtful](b)
	if !ok {
		c.fail(fmt.Errorf("%w: %v", kv.ErrNotSupported, cmd.Verb), cmd.Bucket)
		return
	}
	ask := doubtful.Doubt
	if cmd.Verb == lineproto.VerbAccept {
		ask = doubtful.AcceptLoss
	}
	var d kv.Doubt
	c.InStore(func() { d, err = ask(c.ctx) })
	c.audit(cmd, cmd.Bucket, err)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	var count uint64
	c.replies.b, count = lineproto.AppendDoubt(c.replies.b, &d)
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}
