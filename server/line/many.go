package line

import (
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// source returns what reads the values that a command is about.
func (c *conn) source(cmd *lineproto.Command) (kv.Reader, error) {
	b, err := c.bucket(cmd)
	if err != nil {
		return nil, err
	}
	r, ok := kv.As[kv.Reader](b)
	if !ok {
		return nil, fmt.Errorf("%w: %v", kv.ErrNotSupported, cmd.Verb)
	}
	return r, nil
}

// getMany answers MGET.
func (c *conn) getMany(cmd *lineproto.Command) {
	keys, err := c.keysOf(cmd)
	var from kv.Reader
	if err == nil {
		from, err = c.source(cmd)
	}
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.InStore(func() { c.listMany(from, cmd, keys) })
}

// keysOf returns the keys of an MGET, if the client may get each of them.
func (c *conn) keysOf(cmd *lineproto.Command) ([]string, error) {
	keys, err := cmd.Keys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if err := denied(c.PermitKey(server.MayGet, cmd.Bucket, key)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (c *conn) listMany(from kv.Reader, cmd *lineproto.Command, keys []string) {
	count := uint64(0)
	for e, err := range from.GetMany(c.reader(cmd), keys) {
		if err != nil && e.Key == "" {
			c.fail(err, cmd.Bucket)
			return
		}
		c.addEntry(&e, err)
		if count++; c.out.broken.Load() {
			return
		}
	}
	c.replies.b = lineproto.AppendEnd(c.replies.b, count)
}
