package line

import (
	"fmt"
	"slices"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// watches are the watches of one connection. The pump, a goroutine that runs only while
// there are events, writes them: the watches with events take turns, their events are
// gathered in one buffer, and one write sends the buffer.
//
// The pump may wait for a client that does not read as long as the connection lasts.
// Meanwhile the events stay in the store, and take no memory here.
type watches struct {
	conn *conn

	// Owned by the goroutine of the connection.
	waiting []*watch // made, with their +OK not written yet

	// turn is held from the first event that goes into the buffer until all of them
	// are written: its holder knows which events the client was sent. It comes before mu
	// and before the lock of the output.
	turn    lock
	touched []*watch // with events in the buffer; guarded by turn

	mu    sync.Mutex // guards the fields below
	open  map[uint64]*watch
	ready []*watch // to be polled, in order
	pumps bool     // the pump runs
	over  bool     // no watch is polled any more
}

func (ws *watches) init(c *conn) { ws.conn, ws.turn = c, newLock() }

// check returns an error if the number is in use or there are too many watches.
func (ws *watches) check(number uint64) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.open[number] != nil:
		return fmt.Errorf("%w: watch %d exists", kv.ErrInvalidOption, number)
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

// begin starts polling the watches whose +OK is written.
func (ws *watches) begin() {
	for _, w := range ws.waiting {
		ws.enqueue(w)
	}
	ws.waiting = ws.waiting[:0]
}

// enqueue queues a watch to be polled, and starts the pump if it does not run. The store
// calls it from any goroutine.
func (ws *watches) enqueue(w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.queued || ws.over || ws.open[w.number] != w {
		return
	}
	w.queued = true
	ws.ready = append(ws.ready, w)
	if !ws.pumps {
		ws.pumps = true
		go ws.pump()
	}
}

// dequeue returns the next watch to poll, nil if there is none.
func (ws *watches) dequeue() *watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for len(ws.ready) > 0 && !ws.over {
		w := ws.ready[0]
		ws.ready = ws.ready[1:]
		w.queued = false
		if ws.open[w.number] == w {
			return w
		}
	}
	return nil
}

// pump is the goroutine that writes events. It is started by enqueue, and ends
// when no watch is ready. Nobody waits for its end: holding turn excludes it.
func (ws *watches) pump() {
	defer ws.conn.Recover()
	for {
		ws.write()
		if ws.idle() {
			return
		}
	}
}

// idle reports whether the pump must end.
func (ws *watches) idle() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.ready) > 0 && !ws.over {
		return false
	}
	ws.ready = nil
	ws.pumps = false
	return true
}

// write writes a buffer of events.
func (ws *watches) write() {
	ws.turn.take()
	defer ws.turn.release()
	buf := getBuffer()
	defer putBuffer(buf)
	for len(buf.b) < flushSize {
		w := ws.dequeue()
		if w == nil {
			break
		}
		ws.poll(w, buf)
	}
	ws.send(buf)
}

// send writes the events in the buffer. The caller holds turn.
func (ws *watches) send(buf *buffer) {
	if ws.conn.out.writeEvents(buf.b) {
		for _, w := range ws.touched {
			w.next = w.filled
		}
	}
	clear(ws.touched)
	ws.touched = ws.touched[:0]
}

// poll gives a watch its turn.
func (ws *watches) poll(w *watch, buf *buffer) {
	ws.touched = append(ws.touched, w)
	more, err := false, w.permit(ws.conn)
	if err == nil {
		more, err = w.fill(buf)
	}
	switch {
	case err != nil:
		if ws.remove(w) {
			_ = w.poller.Stop()
			w.appendEnd(buf, err)
		}
	case more:
		ws.enqueue(w)
	}
}

// remove removes a watch and reports whether it existed.
func (ws *watches) remove(w *watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	there := ws.open[w.number] == w
	if there {
		delete(ws.open, w.number)
	}
	return there
}

// stop ends a watch without an END. It sends the events that are ready first, as many as one
// turn has, and no event follows. A missing watch is no error, because it may just have ended.
func (ws *watches) stop(number uint64) {
	ws.mu.Lock()
	w := ws.open[number]
	ws.mu.Unlock()
	if w == nil {
		return
	}
	ws.conn.out.hurry()
	defer ws.conn.out.replied()
	ws.turn.take()
	defer ws.turn.release()
	if !slices.Contains(ws.waiting, w) { // else none of its events may come, before its +OK
		buf := getBuffer()
		defer putBuffer(buf)
		ws.poll(w, buf)
		ws.send(buf)
	}
	if ws.remove(w) {
		_ = w.poller.Stop()
	}
}

// stopAll ends all watches without an END.
func (ws *watches) stopAll() { ws.takeAll() }

// endAll ends all watches with an END: the reason and the revision to resume from.
func (ws *watches) endAll(cause error) {
	for _, w := range ws.takeAll() {
		ws.conn.out.write(lineproto.AppendWatchEnd(nil, w.number, cause, w.next))
	}
}

// takeAll stops all watches and returns those that had not ended. No watch can be added
// afterwards.
func (ws *watches) takeAll() (all []*watch) {
	ws.mu.Lock()
	ws.over = true
	for _, w := range ws.open {
		all = append(all, w)
	}
	ws.open = nil
	ws.mu.Unlock()
	for _, w := range all {
		_ = w.poller.Stop()
	}
	if len(all) > 0 {
		ws.drain()
	}
	return all
}

// drain returns when the buffer of the pump is written. The client has the time of a
// reply to read it.
func (ws *watches) drain() {
	ws.conn.out.hurry()
	defer ws.conn.out.replied()
	ws.turn.take()
	defer ws.turn.release()
}
