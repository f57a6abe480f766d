package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"kvd/kv"
	"kvd/kv/digest"
	"kvd/server"
	"kvd/server/nats/archive"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

const (
	restorePatience = 10 * time.Second // for the next chunk
	restoreBytes    = 1 << 20          // of records that are written together; one may be larger
	restoreRecords  = 1024
)

// restore makes a stream of a backup that a client sends chunk by chunk. The stream is hidden until
// it is whole: an error, and the end of the connection, discard it. nats stream restore sends what
// a file has.
//
// The connection's goroutine passes the chunks to the goroutine that reads the archive, which the
// request starts; the end of the pipe ends it.
type restore struct {
	// Immutable.
	conn   *conn
	id     string
	config *streamconfig.Config
	layout *streamconfig.Layout
	bucket kv.Config
	store  kv.BucketImporter
	in     *io.PipeWriter
	timer  *time.Timer // of the next chunk

	done chan struct{} // closed when the goroutine has ended
	err  error         // its result, once it has
}

var (
	errStalled  = errors.New("the restore is stalled: no chunk came in time")
	errNoReply  = errors.New("a chunk needs a reply subject")
	errNoResult = errors.New("the restore has failed")
)

// streamRestore answers STREAM.RESTORE with the subject for the chunks.
func (c *conn) streamRestore(r *request) (any, *jsapi.Error) {
	var ask struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"` // has no effect: the backup has it too
	}
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	cfg, refused := streamconfig.Parse(ask.Config, r.stream())
	if refused == nil {
		refused = c.checkRestore(cfg, r)
	}
	if refused != nil {
		return nil, refused
	}
	store, ok := kv.As[kv.BucketImporter](c.front.store)
	if !ok {
		return nil, jsapi.ErrorOf(fmt.Errorf("%w: restore", kv.ErrNotSupported))
	}
	id, refused := c.transfers.newID()
	if refused != nil {
		return nil, refused
	}
	out, in := io.Pipe()
	b := &restore{
		conn: c, id: id, config: cfg, store: store, in: in, done: make(chan struct{}), err: errNoResult,
		bucket: cfg.BucketConfig(c.front.maxPayload), layout: streamconfig.NewLayout(cfg.Bucket(), cfg.OnePerMessage()),
	}
	b.timer = time.AfterFunc(restorePatience, b.stall)
	c.transfers.addRestore(b)
	go b.run(out)
	var answer struct {
		DeliverSubject string `json:"deliver_subject"`
	}
	answer.DeliverSubject = wire.SnapshotPrefix + "RESTORE." + cfg.Name + "." + id
	return answer, nil
}

// checkRestore refuses a restore that cannot succeed, or is not granted.
func (c *conn) checkRestore(cfg *streamconfig.Config, r *request) *jsapi.Error {
	grants, _ := r.grants() // Parse has checked it
	if refused := c.permitRestore(grants); refused != nil {
		return refused
	}
	if refused := cfg.CheckKind(nil, c.front.maxPayload); refused != nil {
		return refused
	}
	return c.checkRestorable(cfg)
}

// permitRestore checks that the user may create the stream and write all of it.
func (c *conn) permitRestore(grants string) *jsapi.Error {
	if refused := c.permit(server.MayAdmin, grants); refused != nil {
		return refused
	}
	return c.permit(server.MayPut, grants)
}

// checkRestorable refuses a stream that cannot be made now.
func (c *conn) checkRestorable(cfg *streamconfig.Config) *jsapi.Error {
	switch _, err := c.front.streamNamed(c.ctx, cfg.Name); {
	case err == nil:
		return jsapi.ErrRestoreExists
	case !errors.Is(err, kv.ErrBucketNotFound):
		return jsapi.ErrorOf(err)
	}
	if refused := c.checkCaptures(cfg); refused != nil {
		return refused
	}
	return c.checkRepublish(cfg)
}

// take takes a chunk. An empty one says that there are no more.
func (r *restore) take(o *wire.Operation) {
	r.timer.Stop()
	switch {
	case len(o.Reply) == 0:
		r.stop(errNoReply)
		r.finish(nil)
	case len(o.Payload) == 0:
		_ = r.in.Close() // which returns nil
		r.finish(o.Reply)
	default:
		if _, err := r.in.Write(o.Payload); err != nil {
			r.finish(o.Reply)
			return
		}
		r.timer.Reset(restorePatience)
		r.conn.answer(o.Reply, nil, nil)
	}
}

// finish waits for the result, and answers the last chunk with it.
func (r *restore) finish(reply []byte) {
	<-r.done
	c := r.conn
	c.transfers.remove(r.id)
	var result any
	var refused *jsapi.Error
	if r.err == nil {
		result, refused = r.describe()
	} else {
		refused = restoreError(r.err)
	}
	c.answerCall(reply, "stream_create", result, refused)
}

// describe describes the stream.
func (r *restore) describe() (any, *jsapi.Error) {
	s, err := r.conn.front.stream(r.conn.ctx, r.bucket.Bucket)
	if err != nil {
		return nil, jsapi.ErrorOf(err)
	}
	return r.conn.front.describe(r.conn, s), nil
}

// restoreError returns the error of the API for that of a restore.
func restoreError(err error) *jsapi.Error {
	var api *jsapi.Error
	if errors.As(err, &api) && api.ErrCode == jsapi.ErrRestoreExists.ErrCode {
		return api
	}
	return jsapi.NewError(500, 10062, "restore failed: "+err.Error())
}

// stop ends the restore, unless it has ended.
func (r *restore) stop(why error) {
	r.timer.Stop()
	_ = r.in.CloseWithError(why) // which returns nil
}

// stall is called by the timer, which it therefore leaves alone.
func (r *restore) stall() {
	_ = r.in.CloseWithError(errStalled) // which returns nil
	r.conn.transfers.remove(r.id)
}

// run is the goroutine that reads the archive.
func (r *restore) run(in *io.PipeReader) {
	defer close(r.done)
	defer func() { _ = in.Close() }() // a chunk may be waiting
	defer r.conn.Recover()
	r.err = r.read(in)
}

// read makes the stream of the archive.
func (r *restore) read(in io.Reader) (err error) {
	a, err := archive.NewReader(in, int(r.bucket.MaxValueSize)+kv.MaxHeadersSize)
	if err == nil {
		err = a.Consumers(refuseDurable)
	}
	if err != nil {
		return err
	}
	last := kv.Revision(a.State().LastSeq)
	if last > kv.MaxImportRevision {
		return fmt.Errorf("last_seq is %d, must be at most %d", last, kv.MaxImportRevision)
	}
	ctx := r.conn.ctx
	i, err := r.store.ImportBucket(ctx, r.bucket, last+1)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = i.Discard(context.WithoutCancel(ctx)) // the first error is the cause; a restart of the store discards too
		}
	}()
	sum, err := r.write(ctx, a, i)
	if err != nil {
		return err
	}
	return r.commit(ctx, i, sum)
}

// refuseDurable refuses the backup of a durable consumer. Others do not outlive their clients.
func refuseDurable(consumer []byte) error {
	var c struct {
		Config struct {
			Durable string `json:"durable_name"`
		} `json:"config"`
	}
	if err := json.Unmarshal(consumer, &c); err != nil {
		return fmt.Errorf("a consumer of the backup: %w", err)
	}
	if c.Config.Durable != "" {
		return fmt.Errorf("the backup has the durable consumer %.64q: make it with nats stream backup --no-consumers, and make the consumer again", c.Config.Durable)
	}
	return nil
}

// write writes all messages, and returns the digest of their records.
func (r *restore) write(ctx context.Context, a *archive.Reader, i kv.Importer) (sum kv.Digest, err error) {
	var batch []kv.Entry
	size := 0
	for err == nil {
		var m archive.Message
		if m, err = a.Next(); err != nil {
			break
		}
		var e kv.Entry
		if e, err = r.record(&m); err != nil {
			return sum, fmt.Errorf("the message of sequence %d: %w", m.Sequence, err)
		}
		batch, sum = append(batch, e), sum.Add(digest.OfEntry(&e))
		if size += len(e.Key) + len(e.Headers) + len(e.Value); len(batch) == restoreRecords || size >= restoreBytes {
			err = i.Write(ctx, batch)
			clear(batch) // the values
			batch, size = batch[:0], 0
		}
	}
	if errors.Is(err, io.EOF) {
		err = i.Write(ctx, batch)
	}
	return sum, err
}

// commit makes the stream visible.
func (r *restore) commit(ctx context.Context, i kv.Importer, sum kv.Digest) error {
	f := r.conn.front
	defer f.messageStreams.lockChanges(r.config)()
	if refused := r.conn.permitRestore(r.layout.Grants); refused != nil { // its user may have other grants now
		return refused
	}
	if refused := r.conn.checkRestorable(r.config); refused != nil {
		return refused
	}
	err := i.Commit(ctx, sum)
	r.conn.Audit("bucket imported", r.bucket.Bucket, err)
	var other *kv.DigestError
	switch {
	case errors.As(err, &other):
		return errors.New("the configuration keeps fewer messages of a subject than the backup has: restore it with that of the backup")
	case errors.Is(err, kv.ErrBucketExists):
		return jsapi.ErrRestoreExists
	case err != nil:
		return err
	}
	f.messageStreams.set(r.bucket.Bucket, r.config.Subjects) // before anything else can fail: it exists
	s, err := f.stream(ctx, r.bucket.Bucket)
	if err == nil {
		err = f.republishers.set(ctx, s)
	}
	return err
}
