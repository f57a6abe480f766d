package nats

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// republishers publish the stored messages of streams to other subjects. The messages may come
// from any front end. Safe for concurrent use.
type republishers struct {
	front *Front
	log   *slog.Logger // nil: nothing is logged

	mu       sync.Mutex // guards the fields below
	byBucket map[string]*republisher
	stopped  bool
}

// set starts, changes or ends the republisher of a stream, as its configuration says. What is
// written while it is changed may not be published.
func (rs *republishers) set(ctx context.Context, s *stream) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	old := rs.byBucket[s.name]
	if rs.stopped || old != nil && old.isOf(s) {
		return nil
	}
	if old != nil {
		old.stop()
		delete(rs.byBucket, s.name)
	}
	r, err := newRepublisher(ctx, rs, s)
	if r == nil || err != nil {
		return err
	}
	if rs.byBucket == nil {
		rs.byBucket = make(map[string]*republisher)
	}
	rs.byBucket[s.name] = r
	go r.run() // a watch notifies after its first poll
	return nil
}

// remove removes a republisher whose watch has ended.
func (rs *republishers) remove(r *republisher) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byBucket[r.stream.name] == r {
		delete(rs.byBucket, r.stream.name)
	}
}

// stopAll ends all republishers.
func (rs *republishers) stopAll() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.stopped = true
	for _, r := range rs.byBucket {
		r.stop()
	}
	clear(rs.byBucket)
}

// republisher publishes the messages of one stream. It is a watch, and has a goroutine while
// there are messages. Subscriptions get its messages like those of other connections: it
// waits for none of them, and no writer waits for it.
type republisher struct {
	// Immutable.
	all       *republishers
	stream    *stream
	transform *streamconfig.Transform
	watch     kv.Poller

	polling sync.Mutex // held while it is polled; guards the fields below
	matched []*subscription
	touched map[*conn]struct{} // that got messages in this poll
	count   int                // messages so far
	inPoll  int                // messages of this poll
	recent  recentSubjects     // where each message has a key of its own
	subject []byte             // scratch
	buf     []byte             // scratch: subjects and headers
}

// newRepublisher returns the republisher of a stream; nil if its configuration has none.
func newRepublisher(ctx context.Context, rs *republishers, s *stream) (*republisher, error) {
	r := &republisher{all: rs, stream: s, transform: s.config.Republish.Transform(), touched: make(map[*conn]struct{})}
	if r.transform == nil {
		return nil, nil
	}
	pattern, ok := s.layout.Pattern(s.config.Republish.Source)
	if !ok {
		return nil, nil
	}
	w, err := s.bucket.Watch(context.WithoutCancel(ctx), []string{pattern}, kv.UpdatesOnly(), msglog.PassForgotten(), kv.Notify(func() { go r.run() }))
	if err != nil {
		return nil, err
	}
	if r.watch, ok = kv.As[kv.Poller](w); !ok {
		return nil, errors.Join(kv.ErrNotSupported, w.Stop())
	}
	return r, nil
}

// isOf reports whether the republisher is that of a stream's present configuration.
func (r *republisher) isOf(s *stream) bool {
	have := r.stream
	return have.status.ID == s.status.ID && reflect.DeepEqual(have.config.Republish, s.config.Republish) &&
		reflect.DeepEqual(have.config.Subjects, s.config.Subjects) && have.config.MaxMsgs == s.config.MaxMsgs &&
		have.status.Config.MarkerTTL == s.status.Config.MarkerTTL
}

// stop ends the watch, and with it the republisher.
func (r *republisher) stop() { _ = r.watch.Stop() } // which returns nil

// run publishes what was written. It ends when there is no more; the watch starts it again.
func (r *republisher) run() {
	r.polling.Lock()
	defer r.polling.Unlock()
	for more := true; more; {
		var err error
		r.inPoll = 0
		more, err = r.watch.Poll(r.take)
		for c := range r.touched {
			c.out.FlushAsync()
		}
		clear(r.touched)
		if err != nil {
			r.ended(err)
			return
		}
	}
}

// ended removes the republisher after an error of its watch.
func (r *republisher) ended(err error) {
	expected := errors.Is(err, kv.ErrBucketNotFound) || errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrWatchStopped)
	if log := r.all.log; log != nil && !expected {
		log.Warn("the messages of a stream are not republished any more", "stream", r.stream.config.Name, "cause", err)
	}
	r.all.remove(r)
}

// take publishes a message, and reports whether the poll goes on. A damaged message is passed
// over.
func (r *republisher) take(u kv.Update) bool {
	if u.Entry != nil && u.Err == nil {
		r.publish(u.Entry)
		if r.stream.layout.OnePerMessage {
			r.recent.add(r.stream.layout.SubjectPart(u.Entry.Key), u.Entry.Revision)
		}
	}
	r.inPoll++
	return r.inPoll < pollCount
}

// publish publishes the message of a record to the subscriptions that its new subject reaches.
func (r *republisher) publish(e *kv.Entry) {
	s := r.stream
	r.buf = s.layout.AppendSubject(r.buf[:0], e.Key)
	var ok bool
	if r.subject, ok = r.transform.Append(r.subject[:0], r.buf); !ok || !wire.IsLiteral(r.subject) || !wire.ValidSubject(r.subject) {
		return
	}
	r.matched = r.all.front.subs.match(r.matched[:0], r.subject)
	var m outgoing
	for i, to := range r.matched {
		if !r.reaches(to, e) || to.queue != "" && !r.choosesInGroup(i, e) {
			continue
		}
		if m.subject == nil {
			m = r.encode(e)
			r.count++
		}
		deliver([]*subscription{to}, m)
		r.touched[to.conn] = struct{}{}
	}
	clear(r.matched)
}

// reaches reports whether a subscription may get a record: its user may watch the key.
func (r *republisher) reaches(to *subscription, e *kv.Entry) bool {
	return to.conn.PermitKey(server.MayWatch, r.stream.layout.Grants, r.stream.layout.SubjectPart(e.Key)) == nil
}

// choosesInGroup reports whether the subscription at i of matched is the one of its user's queue
// group that gets a record. The members take turns.
func (r *republisher) choosesInGroup(i int, e *kv.Entry) bool {
	at, members := 0, 0
	for j, other := range r.matched {
		if other.queue != r.matched[i].queue || other.user != r.matched[i].user || !r.reaches(other, e) {
			continue
		}
		if j < i {
			at++
		}
		members++
	}
	return at == r.count%members
}

// encode returns the message of a record. It is valid until the next one, and as long as e is.
func (r *republisher) encode(e *kv.Entry) outgoing {
	s := r.stream
	b := s.appendDirectHeader(r.buf[:0], e)
	b = wire.AppendNumberField(b, "Nats-Last-Sequence", uint64(r.previous(e)))
	m := outgoing{subject: r.subject, payload: e.Value}
	if s.config.Republish.HeadersOnly {
		b = wire.AppendNumberField(b, "Nats-Msg-Size", uint64(len(e.Value)))
		m.payload = nil
	}
	r.buf = append(b, wire.HeaderEnd...)
	m.header = r.buf
	return m
}

// previous returns the sequence of the previous message on the same subject. It returns 0 if
// there is none or it is not known. If each message has a key of its own, previous looks it up.
func (r *republisher) previous(e *kv.Entry) (previous kv.Revision) {
	s := r.stream
	if !s.layout.OnePerMessage || s.records == nil || e.Revision == 1 {
		return e.Previous
	}
	subject := s.layout.SubjectPart(e.Key)
	q := msglog.Query{Patterns: []string{subject}, UpTo: e.Revision - 1, Max: 1, Appended: true}
	found, err := s.records.Select(kv.WithStale(context.Background()), q)
	if err != nil || found.Len() == 0 {
		return r.replaced(subject, e)
	}
	_ = found.Read(func(e *kv.Entry) { previous = e.Revision }) // 0 after an error
	return previous
}

// replaced returns the sequence of the previous message on the subject, if storing the record e
// removed that message: by the limit max_msgs, or as a rollup. Otherwise it returns 0.
func (r *republisher) replaced(subject string, e *kv.Entry) kv.Revision {
	last, limit := r.recent.last[subject], kv.Revision(max(r.stream.config.MaxMsgs, 0))
	switch {
	case limit > 0 && last+limit < e.Revision: // it was removed before
		return 0
	case limit > 0, wire.HeaderField(e.Headers, "Nats-Rollup") != nil:
		return last
	}
	return 0
}

// checkRepublish refuses a destination whose messages a stream would have to store: a
// republished message is stored nowhere.
func (c *conn) checkRepublish(cfg *streamconfig.Config) *jsapi.Error {
	to := cfg.Republish.Transform()
	if to == nil {
		return nil
	}
	pattern := to.Pattern()
	if strings.HasPrefix(pattern, wire.KeyPrefix) || len(c.front.messageStreams.overlapping([]string{pattern}, cfg.Bucket())) > 0 {
		return jsapi.UnsupportedConfig("republish to %q is not supported: a stream captures these subjects, and kvd does not store republished messages", cfg.Republish.Destination)
	}
	return nil
}
