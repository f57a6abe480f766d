package nats

import (
	"context"
	"errors"
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

// consumer delivers the messages of a stream to a subject. It has no goroutine: the
// pump of the connection that is subscribed to the subject takes its turns, so that a
// client that does not read holds up its own consumers only.
type consumer struct {
	// Immutable.
	front   *Front
	owner   *conn  // who made it
	user    string // Of owner
	name    string
	stream  string // the bucket's name
	layout  *streamconfig.Layout
	config  consumerConfig
	created time.Time
	bucket  kv.Bucket
	ttl     time.Duration // Of limit markers

	watch atomic.Pointer[watch] // nil: the filters select nothing. Written by newConsumer and under feed

	targets atomic.Pointer[[]*subscription] // who hears it; nil: nobody. Written under consumers.mu
	queued  atomic.Bool                     // waits for its turn
	gone    atomic.Bool
	beatDue atomic.Bool

	feed      sync.Mutex // held for a turn; guards the fields below
	flow      flow
	seq       uint64 // messages delivered
	streamSeq kv.Revision
	buf       []byte // scratch

	mu    sync.Mutex // guards the fields below
	last  time.Time  // Of the last delivery, or of the interest's beginning or end
	timer *time.Timer
}

// watch is where a consumer's messages come from.
type watch struct {
	kv.Poller
	cancel context.CancelFunc
}

func (w *watch) stop() {
	_ = w.Stop() // an error says that it has stopped
	w.cancel()
}

// open makes a watch for the consumer.
func (k *consumer) open(patterns []string, opts []kv.WatchOption) error {
	ctx, cancel := context.WithCancel(context.Background())
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

// reopen goes on behind the last message delivered, where the watch ended because the
// end of a key was forgotten meanwhile: NATS' clients expect nothing to end then.
func (k *consumer) reopen() error {
	k.watch.Load().stop()
	opts := []kv.WatchOption{kv.ResumeFromRevision(k.streamSeq + 1), msglog.PassForgotten()}
	if k.config.HeadersOnly {
		opts = append(opts, kv.MetaOnly())
	}
	err := k.open(k.config.patterns(k.layout), opts)
	if err == nil && k.gone.Load() { // it was removed meanwhile, with the watch before
		k.watch.Load().stop()
	}
	return err
}

const (
	turnSize  = wire.FlushSize // bytes that a consumer delivers at most before others have their turn
	turnCount = 1024           // messages likewise
)

// turn appends what is there to dst, as far as client and flow control let it, and
// reports whether it is to have another turn. dst goes to the connection of the first
// target.
func (k *consumer) turn(dst []byte, targets []*subscription) (out []byte, more bool) {
	k.feed.Lock()
	defer k.feed.Unlock()
	if k.gone.Load() {
		return dst, false
	}
	if k.beatDue.Swap(false) {
		dst = k.heartbeat(dst, targets)
	}
	w := k.watch.Load()
	if w == nil || k.flow.stalled() {
		return dst, false
	}
	watches := k.owner.May(server.MayWatch, k.stream)
	if !watches && w.Pending() == 0 {
		return dst, false // whoever may only get has got what there was
	}
	before := k.seq
	size, count := 0, 0
	more, err := w.Poll(func(u kv.Update) bool {
		if u.Entry == nil {
			return watches
		}
		if u.Err != nil { // better no value than another
			k.owner.Logger().Error("a record is damaged: not delivered", "bucket", k.stream, "key", u.Entry.Key, "revision", u.Entry.Revision, "cause", u.Err)
			return true
		}
		var n int
		dst, n = k.deliver(dst, targets, u.Entry, u.ValueSize)
		size += n
		count++
		return size < turnSize && count < turnCount && !k.flow.stalled()
	})
	if k.seq != before {
		k.touch()
	}
	if errors.Is(err, kv.ErrCompacted) {
		more, err = true, k.reopen()
	}
	if err != nil {
		k.ended(err)
		return dst, false
	}
	return dst, more
}

// touch notes that something was delivered, or that the interest began or ended.
func (k *consumer) touch() {
	k.mu.Lock()
	k.last = time.Now()
	k.mu.Unlock()
}

// ended removes the consumer of a watch that ended: its bucket is gone, or the store.
// Clients are not told; they notice that the heartbeats stop.
func (k *consumer) ended(err error) {
	if !errors.Is(err, kv.ErrBucketNotFound) && !errors.Is(err, kv.ErrClosed) && !errors.Is(err, kv.ErrWatchStopped) {
		k.owner.Logger().Warn("consumer ended", "bucket", k.stream, "consumer", k.name, "cause", err)
	}
	k.front.consumers.remove(k)
}

// deliver appends a record, whose value has that size even where it was left out, and
// returns how many bytes the message takes.
func (k *consumer) deliver(dst []byte, targets []*subscription, e *kv.Entry, valueSize int) (out []byte, size int) {
	k.seq++
	k.streamSeq = e.Revision
	b := k.layout.AppendSubject(k.buf[:0], e.Key)
	subject := len(b)
	b = k.appendReply(b, e)
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
	dst = k.send(dst, targets, b[:subject], b[subject:reply], b[reply:], payload)
	size = len(b) + len(payload)
	if k.config.FlowControl {
		if request := k.flow.sent(k, size); request != "" {
			dst = k.send(dst, targets, []byte(k.config.DeliverSubject), []byte(request), []byte(flowRequest), nil)
		}
	}
	return dst, size
}

// appendReply appends the subject to acknowledge a message with: clients read from it
// where the message stands.
func (k *consumer) appendReply(b []byte, e *kv.Entry) []byte {
	b = append(b, wire.AckPrefix...)
	b = append(b, k.layout.Stream...)
	b = append(b, '.')
	b = append(b, k.name...)
	b = append(b, ".1."...)
	b = strconv.AppendUint(b, uint64(e.Revision), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, k.seq, 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, e.Created.UnixNano(), 10)
	b = append(b, '.')
	return strconv.AppendUint(b, e.Delta, 10)
}

// send delivers a message to whoever hears the consumer. The first is the connection
// whose pump this is and gets it with dst; the others must keep up.
func (k *consumer) send(dst []byte, targets []*subscription, subject, reply, header, payload []byte) []byte {
	for i, s := range targets {
		if !s.take() {
			continue
		}
		h := header
		if !s.conn.headers.Load() {
			h = nil
		}
		if i == 0 {
			dst = wire.AppendMessage(dst, subject, s.sid, reply, h, payload)
		} else {
			s.conn.out.AppendMessage(subject, s.sid, reply, h, payload)
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

// heartbeat tells the client that it has not missed anything.
func (k *consumer) heartbeat(dst []byte, targets []*subscription) []byte {
	k.touch()
	b := append(k.buf[:0], heartbeatStatus...)
	b = wire.AppendNumberField(b, "Nats-Last-Consumer", k.seq)
	b = wire.AppendNumberField(b, "Nats-Last-Stream", uint64(k.streamSeq))
	if k.flow.stalled() {
		b = wire.AppendField(b, "Nats-Consumer-Stalled", k.flow.request)
	}
	k.buf = append(b, wire.HeaderEnd...)
	return k.send(dst, targets, []byte(k.config.DeliverSubject), nil, k.buf, nil)
}

// Schedule gives the consumer a turn, if somebody hears it. It is called from any
// goroutine, a writer's too.
func (k *consumer) schedule() {
	if targets := k.targets.Load(); targets != nil && !k.gone.Load() && !k.queued.Swap(true) {
		(*targets)[0].conn.pump.add(k)
	}
}

// tick is the timer's: it sees to heartbeats while somebody hears the consumer, and
// removes it when nobody has for its threshold.
func (k *consumer) tick() {
	if k.gone.Load() {
		return
	}
	heard := k.targets.Load() != nil
	limit := k.config.InactiveThreshold
	if heard {
		limit = k.config.Heartbeat
	}
	k.mu.Lock()
	left := limit - time.Since(k.last)
	k.mu.Unlock()
	switch {
	case left > 0:
	case heard && limit > 0:
		k.beatDue.Store(true)
		k.schedule()
		left = limit
	default:
		k.front.consumers.removeUnheard(k)
		return
	}
	k.timer.Reset(left)
}

// attend sets the timer for the interest's beginning or end.
func (k *consumer) attend(heard bool) {
	limit := k.config.InactiveThreshold
	if heard {
		limit = k.config.Heartbeat
	}
	k.touch()
	if limit > 0 {
		k.timer.Reset(limit)
	} else {
		k.timer.Stop()
	}
}
