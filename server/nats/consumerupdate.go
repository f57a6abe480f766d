package nats

import (
	"reflect"
	"slices"

	"kvd/server/nats/jsapi"
)

// existing answers a request to create or update a consumer that exists.
func (k *consumer) existing(ask *createRequest) (any, *jsapi.Error) {
	if refused := k.update(&ask.Config.consumerConfig, ask.Action); refused != nil {
		return nil, refused
	}
	if k.durable != nil {
		if err := k.front.durables.save(k); err != nil {
			return nil, jsapi.ErrorOf(err)
		}
	}
	return k.info(), nil
}

// update gives the consumer another configuration, of which checkUpdate allows the changes. The
// deliveries go on where they are.
func (k *consumer) update(to *consumerConfig, action string) *jsapi.Error {
	k.polling.Lock()
	defer k.polling.Unlock()
	if reflect.DeepEqual(&k.config, to) {
		return nil
	}
	if action == actionCreate {
		return jsapi.NewError(400, 10148, "consumer already exists")
	}
	if refused := k.config.checkUpdate(to); refused != nil {
		return refused
	}
	refilters := !slices.Equal(k.config.filters(), to.filters())
	if w := k.watch.Load(); refilters && w != nil && w.Pending() > 0 && to.DeliverPolicy == deliverLastPer {
		return jsapi.UnsupportedConsumer("the filters of a consumer that has not delivered all last messages can not be updated: make another consumer")
	}
	reads := refilters || k.config.HeadersOnly != to.HeadersOnly
	if refused := k.front.consumers.setConfig(k, to); refused != nil {
		return refused
	}
	if reads {
		if err := k.reread(); err != nil {
			k.end(err)
			return jsapi.ErrorOf(err)
		}
	}
	if k.pull != nil {
		k.arm(k.pull.lastActive.Add(to.InactiveThreshold))
	}
	k.schedule()
	return nil
}

// reread opens the watch again after the last delivered message, as the filters say now. The
// caller holds polling.
func (k *consumer) reread() error {
	k.permits = k.config.subjectPatterns(k.layout)
	patterns := k.config.patterns(k.layout)
	switch w := k.watch.Load(); {
	case w == nil:
		return k.open(patterns, k.config.watchOptions(k.streamSeq+1))
	case len(patterns) == 0:
		w.stop()
		k.watch.Store(nil)
		return nil
	}
	return k.reopenWatch()
}

// setConfig sets the fields of a consumer's configuration that may change, and binds it to the
// subscriptions of its deliver subject. The caller holds polling.
func (cs *consumers) setConfig(k *consumer, to *consumerConfig) *jsapi.Error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	subject := k.config.DeliverSubject
	if k.removed.Load() {
		return jsapi.ErrNoConsumer
	}
	if subject != to.DeliverSubject && k.targets.Load() != nil {
		return jsapi.ErrNameExists
	}
	if k.owner != nil {
		more := to.cost() - k.config.cost()
		if !k.owner.memory.charge(more) {
			return jsapi.ErrNoResources
		}
		k.cost += more
	}
	if subject != to.DeliverSubject {
		cs.unlistLocked(k)
	}
	k.mu.Lock()
	c := &k.config
	c.Description, c.Metadata, c.DeliverSubject, c.Replicas = to.Description, to.Metadata, to.DeliverSubject, to.Replicas
	c.StartTime = to.StartTime // the same, perhaps of another zone
	c.FilterSubject, c.FilterSubjects, c.HeadersOnly = to.FilterSubject, to.FilterSubjects, to.HeadersOnly
	c.AckWait, c.MaxDeliver, c.Backoff, c.MaxAckPending = to.AckWait, to.MaxDeliver, to.Backoff, to.MaxAckPending
	c.MaxBatch, c.MaxExpires, c.MaxBytes, c.InactiveThreshold = to.MaxBatch, to.MaxExpires, to.MaxBytes, to.InactiveThreshold
	k.mu.Unlock()
	if subject != to.DeliverSubject {
		cs.listLocked(k)
	}
	if k.pull == nil {
		cs.bindLocked(k)
		k.resetTimer(k.targets.Load() != nil)
	}
	return nil
}

// checkUpdate refuses changes that nats-server refuses too, and those that kvd does not do.
func (c *consumerConfig) checkUpdate(to *consumerConfig) *jsapi.Error {
	switch {
	case c.Durable != to.Durable:
		return jsapi.UnsupportedConsumer("a durable name can not be updated: delete the consumer first")
	case c.DeliverSubject == "" && to.DeliverSubject != "":
		return jsapi.InvalidUpdate("can not update pull consumer to push based")
	case c.DeliverSubject != "" && to.DeliverSubject == "":
		return jsapi.InvalidUpdate("can not update push consumer to pull based")
	}
	for _, field := range []struct {
		changed bool
		name    string
	}{
		{c.DeliverPolicy != to.DeliverPolicy, "deliver policy"},
		{c.MemoryStorage != to.MemoryStorage, "storage type"},
		{c.StartSeq != to.StartSeq, "start sequence"},
		{c.StartTime != to.StartTime && (c.StartTime == nil || to.StartTime == nil || !c.StartTime.Equal(*to.StartTime)), "start time"},
		{c.AckPolicy != to.AckPolicy, "ack policy"},
		{c.ReplayPolicy != to.ReplayPolicy, "replay policy"},
		{c.Heartbeat != to.Heartbeat, "heart beats"},
		{c.FlowControl != to.FlowControl, "flow control"},
		{c.MaxWaiting != to.MaxWaiting, "max waiting"},
	} {
		if field.changed {
			return jsapi.InvalidUpdate(field.name + " can not be updated")
		}
	}
	return nil
}
