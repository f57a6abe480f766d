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
)

// consumerConfig is the configuration of a consumer as clients send and read it.
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
	Stream string `json:"stream_name"`
	Config struct {
		consumerConfig
		unsupportedConfig
	} `json:"config"`
	Action   string `json:"action"`
	Pedantic bool   `json:"pedantic"` // has no effect
}

// unsupportedConfig are the fields of a configuration that kvd refuses.
type unsupportedConfig struct {
	SampleFreq      string        `json:"sample_freq"`
	Direct          bool          `json:"direct"`
	Sourcing        bool          `json:"sourcing"`
	PauseUntil      *time.Time    `json:"pause_until"`
	PriorityGroups  []string      `json:"priority_groups"`
	PriorityPolicy  string        `json:"priority_policy"`
	PriorityTimeout time.Duration `json:"priority_timeout"`
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

	actionCreate = "create" // unless there is another one of that name
	actionUpdate = "update" // of a consumer that exists

	maxWaitingDefault = 512
	ackPendingDefault = 1000
	ackWaitDefault    = 30 * time.Second
	expiresMin        = time.Millisecond
	descriptionMax    = 4096 // bytes
	heartbeatMin      = 100 * time.Millisecond
	thresholdDefault  = 5 * time.Second
	thresholdMax      = time.Hour
	consumerNameSize  = 8
	consumerCost      = 2 << 10 // bytes beside its patterns and texts
	metadataCost      = 128     // bytes of a pair beside its texts
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
		if c.Durable != "" {
			c.InactiveThreshold = 0
		}
	}
	c.InactiveThreshold = min(c.InactiveThreshold, thresholdMax)
}

// isStored reports whether the consumer is kept over a restart.
func (c *consumerConfig) isStored() bool { return c.Durable != "" && c.DeliverSubject != "" }

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

// filters returns the filters, however the client gave them; none select everything.
func (c *consumerConfig) filters() []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// subjectPatterns returns the patterns of subjects that the filters select, in the form of
// keys without suffixes.
func (c *consumerConfig) subjectPatterns(l *streamconfig.Layout) []string {
	filters := c.filters()
	if len(filters) == 0 {
		return []string{">"}
	}
	var patterns []string
	for _, f := range filters {
		if p, ok := l.SubjectPattern(f); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// patterns returns the patterns of keys that the filters select; none if they select
// nothing.
func (c *consumerConfig) patterns(l *streamconfig.Layout) []string {
	filters := c.filters()
	if len(filters) == 0 {
		return []string{">"}
	}
	var keys []string
	for _, f := range filters {
		if p, ok := l.Pattern(f); ok {
			keys = append(keys, p)
		}
	}
	return keys
}

// cost returns the bytes of memory that a consumer costs, at most.
func (c *consumerConfig) cost() int64 {
	n := consumerCost + costOf(c.DeliverSubject) + costOf(c.FilterSubject) + int64(len(c.Name)+len(c.Description))
	for _, f := range c.FilterSubjects {
		n += costOf(f)
	}
	for name, value := range c.Metadata {
		n += metadataCost + int64(len(name)+len(value))
	}
	return n
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

// readName reads the name and the filter from the subject of a request, which is one for a
// durable consumer or for any. The configuration must have the same.
func (c *consumerConfig) readName(r *request, durable bool) *jsapi.Error {
	named := len(r.tokens) > 1
	if named {
		c.Name = r.tokens[1]
	}
	switch {
	case durable && c.Durable == "":
		return jsapi.ErrDurableNotSet
	case named && c.Durable != "" && c.Durable != c.Name:
		return jsapi.ErrDurableName
	case !named && c.Durable != "":
		return jsapi.ErrEphemeralDurable
	}
	if len(r.tokens) > 2 {
		switch {
		case len(c.FilterSubjects) > 0:
			return jsapi.ErrFiltersInSubject
		case strings.Join(r.tokens[2:], ".") != c.FilterSubject:
			return jsapi.ErrFilterSubject
		}
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
