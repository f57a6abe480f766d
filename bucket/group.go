package bucket

import (
	"errors"
	"time"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// group is the mutations that one frame of the log carries. They were queued together,
// and are judged in order and encoded once. The commit leader owns the group. Its memory
// is reused.
type group struct {
	store       *Store
	leader      *request    // the request that leads
	members     []*request  // whose last mutation is in it; nil once answered
	answered    int         // of members
	mutations   []*mutation // in order; nil once answered
	size        int         // upper bound of the bytes of their records
	lowPriority int         // of mutations: those of low priority
	number      uint64      // of the group, from 1; Bucket.taken is that of the newest group with its mutations
	files       int         // of the buckets of mutations
	filesMax    int         // at most

	inTransactions int            // writes of those mutations that are transactions, at most
	transactions   []*transaction // that have effects or wait for the sync, in the order of effects

	frame   []byte // the log's frame; its records are the segments' too
	tally   tally  // of the frame
	kept    []byte // records of memory buckets, which the log does not get
	effects []effect
	parts   []part
	expired int           // of effects: expiry markers
	synced  time.Duration // duration of the sync
	worked  time.Duration // duration of all other work; measured if the group is shared
	scratch []byte        // a part's records where they are not contiguous
	pending pendingTable  // newest effect of each key
	keys    []byte        // memory of the keys that appends made
	events  []kv.Entry    // scratch: entries for the watchers
}

// effect is a mutation that passed its condition: one record.
type effect struct {
	part    int // of group.parts
	key     string
	value   []byte // as the caller gave it; nil in replay
	headers []byte
	hash    uint64
	version index.Version // Segment and Offset are filled in once it is written
	floor   kv.Revision
	prev    int        // the effect on the same key before it, -1 none
	next    int        // the next effect of the same part, 0 none
	at      int        // where its record begins in the frame, or in group.kept
	size    uint32     // of its record, bytes: version.Size without a value that has a file
	file    uint64     // number of the file that has the value; 0: the record has it
	op      segment.Op // version.Op, or an erasure, which has no version
	first   bool       // the key has no record before it

	previous kv.Revision // of the key's record before it that readers see; 0: none. Not known in replay
}

// part is the records of a group that belong to one bucket.
type part struct {
	bucket  *Bucket
	first   kv.Revision // bucket.next before the group
	records int
	head    int   // the effect of its first record, in group.effects
	tail    int   // the effect of its last record
	size    int   // bytes of its records
	taken   int64 // bytes of its records with their values, wherever these are
	freed   int64 // bytes of older records that they replace, counted likewise; only where the bucket has a limit
	entries int   // bytes at most of their index entries
	offset  int64 // where its records begin in the active segment
}

// framePayloadMax bounds a group's records in bytes; a larger mutation has a group of
// its own.
const framePayloadMax = wal.MaxFramePayload - 2*journal.HeadSize

func (g *group) reset() {
	clear(g.members)
	clear(g.mutations)
	g.members, g.mutations, g.size, g.lowPriority = g.members[:0], g.mutations[:0], 0, 0
	g.leader, g.answered, g.synced, g.worked, g.inTransactions = nil, 0, 0, 0, 0
	g.number, g.files = g.number+1, 0
	g.resetEffects()
	if cap(g.frame) > 2*framePayloadMax { // do not keep the memory of one huge value
		g.frame, g.scratch = nil, nil
	}
	if cap(g.kept) > 2*framePayloadMax {
		g.kept = nil
	}
}

// resetEffects clears the outcome of judging, and keeps the mutations.
func (g *group) resetEffects() {
	clear(g.effects)
	clear(g.parts)
	clear(g.transactions)
	g.effects, g.parts, g.transactions, g.frame, g.expired = g.effects[:0], g.parts[:0], g.transactions[:0], g.frame[:0], 0
	g.kept, g.keys, g.tally = g.kept[:0], g.keys[:0], tally{}
	g.pending.reset()
}

// logs reports whether the group has a frame.
func (g *group) logs() bool { return g.tally.records > 0 }

// logged yields the mutations whose records the group has, those of transactions included.
func (g *group) logged(yield func(*mutation) bool) {
	for _, m := range g.mutations {
		switch {
		case m == nil || m.err != nil:
		case m.txn == nil:
			if !yield(m) {
				return
			}
		case m.txn.from < m.txn.to:
			for _, w := range m.txn.branch.order {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// add adds a mutation if the group then has at most limit bytes, or is empty, and needs at most
// filesMax files. It counts the expiry marker that judging may put before it.
func (g *group) add(m *mutation, limit int) bool {
	if m.txn != nil {
		return g.addTransaction(m, limit)
	}
	files := g.files
	if b := m.bucket; !b.memory && b.taken != g.number {
		files++
	}
	if files > g.filesMax {
		return false
	}
	size := m.size
	if m.kind != writeExpiry {
		size += expiryMarkerSize(m.key)
	}
	if g.size > 0 && g.size+size > limit {
		return false
	}
	g.mutations = append(g.mutations, m)
	g.size += size
	g.files, m.bucket.taken = files, g.number
	return true
}

// addTransaction is add for a transaction, of which a group has all or nothing.
func (g *group) addTransaction(m *mutation, limit int) bool {
	t := m.txn
	files := g.files + t.files(g.number)
	if files > g.filesMax || g.size > 0 && g.size+t.size > limit {
		return false
	}
	g.mutations = append(g.mutations, m)
	g.size += t.size
	g.inTransactions += t.writes
	g.files = files
	for _, b := range t.written {
		b.taken = g.number
	}
	return true
}

// commitGroup takes a group down the write path: judge, reserve, log, sync,
// segments, index. Every mutation has its outcome when it returns.
func (s *Store) commitGroup(g *group) {
	s.path.Lock()
	defer s.path.Unlock()
	defer s.endUses(0)
	if g.lowPriority > 0 {
		began := time.Now()
		defer func() { g.worked = time.Since(began) - g.synced }()
	}
	if err := s.admit(g); err != nil {
		g.fail(err)
		return
	}
	g.answerEarly()
	if len(g.effects) == 0 {
		return
	}
	done := Commit{Records: len(g.effects), Expired: g.expired}
	if g.logs() {
		if err := s.appendFrame(g.frame, s.clock.newest.Load(), g.tally); err != nil {
			g.rollback()
			g.fail(err)
			return
		}
		s.path.tail.addValues(g)
		s.logged.Add(int64(len(g.frame)))
		took, err := s.makeDurable(g)
		if err != nil {
			g.fail(err)
			return
		}
		g.synced = took
		done.Bytes, done.Sync = len(g.frame)-wal.FrameHeaderSize, took
	}
	s.opts.Observer.Committed(done)
	if err := g.writeSegments(); err != nil {
		g.fail(s.poison(err))
		return
	}
	g.publish()
	if g.logs() {
		s.noticeLog()
	}
}

// appendFrame appends a frame with what the tally counts. An error that matches kv.ErrNoSpace
// is a refusal: the file system copies what is overwritten, and has no room for that. Any
// other error has poisoned the store. The caller holds path.
func (s *Store) appendFrame(frame []byte, now int64, t tally) error {
	before := s.path.totals
	s.path.totals.add(t)
	_, err := s.log.Append(frame, now, s.path.totals.words)
	switch {
	case err == nil:
		s.path.tail.add(now, before.words, s.path.totals.words, frame[wal.FrameHeaderSize:])
		return nil
	case s.log.Err() != nil:
		return s.poisonLog(err)
	}
	s.path.totals = before
	s.recordFull(err)
	return s.noSpace(err)
}

// admit judges the group and reserves room for it in the log and the segments. If the
// disk is full it judges again, passes deletes only, and lets them use the reserve. The
// caller holds path. admit releases path only while it waits for room in the log.
func (s *Store) admit(g *group) error {
	puts := true
	settled := false // the log has given back what it can
	var stuck error  // why the log, which is full, could not be freed
	for {
		if err := s.checkWritable(); err != nil {
			return err
		}
		if err := s.checkPlace(); err != nil {
			return err
		}
		g.judge(puts)
		if len(g.effects) == 0 {
			return nil
		}
		err := s.reserveRoom(g)
		if err == nil {
			s.recordRoom(puts && g.logs())
			return nil
		}
		g.rollback()
		switch {
		case errors.Is(err, wal.ErrFull) && stuck != nil:
			return stuck
		case errors.Is(err, wal.ErrFull), errors.Is(err, errNumbers):
			s.path.Unlock()
			stuck, err = s.freeLog(unpaced)
			s.path.Lock()
			if err != nil {
				return err
			}
		case errors.Is(err, errIssue):
			s.path.Unlock()
			err = s.logIssue(err)
			s.path.Lock()
			if err != nil {
				return err
			}
		case errors.Is(err, vfs.ErrNoSpace) && !settled && s.canSettle():
			settled = true
			if err := s.settleFull(); err != nil {
				return err
			}
		case errors.Is(err, vfs.ErrNoSpace):
			if !puts && !s.spendReserve() {
				return s.noSpace(err)
			}
			puts = false
			s.recordFull(err)
		case s.log.Err() != nil:
			return s.poisonLog(err)
		default: // nothing of the group was written anywhere
			return err
		}
	}
}

// checkWritable returns nil, or why the store takes no writes now.
func (s *Store) checkWritable() error {
	if s.closed.Load() {
		return kv.ErrClosed
	}
	return s.checkFailure()
}

// reserveRoom reserves room on the disk and opens the files, so that no later step of the group
// can fail for lack of room or of descriptors.
func (s *Store) reserveRoom(g *group) error {
	s.endUses(0) // those of an attempt before
	if s.path.reserve.spent && g.needsSpace() {
		if err := s.refillReserve(); err != nil {
			return err
		}
	}
	if g.logs() {
		if err := s.log.Reserve(len(g.frame) - wal.FrameHeaderSize); err != nil {
			return err
		}
	}
	for i := range g.parts {
		p := &g.parts[i]
		if err := p.bucket.checkIssuable(); err != nil {
			return err
		}
		if err := p.bucket.reserve(int64(p.size), int64(p.entries)); err != nil {
			return err
		}
	}
	return nil
}

// needsSpace reports whether the group has records for the disk other than markers.
func (g *group) needsSpace() bool {
	for i := range g.effects {
		if e := &g.effects[i]; e.version.Op == kv.Put && !g.parts[e.part].bucket.memory {
			return true
		}
	}
	return false
}

// fail sets err for every mutation that has no error yet, and for those that were refused
// because of a record of this group.
func (g *group) fail(err error) {
	var mismatch *kv.RevisionMismatchError
	for _, m := range g.mutations {
		if m != nil && (m.err == nil || errors.As(m.err, &mismatch) && g.touches(m)) {
			m.revision, m.err = 0, err
		}
	}
}

// answerEarly answers the requests whose condition failed against durable state, and the
// transactions that only read it. They write nothing, so they need not wait for the sync.
// Requests that failed because of a mutation of this group have to wait: their error tells of
// records that may yet be lost.
func (g *group) answerEarly() {
	for i, r := range g.members {
		if len(r.mutations) == 1 && g.failedBefore(&r.mutations[0]) {
			if t := r.mutations[0].txn; t != nil && r.mutations[0].err == nil {
				t.lookUp()
			}
			g.members[i], g.mutations[r.at] = nil, nil // the request is its caller's again
			g.answer(r)
		}
	}
}

// failedBefore reports whether a mutation failed for a reason that was durable before the
// group: neither a record of the group nor the room that it takes. A transaction that writes
// nothing counts as failed.
func (g *group) failedBefore(m *mutation) bool {
	if t := m.txn; t != nil {
		return !t.waits && (m.err != nil || t.from == t.to)
	}
	return m.err != nil && !g.touches(m) && !errors.Is(m.err, kv.ErrBucketFull)
}

// touches reports whether the group can affect the mutation's condition: it has a record
// of the key, or any record of the bucket if the condition is about its newest revision. Of a
// transaction it has a record in any bucket.
func (g *group) touches(m *mutation) bool {
	if m.txn != nil {
		return m.txn.waits
	}
	return g.pending.has(g, m) || m.ifNewest && g.has(m.bucket)
}

// answer wakes the request's caller: all its mutations have an outcome. From then on the
// caller owns the request's memory.
func (g *group) answer(r *request) {
	if !r.lowPriority { // a request of low priority does not come back at once
		g.answered++
	}
	r.done = true
	if r != g.leader {
		r.wake <- false
	}
}

// writeSegments appends the records to the active segments, in the files or in memory.
func (g *group) writeSegments() error {
	tails := &g.store.tails
	held := tails.holds(g)
	for i := range g.parts {
		if p := &g.parts[i]; held && !p.bucket.memory {
			p.offset = tails.hold(p.bucket.active, g.records(i))
			p.bucket.markUnsynced()
			g.store.writeBehind(p.bucket.active, behindStep)
		} else if err := g.writePart(i); err != nil {
			return err
		}
	}
	if held {
		signal(tails.wake)
	}
	g.setPlaces()
	return nil
}

// writePart writes the records of a part to the active segment of its bucket.
func (g *group) writePart(part int) error {
	p := &g.parts[part]
	offset, err := p.bucket.append(g.records(part))
	if err != nil {
		return err
	}
	p.offset = offset
	if !p.bucket.memory {
		p.bucket.markUnsynced()
	}
	return nil
}

func (g *group) setPlaces() {
	for i := range g.effects {
		g.effects[i].setPlace(g)
	}
}

// append appends records to the active segment. They are in the log already. So if the file
// system copies what is overwritten, here the rest of a page, and has no room for that, append
// spends the reserve. The caller holds path.
func (b *Bucket) append(records []byte) (offset int64, err error) {
	offset, err = b.appendOnce(records)
	for errors.Is(err, vfs.ErrNoSpace) && b.store.spendReserve() {
		offset, err = b.appendOnce(records)
	}
	if err == nil && !b.memory {
		b.store.writeBehind(b.active, behindStep)
	}
	return offset, err
}

// appendOnce is append without the reserve. What is held of the segment is written before.
func (b *Bucket) appendOnce(records []byte) (offset int64, err error) {
	if !b.memory {
		if err := b.store.tails.write(b.active); err != nil {
			return 0, err
		}
	}
	return b.active.Append(records)
}

// records returns the records of a part as one slice of bytes.
func (g *group) records(part int) []byte {
	from := g.frame
	if g.parts[part].bucket.memory {
		from = g.kept
	}
	p := &g.parts[part]
	first, last := &g.effects[p.head], &g.effects[p.tail]
	if records := from[first.at : last.at+int(last.size)]; len(records) == p.size {
		return records // there are no others in between
	}
	g.scratch = g.scratch[:0]
	for i := p.head; ; {
		e := &g.effects[i]
		g.scratch = append(g.scratch, from[e.at:e.at+int(e.size)]...)
		if i = e.next; i == 0 {
			return g.scratch
		}
	}
}

// setPlace fills in where the record is, and adds its entry to the segment's index block.
func (e *effect) setPlace(g *group) {
	p := &g.parts[e.part]
	b := p.bucket
	e.version.Segment = b.active.number
	e.version.Offset = p.offset
	p.offset += int64(e.size)
	if b.memory { // no checkpoint, no index block
		return
	}
	b.active.AddEntry(&segment.Entry{
		Key: view.Bytes(e.key), Revision: e.version.Revision, Floor: e.floor,
		Created: e.version.Created, Deadline: e.version.Deadline,
		Offset: e.version.Offset, Size: e.size, ValueLen: e.version.Size - e.size, File: e.file, HeadSum: segment.HeadSum(g.frame[e.at:]),
		Op: e.op, Reason: e.version.Reason, First: e.first,
	})
}
