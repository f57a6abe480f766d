package line

import (
	"fmt"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// watches are those of one connection.
type watches struct {
	conn    *conn
	waiting []*watch // made, with their +OK not written yet

	mu   sync.Mutex // guards open: a watch that ends removes itself
	open map[uint64]*watch
}

// watch sends the events of one watcher.
type watch struct {
	conn    *conn
	number  uint64
	bucket  string
	watcher kv.Watcher
	quit    chan struct{} // closed when it is to end without a word
	done    chan struct{} // closed when its goroutine has ended

	begun   bool        // its goroutine was started; the connection's
	stopped bool        // stop was called; the connection's
	floor   kv.Revision // the one after the bucket's newest before the watch began
	next    kv.Revision // to resume from; 0: begin anew. The goroutine's, until done
}

func (ws *watches) init(c *conn) { ws.conn = c }

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
	w := &watch{
		conn: c, number: cmd.Watch, bucket: c.name(cmd.Bucket),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	c.InStore(func() { err = w.open(b, cmd) })
	if err != nil {
		c.fail(err, cmd.Bucket)
		return
	}
	c.watches.add(w)
	c.ok()
}

// open makes the watcher, and notes before which revision nothing is owed once the
// initial entries are delivered.
func (w *watch) open(b kv.Bucket, cmd *lineproto.Command) error {
	st, err := b.Status(w.conn.ctx)
	if err != nil {
		return err
	}
	w.floor, w.next = st.Revision+1, cmd.Revision
	if cmd.Mode == lineproto.WatchUpdates && !cmd.HasRevision {
		w.next = w.floor
	}
	w.watcher, err = b.Watch(w.conn.ctx, lineproto.SplitPatterns(cmd.Patterns), watchOptions(cmd)...)
	return err
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

// check returns nil if there may be another watch, of that number.
func (ws *watches) check(number uint64) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.open[number] != nil:
		return fmt.Errorf("%w: watch %d is there already", kv.ErrInvalidOption, number)
	case len(ws.open) >= watchesMax:
		return fmt.Errorf("%w: %d watches on one connection", lineproto.ErrTooMany, watchesMax)
	}
	return nil
}

func (ws *watches) add(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.open == nil {
		ws.open = make(map[uint64]*watch)
	}
	ws.open[w.number] = w
	ws.waiting = append(ws.waiting, w)
}

// begin starts the watches whose +OK is written.
func (ws *watches) begin() {
	for _, w := range ws.waiting {
		if !w.stopped {
			w.begun = true
			go w.run()
		}
	}
	ws.waiting = nil
}

// stop ends a watch without a word: no event of it follows. One that is not
// there may just have ended.
func (ws *watches) stop(number uint64) {
	ws.mu.Lock()
	w := ws.open[number]
	ws.mu.Unlock()
	if w != nil {
		w.stop()
	}
}

// stopAll ends all watches without a word.
func (ws *watches) stopAll() {
	for _, w := range ws.all() {
		w.stop()
	}
}

// endAll ends all watches and tells why, and where to resume.
func (ws *watches) endAll(cause error) {
	for _, w := range ws.all() {
		if w.stop() {
			ws.conn.out.write(lineproto.AppendWatchEnd(nil, w.number, cause, w.next))
		}
	}
}

func (ws *watches) all() []*watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	all := make([]*watch, 0, len(ws.open))
	for _, w := range ws.open {
		all = append(all, w)
	}
	return all
}

// remove forgets a watch and reports whether it was there.
func (ws *watches) remove(w *watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	there := ws.open[w.number] == w
	if there {
		delete(ws.open, w.number)
	}
	return there
}

// stop ends the watch, waits for its goroutine, and reports whether it had not
// ended by itself. Only the connection's goroutine calls it.
func (w *watch) stop() bool {
	there := w.conn.watches.remove(w)
	if there {
		close(w.quit)
		_ = w.watcher.Stop()
	}
	w.stopped = true
	if w.begun {
		<-w.done
	}
	return there
}

// run is the watch's goroutine: it waits for events and writes them, as many at a
// time as are there. A client that does not read them holds up nothing but its
// own connection. Started by begin, ended by the watcher or by stop.
func (w *watch) run() {
	defer close(w.done)
	defer w.conn.Recover()
	updates := w.watcher.Updates()
	for {
		select {
		case <-w.quit:
			return
		case u, ok := <-updates:
			if !ok {
				w.end(w.watcher.Err())
				return
			}
			if !w.conn.May(server.MayWatch, w.bucket) {
				_ = w.watcher.Stop()
				w.end(fmt.Errorf("%w: WATCH in bucket %q", lineproto.ErrDenied, w.bucket))
				return
			}
			if !w.send(u, updates) {
				_ = w.watcher.Stop()
				return
			}
		}
	}
}

// send writes an event and those that are there already.
func (w *watch) send(u kv.Update, updates <-chan kv.Update) bool {
	buf := getBuffer()
	defer putBuffer(buf)
	next := w.next
	for ok := true; ok; {
		if u.Entry == nil {
			buf.b = lineproto.AppendSynced(buf.b, w.number)
			next = max(next, w.floor)
		} else {
			buf.b = lineproto.AppendEvent(buf.b, w.number, u.Entry)
			next = max(next, u.Entry.Revision+1)
		}
		if len(buf.b) >= flushSize {
			break
		}
		select {
		case u, ok = <-updates: // a closed channel is seen by run
		default:
			ok = false
		}
	}
	if !w.conn.out.write(buf.b) {
		return false
	}
	w.next = next
	return true
}

// end tells that the watch ended by itself.
func (w *watch) end(err error) {
	if w.conn.watches.remove(w) {
		if err != nil {
			err = wireError(err)
		}
		w.conn.out.write(lineproto.AppendWatchEnd(nil, w.number, err, w.next))
	}
}
