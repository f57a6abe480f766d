package client

import (
	"context"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Reclaimer = (*Client)(nil)

// Reclaim frees the disk space of removed records; see [kv.Reclaimer]. The buckets are
// reclaimed one after the other, so Total grows meanwhile. If the connection breaks, the
// server stops, and Reclaim is not repeated.
func (c *Client) Reclaim(ctx context.Context, progress func(kv.Reclaimed), buckets ...string) (kv.Reclaimed, error) {
	if progress == nil {
		progress = func(kv.Reclaimed) {}
	}
	if len(buckets) == 0 {
		for name, err := range c.BucketNames(ctx) {
			if err != nil {
				return kv.Reclaimed{}, err
			}
			buckets = append(buckets, name)
		}
	}
	var sum kv.Reclaimed
	for _, name := range buckets {
		last := kv.Reclaimed{}
		l := listing[kv.Reclaimed]{
			client:  c,
			command: lineproto.Command{Verb: lineproto.VerbReclaim, Bucket: name},
			check:   kv.CheckBucketName(name),
			decode:  decodeReclaimed,
		}
		for r, err := range l.all(ctx) {
			if err != nil {
				return sum, err
			}
			last = r
			progress(kv.Reclaimed{Bucket: name, Done: sum.Done + r.Done, Total: sum.Total + r.Total, Freed: sum.Freed + r.Freed})
		}
		sum = kv.Reclaimed{Bucket: name, Done: sum.Done + last.Done, Total: sum.Total + last.Total, Freed: sum.Freed + last.Freed}
	}
	return sum, nil
}

func decodeReclaimed(r *lineproto.Reply) (item[kv.Reclaimed], error) {
	if r.Kind != lineproto.ReplyReclaimed {
		return item[kv.Reclaimed]{}, errWrongReply
	}
	return item[kv.Reclaimed]{value: r.Reclaimed, size: 1}, nil
}
