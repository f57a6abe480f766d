package line

import (
	"context"
	"fmt"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// reclaimPause is the least time between two lines of progress.
const reclaimPause = time.Second

// reclaim answers RECLAIM with its progress and its result. It ends when the client
// disconnects.
func (c *conn) reclaim(cmd *lineproto.Command) {
	if _, err := c.bucket(cmd); err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	store, ok := kv.As[kv.Reclaimer](c.protocol.store)
	if !ok {
		c.fail(fmt.Errorf("%w: RECLAIM", kv.ErrNotSupported), cmd.Bucket)
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	count, said := uint64(1), time.Now()
	progress := func(r kv.Reclaimed) {
		if c.out.broken.Load() {
			cancel()
		}
		if time.Since(said) < reclaimPause {
			return
		}
		said = time.Now()
		count++
		c.replies.b = lineproto.AppendReclaimed(c.replies.b, &r)
		c.flush()
	}
	var done kv.Reclaimed
	var err error
	c.InStore(func() { done, err = store.Reclaim(ctx, progress, c.name(cmd.Bucket)) })
	c.audit(cmd, cmd.Bucket, err)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.replies.b = lineproto.AppendReclaimed(c.replies.b, &done)
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}
