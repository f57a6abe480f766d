package client

import (
	"context"
	"fmt"
	"iter"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// CreateBucket makes a bucket and returns it; see [kv.Store].
func (c *Client) CreateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return c.configure(ctx, lineproto.VerbAdd, cfg, false)
}

// UpdateBucket changes a bucket's configuration.
func (c *Client) UpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return c.configure(ctx, lineproto.VerbEdit, cfg, false)
}

// CreateOrUpdateBucket makes the bucket or changes its configuration.
func (c *Client) CreateOrUpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return c.configure(ctx, lineproto.VerbAdd, cfg, true)
}

// configure sends a configuration and returns the bucket.
func (c *Client) configure(ctx context.Context, v lineproto.Verb, cfg kv.Config, orEdit bool) (kv.Bucket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k := c.calls.get(v)
	if err := k.command.SetConfig(cfg, orEdit); err != nil {
		k.free()
		return nil, err
	}
	if err := c.run(ctx, k); err != nil {
		return nil, err
	}
	b, err := c.Bucket(ctx, cfg.Bucket)
	if err != nil { // the write was executed: the error must not deny it
		return nil, unknown(fmt.Errorf("bucket %q was configured, but its status is missing: %w", cfg.Bucket, err))
	}
	return b, nil
}

// Bucket returns an existing bucket, or kv.ErrBucketNotFound.
func (c *Client) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	st, err := c.info(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	return &Bucket{client: c, name: st.Config.Bucket, id: st.ID}, nil
}

// info returns the status of a bucket. The id 0 means any bucket of that name.
func (c *Client) info(ctx context.Context, name string, id uint64) (kv.Status, error) {
	if err := ctx.Err(); err != nil {
		return kv.Status{}, err
	}
	if err := kv.CheckBucketName(name); err != nil {
		return kv.Status{}, err
	}
	k := c.calls.get(lineproto.VerbInfo)
	k.command.Bucket, k.command.BucketID = name, id
	if err := c.do(ctx, k); err != nil {
		return kv.Status{}, err
	}
	st := k.status
	k.free()
	return st, nil
}

// DeleteBucket removes a bucket and everything in it, for good.
func (c *Client) DeleteBucket(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := kv.CheckBucketName(name); err != nil {
		return err
	}
	k := c.calls.get(lineproto.VerbRemove)
	k.command.Bucket = name
	return c.run(ctx, k)
}

// BucketNames yields the names of all buckets in ascending order.
func (c *Client) BucketNames(ctx context.Context) iter.Seq2[string, error] {
	l := listing[string]{
		client:  c,
		command: lineproto.Command{Verb: lineproto.VerbBuckets},
		decode:  decodeBucketName,
	}
	return l.all(ctx)
}

// Buckets yields the status of all buckets in ascending order of names.
func (c *Client) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	l := listing[kv.Status]{
		client:  c,
		command: lineproto.Command{Verb: lineproto.VerbBuckets, Status: true},
		decode:  decodeStatus,
	}
	return l.all(ctx)
}
