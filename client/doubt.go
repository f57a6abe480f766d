package client

import (
	"context"
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Doubtful = (*Bucket)(nil)

// Doubt says what damage took from the bucket, or may have taken; see [kv.Doubtful].
func (b *Bucket) Doubt(ctx context.Context) (kv.Doubt, error) {
	return b.doubt(ctx, lineproto.VerbLost)
}

// AcceptLoss ends the bucket's doubt; see [kv.Doubtful]. If the connection breaks before
// the answer has come, the error matches kv.ErrOutcomeUnknown.
func (b *Bucket) AcceptLoss(ctx context.Context) (kv.Doubt, error) {
	return b.doubt(ctx, lineproto.VerbAccept)
}

// doubt reads the answer of LOST or ACCEPT.
func (b *Bucket) doubt(ctx context.Context, v lineproto.Verb) (d kv.Doubt, err error) {
	l := listing[lineproto.Reply]{
		client:  b.client,
		command: lineproto.Command{Verb: v, Bucket: b.name, BucketID: b.id},
		decode:  decodeDoubt,
		name:    b.named,
		changes: v == lineproto.VerbAccept,
	}
	for r, err := range l.all(ctx) {
		if err != nil {
			return kv.Doubt{}, err
		}
		switch r.Kind {
		case lineproto.ReplyDoubt:
			d.Bound, d.Unknown = r.Bound, r.Unknown
		case lineproto.ReplyMissing:
			d.Missing = append(d.Missing, r.Missing)
		default:
			d.Lost = append(d.Lost, r.LostRecord)
		}
	}
	return d, nil
}

// decodeDoubt takes one line of a doubt.
func decodeDoubt(r *lineproto.Reply) (item[lineproto.Reply], error) {
	switch r.Kind {
	case lineproto.ReplyDoubt, lineproto.ReplyMissing, lineproto.ReplyLostRecord:
	default:
		return item[lineproto.Reply]{}, errWrongReply
	}
	own := lineproto.Reply{Kind: r.Kind, Bound: r.Bound, Unknown: r.Unknown, Missing: r.Missing, LostRecord: r.LostRecord}
	own.Missing.File = strings.Clone(r.Missing.File)
	own.LostRecord.Key = strings.Clone(r.LostRecord.Key)
	return item[lineproto.Reply]{value: own, size: len(own.Missing.File) + len(own.LostRecord.Key) + 1}, nil
}
