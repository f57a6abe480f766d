package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Backuper = (*Client)(nil)

// WriteBackup writes a backup of the server's store, or of some of its buckets, to w; see
// [kv.Backuper]. If the connection breaks after the first byte, it is not repeated.
func (c *Client) WriteBackup(ctx context.Context, w io.Writer, o kv.BackupOptions) (kv.BackupTaken, error) {
	var taken kv.BackupTaken
	l := listing[[]byte]{
		client:  c,
		command: lineproto.Command{Verb: lineproto.VerbBackup, Buckets: lineproto.JoinBuckets(o.Buckets), Rate: o.Rate},
		decode:  decodeData,
		ended:   func(r *lineproto.Reply) { taken = r.Taken },
	}
	for _, name := range o.Buckets {
		if err := kv.CheckBucketName(name); err != nil {
			return taken, err
		}
	}
	sum, size := sha256.New(), int64(0)
	for part, err := range l.all(ctx) {
		if err != nil {
			return kv.BackupTaken{}, err
		}
		if _, err := w.Write(part); err != nil {
			return kv.BackupTaken{}, err
		}
		_, _ = sum.Write(part) // never fails
		size += int64(len(part))
	}
	if taken.Size != size || !bytes.Equal(taken.SHA256[:], sum.Sum(nil)) {
		return kv.BackupTaken{}, &ConnError{Addr: c.address, Err: errOtherBackup}
	}
	return taken, nil
}

var errOtherBackup = errors.New("the backup that arrived is not the one that was sent")

func decodeData(r *lineproto.Reply) (item[[]byte], error) {
	if r.Kind != lineproto.ReplyData {
		return item[[]byte]{}, errWrongReply
	}
	return item[[]byte]{value: bytes.Clone(r.Entry.Value), size: len(r.Entry.Value)}, nil
}
