package nats

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
)

// Nobody but the front end stores to a plain stream. So what a message expects of the
// ExpectedStream is looked up before it is stored, and still holds then: who stores a message
// shares the part of the stream's gate that its subject has, and who looks something up
// first has to himself what that is about.

// gate is what is held while messages go to a plain stream.
type gate [gateParts]sync.RWMutex

const gateParts = 32

// gateWhole are all parts of a gate.
const gateWhole = 1<<gateParts - 1

var gateSeed = maphash.MakeSeed()

// gatePart returns the part of a subject's key, as a bit.
func gatePart(key string) uint32 { return 1 << (maphash.String(gateSeed, key) % gateParts) }

// pass is what a run takes of a gate.
type pass struct {
	gate   *gate
	bucket string
	shared uint32 // parts
	alone  uint32 // those of them that nobody shares
}

// enter takes what the run needs of the gates of its streams, in an order that all
// have, and returns what gives it back.
func (p *plains) enter(r *run) (leave func()) {
	var passes []pass
	for i := range r.entries {
		s := r.entries[i].stream
		if !s.layout.IsMessageStream() {
			continue
		}
		at := slices.IndexFunc(passes, func(q pass) bool { return q.bucket == s.name })
		if at < 0 {
			at = len(passes)
			passes = append(passes, pass{gate: p.gate(s.name), bucket: s.name})
		}
		part := gatePart(r.mutations[i].Key)
		passes[at].shared |= part
		switch g := r.entries[i].guard; {
		case s.config.RefusesNewest(), g != nil && !g.own:
			passes[at].shared, passes[at].alone = gateWhole, gateWhole
		case g != nil:
			passes[at].alone |= part
		}
	}
	if len(passes) == 0 {
		return func() {}
	}
	slices.SortFunc(passes, func(a, b pass) int { return cmp.Compare(a.bucket, b.bucket) })
	for i := range passes {
		passes[i].each((*sync.RWMutex).Lock, (*sync.RWMutex).RLock)
	}
	return func() {
		for i := range passes {
			passes[i].each((*sync.RWMutex).Unlock, (*sync.RWMutex).RUnlock)
		}
	}
}

// each calls a function for each part of the pass.
func (p *pass) each(alone, shared func(*sync.RWMutex)) {
	for i := range p.gate {
		switch part := uint32(1) << i; {
		case p.alone&part != 0:
			alone(&p.gate[i])
		case p.shared&part != 0:
			shared(&p.gate[i])
		}
	}
}

// gate returns the gate of a stream.
func (p *plains) gate(bucket string) *gate {
	if g, ok := p.gates.Load(bucket); ok {
		return g.(*gate)
	}
	g, _ := p.gates.LoadOrStore(bucket, new(gate))
	return g.(*gate)
}
