package nats

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"kvd/kv"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// consumersMax bounds the consumers of a user; without users, all of them.
const consumersMax = 1 << 16

// consumers holds all consumers. Those that are not durable are in memory alone, and are
// removed when nobody has subscribed to their subject, or asked them, for a while.
type consumers struct {
	front *Front

	mu        sync.Mutex                          // guards the fields below
	byStream  map[string]map[consumerID]*consumer // by bucket
	bySubject map[string][]*consumer              // by deliver subject
	byUser    map[string]int                      // their number
}

// consumerID identifies a consumer of a stream. Each user has names of its own.
type consumerID struct{ user, name string }

func (k *consumer) id() consumerID { return consumerID{k.user, k.config.Name} }

func (cs *consumers) init(f *Front) {
	cs.front = f
	cs.byStream = make(map[string]map[consumerID]*consumer)
	cs.bySubject = make(map[string][]*consumer)
	cs.byUser = make(map[string]int)
}

// find returns a user's consumer by its bucket and name, or nil.
func (cs *consumers) find(user, bucket, name string) *consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.byStream[bucket][consumerID{user, name}]
}

// findNamed returns a user's consumer by the name of its stream and its own, or nil.
func (cs *consumers) findNamed(user, stream, name string) *consumer {
	for _, bucketOf := range [...]func(string) (string, bool){streamconfig.KeyBucketOf, streamconfig.MessageBucketOf} {
		if bucket, ok := bucketOf(stream); ok {
			if k := cs.find(user, bucket, name); k != nil {
				return k
			}
		}
	}
	return nil
}

// add adds a consumer. If one of its name exists, add returns that one instead.
func (cs *consumers) add(k *consumer) *consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if there := cs.byStream[k.stream][k.id()]; there != nil {
		return there
	}
	if cs.byStream[k.stream] == nil {
		cs.byStream[k.stream] = make(map[consumerID]*consumer)
	}
	cs.byStream[k.stream][k.id()] = k
	cs.listLocked(k)
	cs.byUser[k.user]++
	return nil
}

// listLocked adds a push consumer to those of its deliver subject.
func (cs *consumers) listLocked(k *consumer) {
	if subject := k.config.DeliverSubject; subject != "" {
		cs.bySubject[subject] = append(cs.bySubject[subject], k)
	}
}

// unlistLocked undoes listLocked.
func (cs *consumers) unlistLocked(k *consumer) {
	subject := k.config.DeliverSubject
	rest := slices.DeleteFunc(cs.bySubject[subject], func(other *consumer) bool { return other == k })
	if cs.bySubject[subject] = rest; len(rest) == 0 {
		delete(cs.bySubject, subject)
	}
}

// start begins the deliveries of a consumer that was added.
func (cs *consumers) start(k *consumer) {
	if k.pull != nil {
		k.startPull()
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !k.removed.Load() {
		cs.bindLocked(k)
		k.resetTimer(k.targets.Load() != nil)
	}
}

// bindLocked finds the consumer's subscriptions, and has it polled if there are any.
func (cs *consumers) bindLocked(k *consumer) {
	targets := cs.front.subscriptionsTo(k.user, []byte(k.config.DeliverSubject))
	if targets == nil {
		k.targets.Store(nil)
		return
	}
	k.targets.Store(&targets)
	k.schedule()
}

// subscriptionsTo returns the user's subscriptions that a message to a subject reaches, nil
// if there are none.
func (f *Front) subscriptionsTo(user string, subject []byte) (targets []*subscription) {
	for _, s := range f.subs.match(nil, subject) {
		grouped := s.queue != "" && slices.ContainsFunc(targets, func(t *subscription) bool { return t.queue == s.queue })
		if s.user == user && !s.closed.Load() && !grouped {
			targets = append(targets, s)
		}
	}
	return targets
}

// subscriptionAdded binds the consumers whose subject a new subscription matches.
func (cs *consumers) subscriptionAdded(s *subscription) {
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

// subscriptionRemoved binds the consumers whose subject a removed subscription matches.
func (cs *consumers) subscriptionRemoved(s *subscription) { cs.subscriptionAdded(s) }

// rebindLocked binds the consumers of a subject to its present subscriptions.
func (cs *consumers) rebindLocked(subject string) {
	for _, k := range cs.bySubject[subject] {
		before := k.targets.Load() != nil
		cs.bindLocked(k)
		if subscribed := k.targets.Load() != nil; subscribed != before {
			k.resetTimer(subscribed)
		}
	}
}

// remove removes and closes a consumer, and reports whether it was there.
func (cs *consumers) remove(k *consumer) bool {
	there := cs.detach(k)
	if there {
		k.close()
		cs.forget(k)
	}
	return there
}

// forget removes the record of a durable consumer that was removed.
func (cs *consumers) forget(k *consumer) {
	if k.durable == nil {
		return
	}
	_ = cs.front.durables.forget(k) // of a store that fails: the consumer comes back with it
}

// detach removes a consumer, which the caller then closes, and reports whether it was there.
func (cs *consumers) detach(k *consumer) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.detachLocked(k)
}

// removeIdle removes a push consumer if it has no subscription.
func (cs *consumers) removeIdle(k *consumer) {
	cs.mu.Lock()
	idle := k.targets.Load() == nil && cs.detachLocked(k)
	cs.mu.Unlock()
	if idle {
		k.close()
		cs.forget(k)
	}
}

func (cs *consumers) detachLocked(k *consumer) bool {
	if k.removed.Swap(true) {
		return false
	}
	if delete(cs.byStream[k.stream], k.id()); len(cs.byStream[k.stream]) == 0 {
		delete(cs.byStream, k.stream)
	}
	cs.unlistLocked(k)
	if cs.byUser[k.user]--; cs.byUser[k.user] == 0 {
		delete(cs.byUser, k.user)
	}
	if k.owner != nil {
		k.owner.memory.release(k.cost)
	}
	return true
}

// removeStream removes the consumers of a bucket.
func (cs *consumers) removeStream(stream string) {
	for _, k := range cs.all(stream) {
		cs.remove(k)
	}
}

// purged tells the pull consumers of a bucket that messages were removed.
func (cs *consumers) purged(stream string) {
	for _, k := range cs.all(stream) {
		if k.pull != nil {
			k.pull.purged.Store(true)
		}
	}
}

// stopAll removes all consumers. It writes the records of the durable ones, and returns the
// errors of that.
func (cs *consumers) stopAll() (err error) {
	cs.mu.Lock()
	var all []*consumer
	for _, named := range cs.byStream {
		all = slices.AppendSeq(all, maps.Values(named))
	}
	cs.mu.Unlock()
	for _, k := range all {
		if k.durable == nil {
			cs.remove(k)
		} else if cs.detach(k) {
			k.close()
			err = errors.Join(err, cs.front.durables.save(k))
		}
	}
	return err
}

// isFull reports whether a user can have no more consumers.
func (cs *consumers) isFull(user string) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.byUser[user] >= consumersMax
}

// count returns the number of a bucket's consumers.
func (cs *consumers) count(stream string) int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.byStream[stream])
}

// all returns the consumers of a bucket, by name.
func (cs *consumers) all(bucket string) []*consumer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all := make([]*consumer, 0, len(cs.byStream[bucket]))
	for _, k := range cs.byStream[bucket] {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return strings.Compare(a.config.Name, b.config.Name) })
	return all
}

// flowReplied passes a user's reply to a flow control request to its consumer.
func (cs *consumers) flowReplied(user, subject string) {
	stream, rest, _ := strings.Cut(strings.TrimPrefix(subject, wire.FlowControlPrefix), ".")
	name, _, _ := strings.Cut(rest, ".")
	k := cs.findNamed(user, stream, name)
	if k == nil {
		return
	}
	k.polling.Lock()
	subscribed := k.flow != nil && k.flow.replied(subject)
	k.polling.Unlock()
	if subscribed {
		k.schedule()
	}
}
