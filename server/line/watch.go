package line

import (
	"errors"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// watch is one watch of a connection.
type watch struct {
	// Immutable once it is open.
	number   uint64
	bucket   string
	patterns []string
	poller   kv.Poller
	floor    kv.Revision // newest revision of the bucket before the watch began, plus 1

	// Guarded by its watches' mu.
	queued bool // it is among those to be polled

	// Guarded by its watches' turn.
	next   kv.Revision // where to resume after the written events; 0: begin anew
	filled kv.Revision // where to resume after the events in the buffer
}

// watch answers WATCH.
func (c *conn) watch(cmd *lineproto.Command) {
	if err := c.watches.check(cmd.Watch); err != nil {
		c.fail(err, "")
		return
	}
	b, err := c.bucket(cmd)
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	w := &watch{number: cmd.Watch, bucket: c.name(cmd.Bucket), patterns: lineproto.SplitPatterns(cmd.Patterns)}
	c.InStore(func() { err = c.open(w, b, cmd) })
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.watches.add(w)
	c.ok()
}

// open makes the watcher. It sets floor: after the initial entries, a resumed watch
// needs no revision below it.
func (c *conn) open(w *watch, b kv.Bucket, cmd *lineproto.Command) error {
	st, err := b.Status(c.ctx)
	if err != nil {
		return err
	}
	w.floor, w.next = st.Revision+1, cmd.Revision
	if cmd.Mode == lineproto.WatchUpdates && !cmd.HasRevision {
		w.next = w.floor
	}
	w.filled = w.next
	notify := kv.Notify(func() { c.watches.enqueue(w) })
	watcher, err := b.Watch(c.reader(cmd), lineproto.SplitPatterns(cmd.Patterns), append(watchOptions(cmd), notify)...)
	if err != nil {
		return err
	}
	poller, ok := kv.As[kv.Poller](watcher)
	if !ok {
		_ = watcher.Stop()
		return fmt.Errorf("%w: watches of a store without Poll", kv.ErrNotSupported)
	}
	w.poller = poller
	return nil
}

func watchOptions(cmd *lineproto.Command) (opts []kv.WatchOption) {
	switch cmd.Mode {
	case lineproto.WatchHistory:
		opts = append(opts, kv.IncludeHistory())
	case lineproto.WatchUpdates:
		opts = append(opts, kv.UpdatesOnly())
	}
	if cmd.HasRevision {
		opts = append(opts, kv.ResumeFromRevision(cmd.Revision))
	}
	if cmd.BucketID != 0 {
		opts = append(opts, kv.ResumeBucketID(cmd.BucketID))
	}
	if cmd.IgnoreDeletes {
		opts = append(opts, kv.IgnoreDeletes())
	}
	if cmd.MetaOnly {
		opts = append(opts, kv.MetaOnly())
	}
	return opts
}

// pollSize is how many bytes of events of one watch are gathered in one turn.
const pollSize = flushSize / 4

// fill appends the available events, and reports whether there may be more. The error is
// the reason why the watch has ended.
func (w *watch) fill(buf *buffer) (more bool, err error) {
	limit := len(buf.b) + pollSize
	return w.poller.Poll(func(u kv.Update) bool {
		buf.b = lineproto.AppendUpdate(buf.b, w.number, &u)
		if u.Entry == nil {
			w.filled = max(w.filled, w.floor)
		} else {
			w.filled = max(w.filled, u.Entry.Revision+1)
		}
		return len(buf.b) < limit
	})
}

// appendEnd appends the END of a watch that ended by itself.
func (w *watch) appendEnd(buf *buffer, cause error) {
	if errors.Is(cause, kv.ErrWatchStopped) {
		return
	}
	buf.b = lineproto.AppendWatchEnd(buf.b, w.number, wireError(cause), w.filled)
}

// permit returns an error if the client no longer has the permission to watch.
func (w *watch) permit(c *conn) error {
	if err := c.permitPatterns(server.MayWatch, w.bucket, w.patterns); err != nil {
		return fmt.Errorf("%w: %w", lineproto.ErrDenied, err)
	}
	return nil
}
