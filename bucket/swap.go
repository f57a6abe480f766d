package bucket

import (
	"errors"
	"fmt"
	"slices"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// swap puts the output in the inputs' place, in the manifest and then in memory.
// It waits for a checkpoint where the bucket has changed since the last: a record
// may be dead by another that only the log holds.
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

// errUncovered says that the manifest does not know all that was decided by.
var errUncovered = errors.New("the manifest is behind")

// position returns the log's.
func (c *rewrite) position() wal.LSN {
	c.store.path.Lock()
	defer c.store.path.Unlock()
	return c.store.lastLSN()
}

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
		if errors.Is(err, vfs.ErrNoSpace) { // nothing was written, and a rewrite must not say what was not
			s.checkpoint.state.Buckets[b.id] = old
			return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
		}
		return s.poison(fmt.Errorf("swap: %w", err))
	}
	c.install(desc)
	return nil
}

// complete checks that the output has every live record of the inputs: whatever
// the index leads to there was listed, or died since.
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
			sl.damaged.Store(true)
		}
		return fmt.Errorf("%d records with %d bytes are live in segments that list %d with %d",
			live.Versions, live.Bytes, c.copied.Versions, c.copied.Bytes)
	}
	return nil
}

// usesLocked sums up what the index leads to in the inputs.
func (c *rewrite) usesLocked() (sum index.Use) {
	for _, sl := range c.inputs {
		use := c.bucket.mu.index.Use(sl.number)
		sum.Versions += use.Versions
		sum.Bytes += use.Bytes
	}
	return sum
}

// describe returns the bucket as the manifest has it, with the output in the
// inputs' place.
func (c *rewrite) describe(old *manifest.Bucket) (*manifest.Bucket, error) {
	from := slices.IndexFunc(old.Segments, func(d manifest.Segment) bool { return d.Number == c.inputs[0].Number() })
	if from < 0 || from+len(c.inputs) > len(old.Segments) {
		return nil, errStale
	}
	removedUpTo := c.removedUpTo
	for i, sl := range c.inputs {
		d := &old.Segments[from+i]
		last := from+i == len(old.Segments)-1
		if d.Number != sl.Number() || d.Size != sl.Size() || last && !d.Sealed {
			return nil, errStale
		}
		removedUpTo = max(removedUpTo, d.RemovedUpTo)
	}
	desc := *old
	desc.CompactedEndUpTo = max(desc.CompactedEndUpTo, c.endUpTo)
	rest := slices.Clone(old.Segments[from+len(c.inputs):])
	desc.Segments = slices.Clone(old.Segments[:from])
	switch {
	case c.output != nil:
		desc.Segments = append(desc.Segments, manifest.Segment{Desc: c.output.Desc(), RemovedUpTo: removedUpTo})
	case len(rest) > 0: // what it says of revisions below its own is true of more now
		rest[0].RemovedUpTo = max(rest[0].RemovedUpTo, removedUpTo)
	}
	desc.Segments = append(desc.Segments, rest...)
	return &desc, nil
}

// install makes memory agree with the manifest, whose segments are the first of
// those in memory, in the same order. The caller holds checkpoint.
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
	if from < len(desc.Segments) { // the output, or what has to say so in its stead
		sl := b.mu.order[from]
		sl.removedUpTo = max(sl.removedUpTo, desc.Segments[from].RemovedUpTo)
	}
	if c.endUpTo != 0 { // what was held above for the sake of what went may go now
		for _, sl := range b.mu.order[from+len(output):] {
			sl.deadKept = 0
		}
	}
	if c.output == nil {
		return
	}
	c.output.Pin()
	if b.mu.gone != nil { // deleted since: the checkpoint that says so takes the file
		c.output.Pin() // for release
		c.output.released = c.output.Retire()
	}
}

// follow lets the index lead to the output, a few records at a time, and the
// inputs retire.
func (c *rewrite) follow() {
	if c.output != nil {
		if err := c.move(); err != nil {
			// By the index nothing in the output is alive: it must not be judged by that.
			c.output.damaged.Store(true)
			c.store.opts.Logger.Error("segments stay that were replaced: an index could not follow", "bucket", c.bucket.name, "cause", err)
		}
		c.output.Unpin()
	}
	c.retire()
}

// moves gathers records of which the index is to learn the new place.
type moves struct {
	keys    []byte
	entries []segment.Entry // their keys are ends in keys
	ends    []int
}

func (c *rewrite) move() error {
	var m moves
	damaged := error(nil)
	err := c.output.Entries(func(e *segment.Entry) error {
		m.keys = append(m.keys, e.Key...)
		m.ends = append(m.ends, len(m.keys))
		m.entries = append(m.entries, *e)
		if len(m.entries) == applySlice {
			c.apply(&m)
		}
		return nil
	}, func(d *kv.CorruptError) { damaged = d })
	c.apply(&m)
	return errors.Join(err, damaged)
}

// apply moves some records at once.
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
		}
	}
	m.keys, m.entries, m.ends = m.keys[:0], m.entries[:0], m.ends[:0]
}

// retire gives up the inputs: nobody pins them any more. One that the index still
// leads to stays, until the next open.
func (c *rewrite) retire() {
	b := c.bucket
	var dead []*openSegment
	b.mu.Lock()
	for _, sl := range c.inputs {
		switch {
		case sl.released != nil: // with the bucket
			dead = append(dead, sl)
		case b.mu.index.Use(sl.number).Versions == 0:
			sl.Pin() // for removeLater
			sl.released = sl.Retire()
			sl.marks = nil
			b.mu.segments[sl.number] = nil
			dead = append(dead, sl)
		default:
			b.mu.replaced = append(b.mu.replaced, sl)
		}
	}
	b.mu.Unlock()
	c.unpin()
	c.inputs, c.below = nil, nil
	c.store.removeLater(dead)
}
