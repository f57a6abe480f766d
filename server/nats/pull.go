package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/wire"
)

// pull is what a pull consumer has beside a push consumer: the requests that wait for
// messages. The consumer's polling guards all but the flags. Messages and statuses go to the
// outputs under polling too, so that a request's status comes after its messages.
type pull struct {
	asked      atomic.Bool // requests wait
	purged     atomic.Bool // messages were removed: the watch is to be opened anew
	waiting    waiting
	held       kv.Update   // taken from the watch, for the next request; no Entry if there is none
	caughtUp   bool        // the watch has delivered what was there when it was opened
	counted    kv.Revision // newest of the bucket when the watch was opened, or an earlier one
	lastActive time.Time   // of the last request or delivery
	wakeAt     time.Time   // for which the timer is set; zero if it is not
}

// round is one poll of a pull consumer. It delivers as much as a poll of a push consumer.
type round struct {
	on      *conn // whose goroutine polls, and flushes afterwards; nil for another goroutine
	now     time.Time
	size    int         // bytes that were delivered
	count   int         // messages that were delivered
	newest  kv.Revision // of the bucket; 0 if it was not looked up
	touched []*conn     // that got something
	blocked bool        // all requests are of clients that do not read as fast as they ask
	stale   bool        // the watch is to be opened anew, so that it counts what is pending
	err     error       // the consumer ends
}

// runPull polls the consumer until there is nothing more to deliver. schedule starts it in
// a goroutine of its own, which no client delays: see settle.
func (k *consumer) runPull() {
	defer k.owner.Recover()
	for more := true; more; {
		k.queued.Store(false) // before the poll: later events schedule another one
		k.polling.Lock()
		more = !k.removed.Load() && k.pollPull(nil)
		k.polling.Unlock()
	}
}

// pollPull delivers messages to the requests that wait, as far as there are messages, and
// reports whether the consumer must be polled again. on is the connection whose goroutine
// calls it; nil for another goroutine. The caller holds polling.
func (k *consumer) pollPull(on *conn) (more bool) {
	if !k.permitted(k.owner, server.MayGet|server.MayWatch) { // its user has other grants now
		k.end(nil)
		return false
	}
	p := k.pull
	r := &round{on: on, now: time.Now()}
	atEnd := false
	for !atEnd && k.goesOn(r) {
		if k.redeliver(r); k.goesOn(r) {
			atEnd = k.advance(r)
		}
	}
	if atEnd && !k.acks.isFull() {
		k.endNoWait(r)
	}
	if r.count > 0 {
		p.lastActive = r.now
	}
	more = !k.settle(r) && !atEnd && !p.waiting.isEmpty()
	if r.err != nil {
		k.watchEnded(k.owner, r.err)
		return false
	}
	return more
}

// goesOn reports whether a round may deliver more.
func (k *consumer) goesOn(r *round) bool {
	return r.err == nil && !r.blocked && r.size < pollSize && r.count < pollCount && !k.pull.waiting.isEmpty()
}

// settle ends a round: what clients got is written, and the timer is set. If all clients
// that wait have to read first, it has the consumer polled when one of them has, and
// reports true. So a client that does not read delays no other, and little waits for it.
func (k *consumer) settle(r *round) (blocked bool) {
	p := k.pull
	for _, c := range r.touched {
		if c != r.on {
			c.out.FlushAsync()
		}
	}
	blocked = r.blocked
	for i := 0; i < len(p.waiting.queue) && blocked; i++ {
		blocked = p.waiting.queue[i].conn().out.WhenRoom(k, k.schedule)
	}
	p.asked.Store(!p.waiting.isEmpty())
	k.arm(earlier(p.waiting.due(), k.acks.due))
	return blocked
}

// advance delivers the next messages of the stream. It reports whether there are no more, or
// no more that may wait for an acknowledgement.
func (k *consumer) advance(r *round) (atEnd bool) {
	if k.acks.isFull() || k.watch.Load() == nil {
		return true
	}
	more, err := true, error(nil)
	if r.stale = k.resumes() && k.pull.purged.Swap(false); !r.stale {
		more, err = k.takeNext(r)
	}
	if errors.Is(err, kv.ErrCompacted) || err == nil && r.stale {
		more, r.stale, r.newest, err = true, false, 0, k.reopenWatch()
	}
	if r.err == nil {
		r.err = err
	}
	return !more
}

// takeNext takes the message that is held, or those of the watch. It reports whether there
// may be more.
func (k *consumer) takeNext(r *round) (more bool, err error) {
	p := k.pull
	if held := p.held; held.Entry != nil {
		p.held = kv.Update{}
		k.take(r, held)
		return true, nil
	}
	w := k.watch.Load()
	watches := k.permitted(k.owner, server.MayWatch)
	if !watches && w.Pending() == 0 { // a user with get alone has got the initial entries
		return false, nil
	}
	return w.Poll(func(u kv.Update) bool {
		if u.Entry == nil {
			p.caughtUp = true
			return watches
		}
		return k.take(r, u)
	})
}

// take delivers a message of the watch, or holds it if no request can have it. It reports
// whether the next one may be taken.
func (k *consumer) take(r *round, u kv.Update) bool {
	p := k.pull
	switch {
	case u.Err != nil: // to a client a gap means that the message was deleted
		r.err = fmt.Errorf("key %q, revision %d: %w", u.Entry.Key, u.Entry.Revision, u.Err)
		return false
	case p.caughtUp && u.Entry.Revision < k.newest(r, u.Entry.Revision):
		r.stale = true
		return false
	case !k.offer(r, u.Entry, u.ValueSize, 1):
		p.held = u
		return false
	}
	k.streamSeq = u.Entry.Revision
	k.acks.delivered(k.consumerSeq, k.streamSeq, r.now)
	return k.goesOn(r) && !k.acks.isFull()
}

// newest returns the bucket's newest revision, looked up in this round after the record of
// that revision was taken. A watch does not count the records that came after it was opened.
func (k *consumer) newest(r *round, at kv.Revision) kv.Revision {
	if r.newest < at {
		if st, err := k.bucket.Status(context.Background()); err == nil {
			r.newest = st.Revision
		}
	}
	return r.newest
}

// redeliver delivers the messages again whose time to be acknowledged is over.
func (k *consumer) redeliver(r *round) {
	for k.goesOn(r) {
		revision, deliveries := k.acks.again()
		if revision == 0 {
			return
		}
		e, err := k.records.At(context.Background(), revision)
		switch {
		case errors.Is(err, kv.ErrKeyNotFound):
			k.acks.forget(revision)
		case err != nil:
			r.err = fmt.Errorf("revision %d: %w", revision, err)
			return
		case !k.offer(r, &e, len(e.Value), deliveries):
			k.acks.putBack(revision)
			return
		default:
			k.acks.redelivered(revision, r.now)
		}
	}
}

// offer delivers a message to the next request that can have it. It reports false if there
// is none.
func (k *consumer) offer(r *round, e *kv.Entry, valueSize, deliveries int) bool {
	pending := e.Delta
	if deliveries > 1 {
		pending = k.watchPending()
	}
	m := k.encode(e, valueSize, deliveries, pending)
	q := k.nextRequest(r, m.size())
	if q == nil {
		return false
	}
	k.consumerSeq++
	q.delivered++
	q.messages--
	r.size += m.size()
	r.count++
	k.sendTo(r, q, m)
	switch {
	case q.messages <= 0 && q.bytes > 0:
		k.sendTo(r, q, outgoing{subject: q.reply, header: q.appendLeft(nil, endCompleted)})
		fallthrough
	case q.messages <= 0:
		k.pull.waiting.shift()
	default:
		if q.heartbeat > 0 {
			q.beatDue = r.now.Add(q.heartbeat)
		}
		k.pull.waiting.cycle()
	}
	return true
}

// nextRequest returns the next request that can have a message of that size, which is then
// the first. It returns nil if there is none.
func (k *consumer) nextRequest(r *round, size int) *pullRequest {
	w := &k.pull.waiting
	for passed := 0; !w.isEmpty(); {
		q := w.first()
		switch {
		case q.hasExpired(r.now):
			k.endRequest(r, q.appendLeft(nil, endTimeout))
		case !k.refreshTargets(q):
			w.shift()
		case q.conn().out.IsFull():
			if passed++; passed > len(w.queue) {
				r.blocked = true
				return nil
			}
			w.cycle()
		case q.bytes > 0 && size > q.bytes:
			k.endRequest(r, q.appendLeft(nil, endSize))
		case q.bytes > 0:
			if q.bytes -= size; q.bytes == 0 {
				q.messages = 1 // this one
			}
			return q
		default:
			return q
		}
	}
	return nil
}

// refreshTargets looks up the subscriptions of a request again if the first one has ended.
// It reports false if there are none any more.
func (k *consumer) refreshTargets(q *pullRequest) bool {
	if s := (*q.targets)[0]; !s.closed.Load() {
		return true
	}
	targets := k.front.subscriptionsTo(k.user, q.reply)
	if targets == nil {
		return false
	}
	q.targets = &targets
	return true
}

// endRequest ends the first request with a status.
func (k *consumer) endRequest(r *round, header []byte) {
	q := k.pull.waiting.shift()
	k.sendTo(r, q, outgoing{subject: q.reply, header: header})
}

// endNoWait ends the requests that do not wait: there are no more messages.
func (k *consumer) endNoWait(r *round) {
	k.pull.waiting.removeIf(func(q *pullRequest) bool {
		if !q.noWait || !q.expires.IsZero() && q.delivered == 0 {
			return false
		}
		if k.refreshTargets(q) {
			k.sendTo(r, q, outgoing{subject: q.reply, header: appendStatus(nil, endNothing)})
		}
		return true
	})
}

// sendTo delivers a message to a request.
func (k *consumer) sendTo(r *round, q *pullRequest, m outgoing) {
	deliver(*q.targets, m)
	for _, s := range *q.targets {
		if !slices.Contains(r.touched, s.conn) {
			r.touched = append(r.touched, s.conn)
		}
	}
}

// sendStatus delivers a status to a request.
func (k *consumer) sendStatus(q *pullRequest, header []byte) {
	deliver(*q.targets, outgoing{subject: q.reply, header: header})
}

// deliver appends a message to the outputs of some subscriptions.
func deliver(targets []*subscription, m outgoing) {
	for _, s := range targets {
		if !s.countDelivery() {
			continue
		}
		header := m.header
		if !s.conn.headers.Load() {
			header = nil
		}
		s.conn.out.AppendMessage(m.subject, s.sid, m.reply, header, m.payload)
		if s.exhausted() {
			s.conn.unsubscribe(s)
		}
	}
}

// sweepRequests ends the requests that have expired, removes those whose client has gone,
// and sends heartbeats.
func (k *consumer) sweepRequests(now time.Time) {
	p := k.pull
	p.waiting.removeIf(func(q *pullRequest) bool {
		switch {
		case !k.refreshTargets(q):
			return true
		case q.hasExpired(now):
			k.sendStatus(q, q.appendLeft(nil, endTimeout))
			flush(*q.targets)
			p.lastActive = latest(p.lastActive, q.expires)
			return true
		case !q.beatDue.IsZero() && !now.Before(q.beatDue):
			k.sendStatus(q, append(k.appendHeartbeat(nil), wire.HeaderEnd...))
			flush(*q.targets)
			q.beatDue = now.Add(q.heartbeat)
		}
		return false
	})
	p.asked.Store(!p.waiting.isEmpty())
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// tickPull does what time has made due, and removes the consumer if it was inactive for its
// threshold. The timer calls it.
func (k *consumer) tickPull() {
	if k.tickRequests() {
		k.front.consumers.remove(k)
	}
}

// tickRequests is tickPull, and reports whether the consumer is to be removed.
func (k *consumer) tickRequests() (idle bool) {
	k.polling.Lock()
	defer k.polling.Unlock()
	if k.removed.Load() {
		return false
	}
	now, p := time.Now(), k.pull
	p.wakeAt = time.Time{}
	k.sweepRequests(now)
	if k.acks.expire(now) {
		k.schedule()
	}
	ends := latest(p.lastActive, k.acks.last).Add(k.config.InactiveThreshold)
	if !p.waiting.isEmpty() {
		ends = now.Add(k.config.InactiveThreshold)
	}
	if !now.Before(ends) {
		return true
	}
	k.arm(earlier(ends, earlier(p.waiting.due(), k.acks.due)))
	return false
}

// arm sets the timer to a time, unless it is set to an earlier one. Zero stands for never.
func (k *consumer) arm(at time.Time) {
	p := k.pull
	if at.IsZero() || !p.wakeAt.IsZero() && !at.Before(p.wakeAt) {
		return
	}
	p.wakeAt = at
	k.timer.Reset(time.Until(at))
}

// startPull begins the time that the consumer may be without requests.
func (k *consumer) startPull() {
	k.polling.Lock()
	defer k.polling.Unlock()
	k.pull.lastActive = time.Now()
	k.arm(k.pull.lastActive.Add(k.config.InactiveThreshold))
}

// releaseRequests tells the clients whose requests wait that the consumer is gone. The
// caller holds polling.
func (k *consumer) releaseRequests() {
	p := k.pull
	p.waiting.removeIf(func(q *pullRequest) bool {
		if k.refreshTargets(q) {
			k.sendStatus(q, appendStatus(nil, endDeleted))
			flush(*q.targets)
		}
		return true
	})
	p.asked.Store(false)
	p.held = kv.Update{}
}

// flush has the messages written that were appended for some subscriptions.
func flush(targets []*subscription) {
	for _, s := range targets {
		s.conn.out.FlushAsync()
	}
}

// watchPending returns how many messages the watch has counted that are still to come.
func (k *consumer) watchPending() (n uint64) {
	if w := k.watch.Load(); w != nil {
		n = w.Pending()
	}
	if k.pull.held.Entry != nil {
		n++
	}
	return n
}

// resumes reports whether the watch can be opened anew after the last delivered message. The
// last records of keys can not be selected again.
func (k *consumer) resumes() bool {
	return k.watch.Load() != nil && (k.pull.caughtUp || k.config.DeliverPolicy != deliverLastPer || k.layout.OnePerMessage)
}

// pending returns how many messages are still to come. If messages came since the watch was
// opened, it is opened anew, because a watch counts those alone that were there. The caller
// holds polling.
func (k *consumer) pending() uint64 {
	p := k.pull
	if !k.resumes() || !k.permitted(k.owner, server.MayWatch) {
		return k.watchPending()
	}
	st, err := k.bucket.Status(context.Background())
	if !p.purged.Swap(false) && (err != nil || st.Revision <= max(p.counted, k.streamSeq)) {
		return k.watchPending()
	}
	if err := k.reopenWatch(); err != nil {
		return 0 // the next poll returns the error
	}
	k.schedule() // a watch notifies after its first poll
	return k.watchPending()
}
