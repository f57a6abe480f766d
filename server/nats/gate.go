package nats

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
)

// Only the front end stores to a message stream. So the expectation of a message can be
// looked up before the message is stored, and still holds then: a batch takes a shared
// lock of the part of the stream's gate that its subject has, and a message that looks
// something up takes an exclusive lock of the parts that this is about.

// gate is locked while messages are stored to a message stream, in parts by subject.
type gate [gateParts]sync.RWMutex

const gateParts = 32

// gateWhole has the bits of all parts of a gate.
const gateWhole = 1<<gateParts - 1

var gateSeed = maphash.MakeSeed()

// gatePart returns the part of the gate that a key belongs to, as a bit.
func gatePart(key string) uint32 { return 1 << (maphash.String(gateSeed, key) % gateParts) }

// gateLock is what a batch locks of a gate.
type gateLock struct {
	gate      *gate
	bucket    string
	shared    uint32 // parts
	exclusive uint32 // those of them that are locked for this batch alone
}

// lockGates locks what the batch needs of the gates of its streams, and returns the
// function that unlocks it. All batches lock in the same order.
func (ms *messageStreams) lockGates(b *batch) (unlock func()) {
	var locks []gateLock
	for i := range b.entries {
		s, x := b.entries[i].stream, &b.entries[i].expects
		if !s.layout.IsMessageStream() {
			continue
		}
		at := slices.IndexFunc(locks, func(l gateLock) bool { return l.bucket == s.name })
		if at < 0 {
			at = len(locks)
			locks = append(locks, gateLock{gate: ms.gate(s.name), bucket: s.name})
		}
		part := gatePart(b.mutations[i].Key)
		locks[at].shared |= part
		switch {
		case s.config.RefusesNewest(), x.isGuarded() && !x.isAboutOwnSubject():
			locks[at].shared, locks[at].exclusive = gateWhole, gateWhole
		case x.isGuarded():
			locks[at].exclusive |= part
		}
	}
	if len(locks) == 0 {
		return func() {}
	}
	slices.SortFunc(locks, func(a, b gateLock) int { return cmp.Compare(a.bucket, b.bucket) })
	for i := range locks {
		locks[i].each((*sync.RWMutex).Lock, (*sync.RWMutex).RLock)
	}
	return func() {
		for i := range locks {
			locks[i].each((*sync.RWMutex).Unlock, (*sync.RWMutex).RUnlock)
		}
	}
}

// each calls a function for each part of the lock, in order.
func (l *gateLock) each(exclusive, shared func(*sync.RWMutex)) {
	for i := range l.gate {
		switch part := uint32(1) << i; {
		case l.exclusive&part != 0:
			exclusive(&l.gate[i])
		case l.shared&part != 0:
			shared(&l.gate[i])
		}
	}
}

// gate returns the gate of a stream's bucket.
func (ms *messageStreams) gate(bucket string) *gate {
	if g, ok := ms.gates.Load(bucket); ok {
		return g.(*gate)
	}
	g, _ := ms.gates.LoadOrStore(bucket, new(gate))
	return g.(*gate)
}
