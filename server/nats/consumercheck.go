package nats

import (
	"slices"
	"time"

	"kvd/internal/patterns"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

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
	if c.Replicas > 1 {
		return jsapi.ErrReplicas
	}
	check := c.checkPush
	if c.DeliverSubject == "" {
		check = c.checkPull
	}
	for _, check := range []func() *jsapi.Error{c.checkTimes, check, c.checkSupported, c.checkFilters, c.checkDelivery} {
		if err := check(); err != nil {
			return err
		}
	}
	if c.FlowControl && c.Heartbeat == 0 {
		return jsapi.ErrFlowNeedsBeat
	}
	return nil
}

// checkTimes checks how long messages wait for their acknowledgement.
func (c *consumerConfig) checkTimes() *jsapi.Error {
	switch {
	case slices.ContainsFunc(c.Backoff, func(d time.Duration) bool { return d < 0 }):
		return jsapi.ErrBackoffNegative
	case c.AckWait < 0:
		return jsapi.ErrAckWaitNegative
	case len(c.Backoff) > 0 && c.MaxDeliver != -1 && len(c.Backoff) > c.MaxDeliver:
		return jsapi.ErrBackoffDeliver
	case len(c.Description) > descriptionMax:
		return jsapi.ErrDescription
	}
	return nil
}

// checkPush checks what a push consumer must not have.
func (c *consumerConfig) checkPush() *jsapi.Error {
	switch {
	case !wire.IsLiteral([]byte(c.DeliverSubject)):
		return jsapi.ErrDeliverWildcards
	case c.MaxWaiting != 0:
		return jsapi.ErrPushMaxWaiting
	case c.MaxAckPending > 0 && c.AckPolicy == ackNone:
		return jsapi.ErrPushAckPending
	case c.Heartbeat != 0 && c.Heartbeat < heartbeatMin:
		return jsapi.ErrHeartbeatShort
	}
	return nil
}

// checkPull checks what a pull consumer must not have.
func (c *consumerConfig) checkPull() *jsapi.Error {
	switch {
	case c.RateLimit > 0:
		return jsapi.ErrPullRateLimit
	case c.Heartbeat > 0:
		return jsapi.ErrPullHeartbeat
	case c.FlowControl:
		return jsapi.ErrPullFlowControl
	case c.MaxExpires != 0 && c.MaxExpires < expiresMin:
		return jsapi.ErrExpiresShort
	case c.AckPolicy == ackFlow:
		return jsapi.ErrAckFlowPull
	}
	return nil
}

// checkSupported refuses what nats-server supports and kvd does not.
func (c *consumerConfig) checkSupported() *jsapi.Error {
	push := c.DeliverSubject != ""
	switch {
	case c.Durable != "" && !push && c.InactiveThreshold == 0:
		return jsapi.UnsupportedConsumer("durable pull consumers are not supported without an inactive_threshold: set it, and the consumer is kept in memory so long after its last request")
	case push && c.AckPolicy != ackNone:
		return jsapi.UnsupportedConsumer("ack policy %s is not supported in a push consumer: choose none, or a pull consumer", c.AckPolicy)
	case c.DeliverGroup != "":
		return jsapi.UnsupportedConsumer("deliver groups are not supported")
	case c.RateLimit > 0:
		return jsapi.UnsupportedConsumer("rate limits are not supported")
	case c.ReplayPolicy != "instant":
		return jsapi.UnsupportedConsumer("replay policy %s is not supported", c.ReplayPolicy)
	}
	return nil
}

// check refuses the fields that are given. A pause that is over, such as the CLI asks for, is
// none.
func (u *unsupportedConfig) check() *jsapi.Error {
	for field, given := range map[string]bool{
		"sample_freq": u.SampleFreq != "", "direct": u.Direct, "sourcing": u.Sourcing, "pause_until": u.PauseUntil != nil && u.PauseUntil.After(time.Now()),
		"priority_groups": len(u.PriorityGroups) > 0 || u.PriorityPolicy != "" && u.PriorityPolicy != "none" || u.PriorityTimeout != 0,
	} {
		if given {
			return jsapi.UnsupportedConsumer("%s is not supported", field)
		}
	}
	return nil
}

func (c *consumerConfig) checkFilters() *jsapi.Error {
	if c.FilterSubject != "" && len(c.FilterSubjects) > 0 {
		return jsapi.ErrTwoFilters
	}
	if slices.Contains(c.FilterSubjects, "") {
		return jsapi.ErrEmptyFilter
	}
	switch _, _, found, exhausted := patterns.FirstOverlap(c.FilterSubjects); {
	case found:
		return jsapi.ErrFiltersOverlap
	case exhausted:
		return jsapi.UnsupportedConsumer("%d filter subjects are too many: use fewer wildcards, or several consumers", len(c.FilterSubjects))
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
