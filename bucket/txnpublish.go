package bucket

import "kvd/kv"

// publishTransaction makes the records of a transaction visible at once: it holds the locks of all
// its buckets while it applies them and looks up its reads. So a reader that has seen one of them
// sees all, in every bucket. Its watchers are told afterwards.
func (g *group) publishTransaction(t *transaction) {
	if t.from == t.to {
		t.lookUp()
		return
	}
	for _, b := range t.buckets {
		b.mu.Lock()
	}
	for i := t.from; i < t.to; i++ {
		e := &g.effects[i]
		e.applyLocked(g.parts[e.part].bucket)
	}
	t.lookUpLocked()
	for _, b := range t.buckets {
		b.mu.Unlock()
	}
	for i := t.from; i < t.to; {
		first, part := i, g.effects[i].part
		for i < t.to && g.effects[i].part == part {
			i++
		}
		if b := g.parts[part].bucket; b.hub.Active() {
			b.publishEffects(g, g.effects[first:i])
		}
	}
}

// lookUp looks up the reads of a transaction that wrote nothing.
func (t *transaction) lookUp() {
	for _, b := range t.buckets {
		b.mu.RLock()
	}
	t.lookUpLocked()
	for _, b := range t.buckets {
		b.mu.RUnlock()
	}
}

// lookUpLocked looks up the reads of a transaction and pins what they found: the caller of the
// transaction copies it. The caller holds mu of all its buckets, for reading at least.
func (t *transaction) lookUpLocked() {
	for i := range t.branch.reads {
		r := &t.branch.reads[i]
		b := r.subject.bucket
		v, ok := b.newestLocked(r.subject.hash, r.subject.key)
		if !ok || v.Op != kv.Put || hasExpired(&v, b.mu.config.TTL, t.now, true) {
			continue
		}
		r.version, r.segment = v, b.mu.segments[v.Segment].Segment
		r.segment.Pin()
	}
}
