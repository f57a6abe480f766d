package bucket

import (
	"errors"
	"maps"
	"path"
	"slices"

	"kvd/bucket/hole"
	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// evidence is what an open finds around the holes of the log. It is collected before
// anything is written, because the replay writes to the places of the tails. Package hole
// decides what it means.
type evidence struct {
	recovery *recovery
	holes    []hole.Hole
	damage   []*kv.CorruptError // of the holes
	sound    map[uint64]bool    // head checksums of the records in sound frames
	buckets  map[uint64]*bucketEvidence
	last     frameCopy // of the frame read last
	words    wal.Words // of the frame after it
}

// bucketEvidence is what is known of one bucket.
type bucketEvidence struct {
	hole.Bucket
	next   kv.Revision     // the first that no segment has by the manifest
	behind int             // the hole that FirstBehind is behind, counted from 1
	fill   []filling       // one for each item of Tail
	have   map[uint64]bool // head checksums of Tail
	last   kv.Revision     // of Tail
	done   place           // of the last record that was replayed
}

// filling is a record of a tail.
type filling struct {
	sum     uint64
	place   place
	encoded []byte // nil if a sound frame has the record
}

// place is the place of a record in the order of its bucket's log: a record by its revision,
// and an erase, which has that of the record before it, right behind that one.
type place struct {
	revision kv.Revision
	erase    bool
}

func placeOf(r *segment.Record) place { return place{r.Revision, r.Op == segment.Erase} }

func (p place) before(q place) bool {
	return p.revision < q.revision || p.revision == q.revision && !p.erase && q.erase
}

// frameCopy says whether a frame is one of the two copies of an operation.
type frameCopy struct {
	lsn       wal.LSN
	operation bool
	second    bool
}

// findHoles reads the log without applying it, and collects the evidence if it has holes.
func (r *recovery) findHoles() error {
	e := &evidence{recovery: r, sound: map[uint64]bool{}, buckets: map[uint64]*bucketEvidence{}}
	e.words = r.found.State.LogWords
	want := r.wanted(func(wal.Frame) error { return nil }, nil)
	if found, err := r.log.Replay(want); err != nil || len(found.Holes) == 0 {
		return err
	}
	for _, d := range r.found.State.Buckets {
		e.bucket(d.ID).Position, e.bucket(d.ID).next = d.Position, d.Next
		e.bucket(d.ID).Highest = d.Next - 1
	}
	if _, err := r.log.Replay(r.wanted(e.readFrame, e.readHole)); err != nil {
		return err
	}
	if err := e.readTails(); err != nil {
		return err
	}
	if cause := e.unreadable(); cause != nil {
		r.readOnly(cause)
		r.unread = cause
		return nil
	}
	r.evidence = e
	return nil
}

// unreadable returns why a part of the log that nothing else has could not be read, if the
// disk refused to give it back. It may give it back another time, so nothing is changed.
func (e *evidence) unreadable() *kv.CorruptError {
	i := slices.IndexFunc(e.damage, func(d *kv.CorruptError) bool { return d.Err != nil })
	if i < 0 {
		return nil
	}
	_, verdicts, operations := e.decide()
	if operations > 0 || slices.ContainsFunc(verdicts, func(v hole.Verdict) bool { return !v.Whole }) {
		return e.damage[i]
	}
	return nil
}

// doubtAll puts every bucket, and the set of buckets, in doubt, because the log could not be
// read. The store is read-only, so the manifest does not learn of it.
func (r *recovery) doubtAll() {
	s := r.store
	s.lostOperations.Add(1)
	for _, b := range s.all() {
		b.mu.Lock()
		d := b.mu.doubt
		d.Unknown = true
		b.setDoubtLocked(d)
		if b.mu.doubtful != nil {
			b.mu.doubtful.File, b.mu.doubtful.Offset, b.mu.doubtful.Err = r.unread.File, r.unread.Offset, r.unread.Err
		}
		b.mu.Unlock()
	}
}

// wanted is what a replay of the log delivers: everything that the manifest lacks.
func (r *recovery) wanted(frame func(wal.Frame) error, hole func(wal.Hole) error) wal.Wanted {
	state := &r.found.State
	return wal.Wanted{From: state.LogLow + 1, Durable: state.Durable(), Closed: state.Clean, Frame: frame, Hole: hole}
}

func (e *evidence) bucket(id uint64) *bucketEvidence {
	b := e.buckets[id]
	if b == nil {
		b = &bucketEvidence{Bucket: hole.Bucket{ID: id}, next: 1, have: map[uint64]bool{}}
		e.buckets[id] = b
	}
	return b
}

// readFrame notes the records of a sound frame, and which copy of an operation it is.
func (e *evidence) readFrame(f wal.Frame) error {
	this := frameCopy{lsn: f.LSN}
	e.words = f.Words
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			return err
		}
		if kind == journal.Records {
			err = e.readRecords(body, f.LSN)
		} else {
			this.operation, this.second = true, journal.IsSecond(payload)
			e.words.Operations++
			err = e.readOperation(kind, body, f.LSN)
		}
		if err != nil {
			return err
		}
		payload = rest
	}
	if n := len(e.holes); n > 0 && e.holes[n-1].Last+1 == f.LSN && this.operation && this.second {
		e.holes[n-1].Twins++
	}
	e.last = this
	return nil
}

// readOperation notes where the revisions of an imported bucket go on. They have gaps, so the
// number of its records does not tell how far they go.
func (e *evidence) readOperation(kind journal.Kind, body []byte, lsn wal.LSN) error {
	op, err := journal.Decode(kind, body)
	if err != nil {
		return err
	}
	if reveal, ok := op.(*journal.Reveal); ok && lsn > e.bucket(reveal.Bucket).Position {
		b := e.bucket(reveal.Bucket)
		b.Highest = max(b.Highest, reveal.Next-1)
	}
	return nil
}

func (e *evidence) readRecords(records []byte, lsn wal.LSN) error {
	for at := 0; at < len(records); {
		rec, size, err := e.recovery.store.segments.Seed.DecodeHeader(records[at:])
		if err != nil {
			return err
		}
		b, sum := e.bucket(rec.BucketID), segment.HeadSum(records[at:])
		e.words.Records++
		e.words.Sum += sum
		if lsn > b.Position {
			b.note(&rec, sum, len(e.holes))
			e.sound[sum] = true
		}
		at += size
	}
	return nil
}

// note notes a record of a sound frame behind so many holes.
func (b *bucketEvidence) note(rec *segment.Record, sum uint64, holes int) {
	b.Highest = max(b.Highest, rec.Revision)
	switch {
	case holes == 0:
		b.LastBefore = sum
	case b.behind < holes:
		b.behind, b.FirstBehind, b.BoundBehind = holes, sum, rec.Revision
		if rec.Op != segment.Erase { // an erase has the revision of the record before it
			b.BoundBehind--
		}
	}
}

// framesUnknown is how many frames a hole may have whose end is unknown, because a file of
// the log cannot be read at all. Their records are bounded by the size of such a file, and
// package hole takes many more for one frame.
const framesUnknown = 16

func (e *evidence) readHole(h wal.Hole) error {
	own := hole.Hole{First: h.First, Last: h.Last, Before: e.words, After: h.After, AfterKnown: h.AfterKnown}
	if h.Last == 0 {
		own.Last = h.First + framesUnknown
	}
	if e.last.lsn+1 == h.First && e.last.operation && !e.last.second {
		own.Twins++
	}
	e.holes = append(e.holes, own)
	e.damage = append(e.damage, h.Err)
	return nil
}

// readTails reads what stands behind the manifest's part of each bucket's last segment, and
// the files that the manifest does not name, which the process made since.
func (e *evidence) readTails() error {
	s := e.recovery.store
	for _, d := range e.recovery.found.State.Buckets {
		if n := len(d.Segments); n > 0 {
			if err := e.readTail(d.ID, d.Segments[n-1].Number, d.Segments[n-1].Size); err != nil {
				return err
			}
		}
	}
	numbers, err := e.recovery.unnamed()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		id, err := segment.Identify(s.segments, number)
		if errors.Is(err, kv.ErrCorrupt) {
			continue // whose it is cannot be known: what it has counts as missing
		}
		if err != nil {
			return err
		}
		if err := e.readTail(id, number, segment.HeaderSize); err != nil {
			return err
		}
	}
	return nil
}

// readTail adds the tail of one file to that of its bucket.
func (e *evidence) readTail(id, number uint64, from int64) error {
	b := e.bucket(id)
	broken := false
	return segment.Tail(e.recovery.store.segments, number, id, from, func(t *segment.TailRecord) error {
		broken = broken || t.Broken
		covered := t.Revision < b.next || t.Revision <= b.last
		if t.Op == segment.Erase { // it has the revision of the record before it
			covered = t.Revision+1 < b.next
		}
		if covered || b.have[t.Sum()] {
			return nil // an output of compaction, what an earlier open has replayed, or no part of the log's order
		}
		item := hole.Item{Sum: t.Sum(), Revision: t.Revision, Break: broken, Sound: e.sound[t.Sum()]}
		f := filling{sum: item.Sum, place: placeOf(&t.Record)}
		if t.Op != segment.Erase {
			b.last = t.Revision
		}
		if !item.Sound {
			f.encoded = slices.Clone(t.Encoded)
		}
		b.Tail, b.fill = append(b.Tail, item), append(b.fill, f)
		b.Highest = max(b.Highest, t.Revision)
		b.have[item.Sum], broken = true, false
		return nil
	})
}

// unnamed returns the numbers of the segment files that the manifest does not name,
// ascending.
func (r *recovery) unnamed() (numbers []uint64, err error) {
	entries, err := r.store.opts.env.FS.List(r.store.segments.Dir)
	if err != nil {
		return nil, err
	}
	named := r.named()
	for _, entry := range entries {
		number, ok := segment.ParseFileName(entry.Name)
		if ok && number < r.found.State.Numbers && !named[number] {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// decide returns the buckets that the evidence is about, the verdict on each, and how many
// operations are missing.
func (e *evidence) decide() (ids []uint64, verdicts []hole.Verdict, operations uint64) {
	var list []hole.Bucket
	for _, id := range slices.Sorted(maps.Keys(e.buckets)) {
		b := e.buckets[id]
		own := b.Bucket
		if b.behind < len(e.holes) {
			own.FirstBehind, own.BoundBehind = 0, 0
		}
		list, ids = append(list, own), append(ids, id)
	}
	verdicts, operations = hole.Decide(e.holes, list)
	return ids, verdicts, operations
}

// sealTails lets replay write to new segments, so that the tails stay as they are until
// the checkpoint that names their records is durable.
func (e *evidence) sealTails() {
	for _, b := range e.recovery.store.all() {
		if b.active != nil {
			b.active.EndUnchanged()
			b.active = nil
		}
	}
}

// keepEvidence moves the files that an open with holes in the log would otherwise remove to
// lost/: those of unfinished work, and the damaged files of the log. The checkpoint is
// durable.
func (r *recovery) keepEvidence() error {
	if r.evidence == nil {
		return nil
	}
	numbers, err := r.unnamed()
	if err != nil {
		return err
	}
	for _, file := range r.log.Damaged() {
		if path.Ext(file) != ".wal" {
			continue // the directory: files are missing
		}
		if err := r.setAside(path.Dir(file), path.Base(file)); err != nil {
			return err
		}
	}
	if err := r.syncAside(path.Join(r.store.dir, manifest.LogDir)); err != nil {
		return err
	}
	for _, number := range numbers {
		if err := r.setAside(r.store.segments.Dir, segment.FileName(number)); err != nil {
			return err
		}
	}
	return r.syncAside(r.store.segments.Dir)
}

// doubts puts the buckets in doubt that are not whole across the holes. It is called once
// everything is replayed, so that every bucket exists.
func (e *evidence) doubts() {
	s := e.recovery.store
	ids, verdicts, operations := e.decide()
	s.lostOperations.Add(operations)
	whole := operations == 0
	for i, v := range verdicts {
		b := s.byID(ids[i])
		if b == nil || b.memory || v.Whole && !v.Unknown { // deleted since, or nothing is missing
			continue
		}
		whole = false
		b.doubtHole(&v, e.damage)
	}
	s.report.Damages = append(s.report.Damages, e.damage...)
	if whole {
		s.report.Notes = append(s.report.Notes, "what the damaged part of the log held was found in the segments: nothing is missing")
	}
}

// doubtHole puts the bucket in doubt. Revisions go on above the bound.
func (b *Bucket) doubtHole(v *hole.Verdict, damage []*kv.CorruptError) {
	first := damage[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.Unknown {
		d := b.mu.doubt
		d.Unknown = true
		b.setDoubtLocked(d)
	}
	if v.Bound != 0 {
		b.addHoleLocked(manifest.Hole{UpTo: v.Bound, Records: v.Records, File: first.File, Offset: first.Offset})
	}
	b.next = max(b.next, v.Bound+1)
	b.mu.revision = max(b.mu.revision, b.next-1)
	b.markDirty()
}
