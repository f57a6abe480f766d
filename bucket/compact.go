package bucket

import (
	"errors"
	"fmt"
	"time"

	"kvd/bucket/compaction"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// rewrite replaces neighbouring segments of a bucket, the inputs, by one that
// holds what stays of them, or by none:
//
//  1. look at the inputs' index entries, and at those of the segments below where the
//     inputs do not decide which records may go (package compaction);
//  2. copy what stays, byte for byte, into the output, verifying it; sync the
//     output and its directory;
//  3. swap them in the manifest, in one record (swap.go);
//  4. let the index follow, a few records at a time; then the inputs retire, and
//     once their last reader is done their files go (remove.go).
//
// What was decided in step 1 and 2 was decided by the index, which knows more than
// the manifest: the swap waits until a checkpoint has caught up. Readers and
// writers go on all the while, and the inputs are there until nobody needs them; a
// crash leaves the old segments or the new one, and what else there is is scratch.
//
// An error before the swap leaves everything as it was. Damage in an input ends
// the compaction; the segment stays as it is and is not chosen again.
type rewrite struct {
	store  *Store
	bucket *Bucket
	inputs []*openSegment // pinned
	below  []*openSegment // pinned
	count  int            // of the inputs
	size   int64          // of them all, bytes
	pace   *pacer
	began  time.Time

	decider *compaction.Decider
	ranks   map[uint32]int // of the inputs, by openSegment.number; of those below: -1

	output  *openSegment     // nil as long as nothing stays
	batch   []byte           // records on their way to it
	entries []*segment.Entry // theirs
	copied  index.Use        // in it and live

	removedUpTo kv.Revision // the highest that goes
	endUpTo     kv.Revision // the highest that goes as the last of its key
	deadKept    int64       // bytes of dead records in the output
	read        int64       // bytes of entries and records

	decided  wal.LSN // the log's position by when all was decided
	replaced bool    // the output is in place
}

const (
	// compactBatch is how many bytes are written to an output at a time.
	compactBatch = 256 << 10
	// compactSync is how many bytes of it may be un-synced, where the disk is shared
	// with writers: a sync of more would hold up those of the log.
	compactSync = 1 << 20
)

// errStale ends a compaction whose inputs are not what they were.
var errStale = errors.New("the segments changed")

// compact rewrites the bucket's segments [from, to), as they are ordered now. The
// caller holds compacting.
func (b *Bucket) compact(from, to int, pace *pacer) (Compaction, error) {
	c, err := b.beginCompaction(from, to, pace)
	if err == nil {
		err = c.write()
	}
	if err == nil {
		err = c.replace()
	}
	if c == nil {
		return Compaction{}, err
	}
	return c.end(err), err
}

// beginCompaction pins the segments [from, to) for a compaction. Several may be
// under way in a bucket, if their inputs differ: each takes what lies below as it
// is now, and that only ever becomes less. Every one is ended with end.
func (b *Bucket) beginCompaction(from, to int, pace *pacer) (*rewrite, error) {
	c := &rewrite{store: b.store, bucket: b, pace: pace, began: time.Now(), ranks: make(map[uint32]int)}
	if err := c.pin(from, to); err != nil {
		return nil, err
	}
	return c, nil
}

// end gives back what the compaction holds, its output too if it was not put in
// place, and tells the observer.
func (c *rewrite) end(err error) Compaction {
	done := c.report(err)
	c.discardOutput()
	c.unpin()
	if o, ok := c.store.opts.Observer.(CompactionObserver); ok {
		o.Compacted(done)
	}
	return done
}

// pin takes the inputs and the segments below them.
func (c *rewrite) pin(from, to int) error {
	b := c.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.checkWritableLocked(); err != nil {
		return err
	}
	if to > len(b.mu.order) {
		return errStale
	}
	c.below, c.inputs = b.mu.order[:from:from], b.mu.order[from:to:to]
	c.decider = compaction.NewDecider(from == 0)
	for _, sl := range c.below {
		c.ranks[sl.number] = -1
		sl.Pin()
	}
	for i, sl := range c.inputs {
		c.ranks[sl.number] = i
		c.size += sl.Size()
		sl.Pin()
	}
	c.count = len(c.inputs)
	return nil
}

func (c *rewrite) unpin() {
	for _, sl := range c.below {
		sl.Unpin()
	}
	for _, sl := range c.inputs {
		sl.Unpin()
	}
}

// write makes the output: steps 1 and 2.
func (c *rewrite) write() error {
	err := c.look()
	if err == nil {
		err = c.copy()
	}
	if err == nil {
		err = c.finish()
	}
	c.decided = c.position()
	return c.wrap(err)
}

// replace puts the output in place: steps 3 and 4.
func (c *rewrite) replace() error {
	if err := c.swap(); err != nil {
		return c.wrap(err)
	}
	c.replaced = true
	c.follow()
	return nil
}

func (c *rewrite) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("compact bucket %q: %w", c.bucket.name, err)
}

// report describes the run for an observer.
func (c *rewrite) report(err error) Compaction {
	r := Compaction{Bucket: c.bucket.name, Inputs: c.count, Read: c.read, Paused: c.pace.rested, Took: time.Since(c.began), Err: err}
	c.pace.rested = 0
	if err != nil {
		errors.As(err, &r.Damage)
		return r
	}
	r.Freed = c.size
	if c.output != nil {
		r.Written = c.output.Size()
		r.Freed -= r.Written
	}
	return r
}

// look notes what is needed to know whether the last records of a key may go.
func (c *rewrite) look() error {
	if len(c.below) == 0 {
		return nil
	}
	err := c.eachInput(func(e *segment.Entry, position int64, s compaction.InIndex) error {
		c.decider.SeeInput(e, position, s)
		return nil
	})
	if err != nil || !c.decider.NeedsBelow() {
		return err
	}
	for _, sl := range c.below {
		unknown := sl.damaged.Load()
		err := sl.Entries(func(e *segment.Entry) error {
			c.decider.SeeBelow(e)
			return c.looked(e)
		}, func(*kv.CorruptError) { unknown = true })
		if err != nil {
			return err
		}
		if unknown {
			c.decider.SeeUnreadable()
		}
	}
	return nil
}

// looked counts an entry that was read.
func (c *rewrite) looked(e *segment.Entry) error {
	const about = 16 // bytes of its index block beside the key
	c.read += int64(len(e.Key)) + about
	return c.spend(int64(len(e.Key)) + about)
}

// eachInput calls fn for every record of the inputs, oldest first, with what the
// index shows of its key at that moment. Damage ends it.
func (c *rewrite) eachInput(fn func(e *segment.Entry, position int64, s compaction.InIndex) error) error {
	for i, sl := range c.inputs {
		var damage *kv.CorruptError
		err := sl.Entries(func(e *segment.Entry) error {
			if damage != nil {
				return damage
			}
			if err := c.looked(e); err != nil {
				return err
			}
			return fn(e, int64(i)<<32|e.Offset, c.inIndex(e, i))
		}, func(d *kv.CorruptError) { damage = d })
		if damage != nil {
			return c.damaged(sl, damage)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// damaged notes damage in an input: it stays as it is from now on.
func (c *rewrite) damaged(sl *openSegment, d *kv.CorruptError) error {
	sl.damaged.Store(true)
	c.store.opts.Logger.Error("damage found", "bucket", c.bucket.name, "cause", d)
	return d
}

// inIndex looks up a record of an input. A version of its revision is the record,
// wherever the index has it: there are no two.
func (c *rewrite) inIndex(e *segment.Entry, input int) (s compaction.InIndex) {
	b, key := c.bucket, view.String(e.Key)
	hash := index.Hash(key)
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.mu.index.Newest(hash, key)
	switch {
	case !ok:
	case v.Revision == e.Revision && e.Op != segment.Erase:
		s.Live = true
	case c.follows(v, input, e.Offset):
		s.Newer = true
		if e.Op != segment.Erase {
			_, s.Live = b.mu.index.At(hash, key, e.Revision)
		}
	default:
		s.Older = true
	}
	return s
}

// follows reports whether a version stands behind an offset of an input.
func (c *rewrite) follows(v index.Version, input int, offset int64) bool {
	rank, ok := c.ranks[v.Segment]
	return !ok || rank > input || rank == input && v.Offset > offset
}

// copy decides about every record of the inputs and copies those that stay.
func (c *rewrite) copy() error {
	var sl *openSegment
	err := c.eachInput(func(e *segment.Entry, position int64, s compaction.InIndex) error {
		sl = c.inputs[position>>32]
		switch c.decider.Decide(e, position, s) {
		case compaction.RemoveSuperseded:
			c.leaveOut(e)
			return nil
		case compaction.RemoveLast:
			c.leaveOut(e)
			if e.Op != segment.Erase {
				c.endUpTo = e.Revision
			}
			return nil
		case compaction.KeepDead:
			c.deadKept += int64(e.Size)
		case compaction.KeepLive:
			c.copied.Versions++
			c.copied.Bytes += int64(e.Size)
		}
		return c.keep(sl, e)
	})
	if err == nil {
		err = c.flush()
	}
	return err
}

// leaveOut records that a record is removed.
func (c *rewrite) leaveOut(e *segment.Entry) {
	if e.Op != segment.Erase {
		c.removedUpTo = e.Revision
	}
}

// keep reads a record and verifies it, and puts it into the batch.
func (c *rewrite) keep(sl *openSegment, e *segment.Entry) error {
	if len(c.batch)+int(e.Size) > compactBatch {
		if err := c.flush(); err != nil {
			return err
		}
	}
	rec, batch, err := sl.ReadStored(c.batch, e.Offset, e.Size, view.String(e.Key), e.Revision)
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		return c.damaged(sl, damage)
	}
	if err != nil {
		return err
	}
	kept := *e
	kept.Key = rec.Key // the entry's is gone when it is needed
	kept.ValueLen = uint32(len(rec.Value))
	c.batch, c.entries = batch, append(c.entries, &kept)
	c.read += int64(e.Size)
	return c.spend(int64(e.Size))
}

// flush writes the batch to the output.
func (c *rewrite) flush() error {
	if len(c.entries) == 0 {
		return nil
	}
	if c.output == nil {
		if err := c.create(); err != nil {
			return err
		}
	}
	bound := int64(0)
	for _, e := range c.entries {
		bound += int64(segment.EntryBound(len(e.Key)))
	}
	err := c.withReserve(func() error { return c.output.Reserve(int64(len(c.batch)), bound) })
	if err != nil {
		return err
	}
	offset, err := c.output.Append(c.batch)
	if err != nil {
		return err
	}
	for _, e := range c.entries {
		e.Offset = offset
		offset += int64(e.Size)
		c.output.AddEntry(e)
		if e.Op != segment.Erase {
			c.output.addMark(e.Revision, e.Offset)
		}
	}
	before := c.output.records
	c.output.records += int64(len(c.batch))
	written := int64(len(c.batch))
	clear(c.entries)
	c.batch, c.entries = c.batch[:0], c.entries[:0]
	if cap(c.batch) > 4*compactBatch {
		c.batch = nil
	}
	if c.pace.shares() && before/compactSync != c.output.records/compactSync {
		if err := c.output.Sync(); err != nil {
			return err
		}
	}
	return c.spend(written)
}

// create makes the output and adds it to the bucket. The index does not refer to it yet.
func (c *rewrite) create() error {
	limit := int64(0)
	for _, sl := range c.inputs {
		limit += 2 * sl.Size() // an entry is smaller than its record
	}
	s, b := c.store, c.bucket
	make := func() error {
		s.path.Lock()
		defer s.path.Unlock()
		if s.path.numbers >= s.path.reserved {
			return errNumbers
		}
		if len(b.mu.segments) >= segmentsMax {
			return fmt.Errorf("%w: bucket %q has had %d segments since it was opened: reopen the store", kv.ErrReadOnly, b.name, segmentsMax)
		}
		number := s.path.numbers
		s.path.numbers++
		seg, err := segment.Create(s.segments, number, b.id, min(limit, segment.MaxSize))
		if err == nil {
			c.output = b.addSegment(seg, &manifest.Segment{}, false)
		}
		return err
	}
	err := c.withReserve(make)
	if errors.Is(err, errNumbers) {
		if err = s.makeCheckpoint(paced); err == nil {
			err = c.withReserve(make)
		}
	}
	return err
}

// withReserve does what asks the disk for room, giving up the reserve for it: a
// compaction is how room comes back.
func (c *rewrite) withReserve(do func() error) error {
	err := do()
	for errors.Is(err, vfs.ErrNoSpace) && c.store.lendReserve() {
		err = do()
	}
	if errors.Is(err, vfs.ErrNoSpace) {
		return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
	}
	return err
}

// finish makes the output durable. An error of its own sync costs the output and
// nothing else; one of the directory's is another matter: segments that others
// made may have lost their names.
func (c *rewrite) finish() error {
	if c.output == nil {
		return nil
	}
	block, ok := c.output.BeginIndex()
	if !ok {
		panic("bucket: compaction made an output without a record")
	}
	if err := c.output.WriteIndex(block); err != nil {
		return err
	}
	if err := c.output.Seal(); err != nil {
		return err
	}
	if err := c.store.opts.env.FS.SyncDir(c.store.segments.Dir); err != nil {
		return c.store.poison(fmt.Errorf("sync %s: %w", c.store.segments.Dir, err))
	}
	return nil
}

// discardOutput removes the output if it was not put in place.
func (c *rewrite) discardOutput() {
	if c.output == nil || c.replaced {
		return
	}
	c.bucket.mu.Lock()
	c.output.Pin()
	c.output.released = c.output.Retire()
	c.bucket.mu.segments[c.output.number] = nil
	c.bucket.mu.Unlock()
	if c.store.closed.Load() || c.store.checkFailure() != nil {
		c.output.Unpin() // the directory may be another's by now, or is not to be touched: this is scratch
		return
	}
	c.store.removeLater([]*openSegment{c.output})
	c.output = nil
}

// spend counts bytes and waits, where the pace says so. It returns an error where
// the compaction is to end.
func (c *rewrite) spend(n int64) error {
	if err := c.pace.spend(n); err != nil {
		return err
	}
	if c.store.closed.Load() {
		return kv.ErrClosed
	}
	return nil
}
