package bucket

import (
	"errors"
	"slices"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// salvage is the damage that a compaction meets in its inputs, and what it took:
//
//   - A damaged record that a sound one supersedes is left out like any other, unread.
//   - Of a damaged record that is kept, everything but its value is known, from its head or
//     from its index entry. It is copied without a value, and reads of it stay an error.
//   - Records of which nothing is known are gone. Their hole stays in the bucket's doubt.
//
// The manifest learns what was lost with the edit that swaps the segments. If the system
// refuses to read an input, it may read it another time: the compaction ends, and the input
// stays as it is.
type salvage struct {
	damage *kv.CorruptError // the first
	lost   []manifest.LostRecord
	holes  []manifest.Hole // that the doubt did not have
}

// note records damage in an input.
func (s *salvage) note(d *kv.CorruptError) {
	if s.damage == nil {
		s.damage = d
	}
}

// refusal returns nil if a record could not be read because it is damaged, and otherwise why
// the compaction has to end.
func (c *rewrite) refusal(sl *openSegment, err error) error {
	var damage *kv.CorruptError
	if !errors.As(err, &damage) {
		return err
	}
	c.salvage.note(damage)
	if damage.Err != nil {
		sl.unfit.Store(true)
		return damage
	}
	return nil
}

// withoutValue appends what an index entry tells of a damaged record: all of an erase, and all
// but the value and the headers of any other record.
func (c *rewrite) withoutValue(batch []byte, e *segment.Entry, live bool) (segment.Record, []byte) {
	r := segment.Record{
		BucketID: c.bucket.id, Revision: e.Revision, Floor: e.Floor, Created: e.Created, Deadline: e.Deadline,
		Op: e.Op, Reason: e.Reason, First: e.First, Lost: e.Op != segment.Erase, Key: slices.Clone(e.Key),
	}
	if r.Lost && live {
		c.salvage.lost = append(c.salvage.lost, manifest.LostRecord{Revision: e.Revision, Key: string(e.Key)})
	}
	return r, c.bucket.disk.Seed.AppendRecord(batch, &r)
}

// keepHole keeps the doubt about the records that an input no longer has.
func (c *rewrite) keepHole(sl *openSegment, h *segment.Hole) error {
	c.salvage.note(h.Err)
	if h.Err.Err != nil {
		sl.unfit.Store(true)
		return h.Err
	}
	b := c.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	if found, isNew := b.holeLocked(sl.Number(), h, b.lastBeforeLocked(sl)); isNew {
		c.salvage.holes = append(c.salvage.holes, found)
	}
	return nil
}

// lastBeforeLocked returns the last revision in the segments before one. The caller holds mu.
func (b *Bucket) lastBeforeLocked(sl *openSegment) (last kv.Revision) {
	for _, before := range b.mu.order {
		switch {
		case before == sl:
			return last
		case before.lost != nil:
			last = max(last, before.lost.Last)
		default:
			last = max(last, before.Desc().Last)
		}
	}
	return last
}

// addTo adds what was lost to a doubt. It reports whether anything was.
func (s *salvage) addTo(d *manifest.Doubt) bool {
	for _, h := range s.holes {
		d.AddHole(h)
	}
	d.AddLost(s.lost...)
	return len(s.holes)+len(s.lost) > 0
}

// logSalvage logs what the compaction has lost for good.
func (c *rewrite) logSalvage() {
	s := &c.salvage
	if s.damage != nil {
		c.store.opts.Logger.Error("damage found by compaction", "bucket", c.bucket.name, "cause", s.damage,
			"values lost", len(s.lost), "holes found", len(s.holes))
	}
}

// lostLocked returns the records whose values are lost and that no newer record has removed
// since. The caller holds mu.
func (b *Bucket) lostLocked() (lost []manifest.LostRecord) {
	for _, l := range b.mu.doubt.Lost {
		if _, ok := b.mu.index.At(index.Hash(l.Key), l.Key, l.Revision); ok {
			lost = append(lost, l)
		}
	}
	return lost
}
