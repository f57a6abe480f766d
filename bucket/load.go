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
		workers = min(runtime.GOMAXPROCS(0), len(descs))
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
			r.store.mu.buckets[b.name] = b
			r.store.mu.ids[b.id] = b
		}
	}
	return errors.Join(errs...)
}

// loadBucket opens a bucket's segments and loads their entries. A segment that is missing
// or unreadable makes the bucket read-only. It does not affect other buckets.
func (r *recovery) loadBucket(d *manifest.Bucket, meter *progress.Meter) (*Bucket, error) {
	b := newBucket(r.store, d.ID, d.Life, d.Created, d.Config)
	b.next, b.mu.live, b.mu.compactedEndUpTo, b.mu.skipped, b.position = d.Next, d.Live, d.CompactedEndUpTo, d.Skipped, d.Position
	b.mu.revision, b.issuable = d.Next-1, d.Next-1
	b.setDoubtLocked(d.Doubt)
	b.mu.index.Grow(expectedKeys(d))
	for i := range d.Segments {
		if err := r.loadSegment(b, &d.Segments[i], i == len(d.Segments)-1); err != nil {
			return b, err
		}
		meter.Add(d.Segments[i].Size)
	}
	if !b.mu.live.Empty() {
		b.applyRules()
	}
	return b, nil
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

func (r *recovery) loadSegment(b *Bucket, d *manifest.Segment, last bool) error {
	open := d.Desc
	open.Sealed = open.Sealed || !last // records are appended to the last one only
	seg, err := segment.Open(b.disk, open)
	var corrupt *kv.CorruptError
	if errors.Is(err, fs.ErrNotExist) {
		corrupt = &kv.CorruptError{File: path.Join(r.store.segments.Dir, segment.FileName(d.Number)), Offset: -1,
			Detail: fmt.Sprintf("segment of bucket %q is missing", b.name)}
	}
	if corrupt != nil || errors.As(err, &corrupt) {
		b.addSegment(nil, d, true)
		b.mu.readOnly = fmt.Errorf("%w: bucket %q: %w", kv.ErrReadOnly, b.name, corrupt)
		r.damaged(corrupt)
		return nil //nolint:nilerr // readOnly has the error
	}
	if err != nil {
		return err
	}
	sl := b.addSegment(seg, d, true)
	if !open.Sealed {
		b.active = sl
	}
	damaged := func(c *kv.CorruptError) {
		sl.damaged.Store(true)
		r.damaged(c)
	}
	return seg.Entries(func(e *segment.Entry) error {
		if e.Op != segment.Erase && e.Revision > b.mu.revision {
			// Records have the same form in the log and in segments. If an index block is
			// unreadable, a sector of the log that was written to the wrong place can be
			// taken for records of the segment. The log still has these records. The
			// revision is not issued for another record.
			b.next = max(b.next, e.Revision+1)
			damaged(&kv.CorruptError{File: path.Join(r.store.segments.Dir, segment.FileName(d.Number)), Offset: e.Offset,
				Detail: fmt.Sprintf("key %q, revision %d, bucket %q: newer than the segment", e.Key, e.Revision, b.name)})
			return nil
		}
		b.load(e, sl)
		return nil
	}, damaged)
}

// load puts one entry of an index block into the index.
func (b *Bucket) load(e *segment.Entry, sl *openSegment) {
	hash := index.Hash(view.String(e.Key))
	sl.records += int64(e.Size)
	if e.Op == segment.Erase {
		b.mu.index.Trim(hash, view.String(e.Key), e.Floor, nil)
		return
	}
	sl.addMark(e.Revision, e.Offset)
	b.mu.written = max(b.mu.written, e.Created) // later revisions never have earlier times
	b.mu.index.Load(hash, e.Key, index.Version{
		Revision: e.Revision, Created: e.Created, Deadline: e.Deadline,
		Segment: sl.number, Offset: e.Offset, Size: e.Size,
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

// removeScratch removes the files of unfinished work. It removes none if a segment of a
// bucket is missing, since a file among them may be that segment.
func (r *recovery) removeScratch() error {
	s := r.store
	named := r.named()
	for _, b := range s.mu.buckets {
		if b.mu.readOnly != nil {
			return nil //nolint:nilerr // readOnly has the error
		}
	}
	entries, err := s.opts.env.FS.List(s.segments.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := segment.ParseFileName(e.Name)
		if !ok || number >= s.path.numbers || named[number] {
			continue
		}
		if err := segment.Remove(s.segments, number, func() {}); err != nil {
			return err
		}
		s.report.Scratch++
	}
	return nil
}
