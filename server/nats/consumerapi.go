package nats

import (
	"crypto/rand"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"kvd/kv"
	"kvd/server"
)

// consumerConfig is a consumer's configuration as clients send and read it.
type consumerConfig struct {
	Name              string            `json:"name,omitempty"`
	Durable           string            `json:"durable_name,omitempty"`
	Description       string            `json:"description,omitempty"`
	DeliverPolicy     string            `json:"deliver_policy"`
	StartSeq          uint64            `json:"opt_start_seq,omitempty"`
	StartTime         json.RawMessage   `json:"opt_start_time,omitempty"`
	AckPolicy         string            `json:"ack_policy"`
	AckWait           time.Duration     `json:"ack_wait,omitempty"`
	MaxDeliver        int               `json:"max_deliver,omitempty"`
	FilterSubject     string            `json:"filter_subject,omitempty"`
	FilterSubjects    []string          `json:"filter_subjects,omitempty"`
	ReplayPolicy      string            `json:"replay_policy"`
	RateLimit         uint64            `json:"rate_limit_bps,omitempty"`
	MaxAckPending     int               `json:"max_ack_pending,omitempty"`
	Heartbeat         time.Duration     `json:"idle_heartbeat,omitempty"`
	FlowControl       bool              `json:"flow_control,omitempty"`
	HeadersOnly       bool              `json:"headers_only,omitempty"`
	DeliverSubject    string            `json:"deliver_subject,omitempty"`
	DeliverGroup      string            `json:"deliver_group,omitempty"`
	InactiveThreshold time.Duration     `json:"inactive_threshold,omitempty"`
	Replicas          int               `json:"num_replicas"`
	MemoryStorage     bool              `json:"mem_storage,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
}

// createRequest is the body of a request for a consumer.
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

	actionUpdate = "update" // of a consumer that is there

	heartbeatMin      = 100 * time.Millisecond
	thresholdDefault  = 5 * time.Second
	thresholdMax      = time.Hour
	consumerNameSize  = 8
	consumerNameMax   = 255
	consumerNameBytes = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// normalise fills in what was left out, as nats-server does.
func (c *consumerConfig) normalise() {
	for field, value := range map[*string]string{&c.DeliverPolicy: deliverAll, &c.AckPolicy: "explicit", &c.ReplayPolicy: "instant"} {
		if *field == "" {
			*field = value
		}
	}
	if c.MaxDeliver <= 0 {
		c.MaxDeliver = -1
	}
	if c.InactiveThreshold <= 0 {
		c.InactiveThreshold = thresholdDefault
	}
	c.InactiveThreshold = min(c.InactiveThreshold, thresholdMax)
}

// checkEnums refuses what is none of the values of its field.
func (c *consumerConfig) checkEnums() *apiError {
	return checkEnums(
		enum{c.DeliverPolicy, []string{deliverAll, deliverNew, deliverLastPer, deliverFrom, "last", "by_start_time"}},
		enum{c.AckPolicy, []string{"none", "all", "explicit", "flow_control"}},
		enum{c.ReplayPolicy, []string{"instant", "original"}},
	)
}

// check refuses what is not valid, and what kvd does not have.
func (c *consumerConfig) check() *apiError {
	switch {
	case c.DeliverSubject == "":
		return unsupportedConsumer("pull consumers are not supported: kvd serves the push consumers of key/value clients")
	case !isLiteral([]byte(c.DeliverSubject)):
		return errDeliverWildcards
	case c.AckPolicy != "none":
		return unsupportedConsumer("ack policy %s is not supported: a watch needs none", c.AckPolicy)
	case c.Durable != "":
		return unsupportedConsumer("durable consumers are not supported: a consumer ends with the interest in it")
	case c.DeliverGroup != "":
		return unsupportedConsumer("deliver groups are not supported")
	case c.RateLimit > 0:
		return unsupportedConsumer("rate limits are not supported")
	case c.ReplayPolicy != "instant":
		return unsupportedConsumer("replay policy %s is not supported", c.ReplayPolicy)
	case c.Replicas > 1:
		return errReplicas
	case c.Heartbeat != 0 && c.Heartbeat < heartbeatMin:
		return errHeartbeatShort
	case c.FlowControl && c.Heartbeat == 0:
		return errFlowNeedsBeat
	}
	if err := c.checkFilters(); err != nil {
		return err
	}
	return c.checkDelivery()
}

func (c *consumerConfig) checkFilters() *apiError {
	if c.FilterSubject != "" && len(c.FilterSubjects) > 0 {
		return errTwoFilters
	}
	for i, f := range c.FilterSubjects {
		if f == "" {
			return errEmptyFilter
		}
		for _, g := range c.FilterSubjects[:i] {
			if overlap(f, g) {
				return errFiltersOverlap
			}
		}
	}
	return nil
}

func (c *consumerConfig) checkDelivery() *apiError {
	filtered := c.FilterSubject != "" || len(c.FilterSubjects) > 0
	switch c.DeliverPolicy {
	case deliverAll, deliverNew:
	case deliverLastPer:
		if !filtered {
			return invalidConsumer("consumer delivery policy is deliver last per subject, but optional filter subject is not set")
		}
	case deliverFrom:
		if c.StartSeq == 0 {
			return invalidConsumer("consumer delivery policy is deliver by start sequence, but optional start sequence is not set")
		}
	default:
		return unsupportedConsumer("deliver policy %s is not supported", c.DeliverPolicy)
	}
	switch {
	case c.StartSeq != 0 && c.DeliverPolicy != deliverFrom:
		return invalidConsumer("consumer delivery policy is deliver %s, but optional start sequence is also set", c.DeliverPolicy)
	case given(c.StartTime):
		return invalidConsumer("consumer delivery policy is deliver %s, but optional start time is also set", c.DeliverPolicy)
	}
	return nil
}

// patterns are what the filters select of a stream's keys; none: nothing.
func (c *consumerConfig) patterns(l *layout) []string {
	filters := c.FilterSubjects
	switch {
	case c.FilterSubject != "":
		filters = []string{c.FilterSubject}
	case len(filters) == 0:
		return []string{">"}
	}
	var patterns []string
	for _, f := range filters {
		if p, ok := l.pattern(f); ok {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

// watchOptions are the watch that the configuration asks for.
func (c *consumerConfig) watchOptions() (opts []kv.WatchOption) {
	if c.HeadersOnly {
		opts = append(opts, kv.MetaOnly())
	}
	switch c.DeliverPolicy {
	case deliverAll:
		return append(opts, kv.IncludeHistory())
	case deliverNew:
		return append(opts, kv.UpdatesOnly())
	case deliverFrom:
		return append(opts, kv.ResumeFromRevision(kv.Revision(c.StartSeq)), kv.PassForgotten())
	}
	return opts
}

// sequencePair is a place in a consumer's deliveries and in its stream.
type sequencePair struct {
	Consumer uint64 `json:"consumer_seq"`
	Stream   uint64 `json:"stream_seq"`
}

// consumerInfo is what the API says of a consumer.
type consumerInfo struct {
	Stream      string         `json:"stream_name"`
	Name        string         `json:"name"`
	Created     time.Time      `json:"created"`
	Config      consumerConfig `json:"config"`
	Delivered   sequencePair   `json:"delivered"`
	AckFloor    sequencePair   `json:"ack_floor"`
	AckPending  int            `json:"num_ack_pending"`
	Redelivered int            `json:"num_redelivered"`
	Waiting     int            `json:"num_waiting"`
	Pending     uint64         `json:"num_pending"`
	PushBound   bool           `json:"push_bound,omitempty"`
	Time        time.Time      `json:"ts"`
}

// info describes a consumer at one moment between two turns.
func (k *consumer) info() consumerInfo {
	k.feed.Lock()
	defer k.feed.Unlock()
	at := sequencePair{k.seq, uint64(k.streamSeq)}
	info := consumerInfo{
		Stream: k.layout.stream, Name: k.name, Created: k.created, Config: k.config,
		Delivered: at, AckFloor: at, PushBound: k.targets.Load() != nil, Time: now(),
	}
	if w := k.watch.Load(); w != nil {
		info.Pending = w.Pending()
	}
	return info
}

// consumerCreate answers CONSUMER.CREATE.<stream>[.<name>[.<filter>]].
func (c *conn) consumerCreate(r *request) (any, *apiError) {
	var ask createRequest
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, failure := c.find(r, server.MayGet|server.MayWatch, "watch")
	if failure != nil {
		return nil, failure
	}
	if ask.Stream != r.stream() {
		return nil, errNameMismatch
	}
	cfg := &ask.Config
	if failure := cfg.takeName(r); failure != nil {
		return nil, failure
	}
	cfg.normalise()
	if failure := cfg.checkEnums(); failure != nil {
		return nil, failure
	}
	if failure := cfg.check(); failure != nil {
		return nil, failure
	}
	if cfg.DeliverPolicy == deliverLastPer && s.layout.apart {
		return nil, unsupportedConsumer("deliver policy %s is not supported in a stream without max_msgs_per_subject: choose all, new or by_start_sequence", deliverLastPer)
	}
	if there := c.front.consumers.find(s.name, cfg.Name); there != nil {
		return existing(there, cfg)
	}
	if ask.Action == actionUpdate {
		return nil, errNoConsumer
	}
	if c.consumers.Load() >= consumersMax {
		return nil, &apiError{400, 10026, "maximum consumers limit reached"}
	}
	k, err := c.newConsumer(s, cfg)
	if err != nil {
		return nil, refusal(err)
	}
	if there := c.front.consumers.add(k); there != nil {
		k.end()
		return existing(there, cfg)
	}
	info := k.info()
	c.front.consumers.begin(k) // after its numbers were taken: deliveries may overtake the answer
	info.PushBound = k.targets.Load() != nil
	return info, nil
}

// existing answers a request for a consumer that is there.
func existing(k *consumer, cfg *consumerConfig) (any, *apiError) {
	if !reflect.DeepEqual(&k.config, cfg) {
		return nil, &apiError{400, 10148, "consumer already exists"}
	}
	return k.info(), nil
}

// takeName takes name and filter from the request's subject, which the configuration
// must agree with.
func (c *consumerConfig) takeName(r *request) *apiError {
	if len(r.tokens) > 1 {
		c.Name = r.tokens[1]
	}
	if len(r.tokens) > 2 && strings.Join(r.tokens[2:], ".") != c.FilterSubject {
		return errFilterSubject
	}
	if c.Name == "" {
		c.Name = randomName()
	}
	if len(c.Name) > consumerNameMax || strings.ContainsAny(c.Name, ".*> \t\r\n") {
		return invalidConsumer("consumer name %q is not allowed", c.Name)
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

// newConsumer makes a consumer and its watch. What it will deliver is decided now.
func (c *conn) newConsumer(s *stream, cfg *consumerConfig) (*consumer, error) {
	k := &consumer{
		front: c.front, owner: c, user: c.user, name: cfg.Name, stream: s.name, layout: s.layout, config: *cfg,
		created: now(), bucket: s.bucket, ttl: s.status.Config.MarkerTTL,
	}
	k.timer = time.AfterFunc(time.Hour, k.tick)
	k.timer.Stop() // until it is registered
	switch cfg.DeliverPolicy {
	case deliverNew:
		k.streamSeq = s.status.Revision
	case deliverFrom:
		k.streamSeq = kv.Revision(cfg.StartSeq) - 1
	}
	if patterns := cfg.patterns(s.layout); len(patterns) > 0 {
		if err := k.open(patterns, cfg.watchOptions()); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// end releases what a consumer holds.
func (k *consumer) end() {
	k.timer.Stop()
	if w := k.watch.Load(); w != nil {
		w.stop()
	}
}

// findConsumer returns the consumer that a request names. Users see their own.
func (c *conn) findConsumer(r *request) (*consumer, *apiError) {
	if _, failure := c.find(r, server.MayGet|server.MayWatch, "watch"); failure != nil {
		return nil, failure
	}
	bucket, _ := r.bucket()
	k := c.front.consumers.find(bucket, r.tokens[1])
	if k == nil || k.user != c.user {
		return nil, errConsumerNotFound
	}
	return k, nil
}

// consumerInfo answers CONSUMER.INFO.
func (c *conn) consumerInfo(r *request) (any, *apiError) {
	k, failure := c.findConsumer(r)
	if failure != nil {
		return nil, failure
	}
	return k.info(), nil
}

// consumerDelete answers CONSUMER.DELETE.
func (c *conn) consumerDelete(r *request) (any, *apiError) {
	k, failure := c.findConsumer(r)
	if failure != nil {
		return nil, failure
	}
	if !c.front.consumers.remove(k) {
		return nil, errConsumerNotFound
	}
	return success{Success: true}, nil
}

// listConsumers returns the consumers of the stream that a request names, and where
// its page begins.
func (c *conn) listConsumers(r *request) (all []*consumer, offset int, failure *apiError) {
	var ask listRequest
	if err := decodeBody(r.body, &ask); err != nil {
		return nil, 0, err
	}
	s, failure := c.find(r, server.MayGet|server.MayWatch, "watch")
	if failure != nil {
		return nil, 0, failure
	}
	for _, k := range c.front.consumers.all(s.name) {
		if k.user == c.user {
			all = append(all, k)
		}
	}
	return all, ask.Offset, nil
}

// consumerNames answers CONSUMER.NAMES.
func (c *conn) consumerNames(r *request) (any, *apiError) {
	all, offset, failure := c.listConsumers(r)
	if failure != nil {
		return nil, failure
	}
	var answer struct {
		page
		Consumers []string `json:"consumers"`
	}
	answer.Consumers = []string{}
	all, answer.page = pageOf(all, offset, namesLimit)
	for _, k := range all {
		answer.Consumers = append(answer.Consumers, k.name)
	}
	return answer, nil
}

// consumerList answers CONSUMER.LIST.
func (c *conn) consumerList(r *request) (any, *apiError) {
	all, offset, failure := c.listConsumers(r)
	if failure != nil {
		return nil, failure
	}
	var answer struct {
		page
		Consumers []consumerInfo `json:"consumers"`
	}
	answer.Consumers = []consumerInfo{}
	all, answer.page = pageOf(all, offset, listLimit)
	for _, k := range all {
		answer.Consumers = append(answer.Consumers, k.info())
	}
	return answer, nil
}
