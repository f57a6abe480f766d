package bucket

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// swap puts the output in the place of the inputs, in the manifest and then in memory. If
// the bucket has changed since the last checkpoint, it makes one first: a record may be
// superseded by one that only the log has.
func (c *rewrite) swap() error {
	for {
		err := c.trySwap(c.decided)
		if !errors.Is(err, errUncovered) {
			return err
		}
		if err := c.store.makeCheckpoint(c.pace.checkpoints()); err != nil {
			return err
		}
	}
}

// errUncovered reports that the decisions used newer state than the manifest has.
var errUncovered = errors.New("the manifest is behind")

// position returns the log's position.
func (c *rewrite) position() wal.LSN {
	c.store.path.Lock()
	defer c.store.path.Unlock()
	return c.store.lastLSN()
}

// trySwap is swap without a checkpoint. decided is the log's position that the decisions
// were based on. If the bucket is dirty and the manifest is behind that position, the
// error is errUncovered.
func (c *rewrite) trySwap(decided wal.LSN) error {
	s, b := c.store, c.bucket
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	if err := s.checkWritable(); err != nil {
		return err
	}
	if s.checkpoint.manifest == nil {
		return kv.ErrClosed
	}
	if err := s.checkPlaceNow(); err != nil {
		return err
	}
	old := s.checkpoint.state.Buckets[b.id]
	if old == nil {
		return b.notFound()
	}
	s.path.Lock()
	dirty := b.dirty
	s.path.Unlock()
	if dirty && old.Position < decided {
		return errUncovered
	}
	if err := c.complete(); err != nil {
		return err
	}
	desc, err := c.describe(old)
	if err != nil {
		return err
	}
	if err := s.logEdit(&manifest.Edit{Buckets: []*manifest.Bucket{desc}}); err != nil {
		if vfs.Refuses(err) { // nothing was written, so a later manifest.Rewrite must not contain the edit
			s.checkpoint.state.Buckets[b.id] = old
			return s.refused(err)
		}
		return s.poison(fmt.Errorf("swap: %w", err))
	}
	c.install(desc)
	return nil
}

// complete checks that the output has every live record of the inputs. Records can only
// have become dead since they were copied. So the index must have at most as many versions
// and bytes in the inputs as were copied; if it has more, their index blocks did not list
// them all.
func (c *rewrite) complete() error {
	b := c.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return b.mu.gone
	}
	live := c.usesLocked()
	if live.Versions > c.copied.Versions || live.Bytes > c.copied.Bytes {
		for _, sl := range c.inputs {
			sl.unfit.Store(true)
		}
		return fmt.Errorf("%d records with %d bytes are live in segments that list %d with %d",
			live.Versions, live.Bytes, c.copied.Versions, c.copied.Bytes)
	}
	return nil
}

// usesLocked sums up the versions that the index has in the inputs. The caller holds mu.
func (c *rewrite) usesLocked() (sum index.Use) {
	for _, sl := range c.inputs {
		use := c.bucket.mu.index.Use(sl.number)
		sum.Versions += use.Versions
		sum.Bytes += use.Bytes
	}
	return sum
}

// describe returns the bucket as the manifest has it, with the output in the place of the
// inputs.
func (c *rewrite) describe(old *manifest.Bucket) (*manifest.Bucket, error) {
	from := slices.IndexFunc(old.Segments, func(d manifest.Segment) bool { return d.Number == c.inputs[0].Number() })
	if from < 0 || from+len(c.inputs) > len(old.Segments) {
		return nil, errStale
	}
	removedUpTo := c.removedUpTo
	for i, sl := range c.inputs {
		d := &old.Segments[from+i]
		if d.Number != sl.Number() || d.Size != sl.Size() {
			return nil, errStale
		}
		removedUpTo = max(removedUpTo, d.RemovedUpTo)
	}
	desc := *old
	desc.Doubt = c.bucket.doubt() // newer than the one in old, which may lack holes of the inputs
	c.salvage.addTo(&desc.Doubt)
	if !desc.Doubt.Whole() {
		desc.Digest = nil
	}
	desc.CompactedEndUpTo = max(desc.CompactedEndUpTo, c.endUpTo)
	rest := slices.Clone(old.Segments[from+len(c.inputs):])
	desc.Segments = slices.Clone(old.Segments[:from])
	switch {
	case c.output != nil:
		desc.Segments = append(desc.Segments, manifest.Segment{Desc: c.output.Desc(), RemovedUpTo: removedUpTo})
	case len(rest) > 0: // RemovedUpTo of the next segment covers the removed records
		rest[0].RemovedUpTo = max(rest[0].RemovedUpTo, removedUpTo)
	}
	desc.Segments = append(desc.Segments, rest...)
	return &desc, nil
}

// install makes memory agree with the manifest. The segments of the manifest are the first
// of those in memory, in the same order. The caller holds checkpoint.
func (c *rewrite) install(desc *manifest.Bucket) {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	from := slices.Index(b.mu.order, c.inputs[0])
	var output []*openSegment
	if c.output != nil {
		output = []*openSegment{c.output}
		c.output.deadKept = c.deadKept
	}
	b.mu.order = slices.Concat(b.mu.order[:from], output, b.mu.order[from+len(c.inputs):])
	b.mu.compactedEndUpTo = max(b.mu.compactedEndUpTo, desc.CompactedEndUpTo)
	if d := b.mu.doubt; c.salvage.addTo(&d) {
		b.setDoubtLocked(d)
	}
	if from < len(desc.Segments) { // the output, or the segment that takes over its RemovedUpTo
		sl := b.mu.order[from]
		sl.removedUpTo = max(sl.removedUpTo, desc.Segments[from].RemovedUpTo)
	}
	if c.endUpTo != 0 { // dead records above were kept because of removed ones, and may be removed now
		for _, sl := range b.mu.order[from+len(output):] {
			sl.deadKept = 0
		}
	}
	if c.output == nil {
		return
	}
	b.holdLocked(c.output)
	c.output.Pin()
	if b.mu.gone != nil { // deleted since: the checkpoint that records the deletion removes the file
		c.output.Pin() // for release
		c.output.released = c.output.Retire()
	}
}

// follow moves the places in the index to the output, a few records at a time, and retires
// the inputs.
func (c *rewrite) follow() {
	if c.output != nil {
		if err := c.move(); err != nil {
			// The index lacks places in the output, so that live records there look dead.
			// It is not compacted.
			c.output.unfit.Store(true)
			c.store.opts.Logger.Error("segments stay that were replaced: an index could not follow", "bucket", c.bucket.name, "cause", err)
		}
		c.output.Unpin()
	}
	c.retire()
}

// moves collects records whose places in the index are to be moved.
type moves struct {
	keys    []byte
	entries []segment.Entry // without keys: key i ends at ends[i] in keys
	ends    []int
}

// move moves the places of all records of the output.
func (c *rewrite) move() error {
	var m moves
	damaged := error(nil)
	err := c.output.Entries(func(e *segment.Entry) error {
		m.keys = append(m.keys, e.Key...)
		m.ends = append(m.ends, len(m.keys))
		m.entries = append(m.entries, *e)
		if len(m.entries) == applySlice {
			c.apply(&m)
			runtime.Gosched() // a judge, or a reader, may wait for the lock
		}
		return nil
	}, func(d *kv.CorruptError) { damaged = d }, nil)
	c.apply(&m)
	return errors.Join(err, damaged)
}

// apply moves the collected records under one hold of mu, and empties m.
func (c *rewrite) apply(m *moves) {
	b := c.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	start := 0
	for i := range m.entries {
		e, key := &m.entries[i], view.String(m.keys[start:m.ends[i]])
		start = m.ends[i]
		hash := index.Hash(key)
		v, ok := b.mu.index.At(hash, key, e.Revision)
		if rank, input := c.ranks[v.Segment]; ok && input && rank >= 0 && e.Op != segment.Erase {
			b.mu.index.Move(hash, key, e.Revision, v.Place(), index.Place{Segment: c.output.number, Offset: e.Offset})
			if e.Footprint() != v.Size { // its value is lost
				b.mu.index.Resize(hash, key, e.Revision, e.Footprint())
			}
		}
	}
	m.keys, m.entries, m.ends = m.keys[:0], m.entries[:0], m.ends[:0]
}

// keepValues takes the value files that the output has too from an input, so that they do not go
// with it. The caller holds mu.
func (c *rewrite) keepValues(input *openSegment) {
	if len(input.values) == 0 || c.output == nil {
		return
	}
	kept := make(map[uint64]bool, len(c.output.values))
	for _, v := range c.output.values {
		kept[v.number] = true
	}
	values := input.values
	input.values, input.valueBytes = nil, 0
	for _, v := range values {
		if !kept[v.number] {
			input.addValue(v.number, v.size)
		}
	}
}

// retire releases the inputs and has their files removed. An input that the index still
// has places in is kept until the next open.
func (c *rewrite) retire() {
	b := c.bucket
	var dead []*openSegment
	b.mu.Lock()
	for _, sl := range c.inputs {
		c.keepValues(sl)
		c.dropped += sl.valueBytes
		switch {
		case sl.released != nil: // retired with its bucket
			dead = append(dead, sl)
		case b.mu.index.Use(sl.number).Versions == 0:
			sl.Pin() // for removeLater
			sl.released = sl.Retire()
			sl.marks = nil
			b.removeNumberLocked(sl)
			dead = append(dead, sl)
		default:
			b.mu.replaced = append(b.mu.replaced, sl)
		}
	}
	b.mu.Unlock()
	c.unpin()
	c.inputs, c.below, c.retired = nil, nil, dead
	c.store.removeLater(dead)
}
