package client

import (
	"errors"
	"slices"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// Bounds of the events that wait, in bytes of keys and values with waitingOverhead for each
// event. One event may be larger.
const (
	waitingMax      = 1 << 20  // at a seat
	waitingTotal    = 32 << 20 // at all seats of a connection
	waitingOverhead = 256
)

// errLags is why a watch has to leave a shared connection whose consumer does not keep up.
var errLags = errors.New("client: the watch lags")

// seat is a watch on a connection that it shares. The connection's reader hands events to
// the consumer as long as the consumer has room for them. Otherwise they wait here, and the
// watch's goroutine hands them on. If too many wait, the watch has to leave.
type seat struct {
	*watcher

	conn   *watchConn
	number uint64
	wake   chan struct{} // capacity 1: there is something for the watch's goroutine

	mu struct { // guards the fields inside; it comes before the locks of the connection
		sync.Mutex
		position
		reserved bool // the watch is elsewhere: events wait, up to release
		live     bool // the connection has sent what was there before
		waiting  []kv.Update
		size     int  // of waiting in bytes
		handing  int  // bytes of events that were waiting and are being handed on; 0: there are none
		left     bool // nothing more is taken
		err      error
	}
}

// join continues the watch on a shared connection.
func (w *watcher) join() (place, error) {
	s := w.newSeat()
	err := w.bucket.client.watches.seat(w.ctx, s)
	if errors.Is(err, errAlone) {
		return w.connect()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// reserve begins the watch on a shared connection too, and returns when everything new
// arrives there. Nothing is delivered from there before release.
func (w *watcher) reserve() (*seat, error) {
	s := w.newSeat()
	s.mu.reserved = true
	if err := w.bucket.client.watches.seat(w.ctx, s); err != nil {
		return nil, err
	}
	if err := s.waitLive(); err != nil {
		s.leave()
		return nil, err
	}
	return s, nil
}

func (w *watcher) newSeat() *seat {
	s := &seat{watcher: w, wake: make(chan struct{}, 1)}
	s.mu.position = w.position
	return s
}

func (s *seat) again() (place, error) { return s.join() }

// waitLive returns when the connection has sent what was there before.
func (s *seat) waitLive() error {
	for {
		s.mu.Lock()
		live, left, err := s.mu.live, s.mu.left, s.mu.err
		s.mu.Unlock()
		switch {
		case live && !left:
			return nil
		case left:
			return err
		}
		if err := s.sleep(); err != nil {
			return err
		}
	}
}

// sleep waits for something to do.
func (s *seat) sleep() error {
	select {
	case <-s.wake:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// release has events delivered from here on, after the watch has ended elsewhere.
func (s *seat) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	delivered := 0
	for delivered < len(s.mu.waiting) && s.mu.waiting[delivered].Entry.Revision <= s.last {
		delivered++
	}
	s.mu.waiting = slices.Delete(s.mu.waiting, 0, delivered)
	s.mu.last, s.mu.next = max(s.mu.last, s.last), max(s.mu.next, s.next)
	s.mu.reserved = false
}

// follow hands on what waits, until the watch leaves the connection.
func (s *seat) follow() (place, error) {
	err := s.handOn()
	s.leave()
	s.position = s.mu.position // the reader takes nothing more
	if !errors.Is(err, errLags) {
		return nil, err
	}
	s.lagged = true
	return s.connect()
}

func (s *seat) handOn() error {
	for {
		updates, err := s.fetch()
		for _, u := range updates {
			if err := s.send(u); err != nil {
				return err
			}
		}
		switch {
		case len(updates) > 0:
			continue
		case err != nil:
			return err
		}
		if err := s.sleep(); err != nil {
			return err
		}
	}
}

// fetch returns what waits; if nothing does, it returns why the watch has to leave.
func (s *seat) fetch() (updates []kv.Update, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	updates = s.mu.waiting
	s.conn.waiting.Add(-int64(s.mu.handing))
	s.mu.waiting, s.mu.handing, s.mu.size = nil, s.mu.size, 0
	return updates, s.mu.err
}

// leave ends the watch on this connection. What waits is dropped. The watch's goroutine calls it.
func (s *seat) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(nil)
	s.conn.waiting.Add(-int64(s.mu.size + s.mu.handing))
	s.mu.waiting, s.mu.size, s.mu.handing = nil, 0, 0
}

// end has the watch leave the connection because of an error.
func (s *seat) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked(err)
}

func (s *seat) leaveLocked(err error) {
	if s.mu.left {
		return
	}
	s.mu.left, s.mu.err = true, err
	s.conn.remove(s)
	s.wakeLocked()
}

func (s *seat) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take takes a line of this watch. The connection's reader calls it, and is not held up.
func (s *seat) take(r *lineproto.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.left:
	case r.Kind == lineproto.ReplySynced:
		s.syncLocked()
	case r.Kind == lineproto.ReplyWatchEnd:
		s.mu.next = max(s.mu.next, r.Next)
		s.conn.ended(s)
		s.leaveLocked(s.refusal(r))
	default:
		s.eventLocked(r)
	}
}

// syncLocked takes SYNCED. The consumer gets no marker: a watch comes here only once it has its
// initial entries, or asked for none.
func (s *seat) syncLocked() {
	s.mu.sync()
	s.mu.live = true
	if s.mu.reserved {
		s.wakeLocked()
	}
}

func (s *seat) eventLocked(r *lineproto.Reply) {
	revision := r.Entry.Revision
	if revision <= s.mu.last {
		return
	}
	if u, ok := s.update(r); ok && !s.giveLocked(u, len(u.Entry.Key)+len(u.Entry.Value)) {
		return
	}
	s.mu.pass(revision)
}

// giveLocked hands an event to the consumer, or has it wait. It reports false if there is
// no room, and has the watch leave.
func (s *seat) giveLocked(u kv.Update, size int) bool {
	if len(s.mu.waiting) == 0 && s.mu.handing == 0 && !s.mu.reserved {
		select {
		case s.updates <- u:
			return true
		default:
		}
	}
	size += waitingOverhead
	if len(s.mu.waiting) > 0 && (s.mu.handing+s.mu.size+size > s.conn.conns.waitingMax || s.conn.waiting.Load()+int64(size) > waitingTotal) {
		s.leaveLocked(errLags)
		return false
	}
	s.mu.waiting = append(s.mu.waiting, u)
	s.mu.size += size
	s.conn.waiting.Add(int64(size))
	if len(s.mu.waiting) == 1 && !s.mu.reserved {
		s.wakeLocked()
	}
	return true
}
