package client

import (
	"context"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Reclaimer = (*Client)(nil)

// Reclaim gives back the disk of what is gone; see [kv.Reclaimer]. The buckets come
// one after the other, so Total grows while it runs. It is not tried again when the
// connection breaks; the server then stops where it is.
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
