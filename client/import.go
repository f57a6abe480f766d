package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/records"
)

// importBatch bounds the records of one command in bytes. One record may be larger.
const importBatch = 4 << 20

// importNumber is the number of an import: its connection has no other.
const importNumber = 1

// Import is the import of one bucket; see [kv.Importer]. It has a connection of its own. If that
// breaks, the server discards the import.
type Import struct {
	client *Client
	bucket string

	mu    sync.Mutex // one call at a time
	wire  *wire
	lines []byte // of a command
	ended error  // why nothing more is written; nil: it goes on
	done  bool   // committed or discarded
}

var (
	_ kv.BucketImporter = (*Client)(nil)
	_ kv.Importer       = (*Import)(nil)
)

var (
	errCommitted = errors.New("the import was committed")
	errDiscarded = errors.New("the import was discarded")
)

// ImportBucket begins the import of a bucket on a connection of its own; see [kv.BucketImporter].
// The caller has to end it by Commit or Discard.
func (c *Client) ImportBucket(ctx context.Context, cfg kv.Config, next kv.Revision) (kv.Importer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	command := lineproto.Command{Verb: lineproto.VerbImport, Import: importNumber, Next: next}
	if err := command.SetConfig(cfg, false); err != nil {
		return nil, err
	}
	w, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	i := &Import{client: c, bucket: cfg.Bucket, wire: w}
	if _, err := i.ask(ctx, &command); err != nil {
		w.close()
		return nil, err
	}
	return i, nil
}

// ask sends a command, and reports whether the server answered it. If not, or if the server shuts
// down, the import is over, and the error is the context's, kv.ErrClosed or a *ConnError.
func (i *Import) ask(ctx context.Context, command *lineproto.Command) (answered bool, err error) {
	stop := context.AfterFunc(ctx, i.wire.close)
	r, err := i.wire.ask(command)
	if !stop() {
		r, err = nil, ctx.Err()
	}
	if r != nil && err == nil && r.Kind != lineproto.ReplyOK {
		r, err = nil, errWrongReply
	}
	if r != nil && shutdown(err) == nil {
		return true, err
	}
	switch {
	case i.client.link.ctx.Err() != nil:
		err = kv.ErrClosed
	case ctx.Err() == nil:
		err = &ConnError{Addr: i.client.address, Err: err}
	}
	i.wire.close()
	i.ended = fmt.Errorf("%w: the connection ended, so the server discards the import: %w", kv.ErrReadOnly, err)
	return r != nil, err
}

// Write writes records; see [kv.Importer]. More than 4 MiB of records as text are sent in several
// commands.
func (i *Import) Write(ctx context.Context, list []kv.Entry) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended != nil {
		return kv.NameKey(i.bucket, "", i.ended)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for first := true; len(list) > 0; first = false {
		n, err := i.batch(list)
		if err == nil {
			_, err = i.ask(ctx, &lineproto.Command{Verb: lineproto.VerbRecords, Import: importNumber, Bucket: i.bucket, Value: i.lines})
		}
		if err != nil {
			if i.ended == nil && !(first && breaksRule(err)) {
				i.ended = fmt.Errorf("%w: records of the import may be missing, so it can only be discarded: %w", kv.ErrReadOnly, err)
			}
			return kv.NameKey(i.bucket, "", err)
		}
		list = list[n:]
	}
	return nil
}

// breaksRule reports whether an error is about a record, which was refused with all others of its
// command.
func breaksRule(err error) bool {
	return errors.Is(err, kv.ErrInvalidRecord) || errors.Is(err, kv.ErrInvalidKey) || errors.Is(err, kv.ErrValueTooLarge)
}

// batch makes the lines of the next command, and returns how many records they are.
func (i *Import) batch(list []kv.Entry) (n int, err error) {
	if cap(i.lines) > 2*importBatch { // do not keep the memory of one huge value
		i.lines = nil
	}
	i.lines = i.lines[:0]
	for n < len(list) {
		e := list[n]
		e.Bucket = "" // it does not count
		before := len(i.lines)
		if i.lines, err = records.Append(i.lines, &e); err != nil {
			return 0, kv.NameKey(i.bucket, e.Key, fmt.Errorf("record of revision %d: %w", e.Revision, err))
		}
		if n > 0 && len(i.lines) > importBatch {
			i.lines = i.lines[:before]
			break
		}
		n++
	}
	return n, nil
}

// Commit makes the bucket visible; see [kv.Importer]. If the connection breaks before the answer
// has come, the error matches kv.ErrOutcomeUnknown.
func (i *Import) Commit(ctx context.Context, digest kv.Digest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended != nil {
		return kv.NameKey(i.bucket, "", i.ended)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	answered, err := i.ask(ctx, &lineproto.Command{Verb: lineproto.VerbCommit, Import: importNumber, Bucket: i.bucket, Digest: digest})
	switch {
	case err == nil:
		i.end(errCommitted)
		return nil
	case !answered:
		return unknown(err)
	}
	return kv.NameKey(i.bucket, "", err)
}

// Discard removes the bucket; see [kv.Importer].
func (i *Import) Discard(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if i.ended == nil || !errors.As(i.ended, new(*ConnError)) {
		_, err := i.ask(ctx, &lineproto.Command{Verb: lineproto.VerbDiscard, Import: importNumber, Bucket: i.bucket})
		if err != nil && !errors.As(err, new(*ConnError)) { // the end of the connection discards it too
			return kv.NameKey(i.bucket, "", err)
		}
	}
	i.end(errDiscarded)
	return nil
}

// end ends the import, and with it the connection.
func (i *Import) end(why error) {
	i.ended, i.done = why, true
	i.wire.close()
}
