package bucket

import (
	"fmt"
	"slices"

	"kvd/bucket/cut"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
)

// heldCut is the state of some buckets at one position of the log, as a checkpoint writes it to the
// manifest, and pins on all files that belong to it. Writers and compaction go on: pinned files
// stay as long as the cut is held, also those of deleted buckets.
type heldCut struct {
	store   *Store
	buckets map[uint64]*cutBucket // by id; their segments are known from take on
	all     bool                  // all buckets, whatever buckets has
	state   manifest.State        // with these buckets alone
	files   []cutFile
	lost    []*kv.CorruptError // segments that the source has not got either
}

// cutBucket is a bucket of a cut.
type cutBucket struct {
	bucket   *Bucket
	held     heldSegments
	segments []cutSegment // of the files that the bucket had, ascending by revision
}

// cutSegment is a segment of a cut, with the value files of the records that it had.
type cutSegment struct {
	segment *openSegment
	values  []valueFile
}

// cutFile is a file to be copied.
type cutFile struct {
	cut.File
	bucket  *Bucket
	segment *openSegment // nil for a value file
	desc    segment.Desc // of a segment, as of the cut
}

// makeCut makes a checkpoint and takes the state of the buckets of those names that it writes, or of
// all buckets if there are none. The caller releases the cut.
func (s *Store) makeCut(names []string) (*heldCut, error) {
	c := &heldCut{store: s, buckets: make(map[uint64]*cutBucket), all: len(names) == 0}
	for _, name := range names {
		b, err := s.lookup(name)
		if err != nil {
			return nil, err
		}
		c.buckets[b.id] = &cutBucket{bucket: b}
	}
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	if _, err := s.checkpointLocked(paced, c); err != nil {
		c.release()
		return nil, err
	}
	if err := c.describe(); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// take captures the dirty ones among the cut's buckets, and pins the files of all, in one hold of the
// path. So the state of all is that of one position of the log. It returns the other dirty buckets. The
// caller holds checkpoint and path.
func (c *heldCut) take(cp *pendingCheckpoint, dirty []*Bucket) []*Bucket {
	s := c.store
	if c.all {
		s.mu.RLock()
		for id, b := range s.mu.ids {
			if !b.hidden { // an import that is not committed is no part of the store
				c.buckets[id] = &cutBucket{bucket: b}
			}
		}
		s.mu.RUnlock()
	}
	c.state.Clock = s.clock.now()
	for _, b := range c.buckets {
		b.pin()
	}
	others := dirty[:0:0]
	for _, b := range dirty {
		if c.buckets[b.id] == nil {
			others = append(others, b)
		} else if captured := b.capture(cp.edit.LogLow, cp.edit.LogLow); captured != nil {
			cp.captures = append(cp.captures, captured)
		}
	}
	return others
}

// pin pins the bucket's files. The caller holds checkpoint and path.
func (x *cutBucket) pin() {
	b := x.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.gone != nil || b.memory {
		return
	}
	x.held.bucket = b
	x.held.beginLocked() // a value file goes with the newest of the segments that had it: all are held
	for sl := range b.files() {
		x.segments = append(x.segments, cutSegment{sl, slices.Clip(sl.values)})
	}
}

// describe takes the buckets' entries from the manifest, which the checkpoint has written, and lists
// their files. The caller holds checkpoint.
func (c *heldCut) describe() error {
	state := &c.store.checkpoint.state
	c.state.LogLow, c.state.Numbers, c.state.MaxBucketID = state.LogLow, state.Numbers, state.MaxBucketID
	c.state.ValueFiles, c.state.LostOperations = state.ValueFiles, state.LostOperations
	if c.all { // they tell of all buckets
		c.state.LogWords = state.LogWords
	}
	c.state.Buckets = make(map[uint64]*manifest.Bucket, len(c.buckets))
	for id, b := range c.buckets {
		entry := state.Buckets[id]
		if entry == nil {
			return b.bucket.notFound()
		}
		c.state.Buckets[id] = entry
		c.addFiles(b, entry)
	}
	return nil
}

// addFiles lists the segments that the manifest has of a bucket, with their value files. One that is lost has none.
func (c *heldCut) addFiles(b *cutBucket, entry *manifest.Bucket) {
	held := make(map[uint64]*cutSegment, len(b.segments))
	for i := range b.segments {
		held[b.segments[i].segment.Number()] = &b.segments[i]
	}
	for i := range entry.Segments {
		d := &entry.Segments[i]
		x := held[d.Number]
		if x == nil {
			c.lost = append(c.lost, &kv.CorruptError{File: holeFile(d.Number), Offset: -1, Bucket: entry.Config.Bucket,
				Detail: fmt.Sprintf("a segment of bucket %q is missing", entry.Config.Bucket)})
			continue
		}
		c.files = append(c.files, cutFile{
			File:   cut.File{Bucket: d.BucketID, Number: d.Number, Size: d.Size},
			bucket: b.bucket, segment: x.segment, desc: d.Desc,
		})
		for _, v := range x.values {
			c.files = append(c.files, cutFile{
				File:   cut.File{Bucket: d.BucketID, Number: v.number, Value: true, Size: segment.ValueFileBytes(v.size)},
				bucket: b.bucket,
			})
		}
	}
}

// content returns what the cut holds.
func (c *heldCut) content() *cut.Content {
	content := cut.Describe(c.store.identity, &c.state)
	slices.SortFunc(c.files, func(a, b cutFile) int { return a.Compare(b.File) })
	for i := range c.files {
		content.Files = append(content.Files, c.files[i].File)
	}
	return content
}

// release releases all pins.
func (c *heldCut) release() {
	for _, b := range c.buckets {
		if b.held.bucket != nil {
			b.held.end()
		}
	}
	if s := c.store; !s.closed.Load() {
		s.removeLater(nil) // what was pinned
	}
}
