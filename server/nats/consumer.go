package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// consumer delivers the messages of a stream: a push consumer to a subject, a pull consumer
// to the reply subjects of requests. It has no goroutine of its own. The pump of the
// connection that subscribes to the subject polls a push consumer. So a client that does not
// read delays its own consumers only. See pull for the others.
type consumer struct {
	// Immutable.
	front   *Front
	owner   *conn  // that made it; nil for a durable consumer
	user    string // of that connection
	stream  string // the name of the bucket
	layout  *streamconfig.Layout
	created time.Time
	bucket  kv.Bucket
	records msglog.Log    // of bucket; nil if the store has none
	ttl     time.Duration // of expiry markers
	pull    *pull         // nil for a push consumer
	durable *durable      // nil for another

	// An update changes some of its fields, see setConfig: under polling, consumers.mu and mu, of
	// which each is enough to read them.
	config consumerConfig

	cost int64 // bytes, charged to the memory of owner. Written under consumers.mu

	watch atomic.Pointer[watch] // nil if the filters select nothing. Written by newConsumer, then under polling

	targets      atomic.Pointer[[]*subscription] // the subscriptions; nil if there are none. Written under consumers.mu
	queued       atomic.Bool                     // waits in a pump
	removed      atomic.Bool
	heartbeatDue atomic.Bool

	polling     sync.Mutex // held while it is polled; guards the fields below
	permits     []string   // the patterns of subjects that it reads, for permissions
	flow        *flow      // nil without flow control
	consumerSeq uint64     // of the last delivered message
	streamSeq   kv.Revision
	acks        acks
	buf         []byte // scratch

	mu           sync.Mutex // guards the fields below
	lastActivity time.Time  // of the last delivery or change of the subscriptions
	timer        *time.Timer
}

// watch is the source of a consumer's messages.
type watch struct {
	kv.Poller
	cancel context.CancelFunc
}

func (w *watch) stop() {
	_ = w.Stop() // the error of a watch that has ended
	w.cancel()
}

// openWatch opens the consumer's watch. The watch calls schedule when it has something.
func (k *consumer) openWatch(patterns []string, opts []kv.WatchOption) error {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if k.pull == nil { // the other's selection ends with a poll that has begun: contexts are large
		ctx, cancel = context.WithCancel(ctx)
	}
	made, err := k.bucket.Watch(ctx, patterns, append(opts, kv.Notify(k.schedule))...)
	if err != nil {
		cancel()
		return err
	}
	poller, ok := kv.As[kv.Poller](made)
	if !ok {
		cancel()
		return errors.Join(kv.ErrNotSupported, made.Stop())
	}
	k.watch.Store(&watch{poller, cancel})
	return nil
}

// reopenWatch continues after the last delivered message. It is called when the watch ended
// because the last record of a key was removed: NATS has no such end of a consumer.
func (k *consumer) reopenWatch() error {
	selected, later := k.selection()
	if len(selected) == 0 {
		later = k.streamSeq + 1
	}
	k.watch.Load().stop()
	if p := k.pull; p != nil {
		st, err := k.bucket.Status(context.Background())
		if err != nil {
			return err
		}
		p.held, p.caughtUp, p.counted = kv.Update{}, false, st.Revision
	}
	err := k.openSelected(k.config.patterns(k.layout), selected, later)
	if err == nil && k.removed.Load() { // meanwhile it was removed, and the old watch stopped
		k.watch.Load().stop()
	}
	return err
}

const (
	pollSize  = wire.FlushSize // bytes that one poll delivers, before other consumers are polled
	pollCount = 1024           // messages that one poll delivers
)

// poll appends the messages that are there to dst, as far as the client and flow control
// allow, and reports whether the consumer must be polled again. dst goes to the connection
// of the first target.
func (k *consumer) poll(dst []byte, targets []*subscription) (out []byte, more bool) {
	k.polling.Lock()
	defer k.polling.Unlock()
	if k.removed.Load() {
		return dst, false
	}
	if k.heartbeatDue.Swap(false) {
		dst = k.heartbeat(dst, targets)
	}
	w := k.watch.Load()
	if w == nil || k.isStalled() {
		return dst, false
	}
	reader := k.owner
	if reader == nil {
		reader = targets[0].conn
	}
	watches := k.permitted(reader, server.MayWatch)
	if !watches && !k.permitted(reader, server.MayGet|server.MayWatch) { // its user has other grants now
		if k.durable == nil {
			k.end(nil)
		}
		return dst, false
	}
	if !watches && w.Pending() == 0 {
		return dst, false // a user with get alone has got the initial entries
	}
	before := k.consumerSeq
	size, count := 0, 0
	var damaged error
	more, err := w.Poll(func(u kv.Update) bool {
		if u.Entry == nil {
			return watches
		}
		if u.Err != nil { // to a client a gap means that the message was deleted
			damaged = fmt.Errorf("key %q, revision %d: %w", u.Entry.Key, u.Entry.Revision, u.Err)
			return false
		}
		var n int
		dst, n = k.deliver(dst, targets, u.Entry, u.ValueSize)
		size += n
		count++
		return size < pollSize && count < pollCount && !k.isStalled()
	})
	if k.consumerSeq != before {
		k.recordActivity()
		k.delivered()
	}
	if err == nil {
		err = damaged
	}
	if errors.Is(err, kv.ErrCompacted) {
		more, err = true, k.reopenWatch()
	}
	if err != nil {
		k.watchEnded(reader, err)
		return dst, false
	}
	return dst, more
}

// pollBy has a pump deliver the consumer's messages.
func (k *consumer) pollBy(p *pump) {
	k.queued.Store(false) // before the poll: later events schedule another one
	targets := k.targets.Load()
	switch {
	case targets == nil:
		return
	case (*targets)[0].conn != p.conn:
		k.schedule() // with the pump of its present subscription
		return
	}
	var more bool
	if p.buf, more = k.poll(p.buf, *targets); more {
		k.schedule()
	}
}

// isStalled reports whether the consumer must wait for the client's reply to a flow control
// request.
func (k *consumer) isStalled() bool { return k.flow != nil && k.flow.stalled() }

// permitted reports whether the user of a connection has any of the permissions on everything that the
// consumer reads.
func (k *consumer) permitted(reader *conn, p server.Permission) bool {
	for _, pattern := range k.permits {
		if reader.PermitPattern(p, k.layout.Grants, pattern) != nil {
			return false
		}
	}
	return true
}

// recordActivity records the time of a delivery, or of a change of the subscriptions.
func (k *consumer) recordActivity() {
	k.mu.Lock()
	k.lastActivity = time.Now()
	k.mu.Unlock()
}

// watchEnded removes the consumer after an error of its watch: the bucket was deleted, the
// store closed, or the next message is lost or in doubt after damage. Clients of a push
// consumer get no message; they notice the missing heartbeats. The caller holds polling.
func (k *consumer) watchEnded(reader *conn, err error) {
	if !errors.Is(err, kv.ErrBucketNotFound) && !errors.Is(err, kv.ErrClosed) && !errors.Is(err, kv.ErrWatchStopped) {
		reader.Logger().Warn("consumer ended", "bucket", k.stream, "consumer", k.config.Name, "cause", err)
	}
	k.end(err)
}

// end removes the consumer, also what is stored of it unless the store is closed. The caller
// holds polling.
func (k *consumer) end(err error) {
	if k.front.consumers.detach(k) {
		k.closeLocked()
		if !errors.Is(err, kv.ErrClosed) {
			go k.front.consumers.forget(k) // which waits for polling
		}
	}
}

// deliver appends the message of a record and returns its size in bytes. valueSize is the
// size of the record's value, which e does not have for headers alone.
func (k *consumer) deliver(dst []byte, targets []*subscription, e *kv.Entry, valueSize int) (out []byte, size int) {
	m := k.encode(e, valueSize, 1, e.Delta)
	k.consumerSeq++
	k.streamSeq = e.Revision
	dst = send(dst, targets, m)
	size = m.size()
	if k.flow != nil {
		if request := k.flow.sent(k, size); request != "" {
			dst = send(dst, targets, outgoing{subject: []byte(k.config.DeliverSubject), reply: []byte(request), header: []byte(flowRequest)})
		}
	}
	return dst, size
}

// outgoing is what a client gets. A nil reply or header stands for none.
type outgoing struct{ subject, reply, header, payload []byte }

func (m *outgoing) size() int { return len(m.subject) + len(m.reply) + len(m.header) + len(m.payload) }

// encode returns the message of a record, of which this is the delivery of that number, and
// after which so many are pending. It is valid until the next one, and as long as e is.
func (k *consumer) encode(e *kv.Entry, valueSize, deliveries int, pending uint64) outgoing {
	b := k.layout.AppendSubject(k.buf[:0], e.Key)
	subject := len(b)
	b = k.appendAckSubject(b, e, deliveries, pending)
	reply := len(b)
	payload := e.Value
	if wire.HasHeader(e) || k.config.HeadersOnly {
		b = wire.AppendHeader(b, e, k.ttl)
		if k.config.HeadersOnly {
			b = wire.AppendNumberField(b, "Nats-Msg-Size", uint64(valueSize))
			payload = nil
		}
		b = append(b, wire.HeaderEnd...)
	}
	k.buf = b
	return outgoing{b[:subject], b[subject:reply], b[reply:], payload}
}

// appendAckSubject appends the reply subject of a message. Clients read the message's
// sequences from it.
func (k *consumer) appendAckSubject(b []byte, e *kv.Entry, deliveries int, pending uint64) []byte {
	b = append(b, wire.AckPrefix...)
	b = append(b, k.layout.Stream...)
	b = append(b, '.')
	b = append(b, k.config.Name...)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(deliveries), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(e.Revision), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, k.consumerSeq+1, 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, e.Created.UnixNano(), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, pending, 10)
}

// send delivers a message to the subscriptions. The first target gets it with dst, because
// this is its pump; for the others it waits in their outputs.
func send(dst []byte, targets []*subscription, m outgoing) []byte {
	for i, s := range targets {
		if !s.countDelivery() {
			continue
		}
		h := m.header
		if !s.conn.headers.Load() {
			h = nil
		}
		if i == 0 {
			dst = wire.AppendMessage(dst, m.subject, s.sid, m.reply, h, m.payload)
		} else {
			s.conn.out.AppendMessage(m.subject, s.sid, m.reply, h, m.payload)
			s.conn.out.FlushAsync()
		}
		if s.exhausted() {
			s.conn.unsubscribe(s)
		}
	}
	return dst
}

const (
	heartbeatStatus = "NATS/1.0 100 Idle Heartbeat\r\n"
	flowRequest     = "NATS/1.0 100 FlowControl Request\r\n\r\n"
)

// heartbeat appends an idle heartbeat, from which the client sees that it missed nothing.
func (k *consumer) heartbeat(dst []byte, targets []*subscription) []byte {
	k.recordActivity()
	b := k.appendHeartbeat(k.buf[:0])
	if k.isStalled() {
		b = wire.AppendField(b, "Nats-Consumer-Stalled", k.flow.request)
	}
	k.buf = append(b, wire.HeaderEnd...)
	return send(dst, targets, outgoing{subject: []byte(k.config.DeliverSubject), header: k.buf})
}

// appendHeartbeat appends the header block of an idle heartbeat, without the empty line at
// its end.
func (k *consumer) appendHeartbeat(b []byte) []byte {
	b = append(b, heartbeatStatus...)
	b = wire.AppendNumberField(b, "Nats-Last-Consumer", k.consumerSeq)
	return wire.AppendNumberField(b, "Nats-Last-Stream", uint64(k.streamSeq))
}

// schedule has the consumer polled, if it can deliver anything: a push consumer by the pump
// of its first subscription. Any goroutine may call it, also one that writes to the bucket.
func (k *consumer) schedule() {
	if k.pull != nil {
		if k.pull.asked.Load() && !k.removed.Load() && !k.queued.Swap(true) {
			go k.runPull()
		}
		return
	}
	if targets := k.targets.Load(); targets != nil && !k.removed.Load() && !k.queued.Swap(true) {
		(*targets)[0].conn.pump.add(k)
	}
}

// tick sends the heartbeats of a consumer with subscriptions, and removes a consumer that
// had none for its inactive threshold. The timer calls it.
func (k *consumer) tick() {
	switch {
	case k.removed.Load():
		return
	case k.pull != nil:
		k.tickPull()
		return
	}
	subscribed := k.targets.Load() != nil
	k.mu.Lock()
	limit := k.config.InactiveThreshold
	if subscribed {
		limit = k.config.Heartbeat
	}
	left := limit - time.Since(k.lastActivity)
	k.mu.Unlock()
	if limit == 0 {
		return
	}
	switch {
	case left > 0:
	case subscribed && limit > 0:
		k.heartbeatDue.Store(true)
		k.schedule()
		left = limit
	default:
		k.front.consumers.removeIdle(k)
		return
	}
	k.timer.Reset(left)
}

// resetTimer sets the timer after the first subscription was added or the last one removed.
func (k *consumer) resetTimer(subscribed bool) {
	limit := k.config.InactiveThreshold
	if subscribed {
		limit = k.config.Heartbeat
	}
	k.recordActivity()
	if limit > 0 {
		k.timer.Reset(limit)
	} else {
		k.timer.Stop()
	}
}
