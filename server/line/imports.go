package line

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/kv/records"
)

const (
	// importsMax bounds the imports of a connection.
	importsMax = 16
	// recordsMax bounds the records of a command in bytes. One record may be larger.
	recordsMax = 4 << 20
	// entriesKept is how many entries are kept for the next command, so that an idle import keeps
	// less than a MiB.
	entriesKept = 4096
)

// imports are the imports of a connection, by the client's numbers.
type imports struct {
	open    map[uint64]*openImport
	entries []kv.Entry // scratch
}

type openImport struct {
	bucket   string
	importer kv.Importer
}

// discardAll discards the imports that the client has not committed. A store that is closed
// discards them when it is opened again.
func (i *imports) discardAll(c *conn) {
	for _, o := range i.open {
		c.InStore(func() { _ = o.importer.Discard(context.WithoutCancel(c.ctx)) }) // nobody is left to tell
	}
	i.open = nil
}

// find returns the import of that number.
func (i *imports) find(number uint64) (*openImport, error) {
	if o := i.open[number]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%w: no import has the number %d", kv.ErrInvalidOption, number)
}

// keep keeps the memory of a list for the next command, unless it is much.
func (i *imports) keep(list []kv.Entry) {
	clear(list) // the values
	if i.entries = list[:0]; cap(list) > entriesKept {
		i.entries = nil
	}
}

// importing returns the answer to IMPORT, RECORDS, COMMIT and DISCARD.
func (c *conn) importing(cmd *lineproto.Command) {
	if cmd.Verb == lineproto.VerbRecords {
		count, err := c.writeRecords(cmd)
		if err != nil {
			c.fail(err, "")
			return
		}
		c.replies.b = lineproto.AppendNumber(c.replies.b, uint64(count))
		return
	}
	var err error
	switch cmd.Verb {
	case lineproto.VerbImport:
		err = c.beginImport(cmd)
	case lineproto.VerbCommit:
		err = c.commitImport(cmd)
	case lineproto.VerbDiscard:
		err = c.discardImport(cmd)
	}
	c.reply(err, cmd)
}

func (c *conn) beginImport(cmd *lineproto.Command) error {
	store, ok := kv.As[kv.BucketImporter](c.protocol.store)
	switch {
	case !ok:
		return fmt.Errorf("%w: IMPORT", kv.ErrNotSupported)
	case c.imports.open[cmd.Import] != nil:
		return fmt.Errorf("%w: an import has the number %d", kv.ErrInvalidOption, cmd.Import)
	case len(c.imports.open) >= importsMax:
		return fmt.Errorf("%w imports on a connection: at most %d", lineproto.ErrTooMany, importsMax)
	}
	cfg := kv.Config{Bucket: strings.Clone(cmd.Bucket)}
	err := msglog.CheckUnreserved(cfg.Bucket)
	if err == nil {
		_, err = cmd.ApplyConfig(&cfg)
	}
	if err != nil {
		return err
	}
	o := &openImport{bucket: cfg.Bucket}
	c.InStore(func() { o.importer, err = store.ImportBucket(c.ctx, cfg, cmd.Next) })
	if err != nil {
		return err
	}
	if c.imports.open == nil {
		c.imports.open = make(map[uint64]*openImport)
	}
	c.imports.open[cmd.Import] = o
	return nil
}

// writeRecords returns how many records a RECORDS has written.
func (c *conn) writeRecords(cmd *lineproto.Command) (int, error) {
	o, err := c.imports.find(cmd.Import)
	if err != nil {
		return 0, err
	}
	lines := cmd.Value
	list := c.imports.entries[:0]
	defer func() { c.imports.keep(list) }()
	for len(lines) > 0 {
		var line []byte
		line, lines = records.Cut(lines)
		if len(cmd.Value) > recordsMax && len(lines) > 0 {
			return 0, &kv.LimitError{What: "size of the records of a command", Got: int64(len(cmd.Value)), Min: 0, Max: recordsMax, Err: kv.ErrInvalidRecord}
		}
		e, err := records.Decode(line)
		if err != nil {
			return 0, err
		}
		if e.Bucket != "" && e.Bucket != o.bucket {
			return 0, fmt.Errorf("%w: key %.64q, revision %d is of bucket %.64q, not %q", kv.ErrInvalidRecord, e.Key, e.Revision, e.Bucket, o.bucket)
		}
		list = append(list, e)
	}
	c.InStore(func() { err = o.importer.Write(c.ctx, list) })
	var named *kv.KeyError
	if errors.As(err, &named) && named.Key != "" { // the client does not know which of its records it is
		err = fmt.Errorf("key %.64q: %w", named.Key, named.Err)
	}
	return len(list), err
}

func (c *conn) commitImport(cmd *lineproto.Command) error {
	o, err := c.imports.find(cmd.Import)
	if err != nil {
		return err
	}
	c.InStore(func() { err = o.importer.Commit(c.ctx, cmd.Digest) })
	c.audit(cmd, o.bucket, err)
	if err == nil {
		delete(c.imports.open, cmd.Import)
		c.last = handle{} // it may be another bucket of that name
	}
	return err
}

// discardImport discards an import. One that is not there is discarded.
func (c *conn) discardImport(cmd *lineproto.Command) (err error) {
	o := c.imports.open[cmd.Import]
	if o == nil {
		return nil
	}
	c.InStore(func() { err = o.importer.Discard(c.ctx) })
	if err == nil {
		delete(c.imports.open, cmd.Import)
	}
	return err
}
