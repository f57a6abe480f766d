package nats

import (
	"slices"
	"time"

	"kvd/kv"
)

// acks are the messages of a consumer that wait for an acknowledgement. The zero value is
// that of ack policy none: no message waits. They are in memory alone. The consumer's
// polling guards them.
type acks struct {
	config *consumerConfig // nil for ack policy none. Set when the consumer is made

	pending map[kv.Revision]*pendingAck
	order   []kv.Revision // of pending, ascending; some of them are acknowledged
	queue   []kv.Revision // to be delivered again, in this order
	floor   sequencePair  // all messages up to it are acknowledged
	newest  sequencePair  // that was delivered
	due     time.Time     // when the first message is to be delivered again, or earlier; zero for never
	last    time.Time     // when the time of the last message ends; zero for never
}

// pendingAck is a message that waits for its acknowledgement.
type pendingAck struct {
	seq        uint64 // of its first delivery
	deliveries int
	deadline   time.Time
	queued     bool // to be delivered again
}

func newAcks(c *consumerConfig) (a acks) {
	if c.AckPolicy != ackNone {
		a.config = c
	}
	return a
}

// isFull reports whether no more messages may wait.
func (a *acks) isFull() bool {
	return a.config != nil && a.config.MaxAckPending > 0 && len(a.pending) >= a.config.MaxAckPending
}

// redeliveries returns how many messages were delivered more than once.
func (a *acks) redeliveries() (n int) {
	for _, m := range a.pending {
		if m.deliveries > 1 {
			n++
		}
	}
	return n
}

// waitOf returns how long a message waits for an acknowledgement after that many deliveries.
func (a *acks) waitOf(deliveries int) time.Duration {
	if steps := a.config.Backoff; len(steps) > 0 {
		return steps[min(deliveries, len(steps))-1]
	}
	return a.config.AckWait
}

// delivered records the first delivery of a message.
func (a *acks) delivered(seq uint64, revision kv.Revision, now time.Time) {
	a.newest = sequencePair{seq, uint64(revision)}
	if a.config == nil {
		a.floor = a.newest
		return
	}
	if a.pending == nil {
		a.pending = make(map[kv.Revision]*pendingAck)
	}
	m := &pendingAck{seq: seq, deliveries: 1}
	a.pending[revision] = m
	a.order = append(a.order, revision)
	a.setDeadline(m, now.Add(a.waitOf(1)))
}

func (a *acks) setDeadline(m *pendingAck, at time.Time) {
	m.deadline = at
	a.due, a.last = earlier(a.due, at), latest(a.last, at)
}

// isSpent reports whether a message must not be delivered again.
func (a *acks) isSpent(m *pendingAck) bool {
	return a.config.MaxDeliver > 0 && m.deliveries >= a.config.MaxDeliver
}

// again takes the next message that is to be delivered again, and returns how many
// deliveries that makes. It returns revision 0 if there is none.
func (a *acks) again() (revision kv.Revision, deliveries int) {
	for len(a.queue) > 0 {
		revision, a.queue = a.queue[0], a.queue[1:]
		m := a.pending[revision]
		if m == nil || !m.queued {
			continue
		}
		m.queued = false
		if a.isSpent(m) {
			a.forget(revision)
			continue
		}
		return revision, m.deliveries + 1
	}
	a.queue = nil
	return 0, 0
}

// putBack undoes again.
func (a *acks) putBack(revision kv.Revision) {
	a.pending[revision].queued = true
	a.queue = slices.Insert(a.queue, 0, revision)
}

// redelivered records another delivery of a message.
func (a *acks) redelivered(revision kv.Revision, now time.Time) {
	m := a.pending[revision]
	m.deliveries++
	a.newest.Consumer++
	a.setDeadline(m, now.Add(a.waitOf(m.deliveries)))
}

// forget removes a message: it is acknowledged, or is not delivered again.
func (a *acks) forget(revision kv.Revision) {
	if a.pending[revision] == nil {
		return
	}
	first := a.first()
	delete(a.pending, revision)
	if revision == first {
		a.moveFloor()
	}
}

// forgetUpTo removes a message and those before it.
func (a *acks) forgetUpTo(at sequencePair) {
	for first := a.first(); first != 0 && uint64(first) <= at.Stream; first = a.first() {
		delete(a.pending, first)
	}
	if a.floor = at; len(a.pending) == 0 {
		a.release()
	}
}

// release gives up the memory of an idle consumer.
func (a *acks) release() {
	a.pending, a.order, a.queue = nil, nil, nil
	a.due, a.last = time.Time{}, time.Time{}
}

// extend gives the client of a message as long again to acknowledge it.
func (a *acks) extend(revision kv.Revision, now time.Time) {
	if m := a.pending[revision]; m != nil {
		a.setDeadline(m, now.Add(a.waitOf(m.deliveries)))
	}
}

// first returns the oldest message that waits, 0 if there is none.
func (a *acks) first() kv.Revision {
	for len(a.order) > 0 && a.pending[a.order[0]] == nil {
		a.order = a.order[1:]
	}
	if len(a.order) == 0 {
		a.order = nil
		return 0
	}
	return a.order[0]
}

// moveFloor moves the floor up to the oldest message that waits.
func (a *acks) moveFloor() {
	first := a.first()
	if first == 0 {
		a.floor = a.newest
		a.release()
		return
	}
	a.floor = sequencePair{a.pending[first].seq - 1, uint64(first) - 1}
}

// expire has the messages delivered again whose time is over, and reports whether there are
// any. One that was delivered as often as it may be is forgotten.
func (a *acks) expire(now time.Time) (any bool) {
	var expired []kv.Revision
	a.due, a.last = time.Time{}, time.Time{}
	for revision, m := range a.pending {
		a.last = latest(a.last, m.deadline)
		switch {
		case m.queued:
		case m.deadline.After(now):
			a.due = earlier(a.due, m.deadline)
		default:
			expired = append(expired, revision)
		}
	}
	slices.Sort(expired)
	freed := false
	for _, revision := range expired {
		if a.isSpent(a.pending[revision]) {
			freed = true
			a.forget(revision)
		} else {
			a.enqueue(revision)
		}
	}
	return freed || len(a.queue) > 0
}

func (a *acks) enqueue(revision kv.Revision) {
	if m := a.pending[revision]; m != nil && !m.queued {
		m.queued = true
		a.queue = append(a.queue, revision)
	}
}
