package nats

import (
	"time"

	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
)

// sequencePair is a message's sequence among the consumer's deliveries and in the stream.
type sequencePair struct {
	Consumer uint64 `json:"consumer_seq"`
	Stream   uint64 `json:"stream_seq"`
}

// consumerInfo describes a consumer in answers of the API.
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

// info describes a consumer at one moment between two polls.
func (k *consumer) info() consumerInfo {
	k.polling.Lock()
	defer k.polling.Unlock()
	at := sequencePair{k.consumerSeq, uint64(k.streamSeq)}
	info := consumerInfo{
		Stream: k.layout.Stream, Name: k.config.Name, Created: k.created, Config: k.config,
		Delivered: at, AckFloor: k.acks.floor, AckPending: len(k.acks.pending), Redelivered: k.acks.redeliveries(),
		PushBound: k.targets.Load() != nil, Time: now(),
	}
	if k.pull != nil {
		k.sweepRequests(time.Now())
		info.Waiting, info.Pending = len(k.pull.waiting.queue), k.pending()
	} else if w := k.watch.Load(); w != nil {
		info.AckFloor, info.Pending = at, w.Pending()
	}
	return info
}

// consumerCreate answers CONSUMER.CREATE.<stream>[.<name>[.<filter>]].
func (c *conn) consumerCreate(r *request) (any, *jsapi.Error) { return c.createConsumer(r, false) }

// durableCreate answers CONSUMER.DURABLE.CREATE.<stream>.<name>.
func (c *conn) durableCreate(r *request) (any, *jsapi.Error) { return c.createConsumer(r, true) }

func (c *conn) createConsumer(r *request, durable bool) (any, *jsapi.Error) {
	var ask createRequest
	if err := jsapi.DecodeBody(r.body, &ask); err != nil {
		return nil, err
	}
	s, refused := c.findStream(r, server.MayGet|server.MayWatch)
	if refused != nil {
		return nil, refused
	}
	if ask.Stream != r.stream() {
		return nil, jsapi.ErrNameMismatch
	}
	cfg := &ask.Config.consumerConfig
	if refused := c.permitConsumer(s, cfg); refused != nil {
		return nil, refused
	}
	if refused := cfg.readName(r, durable); refused != nil {
		return nil, refused
	}
	cfg.normalise()
	if refused := cfg.checkEnums(); refused != nil {
		return nil, refused
	}
	if refused := cfg.check(); refused != nil {
		return nil, refused
	}
	if refused := ask.Config.unsupportedConfig.check(); refused != nil {
		return nil, refused
	}
	if there := c.front.consumers.find(c.user, s.name, cfg.Name); there != nil {
		return there.existing(&ask)
	}
	if ask.Action == actionUpdate {
		return nil, jsapi.ErrNoConsumer
	}
	if c.front.consumers.isFull(c.user) || cfg.isStored() && c.front.durables.count.Load() >= durablesMax || !c.memory.charge(cfg.cost()) {
		return nil, jsapi.NewError(400, 10026, "maximum consumers limit reached")
	}
	k, err := c.newConsumer(s, cfg)
	if err != nil {
		c.memory.release(k.cost)
		return nil, jsapi.ErrorOf(err)
	}
	if there := c.front.consumers.add(k); there != nil {
		c.memory.release(k.cost)
		k.close()
		return there.existing(&ask)
	}
	if k.durable != nil {
		c.front.durables.count.Add(1)
		if err := c.front.durables.save(k); err != nil {
			c.front.consumers.remove(k)
			return nil, jsapi.ErrorOf(err)
		}
	}
	info := k.info()
	c.front.consumers.start(k) // after info: deliveries may come before the answer
	info.PushBound = k.targets.Load() != nil
	return info, nil
}

// newConsumer makes a consumer and opens its watch, which decides where its deliveries
// begin. Its cost is charged to the connection's memory, also if there is an error.
func (c *conn) newConsumer(s *stream, cfg *consumerConfig) (*consumer, error) {
	k := c.front.makeConsumer(c, c.user, s, cfg)
	patterns := cfg.patterns(s.layout)
	from, err := cfg.startSequence(c.ctx, s, patterns)
	switch {
	case from > 0:
		k.streamSeq = from - 1
	case cfg.DeliverPolicy == deliverNew:
		k.streamSeq = s.status.Revision
	}
	k.acks.newest.Stream = uint64(k.streamSeq)
	k.acks.floor = k.acks.newest
	switch {
	case err != nil:
	case cfg.DeliverPolicy == deliverLastPer && s.layout.OnePerMessage:
		err = k.openLast(c.ctx, c, s, patterns)
	default:
		err = k.open(patterns, cfg.watchOptions(from))
	}
	return k, err
}

// makeConsumer makes a consumer without a watch. A durable one has no owner.
func (f *Front) makeConsumer(owner *conn, user string, s *stream, cfg *consumerConfig) *consumer {
	k := &consumer{
		front: f, owner: owner, user: user, stream: s.name, layout: s.layout, config: *cfg,
		created: now(), cost: cfg.cost(), bucket: s.bucket, records: s.records, ttl: s.status.Config.MarkerTTL,
	}
	k.permits = cfg.subjectPatterns(s.layout)
	k.acks = newAcks(&k.config)
	if cfg.FlowControl {
		k.flow = new(flow)
	}
	if cfg.DeliverSubject == "" {
		k.pull = &pull{waiting: waiting{max: cfg.MaxWaiting}, counted: s.status.Revision}
	}
	if cfg.isStored() {
		k.owner, k.durable = nil, &durable{bucketID: s.status.ID}
	}
	k.timer = time.AfterFunc(time.Hour, k.tick)
	k.timer.Stop() // until the consumer is started
	return k
}

// open opens the watch of a consumer whose filters select anything.
func (k *consumer) open(patterns []string, opts []kv.WatchOption) error {
	if len(patterns) == 0 {
		return nil
	}
	return k.openWatch(patterns, opts)
}

// close releases the resources of a consumer that was removed, or not added.
func (k *consumer) close() {
	k.polling.Lock()
	defer k.polling.Unlock()
	k.closeLocked()
}

// closeLocked is close for a caller that holds polling.
func (k *consumer) closeLocked() {
	k.timer.Stop()
	if k.durable != nil && k.durable.saver != nil {
		k.durable.saver.Stop()
	}
	if k.pull != nil {
		k.releaseRequests()
	}
	if w := k.watch.Load(); w != nil {
		w.stop()
	}
}

// findConsumer returns the consumer that a request names. Users see their own consumers
// only.
func (c *conn) findConsumer(r *request) (*consumer, *jsapi.Error) {
	s, refused := c.findStream(r, server.MayGet|server.MayWatch)
	if refused != nil {
		return nil, refused
	}
	k := c.front.consumers.find(c.user, s.name, r.tokens[1])
	if k == nil {
		return nil, jsapi.ErrConsumerNotFound
	}
	return k, nil
}

// consumerInfo answers CONSUMER.INFO.
func (c *conn) consumerInfo(r *request) (any, *jsapi.Error) {
	k, refused := c.findConsumer(r)
	if refused != nil {
		return nil, refused
	}
	return k.info(), nil
}

// consumerDelete answers CONSUMER.DELETE.
func (c *conn) consumerDelete(r *request) (any, *jsapi.Error) {
	k, refused := c.findConsumer(r)
	if refused != nil {
		return nil, refused
	}
	if !c.front.consumers.remove(k) {
		return nil, jsapi.ErrConsumerNotFound
	}
	return success{Success: true}, nil
}

// listConsumers returns the user's consumers of the stream that a request names, and the
// offset of the page.
func (c *conn) listConsumers(r *request) (all []*consumer, offset int, refused *jsapi.Error) {
	var ask listRequest
	if err := jsapi.DecodeOptional(r.body, &ask); err != nil {
		return nil, 0, err
	}
	s, refused := c.findStream(r, server.MayGet|server.MayWatch)
	if refused != nil {
		return nil, 0, refused
	}
	for _, k := range c.front.consumers.all(s.name) {
		if k.user == c.user {
			all = append(all, k)
		}
	}
	return all, ask.Offset, nil
}

// consumerNames answers CONSUMER.NAMES.
func (c *conn) consumerNames(r *request) (any, *jsapi.Error) {
	all, offset, refused := c.listConsumers(r)
	if refused != nil {
		return nil, refused
	}
	var answer struct {
		jsapi.Page
		Consumers []string `json:"consumers"`
	}
	answer.Consumers = []string{}
	all, answer.Page = jsapi.PageOf(all, offset, namesLimit)
	for _, k := range all {
		answer.Consumers = append(answer.Consumers, k.config.Name)
	}
	return answer, nil
}

// consumerList answers CONSUMER.LIST.
func (c *conn) consumerList(r *request) (any, *jsapi.Error) {
	all, offset, refused := c.listConsumers(r)
	if refused != nil {
		return nil, refused
	}
	var answer struct {
		jsapi.Page
		Consumers []consumerInfo `json:"consumers"`
	}
	answer.Consumers = []consumerInfo{}
	all, answer.Page = jsapi.PageOf(all, offset, listLimit)
	for _, k := range all {
		answer.Consumers = append(answer.Consumers, k.info())
	}
	return answer, nil
}
