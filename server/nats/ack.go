package nats

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
	"kvd/server/nats/wire"
)

// The acknowledgements of clients. nak and term may be followed by an argument, next by a
// request for messages.
const (
	ackAck      = "+ACK"
	ackOK       = "+OK"
	ackNak      = "-NAK"
	ackProgress = "+WPI"
	ackNext     = "+NXT"
	ackTerm     = "+TERM"
)

// acknowledgement is what the subject of an acknowledgement says: which delivery of which
// message it is for.
type acknowledgement struct {
	stream, consumer string
	delivery         sequencePair
}

const ackTokens = 9 // of the subject $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>

// parseAck reads the subject of an acknowledgement.
func parseAck(subject string) (a acknowledgement, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != ackTokens {
		return a, false
	}
	a.stream, a.consumer = tokens[2], tokens[3]
	a.delivery.Stream, _ = strconv.ParseUint(tokens[5], 10, 64) // 0 is the sequence of no message
	a.delivery.Consumer, _ = strconv.ParseUint(tokens[6], 10, 64)
	return a, true
}

// acknowledge carries out a message to $JS.ACK. It reports whether a consumer of the user
// waits for acknowledgements of that subject.
func (c *conn) acknowledgement(o *wire.Operation) bool {
	ack, ok := parseAck(string(o.Subject))
	if !ok {
		return false
	}
	k := c.front.consumers.findNamed(c.user, ack.stream, ack.consumer)
	if k == nil || k.acks.config == nil {
		return false
	}
	if next, ok := bytes.CutPrefix(o.Payload, []byte(ackNext)); ok {
		k.acknowledge(ack.delivery, nil)
		if len(o.Reply) > 0 && k.pull != nil {
			c.InStore(func() { k.request(c, o.Reply, next) })
		}
	} else if k.acknowledge(ack.delivery, o.Payload) {
		c.answer(o.Reply, nil, nil)
	}
	return true
}

// acknowledge carries out an acknowledgement, and reports whether it is to be answered.
func (k *consumer) acknowledge(at sequencePair, payload []byte) (answer bool) {
	answer = at.Stream != 0
	now := time.Now()
	k.polling.Lock()
	defer k.polling.Unlock()
	switch kind := string(payload); {
	case kind == "", kind == ackAck, kind == ackOK:
		answer = k.ackUpTo(at)
	case strings.HasPrefix(kind, ackTerm):
		answer = k.ackUpTo(at)
	case strings.HasPrefix(kind, ackNak):
		k.nak(at, payload[len(ackNak):], now)
	case kind == ackProgress:
		k.acks.extend(kv.Revision(at.Stream), now)
	}
	k.arm(k.acks.due)
	k.schedule()
	return answer
}

// ackUpTo acknowledges a message, with ack policy all also those before it. It reports
// whether the message was delivered, so that its acknowledgement is to be answered.
func (k *consumer) ackUpTo(at sequencePair) bool {
	a := &k.acks
	if at.Stream > a.newest.Stream {
		return false
	}
	if a.config.AckPolicy == ackExplicit {
		a.forget(kv.Revision(at.Stream))
		return true
	}
	if at.Consumer <= a.floor.Consumer || at.Stream <= a.floor.Stream {
		return true
	}
	a.forgetUpTo(at)
	return true
}

// nak has a message delivered again, after the delay of its argument if there is one: a
// duration, or JSON.
func (k *consumer) nak(at sequencePair, argument []byte, now time.Time) {
	a := &k.acks
	m := a.pending[kv.Revision(at.Stream)]
	if m == nil || at.Consumer <= a.floor.Consumer || at.Consumer > k.consumerSeq {
		return
	}
	if delay, ok := parseDelay(bytes.TrimSpace(argument)); ok {
		m.queued = false
		a.setDeadline(m, now.Add(delay))
		return
	}
	a.enqueue(kv.Revision(at.Stream))
}

// parseDelay reads the argument of a nak. It reports false for none, or one that is not
// valid.
func parseDelay(argument []byte) (time.Duration, bool) {
	if len(argument) == 0 {
		return 0, false
	}
	if argument[0] != '{' {
		d, err := time.ParseDuration(string(argument))
		return d, err == nil
	}
	var ask struct {
		Delay time.Duration `json:"delay"`
	}
	err := json.Unmarshal(argument, &ask)
	return ask.Delay, err == nil
}
