package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// consumerConfig is the configuration of a consumer as clients send and read it. Fields
// that are not in it are ignored.
type consumerConfig struct {
	Name              string            `json:"name,omitempty"`
	Durable           string            `json:"durable_name,omitempty"`
	Description       string            `json:"description,omitempty"`
	DeliverPolicy     string            `json:"deliver_policy"`
	StartSeq          uint64            `json:"opt_start_seq,omitempty"`
	StartTime         *time.Time        `json:"opt_start_time,omitempty"`
	AckPolicy         string            `json:"ack_policy"`
	AckWait           time.Duration     `json:"ack_wait,omitempty"`
	MaxDeliver        int               `json:"max_deliver,omitempty"`
	Backoff           []time.Duration   `json:"backoff,omitempty"`
	FilterSubject     string            `json:"filter_subject,omitempty"`
	FilterSubjects    []string          `json:"filter_subjects,omitempty"`
	ReplayPolicy      string            `json:"replay_policy"`
	RateLimit         uint64            `json:"rate_limit_bps,omitempty"`
	MaxWaiting        int               `json:"max_waiting,omitempty"`
	MaxAckPending     int               `json:"max_ack_pending,omitempty"`
	Heartbeat         time.Duration     `json:"idle_heartbeat,omitempty"`
	FlowControl       bool              `json:"flow_control,omitempty"`
	HeadersOnly       bool              `json:"headers_only,omitempty"`
	MaxBatch          int               `json:"max_batch,omitempty"`
	MaxExpires        time.Duration     `json:"max_expires,omitempty"`
	MaxBytes          int               `json:"max_bytes,omitempty"`
	DeliverSubject    string            `json:"deliver_subject,omitempty"`
	DeliverGroup      string            `json:"deliver_group,omitempty"`
	InactiveThreshold time.Duration     `json:"inactive_threshold,omitempty"`
	Replicas          int               `json:"num_replicas"`
	MemoryStorage     bool              `json:"mem_storage,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
}

// createRequest is the body of a request to create a consumer.
type createRequest struct {
	Stream string         `json:"stream_name"`
	Config consumerConfig `json:"config"`
	Action string         `json:"action"`
}

const (
	deliverAll     = "all"
	deliverNew     = "new"
	deliverLastPer = "last_per_subject"
	deliverFrom    = "by_start_sequence"
	deliverLast    = "last"
	deliverSince   = "by_start_time"

	ackNone     = "none"
	ackAll      = "all" // messages up to the one acknowledged
	ackExplicit = "explicit"
	ackFlow     = "flow_control"

	actionUpdate = "update" // of a consumer that exists

	maxWaitingDefault = 512
	ackPendingDefault = 1000
	ackWaitDefault    = 30 * time.Second
	expiresMin        = time.Millisecond
	heartbeatMin      = 100 * time.Millisecond
	thresholdDefault  = 5 * time.Second
	thresholdMax      = time.Hour
	consumerNameSize  = 8
	consumerNameMax   = 255
	consumerNameBytes = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// normalise fills in the defaults, as nats-server does.
func (c *consumerConfig) normalise() {
	for field, value := range map[*string]string{&c.DeliverPolicy: deliverAll, &c.AckPolicy: ackNone, &c.ReplayPolicy: "instant"} {
		if *field == "" {
			*field = value
		}
	}
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = -1
	}
	for _, limit := range []*int{&c.MaxWaiting, &c.MaxBatch, &c.MaxBytes} {
		*limit = max(*limit, 0)
	}
	for _, limit := range []*time.Duration{&c.MaxExpires, &c.Heartbeat} {
		*limit = max(*limit, 0)
	}
	c.MaxAckPending = max(c.MaxAckPending, -1)
	if c.DeliverSubject == "" && c.MaxWaiting == 0 {
		c.MaxWaiting = maxWaitingDefault
	}
	if c.AckPolicy != ackNone && c.AckPolicy != ackFlow {
		c.normaliseAcks()
	}
	if c.InactiveThreshold <= 0 {
		c.InactiveThreshold = thresholdDefault
	}
	c.InactiveThreshold = min(c.InactiveThreshold, thresholdMax)
}

// normaliseAcks fills in the defaults of a consumer whose messages are acknowledged.
func (c *consumerConfig) normaliseAcks() {
	if c.AckWait == 0 {
		c.AckWait = ackWaitDefault
	}
	if len(c.Backoff) > 0 {
		c.AckWait = c.Backoff[0]
	}
	if c.MaxAckPending == 0 {
		c.MaxAckPending = ackPendingDefault
	}
}

// checkEnums refuses texts that their fields do not allow.
func (c *consumerConfig) checkEnums() *jsapi.Error {
	return jsapi.CheckEnums(
		jsapi.OneOf(c.DeliverPolicy, deliverAll, deliverNew, deliverLastPer, deliverFrom, deliverLast, deliverSince),
		jsapi.OneOf(c.AckPolicy, ackNone, ackAll, ackExplicit, ackFlow),
		jsapi.OneOf(c.ReplayPolicy, "instant", "original"),
	)
}

// check refuses a configuration that is not valid, or that kvd does not support.
func (c *consumerConfig) check() *jsapi.Error {
	switch {
	case c.DeliverSubject != "" && !wire.IsLiteral([]byte(c.DeliverSubject)):
		return jsapi.ErrDeliverWildcards
	case c.DeliverSubject != "" && c.AckPolicy != ackNone:
		return jsapi.UnsupportedConsumer("ack policy %s is not supported in a push consumer: choose none, or a pull consumer", c.AckPolicy)
	case c.Durable != "" && c.DeliverSubject == "":
		return jsapi.UnsupportedConsumer("durable pull consumers are not supported: leave out durable_name, and a consumer is kept for its inactive_threshold")
	case c.Durable != "":
		return jsapi.UnsupportedConsumer("durable consumers are not supported: a consumer is removed when nobody subscribes to it")
	case c.DeliverGroup != "":
		return jsapi.UnsupportedConsumer("deliver groups are not supported")
	case c.RateLimit > 0:
		return jsapi.UnsupportedConsumer("rate limits are not supported")
	case c.ReplayPolicy != "instant":
		return jsapi.UnsupportedConsumer("replay policy %s is not supported", c.ReplayPolicy)
	case c.Replicas > 1:
		return jsapi.ErrReplicas
	case c.Heartbeat != 0 && c.Heartbeat < heartbeatMin:
		return jsapi.ErrHeartbeatShort
	case c.FlowControl && c.Heartbeat == 0:
		return jsapi.ErrFlowNeedsBeat
	}
	if err := c.checkFilters(); err != nil {
		return err
	}
	return c.checkDelivery()
}

func (c *consumerConfig) checkFilters() *jsapi.Error {
	if c.FilterSubject != "" && len(c.FilterSubjects) > 0 {
		return jsapi.ErrTwoFilters
	}
	for i, f := range c.FilterSubjects {
		if f == "" {
			return jsapi.ErrEmptyFilter
		}
		for _, g := range c.FilterSubjects[:i] {
			if wire.Overlap(f, g) {
				return jsapi.ErrFiltersOverlap
			}
		}
	}
	return nil
}

// policyTexts are the deliver policies in the texts of nats-server's errors.
var policyTexts = map[string]string{
	deliverAll: "all", deliverNew: "new", deliverLast: "last", deliverLastPer: "last per subject",
	deliverFrom: "by start sequence", deliverSince: "by start time",
}

func (c *consumerConfig) checkDelivery() *jsapi.Error {
	filtered := c.FilterSubject != "" || len(c.FilterSubjects) > 0
	refuse := func(what, but string) *jsapi.Error {
		return jsapi.InvalidConsumer("consumer delivery policy is deliver %s, but optional %s is %s", policyTexts[c.DeliverPolicy], what, but)
	}
	switch {
	case c.DeliverPolicy == deliverLastPer && !filtered:
		return refuse("filter subject", "not set")
	case c.DeliverPolicy == deliverFrom && c.StartSeq == 0:
		return refuse("start sequence", "not set")
	case c.DeliverPolicy == deliverSince && c.StartTime == nil:
		return refuse("start time", "not set")
	case c.DeliverPolicy != deliverFrom && c.StartSeq != 0:
		return refuse("start sequence", "also set")
	case c.DeliverPolicy != deliverSince && c.StartTime != nil:
		return refuse("start time", "also set")
	}
	return nil
}

// patterns returns the patterns of keys that the filters select; none if they select
// nothing.
func (c *consumerConfig) patterns(l *streamconfig.Layout) []string {
	filters := c.FilterSubjects
	switch {
	case c.FilterSubject != "":
		filters = []string{c.FilterSubject}
	case len(filters) == 0:
		return []string{">"}
	}
	var patterns []string
	for _, f := range filters {
		if p, ok := l.Pattern(f); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// startSequence returns the sequence at which the deliveries begin. It is 0 if watchOptions
// says where they begin.
func (c *consumerConfig) startSequence(ctx context.Context, s *stream, patterns []string) (kv.Revision, error) {
	newest := s.status.Revision
	switch c.DeliverPolicy {
	case deliverFrom:
		return kv.Revision(c.StartSeq), nil // above the newest: nothing comes before it, as from nats-server
	case deliverSince:
		return s.firstSince(ctx, *c.StartTime, 1, newest)
	case deliverLast:
		var last kv.Revision
		for _, p := range patterns {
			e, err := s.lastMatching(ctx, p)
			if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
				return 0, err
			}
			last = max(last, e.Revision)
		}
		if last == 0 { // the next message is the first
			return newest + 1, nil
		}
		return last, nil
	}
	return 0, nil
}

// watchOptions returns the options of the consumer's watch. from is the result of
// startSequence.
func (c *consumerConfig) watchOptions(from kv.Revision) (opts []kv.WatchOption) {
	if c.HeadersOnly {
		opts = append(opts, kv.MetaOnly())
	}
	switch {
	case from != 0:
		return append(opts, kv.ResumeFromRevision(from), msglog.PassForgotten())
	case c.DeliverPolicy == deliverAll:
		return append(opts, kv.IncludeHistory())
	case c.DeliverPolicy == deliverNew:
		return append(opts, kv.UpdatesOnly())
	}
	return opts
}

// readName reads the name and the filter from the request's subject. The configuration must
// have the same filter.
func (c *consumerConfig) readName(r *request) *jsapi.Error {
	if len(r.tokens) > 1 {
		c.Name = r.tokens[1]
	}
	if len(r.tokens) > 2 && strings.Join(r.tokens[2:], ".") != c.FilterSubject {
		return jsapi.ErrFilterSubject
	}
	if c.Name == "" {
		c.Name = randomName()
	}
	if len(c.Name) > consumerNameMax || strings.ContainsAny(c.Name, ".*> \t\r\n") {
		return jsapi.InvalidConsumer("consumer name %q is not allowed", c.Name)
	}
	return nil
}

func randomName() string {
	var b [consumerNameSize]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = consumerNameBytes[int(b[i])%len(consumerNameBytes)]
	}
	return string(b[:])
}
