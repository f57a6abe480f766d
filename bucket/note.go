package bucket

import (
	"errors"
	"slices"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// This file notes the damage that reads and scans meet, in the bucket's doubt. The next
// checkpoint writes it to the manifest. Damage that nobody notes is met again.

// noteLost notes that the record of key at that revision cannot be read, if err is damage. It
// does nothing about a record that the bucket no longer keeps. The caller holds no lock of the
// bucket.
func (b *Bucket) noteLost(err error, key string, revision kv.Revision) {
	var damage *kv.CorruptError
	if b.memory || !errors.As(err, &damage) {
		return
	}
	l := manifest.LostRecord{Revision: revision, Key: key}
	b.mu.Lock()
	_, kept := b.mu.index.At(index.Hash(key), key, revision)
	if d := &b.mu.doubt; kept && !slices.Contains(d.Lost, l) && len(d.Lost) < manifest.LostMax {
		d.AddLost(l)
		b.noted()
	}
	b.mu.Unlock()
}

// noted has the next checkpoint write the bucket's doubt.
func (b *Bucket) noted() {
	b.unwritten.Store(true)
	s := b.store
	if s.unwritten.Swap(true) || s.maintain == nil {
		return
	}
	signal(s.maintain.wake)
}

// takeNotes marks the buckets dirty whose doubt has changed. The caller holds path.
func (s *Store) takeNotes() {
	if !s.unwritten.Swap(false) {
		return
	}
	for _, b := range s.list() {
		if b.unwritten.Swap(false) {
			b.markDirty()
		}
	}
}

// forgetReadable forgets the lost records that can be read now: their disk was refused for a
// while, or a copy has replaced their file. Only loading calls it.
func (b *Bucket) forgetReadable() {
	b.mu.doubt.Lost = slices.DeleteFunc(slices.Clone(b.mu.doubt.Lost), func(l manifest.LostRecord) bool {
		v, kept := b.mu.index.At(index.Hash(l.Key), l.Key, l.Revision)
		if !kept {
			return false // the log may have it
		}
		_, _, err := b.mu.segments[v.Segment].Read(nil, v.Offset, v.Size, l.Key, l.Revision)
		return err == nil
	})
}

// examineOnce is examine for a scan, which may meet the same damage again and again.
func (b *Bucket) examineOnce(sl *openSegment, met *kv.CorruptError) {
	if !sl.examined.Swap(true) {
		b.examine(sl, met)
	}
}

// examine logs damage that was met in a segment, and reads the whole segment and notes what is
// lost.
func (b *Bucket) examine(sl *openSegment, met *kv.CorruptError) {
	b.mu.RLock()
	if b.memory || b.mu.gone != nil || !sl.readable() {
		b.mu.RUnlock()
		return
	}
	sl.Pin()
	b.mu.RUnlock()
	defer sl.Unpin()
	log := b.store.opts.Logger
	log.Error("damage found", "bucket", b.name, "cause", met, "ways out", waysOut)
	x := examination{bucket: b, segment: sl}
	if err := sl.Entries(x.entry, func(*kv.CorruptError) {}, x.hole); err != nil {
		log.Error("what a damaged segment has lost is not known", "bucket", b.name, "cause", err)
	}
}

// examination is one call of examine.
type examination struct {
	bucket  *Bucket
	segment *openSegment
	buf     []byte
}

// entry reads a record.
func (x *examination) entry(e *segment.Entry) error {
	rec, buf, err := x.segment.ReadStored(x.buf[:0], e.Offset, e.Footprint(), string(e.Key), e.Revision)
	if err == nil && rec.File.Number != 0 {
		_, buf, err = x.segment.Read(x.buf[:0], e.Offset, e.Footprint(), string(e.Key), e.Revision)
	}
	x.buf = buf
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		if e.Op != segment.Erase {
			x.bucket.noteLost(damage, string(e.Key), e.Revision)
		}
		return nil
	}
	return err
}

// hole puts the bucket in doubt. What the system refuses to read may be read by the next open.
func (x *examination) hole(h segment.Hole) {
	b := x.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, isNew := b.holeLocked(x.segment.Number(), &h, b.lastBeforeLocked(x.segment)); isNew && h.Err.Err == nil {
		b.addHoleLocked(found)
		b.noted()
	}
}
