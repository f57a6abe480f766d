package line

import (
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
)

// buckets answers BUCKETS with the buckets in which the user has any permission.
func (c *conn) buckets(cmd *lineproto.Command) {
	if cmd.Status {
		c.InStore(c.listStatuses)
	} else {
		c.InStore(c.listNames)
	}
}

func (c *conn) listNames() {
	count := uint64(0)
	for name, err := range c.protocol.store.BucketNames(c.ctx) {
		if err != nil {
			c.fail(err, "")
			return
		}
		if !c.May(server.MayAny, name) {
			continue
		}
		c.replies.b = lineproto.AppendBucket(c.replies.b, name)
		count++
		if c.full(); c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}

func (c *conn) listStatuses() {
	count := uint64(0)
	for st, err := range c.protocol.store.Buckets(c.ctx) {
		if err != nil {
			c.fail(err, "")
			return
		}
		if !c.May(server.MayAny, st.Config.Bucket) {
			continue
		}
		c.replies.b = lineproto.AppendInfo(c.replies.b, &st)
		count++
		if c.full(); c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}

// info answers INFO.
func (c *conn) info(cmd *lineproto.Command) {
	st, err := c.status(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.replies.b = lineproto.AppendInfo(c.replies.b, &st)
}

func (c *conn) status(cmd *lineproto.Command) (st kv.Status, err error) {
	b, err := c.bucket(cmd)
	if err == nil {
		c.InStore(func() { st, err = b.Status(c.ctx) })
	}
	return st, err
}

func (c *conn) add(cmd *lineproto.Command) error {
	cfg := kv.Config{Bucket: strings.Clone(cmd.Bucket)}
	if err := msglog.CheckUnreserved(cfg.Bucket); err != nil {
		return err
	}
	orEdit, err := cmd.ApplyConfig(&cfg)
	if err != nil {
		return err
	}
	create := c.protocol.store.CreateBucket
	if orEdit {
		create = c.protocol.store.CreateOrUpdateBucket
	}
	c.InStore(func() { _, err = create(c.ctx, cfg) })
	return err
}

// edit changes the fields that the command names.
func (c *conn) edit(cmd *lineproto.Command) error {
	st, err := c.status(cmd)
	if err != nil {
		return err
	}
	if _, err := cmd.ApplyConfig(&st.Config); err != nil {
		return err
	}
	c.InStore(func() { _, err = c.protocol.store.UpdateBucket(c.ctx, st.Config) })
	return err
}

func (c *conn) remove(cmd *lineproto.Command) (err error) {
	if cmd.BucketID != 0 {
		if _, err := c.bucket(cmd); err != nil {
			return err
		}
	}
	c.InStore(func() { err = c.protocol.store.DeleteBucket(c.ctx, c.name(cmd.Bucket)) })
	c.last = handle{} // a new bucket may get that name
	return err
}

func (c *conn) purgeDeletes(cmd *lineproto.Command) error {
	b, err := c.bucket(cmd)
	if err != nil {
		return err
	}
	c.InStore(func() { err = b.PurgeDeletes(c.ctx, cmd.OlderThan) })
	return err
}
