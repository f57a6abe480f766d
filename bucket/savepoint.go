package bucket

import "kvd/kv"

// savepoint is what a group was before the writes of a transaction, so that they can be taken back
// if one of them is refused.
type savepoint struct {
	effects int
	frame   int
	kept    int
	keys    int
	expired int
	parts   int
	tally   tally
	written []savedPart // of transaction.written
}

// savedPart is what a bucket's part of a group was.
type savedPart struct {
	part part // zero: the group had no part of the bucket
	next kv.Revision
}

// save makes the savepoint of a transaction.
func (g *group) save(t *transaction) {
	p := &t.saved
	p.effects, p.frame, p.kept, p.keys = len(g.effects), len(g.frame), len(g.kept), len(g.keys)
	p.expired, p.parts, p.tally = g.expired, len(g.parts), g.tally
	p.written = p.written[:0]
	for _, b := range t.written {
		saved := savedPart{next: b.next}
		if g.has(b) {
			saved.part = g.parts[b.part]
		}
		p.written = append(p.written, saved)
	}
}

// cut takes back what was judged since the savepoint of a transaction.
func (g *group) cut(t *transaction) {
	p := &t.saved
	for i := len(g.effects) - 1; i >= p.effects; i-- { // the newest first, as the table needs it
		g.pending.unset(i, &g.effects[i])
	}
	for i, b := range t.written {
		saved := &p.written[i]
		b.next = saved.next
		if saved.part.bucket != nil {
			g.parts[b.part] = saved.part
			g.effects[saved.part.tail].next = 0
		}
	}
	clear(g.effects[p.effects:])
	clear(g.parts[p.parts:])
	g.effects, g.parts = g.effects[:p.effects], g.parts[:p.parts]
	g.frame, g.kept, g.keys = g.frame[:p.frame], g.kept[:p.kept], g.keys[:p.keys]
	g.expired, g.tally = p.expired, p.tally
	for _, m := range t.branch.order {
		m.revision = 0
	}
}
