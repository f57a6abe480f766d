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

// rewrite replaces neighbouring segments of a bucket, the inputs, by one output with the
// records that are kept, or by none:
//
//  1. read the index entries of the inputs. If they do not decide which records may be
//     removed, read those of the segments below too (package compaction);
//  2. copy the kept records, byte for byte, into the output, and verify them; sync the
//     output and its directory. Value files stay where they are;
//  3. swap inputs and output in the manifest, in one record (swap.go);
//  4. move the places in the index, a few records at a time; then retire the inputs. Their
//     files, and the value files of the records that were left out, are removed once their
//     last reader is done (remove.go).
//
// Steps 1 and 2 decide by the index, which is ahead of the manifest. Therefore the swap
// waits until a checkpoint has caught up. Readers and writers continue all the time, and
// the inputs exist until nobody needs them. A crash leaves the old segments or the new
// one; all other files are scratch.
//
// An error before the swap changes nothing. Damage in an input is dealt with as salvage.go
// says.
type rewrite struct {
	store  *Store
	bucket *Bucket
	inputs []*openSegment // pinned
	below  []*openSegment // pinned
	count  int            // of the inputs
	size   int64          // of them all, bytes
	pace   *pacer
	turns  turns
	began  time.Time

	decider   *compaction.Decider
	belowLost bool           // a file below the inputs is lost
	ranks     map[uint32]int // by openSegment.number: the position of an input, -1 for a segment below

	output  *openSegment     // nil until a record is kept
	batch   []byte           // records to be written to it
	entries []*segment.Entry // the entries of the batch
	copied  index.Use        // the live records in the output

	removedUpTo kv.Revision // the highest removed revision
	endUpTo     kv.Revision // the highest revision that was removed as the last of its key
	deadKept    int64       // bytes of dead records in the output
	salvage     salvage     // what damage took
	read        int64       // bytes of the entries and records read

	decided  wal.LSN        // the log's position when all records were decided
	replaced bool           // the output is in place
	dropped  int64          // bytes of the value files that go with the inputs
	retired  []*openSegment // the inputs whose files are to be removed
}

// compactBatch is how many bytes are written to an output at a time.
const compactBatch = 256 << 10

// errStale ends a compaction because the bucket's segments have changed.
var errStale = errors.New("the segments changed")

// compact rewrites the bucket's segments [from, to) of the present order. The caller holds
// compacting.
func (b *Bucket) compact(from, to int, pace *pacer) (*rewrite, error) {
	c, err := b.beginCompaction(from, to, pace)
	if err != nil {
		return nil, err
	}
	if err = c.write(); err == nil {
		err = c.replace()
	}
	c.end(err)
	return c, err
}

// beginCompaction pins the segments [from, to) for a compaction. Several compactions may be
// under way in a bucket if their inputs differ: each uses the segments below as they are
// now, and records there can only be removed. The caller ends each with end.
func (b *Bucket) beginCompaction(from, to int, pace *pacer) (*rewrite, error) {
	c := &rewrite{store: b.store, bucket: b, pace: pace, began: time.Now(), ranks: make(map[uint32]int)}
	if err := c.pin(from, to); err != nil {
		return nil, err
	}
	return c, nil
}

// end releases the segments of the compaction, removes an output that was not put in
// place, and calls the observer.
func (c *rewrite) end(err error) {
	done := c.report(err)
	c.logSalvage()
	c.discardOutput()
	c.unpin()
	if o, ok := c.store.opts.Observer.(CompactionObserver); ok {
		o.Compacted(done)
	}
}

// pin pins the inputs and the segments below them.
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
	c.inputs = b.mu.order[from:to:to]
	c.decider = compaction.NewDecider(from == 0)
	for _, sl := range b.mu.order[:from] {
		c.ranks[sl.number] = -1
		if sl.lost != nil {
			c.belowLost = true
			continue
		}
		c.below = append(c.below, sl)
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
	r := Compaction{Bucket: c.bucket.name, Inputs: c.count, Read: c.read, Paused: c.pace.rested, Took: time.Since(c.began), Damage: c.salvage.damage, Err: err}
	c.pace.rested = 0
	if err != nil {
		return r
	}
	r.Freed = c.size + c.dropped
	if c.output != nil {
		r.Written = c.output.Size()
		r.Freed -= r.Written
	}
	return r
}

// look shows the decider the records that it needs to decide whether the last record of a
// key may be removed.
func (c *rewrite) look() error {
	if len(c.below) == 0 && !c.belowLost {
		return nil
	}
	err := c.eachInput(func(e *segment.Entry, position int64, s compaction.InIndex) error {
		c.decider.SeeInput(e, position, s)
		return nil
	}, func(*openSegment, *segment.Hole) error { return nil })
	if err != nil || !c.decider.NeedsBelow() {
		return err
	}
	for _, sl := range c.below {
		unknown := sl.unfit.Load()
		err := sl.Entries(func(e *segment.Entry) error {
			c.decider.SeeBelow(e)
			return c.looked(e)
		}, func(*kv.CorruptError) { unknown = true }, nil)
		if err != nil {
			return err
		}
		if unknown {
			c.decider.SeeUnreadable()
		}
	}
	if c.belowLost {
		c.decider.SeeUnreadable()
	}
	return nil
}

// looked counts an entry that was read.
func (c *rewrite) looked(e *segment.Entry) error {
	c.turns.count()
	const about = 16 // bytes of an entry in its index block, without the key
	c.read += int64(len(e.Key)) + about
	return c.spend(int64(len(e.Key)) + about)
}

// eachInput calls fn for every record of the inputs, oldest first, with the state of its
// key in the index at that moment, and missing for every hole of an input.
func (c *rewrite) eachInput(fn func(e *segment.Entry, position int64, s compaction.InIndex) error, missing func(*openSegment, *segment.Hole) error) error {
	for i, sl := range c.inputs {
		var hole *segment.Hole
		last := kv.Revision(0)
		err := sl.Entries(func(e *segment.Entry) error {
			if err := c.looked(e); err != nil {
				return err
			}
			if e.Op != segment.Erase {
				if e.Revision <= last || e.Revision > sl.Desc().Last {
					return nil // damage put a record of another place here
				}
				last = e.Revision
			}
			return fn(e, int64(i)<<32|e.Offset, c.inIndex(e, i))
		}, c.salvage.note, func(h segment.Hole) { hole = &h })
		if err == nil && hole != nil {
			err = missing(sl, hole)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inIndex looks up a record of an input. A version with its revision is that record,
// wherever its place is, because no two versions have the same revision.
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

// follows reports whether the place of a version is behind an offset of an input.
func (c *rewrite) follows(v index.Version, input int, offset int64) bool {
	rank, ok := c.ranks[v.Segment]
	return !ok || rank > input || rank == input && v.Offset > offset
}

// copy decides about every record of the inputs and copies those that are kept.
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
			c.deadKept += int64(e.Footprint())
		case compaction.KeepLive:
			c.copied.Versions++
			c.copied.Bytes += int64(e.Footprint())
		}
		return c.keep(sl, e, s.Live)
	}, c.keepHole)
	if err == nil {
		err = c.flush()
	}
	return err
}

// leaveOut records that an entry's record is removed.
func (c *rewrite) leaveOut(e *segment.Entry) {
	if e.Op != segment.Erase {
		c.removedUpTo = e.Revision
	}
}

// keep reads and verifies a record, and adds it to the batch. If the record is damaged, it
// adds what the entry tells of it.
func (c *rewrite) keep(sl *openSegment, e *segment.Entry, live bool) error {
	if len(c.batch)+int(e.Size) > compactBatch {
		if err := c.flush(); err != nil {
			return err
		}
	}
	rec, batch, err := sl.ReadStored(c.batch, e.Offset, e.Footprint(), view.String(e.Key), e.Revision)
	if err != nil {
		if err = c.refusal(sl, err); err != nil {
			return err
		}
		rec, batch = c.withoutValue(c.batch, e, live)
	}
	kept := *e
	kept.Key = rec.Key // the key of e is valid only during this call
	kept.ValueLen, kept.File, kept.Lost, kept.Size = rec.ValueLen(), rec.File.Number, rec.Lost, uint32(len(batch)-len(c.batch))
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
		bound += int64(segment.EntryBound(len(e.Key), e.File != 0))
	}
	var start int64
	vfs.Yield()
	err := c.withReserve(func() (err error) {
		if err = c.output.Reserve(int64(len(c.batch)), bound); err == nil {
			start, err = c.output.Append(c.batch)
		}
		return err
	})
	if err != nil {
		return err
	}
	offset := start
	for _, e := range c.entries {
		e.Offset, e.HeadSum = offset, segment.HeadSum(c.batch[offset-start:])
		offset += int64(e.Size)
		c.output.AddEntry(e)
		if e.File != 0 {
			c.output.addValue(e.File, e.ValueLen)
		}
		if e.Op != segment.Erase {
			c.output.addMark(e.Revision, e.Offset)
		}
	}
	c.output.records += int64(len(c.batch))
	written := int64(len(c.batch))
	clear(c.entries)
	c.batch, c.entries = c.batch[:0], c.entries[:0]
	if cap(c.batch) > 4*compactBatch {
		c.batch = nil
	}
	if b, ok := c.output.Behind(behindStep); ok && c.pace.shares() {
		if err := b.Start(); err != nil {
			return err
		}
	}
	return c.spend(written)
}

// create makes the output and adds it to the bucket. The index does not refer to it yet.
func (c *rewrite) create() error {
	limit := int64(0)
	for _, sl := range c.inputs {
		limit += sl.Size()
	}
	limit = segment.SizeFor(limit, limit) // an entry is smaller than its record
	s, b := c.store, c.bucket
	make := func() error {
		if err := b.mayStartSegment(); err != nil {
			return err
		}
		number, err := s.numbers.take()
		if err != nil {
			return err
		}
		vfs.Yield()
		seg, err := segment.Create(b.disk, number, b.id, min(limit, segment.MaxSize))
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

// withReserve runs a step that needs room on the disk. On a full disk it lends the step
// the reserve, because a compaction gives room back.
func (c *rewrite) withReserve(do func() error) error {
	err := do()
	for errors.Is(err, vfs.ErrNoSpace) && c.store.lendReserve() {
		err = do()
	}
	if errors.Is(err, vfs.ErrNoSpace) {
		return c.store.noSpace(err)
	}
	return err
}

// finish makes the output durable. If the sync of the output fails, only the output is
// lost. If the sync of the directory fails, the store is poisoned: the names of segments
// that others made may be lost too.
func (c *rewrite) finish() error {
	if c.output == nil {
		return nil
	}
	block, ok := c.output.BeginIndex()
	if !ok {
		panic("bucket: compaction made an output without a record")
	}
	if err := c.withReserve(func() error { return c.output.WriteIndex(block) }); err != nil {
		return err
	}
	if err := c.output.Seal(); err != nil {
		return err
	}
	vfs.Yield()
	if err := c.store.segmentDir.Sync(); err != nil {
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
	c.bucket.removeNumberLocked(c.output)
	c.output.values, c.output.valueBytes = nil, 0 // the inputs have them still
	c.bucket.mu.Unlock()
	if c.store.closed.Load() || c.store.checkFailure() != nil {
		c.output.Unpin() // another process may have the directory, or it must not be touched; the file is scratch
		return
	}
	c.store.removeLater([]*openSegment{c.output})
	c.output = nil
}

// spend counts n bytes, and waits if the pacer requires it. It returns an error if the
// compaction has to end.
func (c *rewrite) spend(n int64) error {
	if err := c.pace.spend(n); err != nil {
		return err
	}
	if c.store.closed.Load() {
		return kv.ErrClosed
	}
	return nil
}
