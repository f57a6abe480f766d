package line

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// backup answers BACKUP with the backup in parts. It ends when the client disconnects. The store
// does not wait for a client that reads slowly: it keeps the files of the backup until the end.
func (c *conn) backup(cmd *lineproto.Command) {
	store, ok := kv.As[kv.Backuper](c.protocol.store)
	if !ok {
		c.fail(fmt.Errorf("%w: BACKUP", kv.ErrNotSupported), "")
		return
	}
	o := kv.BackupOptions{Rate: cmd.Rate}
	for _, name := range lineproto.SplitBuckets(cmd.Buckets) {
		o.Buckets = append(o.Buckets, strings.Clone(name))
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	parts := partWriter{conn: c}
	var taken kv.BackupTaken
	var err error
	c.InStore(func() {
		taken, err = store.WriteBackup(ctx, &parts, o)
	})
	if err == nil {
		err = parts.flush()
	}
	c.audit(cmd, cmd.Buckets, err)
	if err != nil {
		c.fail(err, "")
		return
	}
	c.replies.b = lineproto.AppendTaken(c.replies.b, &taken)
}

// partSize is how many bytes of a backup one +DATA has, at most.
const partSize = 64 << 10

// partWriter sends what is written to it in parts.
type partWriter struct {
	conn *conn
	part []byte
}

var errClientGone = errors.New("the client has disconnected")

func (w *partWriter) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		m := min(len(p)-n, partSize-len(w.part))
		w.part = append(w.part, p[n:n+m]...)
		n += m
		if len(w.part) == partSize {
			err = w.flush()
		}
	}
	return n, err
}

// flush sends the part at hand.
func (w *partWriter) flush() error {
	c := w.conn
	if len(w.part) > 0 {
		c.replies.b = lineproto.AppendData(c.replies.b, w.part)
		w.part = w.part[:0]
		c.flush()
	}
	if c.out.broken.Load() {
		return errClientGone
	}
	return nil
}
