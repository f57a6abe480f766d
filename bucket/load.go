package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
)

// This file is the second part of an open: it loads the indexes of all buckets from
// the index blocks of the segments that the manifest names.

// loadBuckets builds every bucket's index from its segments' index blocks.
func (r *recovery) loadBuckets() error {
	state := &r.found.State
	descs := slices.SortedFunc(maps.Values(state.Buckets), func(a, b *manifest.Bucket) int { return int(a.ID) - int(b.ID) })
	total := int64(0)
	for _, d := range descs {
		for _, s := range d.Segments {
			total += s.Size
		}
	}
	meter := progress.Start(StageIndex, total, r.store.opts.Progress)
	workers := 1
	if !r.store.opts.env.Manual {
		workers = min(runtime.GOMAXPROCS(0), len(descs), scannersMax) // each has a file open
	}
	var next, failed atomic.Int64
	errs := make([]error, len(descs))
	buckets := make([]*Bucket, len(descs))
	load := func() {
		for failed.Load() == 0 {
			i := int(next.Add(1)) - 1
			if i >= len(descs) {
				return
			}
			buckets[i], errs[i] = r.loadBucket(descs[i], meter)
			if errs[i] != nil {
				failed.Store(1)
			}
		}
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(load)
	}
	group.Wait()
	for _, b := range buckets {
		if b != nil {
			r.store.mu.ids[b.id] = b
			if !b.hidden {
				r.store.mu.buckets[b.name] = b
			}
		}
	}
	return errors.Join(errs...)
}

// loadBucket opens a bucket's segments and loads their entries. Records that are missing put
// the bucket in doubt. They do not affect other buckets.
func (r *recovery) loadBucket(d *manifest.Bucket, meter *progress.Meter) (*Bucket, error) {
	b := newBucket(r.store, d.ID, d.Life, d.Created, d.Config)
	b.next, b.mu.live, b.mu.compactedEndUpTo, b.mu.skipped, b.position = d.Next, d.Live, d.CompactedEndUpTo, d.Skipped, d.Position
	b.mu.revision, b.issuable, b.hidden = d.Next-1, d.Next-1, d.Hidden
	b.setDoubtLocked(withoutHolesOf(d.Doubt, d.Segments))
	l := loading{recovery: r, bucket: b, batches: batches{bucket: b, batch: new(batch)}}
	if err := l.load(d, meter); err != nil {
		return b, err
	}
	b.forgetReadable()
	if !b.mu.live.Empty() {
		b.applyRules()
	}
	return b, nil
}

// load loads the index, from an image if there is one.
func (l *loading) load(d *manifest.Bucket, meter *progress.Meter) error {
	fromImage := l.fromImage(d)
	if !fromImage {
		l.bucket.mu.index.Grow(expectedKeys(d))
	}
	for i := range d.Segments {
		if !fromImage {
			err := l.segment(&d.Segments[i], i == len(d.Segments)-1)
			l.batches.finish()
			if err != nil {
				return err
			}
		}
		meter.Add(d.Segments[i].Size)
	}
	return nil
}

// expectedKeys returns the expected number of keys in the index. The number in the
// manifest is a hint; it is bounded by the number of records that the segments have room
// for.
func expectedKeys(d *manifest.Bucket) int {
	var most int64
	for i := range d.Segments {
		most += d.Segments[i].Size / int64(segment.RecordSize(1, 0, 0, false, false))
	}
	return int(min(d.Keys, uint64(most)))
}

// loading is the loading of one bucket.
type loading struct {
	*recovery
	bucket  *Bucket
	batches batches
	last    kv.Revision // the last revision of the segments before
}

// segment opens a segment and loads its entries. A segment with any damage is never appended
// to again: its file stays as it is.
func (l *loading) segment(d *manifest.Segment, last bool) error {
	b := l.bucket
	open := d.Desc
	open.Sealed = open.Sealed || !last // records are appended to the last one only
	seg, err := segment.Open(b.disk, open)
	var corrupt *kv.CorruptError
	if errors.Is(err, fs.ErrNotExist) {
		corrupt = &kv.CorruptError{File: path.Join(l.store.segments.Dir, segment.FileName(d.Number)), Offset: -1,
			Detail: fmt.Sprintf("segment of bucket %q is missing", b.name)}
	}
	if corrupt != nil || errors.As(err, &corrupt) {
		b.addSegment(nil, d, true)
		l.damaged(corrupt)
		l.hole(d, segment.Hole{From: -1, Records: d.Records, After: l.last, Bound: d.Last})
		l.last = max(l.last, d.Last)
		return nil //nolint:nilerr // the damage has the error
	}
	if err != nil {
		return err
	}
	sl := b.addSegment(seg, d, true)
	sound, err := l.entries(d, sl)
	if err != nil {
		return err
	}
	l.last = max(l.last, d.Last)
	switch {
	case open.Sealed:
	case sound:
		b.active = sl
	default:
		sl.EndUnchanged()
	}
	return nil
}

// entries loads the entries of a segment. It reports whether it met no damage.
func (l *loading) entries(d *manifest.Segment, sl *openSegment) (sound bool, err error) {
	b := l.bucket
	sound = true
	damaged := func(c *kv.CorruptError) {
		sound = false
		l.damaged(c)
	}
	err = sl.Entries(func(e *segment.Entry) error {
		if e.Op != segment.Erase && e.Revision > b.mu.revision {
			// Records have the same form in the log and in segments. If an index page is
			// unreadable, a sector of the log that was written to the wrong place can be
			// taken for records of the segment. The log still has these records. The
			// revision is not issued for another record.
			b.next = max(b.next, e.Revision+1)
			damaged(&kv.CorruptError{File: path.Join(l.store.segments.Dir, segment.FileName(d.Number)), Offset: e.Offset,
				Detail: fmt.Sprintf("key %q, revision %d, bucket %q: newer than the segment", e.Key, e.Revision, b.name)})
			return nil
		}
		l.batches.add(e, sl)
		return nil
	}, damaged, func(h segment.Hole) {
		h.Err.Bucket = b.name
		damaged(h.Err)
		l.hole(d, h)
	})
	return sound, err
}

// withoutHolesOf returns a doubt without the holes of segments that the bucket has: loading
// them finds each hole again. A segment that is whole now, because its disk can be read again or
// because a copy has replaced its file, has none.
func withoutHolesOf(d manifest.Doubt, segments []manifest.Segment) manifest.Doubt {
	if len(d.Holes) >= manifest.HolesMax {
		return d // the bound may be that of a hole that is not in the list
	}
	before := len(d.Holes)
	d.Holes = slices.DeleteFunc(slices.Clone(d.Holes), func(h manifest.Hole) bool {
		return slices.ContainsFunc(segments, func(s manifest.Segment) bool { return h.File == holeFile(s.Number) })
	})
	if len(d.Holes) == before {
		return d
	}
	d.Bound = 0
	for _, h := range d.Holes {
		d.Bound = max(d.Bound, h.UpTo)
	}
	return d
}

// holeFile is the file of a hole in a segment.
func holeFile(number uint64) string {
	return path.Join(manifest.SegmentDir, segment.FileName(number))
}

// hole puts the bucket in doubt because of a hole in a segment, unless its loss was accepted.
func (l *loading) hole(d *manifest.Segment, h segment.Hole) {
	b := l.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Records == 0 {
		return
	}
	if found, isNew := b.holeLocked(d.Number, &h, l.last); isNew {
		b.addHoleLocked(found)
		if b.mu.doubtful != nil && h.Err != nil {
			b.mu.doubtful.Err = h.Err.Err // the system's reason, if it gave one
		}
	}
}

// holeLocked returns what a hole in a segment means to the bucket. last is the last revision of
// the segments before: a hole that hides erases alone is about the records of these. isNew is
// false if the bucket's doubt has the hole, if its loss was accepted, or if it is about no
// record. The caller holds mu.
func (b *Bucket) holeLocked(number uint64, h *segment.Hole, last kv.Revision) (found manifest.Hole, isNew bool) {
	upTo := min(max(h.Bound, last), b.mu.revision)
	if upTo == 0 {
		return found, false
	}
	found = manifest.Hole{
		After: min(max(h.After, last), upTo-1), UpTo: upTo, Records: h.Records,
		File: holeFile(number), Offset: h.From,
	}
	// An open before this one may have found it already. After depends on other segments.
	same := func(h manifest.Hole) bool {
		return h.File == found.File && h.Offset == found.Offset && h.Records == found.Records && h.UpTo >= found.UpTo
	}
	return found, !slices.ContainsFunc(b.mu.doubt.Holes, same) && !slices.ContainsFunc(b.mu.doubt.Accepted, same)
}

// load puts one entry of an index block into the index.
func (b *Bucket) load(e *segment.Entry, hash uint64, sl *openSegment) {
	sl.records += int64(e.Size)
	if e.File != 0 {
		sl.addValue(e.File, e.ValueLen)
	}
	if e.Op == segment.Erase {
		b.mu.index.Trim(hash, view.String(e.Key), e.Floor, nil)
		return
	}
	sl.addMark(e.Revision, e.Offset)
	b.mu.written = max(b.mu.written, e.Created) // later revisions never have earlier times
	b.mu.index.Load(hash, e.Key, index.Version{
		Revision: e.Revision, Created: e.Created, Deadline: e.Deadline,
		Segment: sl.number, Offset: e.Offset, Size: e.Footprint(),
		Op: kv.Operation(e.Op), Reason: e.Reason,
	}, e.Floor)
}

// named returns the numbers of the segments that the manifest names.
func (r *recovery) named() map[uint64]bool {
	named := make(map[uint64]bool)
	for _, d := range r.found.State.Buckets {
		for _, s := range d.Segments {
			named[s.Number] = true
		}
	}
	return named
}

// removeScratch removes the segments of unfinished work. It removes none if the open has found
// damage, since a file among them may be what is missing.
func (r *recovery) removeScratch() error {
	s := r.store
	if len(s.report.Damages) > 0 || r.evidence != nil { // keepEvidence moves them
		return nil
	}
	named := r.named()
	entries, err := s.opts.env.FS.List(s.segments.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := segment.ParseFileName(e.Name)
		if !ok || number >= s.numbers.end() || named[number] {
			continue
		}
		if err := segment.Remove(s.segments, number, func() {}); err != nil {
			return err
		}
		s.report.Scratch++
	}
	return nil
}

// checkValues compares the value files with those that the segments name, once everything is
// replayed: the log may name files that no segment had before. Missing ones are damage. All
// others are left from unfinished work, and are removed as removeScratch removes segments.
func (r *recovery) checkValues() error {
	s := r.store
	entries, err := s.opts.env.FS.List(s.segments.Dir)
	if err != nil {
		return err
	}
	there := make(map[uint64]bool)
	for _, e := range entries {
		if number, ok := segment.ParseValueFileName(e.Name); ok && number < s.numbers.end() {
			there[number] = true
		}
	}
	for _, b := range s.all() {
		for sl := range b.files() {
			for _, v := range sl.values {
				if !there[v.number] {
					r.damaged(&kv.CorruptError{File: path.Join(s.segments.Dir, segment.ValueFileName(v.number)), Offset: -1,
						Bucket: b.name, Detail: fmt.Sprintf("the file of a value of bucket %q is missing", b.name)})
				}
				delete(there, v.number)
			}
		}
	}
	if r.evidence != nil || len(s.report.Damages) > 0 {
		return nil
	}
	for _, number := range slices.Sorted(maps.Keys(there)) {
		if err := segment.RemoveValue(s.segments, number, func() {}); err != nil {
			return err
		}
		s.report.Scratch++
	}
	return nil
}
