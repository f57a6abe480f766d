package conformance_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/client"
	"kvd/kv"
)

// caller makes calls over one connection.
type caller interface {
	// do makes a call. The error is errNothing if the call tells nothing of the state; any
	// other error is a failure of the server.
	do(c *call) (reply, error)
	close()
}

// errNothing reports that a call was certainly not carried out, or that it was a read
// without an answer.
var errNothing = errors.New("nothing is known")

// lineCaller speaks the line protocol.
type lineCaller struct {
	client *client.Client
	bucket kv.Bucket
}

func dialLine(t *testing.T, addr, bucket string) caller {
	t.Helper()
	c, err := client.Dial(t.Context(), addr, client.Options{MaxWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Bucket(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return &lineCaller{c, b}
}

func (l *lineCaller) close() { _ = l.client.Close() } // the server may be gone

func (l *lineCaller) do(c *call) (r reply, err error) {
	ctx := context.Background()
	var rev kv.Revision
	switch c.kind {
	case callGet:
		var e kv.Entry
		e, err = l.bucket.Get(ctx, c.key)
		rev, r.value = e.Revision, string(e.Value)
	case callPut:
		rev, err = l.bucket.Put(ctx, c.key, []byte(c.value))
	case callCreate:
		rev, err = l.bucket.Create(ctx, c.key, []byte(c.value))
	case callUpdate:
		rev, err = l.bucket.Update(ctx, c.key, []byte(c.value), kv.Revision(c.last))
	case callDelete:
		var opts []kv.WriteOption
		if c.last != 0 {
			opts = append(opts, kv.LastRevision(kv.Revision(c.last)))
		}
		rev, err = l.bucket.Delete(ctx, c.key, opts...)
	case callPurge:
		rev, err = l.bucket.Purge(ctx, c.key)
	}
	var mismatch *kv.RevisionMismatchError
	var broken *client.ConnError
	switch {
	case err == nil:
		r.revision = uint64(rev)
	case errors.Is(err, kv.ErrKeyNotFound):
		r.outcome = refused
	case errors.As(err, &mismatch):
		r.outcome, r.newest, r.told = refused, uint64(mismatch.Got), true
	case c.kind != callGet && errors.Is(err, kv.ErrOutcomeUnknown):
		r.outcome = unknown
	case errors.As(err, &broken), errors.Is(err, kv.ErrClosed):
		return r, errNothing
	default:
		return r, err
	}
	return r, nil
}

// natsCaller is nats.go's key/value client.
type natsCaller struct {
	conn   *nats.Conn
	bucket js.KeyValue
}

func dialNATS(t *testing.T, addr, bucket string) caller {
	t.Helper()
	conn, err := nats.Connect("nats://"+addr, nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	values, err := stream.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return &natsCaller{conn, values}
}

func (n *natsCaller) close() { n.conn.Close() }

func (n *natsCaller) do(c *call) (r reply, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch c.kind {
	case callGet:
		var e js.KeyValueEntry
		if e, err = n.bucket.Get(ctx, c.key); err == nil {
			r.revision, r.value = e.Revision(), string(e.Value())
		}
	case callPut:
		r.revision, err = n.bucket.Put(ctx, c.key, []byte(c.value))
	case callCreate:
		r.revision, err = n.bucket.Create(ctx, c.key, []byte(c.value))
	case callUpdate:
		r.revision, err = n.bucket.Update(ctx, c.key, []byte(c.value), c.last)
	case callDelete:
		var opts []js.KVDeleteOpt
		if c.last != 0 {
			opts = append(opts, js.LastRevision(c.last))
		}
		err = n.bucket.Delete(ctx, c.key, opts...)
	case callPurge:
		err = n.bucket.Purge(ctx, c.key)
	}
	var api *js.APIError
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, js.ErrKeyNotFound), errors.Is(err, js.ErrKeyDeleted):
		r.outcome = refused
		return r, nil
	case errors.As(err, &api) && api.ErrorCode != js.JSErrCodeStreamWrongLastSequence:
		return r, err
	case api != nil && c.kind == callCreate:
		// The call makes up to three requests. The key had a value at one of them, or the
		// server ended in between.
		return r, errNothing
	case api != nil:
		r.outcome = refused
		return r, nil
	case c.kind == callGet:
		return r, errNothing
	}
	r.outcome = unknown
	return r, nil
}
