package nats

import (
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
)

// delivers has some messages delivered for the first time.
func (a *acks) delivers(from, to int, now time.Time) {
	for n := from; n <= to; n++ {
		a.delivered(uint64(n), kv.Revision(10*n), now)
	}
}

// The floor is behind the oldest message that waits, and at the newest if none does.
func TestAckFloor(t *testing.T) {
	a := newAcks(&consumerConfig{AckPolicy: ackExplicit, AckWait: time.Minute, MaxAckPending: 4})
	a.delivers(1, 4, time.Now())
	if !a.isFull() {
		t.Error("4 messages wait, and more may")
	}
	for _, step := range []struct {
		forget kv.Revision
		floor  sequencePair
	}{
		{20, sequencePair{0, 0}},
		{10, sequencePair{2, 29}},
		{10, sequencePair{2, 29}},
		{40, sequencePair{2, 29}},
		{30, sequencePair{4, 40}},
	} {
		if a.forget(step.forget); a.floor != step.floor {
			t.Errorf("after %d the floor is %v, not %v", step.forget, a.floor, step.floor)
		}
	}
	if a.isFull() || !a.due.IsZero() || a.pending != nil || a.order != nil {
		t.Errorf("nothing waits, and there is %+v", a)
	}
}

// Messages are delivered again when their time is over, the oldest first, and not more often
// than max_deliver says.
func TestAckWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAcks(&consumerConfig{AckPolicy: ackExplicit, AckWait: time.Second, MaxDeliver: 2})
		start := time.Now()
		a.delivers(1, 3, start)
		a.extend(20, start.Add(500*time.Millisecond))
		if a.expire(start.Add(time.Second - 1)) {
			t.Error("a message is due too early")
		}
		if !a.due.Equal(start.Add(time.Second)) || !a.last.Equal(start.Add(1500*time.Millisecond)) {
			t.Errorf("due at %v, last at %v", a.due.Sub(start), a.last.Sub(start))
		}
		now := start.Add(time.Second)
		a.expire(now)
		for _, want := range []kv.Revision{10, 30} {
			revision, deliveries := a.again()
			if revision != want || deliveries != 2 {
				t.Fatalf("revision %d is delivered for the %d. time", revision, deliveries)
			}
			a.redelivered(revision, now)
		}
		if revision, _ := a.again(); revision != 0 {
			t.Errorf("revision %d is delivered too", revision)
		}
		if a.redeliveries() != 2 {
			t.Errorf("%d were delivered again", a.redeliveries())
		}
		if a.expire(now.Add(time.Second)); len(a.pending) != 1 || a.floor != (sequencePair{1, 19}) {
			t.Errorf("%d wait above %v: the others were delivered twice", len(a.pending), a.floor)
		}
	})
}

// A message that no request takes stays the next to be delivered again, and one that is
// acknowledged meanwhile is not delivered.
func TestAckPutBack(t *testing.T) {
	a := newAcks(&consumerConfig{AckPolicy: ackExplicit, AckWait: time.Minute, Backoff: []time.Duration{time.Second, time.Hour}})
	now := time.Now()
	a.delivers(1, 3, now)
	for _, revision := range []kv.Revision{30, 10, 20, 10} {
		a.enqueue(revision)
	}
	revision, _ := a.again()
	a.putBack(revision)
	a.forget(10)
	var order []kv.Revision
	for revision, _ := a.again(); revision != 0; revision, _ = a.again() {
		order = append(order, revision)
		a.redelivered(revision, now)
	}
	if len(order) != 2 || order[0] != 30 || order[1] != 20 {
		t.Errorf("delivered again: %v", order)
	}
	if m := a.pending[30]; !m.deadline.Equal(now.Add(time.Hour)) {
		t.Errorf("the second time to acknowledge is %v", m.deadline.Sub(now))
	}
}

// With ack policy none nothing waits.
func TestNoAcks(t *testing.T) {
	a := newAcks(&consumerConfig{AckPolicy: ackNone, MaxAckPending: 1})
	a.delivers(1, 2, time.Now())
	if a.isFull() || a.pending != nil || a.floor != (sequencePair{2, 20}) {
		t.Errorf("%+v", a)
	}
}
