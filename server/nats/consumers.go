package nats

import (
	"slices"
	"strings"
	"sync"

	"kvd/kv"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// consumers are all that there are. They do not outlive the process, nor the interest
// in them by much.
type consumers struct {
	front *Front

	mu        sync.Mutex                      // guards the fields below
	byStream  map[string]map[string]*consumer // by bucket and name
	bySubject map[string][]*consumer          // by deliver subject
}

func (cs *consumers) init(f *Front) {
	cs.front = f
	cs.byStream = make(map[string]map[string]*consumer)
	cs.bySubject = make(map[string][]*consumer)
}

// find returns a consumer, or nil.
func (cs *consumers) find(stream, name string) *consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.byStream[stream][name]
}

// add registers a consumer, unless one of its name is there: that is returned.
func (cs *consumers) add(k *consumer) *consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if there := cs.byStream[k.stream][k.name]; there != nil {
		return there
	}
	if cs.byStream[k.stream] == nil {
		cs.byStream[k.stream] = make(map[string]*consumer)
	}
	cs.byStream[k.stream][k.name] = k
	subject := k.config.DeliverSubject
	cs.bySubject[subject] = append(cs.bySubject[subject], k)
	k.owner.consumers.Add(1)
	return nil
}

// begin looks for who hears the consumer, once its creation was answered.
func (cs *consumers) begin(k *consumer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !k.gone.Load() {
		cs.bindLocked(k)
		k.attend(k.targets.Load() != nil)
	}
}

// bindLocked finds who hears the consumer, and lets it deliver to them.
func (cs *consumers) bindLocked(k *consumer) {
	var targets []*subscription
	for _, s := range cs.front.subs.match(nil, []byte(k.config.DeliverSubject)) {
		grouped := s.queue != "" && slices.ContainsFunc(targets, func(t *subscription) bool { return t.queue == s.queue })
		if s.user == k.user && !s.closed.Load() && !grouped {
			targets = append(targets, s)
		}
	}
	if targets == nil {
		k.targets.Store(nil)
		return
	}
	k.targets.Store(&targets)
	k.schedule()
}

// interested gives a new subscription the consumers that deliver to it.
func (cs *consumers) interested(s *subscription) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !strings.ContainsAny(s.subject, "*>") {
		cs.rebindLocked(s.subject)
		return
	}
	for subject := range cs.bySubject {
		if kv.Match(s.subject, subject) {
			cs.rebindLocked(subject)
		}
	}
}

// lost takes a subscription from the consumers that deliver to it.
func (cs *consumers) lost(s *subscription) { cs.interested(s) }

func (cs *consumers) rebindLocked(subject string) {
	for _, k := range cs.bySubject[subject] {
		before := k.targets.Load() != nil
		cs.bindLocked(k)
		if heard := k.targets.Load() != nil; heard != before {
			k.attend(heard)
		}
	}
}

// remove ends a consumer, and reports whether it was there.
func (cs *consumers) remove(k *consumer) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.removeLocked(k)
}

// removeUnheard ends a consumer unless somebody hears it by now.
func (cs *consumers) removeUnheard(k *consumer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if k.targets.Load() == nil {
		cs.removeLocked(k)
	}
}

func (cs *consumers) removeLocked(k *consumer) bool {
	if k.gone.Swap(true) {
		return false
	}
	if delete(cs.byStream[k.stream], k.name); len(cs.byStream[k.stream]) == 0 {
		delete(cs.byStream, k.stream)
	}
	subject := k.config.DeliverSubject
	rest := slices.DeleteFunc(cs.bySubject[subject], func(other *consumer) bool { return other == k })
	if cs.bySubject[subject] = rest; len(rest) == 0 {
		delete(cs.bySubject, subject)
	}
	k.owner.consumers.Add(-1)
	k.end()
	return true
}

// dropStream ends the consumers of a bucket.
func (cs *consumers) dropStream(stream string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, k := range cs.byStream[stream] {
		cs.removeLocked(k)
	}
}

// stopAll ends all consumers.
func (cs *consumers) stopAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, named := range cs.byStream {
		for _, k := range named {
			cs.removeLocked(k)
		}
	}
}

// count returns how many consumers a bucket has.
func (cs *consumers) count(stream string) int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.byStream[stream])
}

// all returns the consumers of a bucket, by name.
func (cs *consumers) all(stream string) []*consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all := make([]*consumer, 0, len(cs.byStream[stream]))
	for _, k := range cs.byStream[stream] {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return strings.Compare(a.name, b.name) })
	return all
}

// flowed passes a client's answer to a request for flow control on.
func (cs *consumers) flowed(subject string) {
	stream, rest, _ := strings.Cut(strings.TrimPrefix(subject, wire.FlowControlPrefix), ".")
	name, _, _ := strings.Cut(rest, ".")
	bucket, _ := streamconfig.BucketOf(stream)
	k := cs.find(bucket, name)
	if k == nil {
		return
	}
	k.feed.Lock()
	heard := k.flow.heard(subject)
	k.feed.Unlock()
	if heard {
		k.schedule()
	}
}
