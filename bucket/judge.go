package bucket

import (
	"fmt"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// judgeMost is how many mutations are judged per hold of a bucket's lock. With a hold for each, a
// compaction that moves the places of records, a slice of the index per hold, came between any
// two: a group of 256 took milliseconds.
const judgeMost = 32

// judge decides every mutation of the group, in order, and encodes the records of the
// admitted ones. The state that it judges against includes the mutations before. It may
// run more than once for a group; the last run counts. puts is false on a full disk:
// then only the mutations of passesFullDisk are admitted.
func (g *group) judge(puts bool) {
	g.resetEffects()
	g.pending.grow(len(g.mutations) + g.inTransactions)
	g.frame = wal.NewFrame(g.frame)
	frame, head := journal.BeginRecords(g.frame)
	g.frame = frame
	now := g.store.clock.advance()
	for rest := g.mutations; len(rest) > 0; {
		rest = rest[g.judgeSlice(rest, puts, now):]
	}
	g.frame = journal.EndItem(g.frame, head)
}

// judgeSlice judges the first of the mutations, and those after it that concern the same bucket,
// under one hold of the bucket's lock. It returns how many. A transaction is judged alone.
func (g *group) judgeSlice(mutations []*mutation, puts bool, now int64) (n int) {
	if t := mutations[0].txn; t != nil {
		mutations[0].err = g.judgeTransaction(t, puts, now)
		return 1
	}
	b := mutations[0].bucket
	most := min(len(mutations), judgeMost)
	if b.mu.rulesPending > 0 { // written under path and mu
		mutations[0].applyRulesBefore()
		most = 1
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for ; n < most && mutations[n].bucket == b; n++ {
		m := mutations[n]
		m.revision, m.erased = 0, 0
		switch {
		case !puts && !m.passesFullDisk(&g.store.path.reserve):
			m.err = g.store.fullDisk
		case m.kind == writeAppended:
			m.err = g.judgeAppendLocked(m, now)
		case m.kind == writeRecord:
			m.err = g.judgeRecordLocked(m)
		default:
			m.err = g.judgeOneLocked(m, now)
		}
	}
	return n
}

// rollback takes back the revisions that judge gave to the group.
func (g *group) rollback() {
	for i := range g.parts {
		g.parts[i].bucket.next = g.parts[i].first
	}
}

// judgeOneLocked judges a mutation. The caller holds the bucket's mu.
func (g *group) judgeOneLocked(m *mutation, now int64) error {
	b := m.bucket
	if err := b.checkWritableLocked(); err != nil {
		return err
	}
	prev := g.pending.find(g, m)
	newest, present := g.newest(m, prev)
	inDoubt := b.inDoubtLocked(newest.Revision)
	first := !present && b.mu.doubtful == nil
	if present && !inDoubt && hasExpired(&newest, b.mu.config.TTL, now, true) {
		if present = newest.Op == kv.Put && !b.noMarkers; present {
			prev = g.judgeExpiry(m, prev, newest.Revision, now)
			newest = g.effects[prev].version
		}
	}
	switch m.kind {
	case writeExpiry:
		return nil
	case eraseRecords:
		return g.erase(m, prev, now)
	}
	if inDoubt && m.expect != expectAnything {
		return b.mu.doubtful
	}
	if err := m.condition(newest, present); err != nil {
		return err
	}
	if got := b.next - 1; m.ifNewest && got != m.newest {
		return &kv.RevisionMismatchError{Bucket: b.name, Want: m.newest, Got: got}
	}
	if err := b.checkIndexLocked(m); err != nil {
		return err
	}
	e := m.effect(b.next, prev, now)
	e.floor, e.first = g.floor(m, prev, b.next), first
	if present {
		e.previous = newest.Revision
	}
	if err := g.takeRoom(&e, b); err != nil {
		return err
	}
	m.revision = e.version.Revision
	g.encode(m, &e)
	return nil
}

// judgeRecordLocked judges a record of an import. It has a revision and a time, and nothing expires
// in a hidden bucket. The caller holds the bucket's mu.
func (g *group) judgeRecordLocked(m *mutation) error {
	b := m.bucket
	if err := b.checkWritableLocked(); err != nil {
		return err
	}
	if m.record.revision < b.next {
		return fmt.Errorf("%w: the next revision is %d", kv.ErrInvalidRecord, b.next)
	}
	if err := b.checkIndexLocked(m); err != nil {
		return err
	}
	prev := g.pending.find(g, m)
	e := m.effect(m.record.revision, prev, m.record.created)
	e.version.Deadline = m.record.deadline
	e.floor = g.floor(m, prev, m.record.revision)
	if err := g.takeRoom(&e, b); err != nil {
		return err
	}
	m.revision = m.record.revision
	g.encode(m, &e)
	return nil
}

// checkIndexLocked refuses a value if the index can name no more records. The caller holds mu.
func (b *Bucket) checkIndexLocked(m *mutation) error {
	if m.operation() == kv.Put && b.mu.index.Full() {
		return fmt.Errorf("%w: the index of %q takes no more records", kv.ErrBucketFull, b.name)
	}
	return nil
}

// floor returns the oldest revision of the key that is kept once the mutation is written with
// the revision own. The history allows the mutation's record and the newest few before it,
// including those of this group. A record that has expired by the bucket's TTL is kept only
// while it is the newest of its key. The caller holds the bucket's mu.
func (g *group) floor(m *mutation, prev int, own kv.Revision) kv.Revision {
	b := m.bucket
	oldest, keep := own, b.mu.config.History-1
	if m.operation() == kv.Purge || m.rollup {
		return oldest
	}
	bound := max(min(b.mu.live.ExpiredUpTo+1, oldest), g.pendingFloor(prev)) // floors only rise
	for i := prev; i >= 0 && keep > 0; i = g.effects[i].prev {
		if g.effects[i].op != segment.Erase {
			oldest = g.effects[i].version.Revision
			keep--
		}
	}
	if keep > 0 {
		f := b.mu.index.FloorAfter(m.hash, m.key, keep)
		switch {
		case b.inDoubtLocked(f) && g.known(m) < keep:
			oldest = 1 // records that the history keeps may be missing, and be found again
		case f != 0:
			oldest = f
		}
	}
	return max(oldest, bound)
}

// known returns how many records of the mutation's key the index has. The caller holds the
// bucket's mu.
func (g *group) known(m *mutation) int {
	var room [kv.MaxHistory]index.Version
	return len(m.bucket.mu.index.Versions(room[:0], m.hash, m.key))
}

// takeRoom checks the room with roomFor, and counts the freed bytes in the bucket's part
// of the group. The caller holds the bucket's mu.
func (g *group) takeRoom(e *effect, b *Bucket) error {
	frees, err := g.roomFor(e, b)
	if err != nil {
		return err
	}
	e.part = g.partOf(b)
	g.parts[e.part].freed += frees
	return nil
}

// roomFor checks the bucket's size limit, if it has one. Records that the
// effect's floor removes do not count, and roomFor returns their bytes. Markers are always
// admitted. The caller holds the bucket's mu.
func (g *group) roomFor(e *effect, b *Bucket) (frees int64, err error) {
	limit := b.mu.config.MaxBytes
	if limit < 0 {
		return 0, nil
	}
	frees = g.frees(e, b)
	size := b.mu.index.Bytes() + int64(e.version.Size) - frees
	if g.has(b) {
		size += g.parts[b.part].taken - g.parts[b.part].freed
	}
	if size > limit && e.version.Op == kv.Put {
		return 0, &kv.LimitError{What: fmt.Sprintf("bytes of bucket %q", b.name), Got: size, Min: 0, Max: limit, Err: kv.ErrBucketFull}
	}
	return frees, nil
}

// frees returns the bytes of the key's records that the effect's floor removes and the
// floor before it did not remove.
func (g *group) frees(e *effect, b *Bucket) int64 {
	taken := g.pendingFloor(e.prev)
	var n int64
	for i := e.prev; i >= 0; i = g.effects[i].prev { // newest first
		v := &g.effects[i].version
		if v.Revision < taken {
			return n // older ones are below it too
		}
		if v.Revision < e.floor && g.effects[i].op != segment.Erase {
			n += int64(v.Size)
		}
	}
	var room [kv.MaxHistory]index.Version
	for _, v := range b.mu.index.Versions(room[:0], e.hash, e.key) {
		if v.Revision < e.floor && v.Revision >= taken {
			n += int64(v.Size)
		}
	}
	return n
}

// has reports whether the group has a part for the bucket.
func (g *group) has(b *Bucket) bool { return b.part < len(g.parts) && g.parts[b.part].bucket == b }

// partOf returns the number of the bucket's part of the group. It adds a part if there is
// none.
func (g *group) partOf(b *Bucket) int {
	if g.has(b) {
		return b.part
	}
	b.part = len(g.parts)
	g.parts = append(g.parts, part{bucket: b, first: b.next})
	return b.part
}

// encode appends the mutation's record to the frame or, in a bucket of memory storage, to
// the records that are kept in memory.
func (g *group) encode(m *mutation, e *effect) {
	p := &g.parts[e.part]
	to := &g.frame
	if p.bucket.memory {
		to = &g.kept
	}
	e.at = len(*to)
	if e.op != segment.Erase {
		e.op = segment.Op(e.version.Op)
	}
	*to = g.store.segments.Seed.AppendRecord(*to, &segment.Record{
		BucketID: p.bucket.id, Revision: e.version.Revision, Floor: e.floor,
		Created: e.version.Created, Deadline: e.version.Deadline, Op: e.op, Reason: e.version.Reason, First: e.first,
		Compressed: m.rawLen != 0, RawLen: m.rawLen,
		Key: view.Bytes(m.key), Headers: m.headers, Value: m.valueInRecord(), File: m.file,
	})
	if !p.bucket.memory {
		g.tally.addRecord(g.frame[e.at:], p.bucket.id)
	}
	p.bucket.next = e.version.Revision + 1
	p.size += m.size
	p.taken += int64(e.version.Size)
	p.entries += segment.EntryBound(len(m.key), m.large)
	g.pending.set(len(g.effects), e)
	g.addEffect(e)
}

// addEffect appends an effect to the group and to its part.
func (g *group) addEffect(e *effect) {
	p, n := &g.parts[e.part], len(g.effects)
	if p.records == 0 {
		p.head = n
	} else {
		g.effects[p.tail].next = n
	}
	p.tail = n
	p.records++
	g.effects = append(g.effects, *e)
}
