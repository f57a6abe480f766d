package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"kvd/bucket/image"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// This file writes the images of the indexes of large buckets at a clean close, and reads them
// at the next open.
//
// The content of an image is what loading the segments would give:
//
//	newest time, number of segments · for each: its number in the index, the bytes of its
//	records, number of marks, and revision and offset of each, number of value files, and
//	number and size of each · the index
//
// all in numbers of 8 bytes. The key of an image has the hash of the bucket in the manifest, so
// these are exactly the segments that the manifest names, up to the lengths that it names.
//
// With an image an open does not read the index pages of the segments, but for those of the
// segment that records are appended to. Damage to other pages is then found as in an open store:
// by reads, by compaction and by the scrub. The index knows all keys, so that it puts none in
// doubt. A bucket that is in doubt, or has lost records, has no image.

// imageKeysDefault is the least number of keys for which an image is worth its file: without
// one they take some 30 ms to load.
const imageKeysDefault = 1 << 16

// imageNumbersMax bounds the numbers of segments in an image. An open without an image numbers
// them anew from 0 on.
const imageNumbersMax = 1 << 16

func (s *Store) imageDir() string { return path.Join(s.dir, image.Dir) }

// imageKey returns the key of the image of a bucket in that state.
func (s *Store) imageKey(d *manifest.Bucket) image.Key {
	return image.Key{StoreID: s.identity.StoreID, Bucket: d.ID, Descriptor: d.Hash()}
}

// writeImages writes the images of all buckets that are to have one, and removes all others.
// Nothing may be written to the store any more. A failure costs time at the next open, so it is
// logged only. The caller does not hold checkpoint.
func (s *Store) writeImages() {
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	keep := make(map[uint64]bool)
	for _, b := range s.list() {
		d := s.checkpoint.state.Buckets[b.id]
		if d == nil || !s.wantsImage(b, d) {
			continue
		}
		key := s.imageKey(d)
		if b.imaged == key {
			keep[b.id] = true
			continue
		}
		switch written, err := b.writeImage(key); {
		case err != nil:
			s.opts.Logger.Warn("no image of the index was written; the next open reads the segments", "bucket", b.name, "cause", err)
		case written:
			keep[b.id] = true
		}
	}
	if err := image.Clean(s.opts.env.FS, s.imageDir(), func(id uint64) bool { return keep[id] }); err != nil {
		s.opts.Logger.Warn("old images of indexes could not be removed", "directory", s.imageDir(), "cause", err)
	}
}

// dropImages removes all images, for a write that finds the disk full.
func (s *Store) dropImages() {
	if !s.hasImages.Swap(false) {
		return
	}
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	for _, b := range s.list() {
		b.imaged = image.Key{}
	}
	_ = image.Clean(s.opts.env.FS, s.imageDir(), func(uint64) bool { return false }) // what stays takes room until the next close
}

// wantsImage reports whether the bucket is to have an image.
func (s *Store) wantsImage(b *Bucket, d *manifest.Bucket) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return s.opts.ImageKeys >= 0 && !b.memory && b.mu.index.Len() >= s.opts.ImageKeys &&
		len(b.mu.segments) <= imageNumbersMax && imageable(d) && b.isSettledLocked()
}

// isSettledLocked reports whether every version in the index is in a segment that the manifest
// names. It is not if the index could not follow a compaction. The caller holds mu.
func (b *Bucket) isSettledLocked() bool {
	n := 0
	for _, sl := range b.mu.order {
		n += b.mu.index.Use(sl.number).Versions
	}
	return n == b.mu.index.Count()
}

// imageable reports whether loading the segments would find nothing but records.
func imageable(d *manifest.Bucket) bool {
	return d.Doubt.None()
}

// writeImage writes the image of the bucket. It reports false if something still uses the index
// in a way that an image does not have, as an unfinished listing.
func (b *Bucket) writeImage(key image.Key) (written bool, err error) {
	b.mu.Lock()
	ready := b.mu.index.PrepareImage()
	b.mu.Unlock()
	if !ready {
		return false, nil
	}
	fsys, dir := b.store.opts.env.FS, b.store.imageDir()
	if err := fsys.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	w, err := image.Create(fsys, dir, key)
	if err != nil {
		return false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := errors.Join(b.writeMarks(w), b.mu.index.Write(w)); err != nil {
		w.Abort()
		return false, err
	}
	return true, w.Commit()
}

// writeMarks writes what an image has beside the index. The caller holds mu.
func (b *Bucket) writeMarks(w io.Writer) error {
	words := []uint64{uint64(b.mu.written), uint64(len(b.mu.order))}
	for _, sl := range b.mu.order {
		words = append(words, uint64(sl.number), uint64(sl.records), uint64(len(sl.marks)))
		for _, m := range sl.marks {
			words = append(words, uint64(m.revision), uint64(m.offset))
		}
		words = append(words, uint64(len(sl.values)))
		for _, v := range sl.values {
			words = append(words, v.number, uint64(v.size))
		}
	}
	return binary.Write(w, binary.LittleEndian, words)
}

// fromImage loads the bucket from its image, and reports whether it did. If it did not, nothing
// of the bucket has changed. The index is then loaded from the segments.
func (l *loading) fromImage(d *manifest.Bucket) bool {
	s, b := l.store, l.bucket
	if !imageable(d) || s.opts.ImageKeys < 0 {
		return false
	}
	key := s.imageKey(d)
	r, err := image.Open(s.opts.env.FS, s.imageDir(), key)
	if err != nil {
		l.noImage(err)
		return false
	}
	defer r.Close()
	segments, err := l.openSound(d)
	if segments == nil || err != nil {
		return false // loading them tells why
	}
	in := &imageInput{r: r, left: r.Len()}
	loaded := in.marks(len(segments))
	if in.err == nil {
		loaded.index, in.err = index.Read(in, in.left)
	}
	if in.err != nil {
		l.noImage(in.err)
		return false
	}
	b.takeImage(loaded, segments, d)
	b.imaged = key
	s.hasImages.Store(true)
	l.imaged()
	return true
}

// imaged counts a bucket whose index was read from an image. Buckets load in parallel.
func (r *recovery) imaged() {
	r.damage.Lock()
	defer r.damage.Unlock()
	r.store.report.Images++
}

// noImage logs why an image was not used, unless it is stale or there is none.
func (l *loading) noImage(err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, image.ErrStale) {
		return
	}
	l.store.opts.Logger.Warn("the image of an index was not used; the open reads the segments", "bucket", l.bucket.name, "cause", err)
}

// openSound opens all segments of a bucket, and returns nil if one of them, or the index of the
// one that records are appended to, shows any damage.
func (l *loading) openSound(d *manifest.Bucket) ([]*segment.Segment, error) {
	segments := make([]*segment.Segment, len(d.Segments))
	for i := range d.Segments {
		open := d.Segments[i].Desc
		last := i == len(d.Segments)-1
		open.Sealed = open.Sealed || !last
		seg, err := segment.Open(l.bucket.disk, open)
		if err != nil {
			return nil, err
		}
		if seg.Damaged() || !open.Sealed && !soundIndex(seg) {
			return nil, nil
		}
		segments[i] = seg
	}
	return segments, nil
}

// soundIndex reports whether the index pages of a segment can be read.
func soundIndex(seg *segment.Segment) bool {
	sound := true
	err := seg.Entries(func(*segment.Entry) error { return nil },
		func(*kv.CorruptError) { sound = false },
		func(segment.Hole) { sound = false })
	return sound && err == nil
}

// loadedImage is what an image has of a bucket.
type loadedImage struct {
	written  int64
	segments []openSegment // number, records, marks and values alone
	index    *index.Index
}

// takeImage makes an image, and the segments to which it belongs, those of the bucket.
func (b *Bucket) takeImage(i *loadedImage, segments []*segment.Segment, d *manifest.Bucket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.written, b.mu.index = i.written, i.index
	for n := range i.segments {
		from := &i.segments[n]
		sl := &openSegment{Segment: segments[n], number: from.number, records: from.records, marks: from.marks, removedUpTo: d.Segments[n].RemovedUpTo, values: from.values, valueBytes: from.valueBytes}
		for int(sl.number) >= len(b.mu.segments) {
			b.mu.segments = append(b.mu.segments, nil)
		}
		b.mu.segments[sl.number], b.mu.numbered = sl, append(b.mu.numbered, sl)
		b.mu.order = append(b.mu.order, sl)
		if n == len(i.segments)-1 && !d.Segments[n].Sealed {
			b.active = sl
		}
	}
}

// imageInput reads numbers from an image.
type imageInput struct {
	r    io.Reader
	left int64 // bytes that follow
	err  error
}

func (in *imageInput) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.left -= int64(n)
	return n, err
}

func (in *imageInput) number() uint64 {
	var b [8]byte
	if in.err == nil {
		_, in.err = io.ReadFull(in, b[:])
	}
	return binary.LittleEndian.Uint64(b[:])
}

// count reads a number of things that take at least size bytes each.
func (in *imageInput) count(size int64) int {
	n := in.number()
	if in.err == nil && n > uint64(in.left/size) {
		in.err = fmt.Errorf("it should go on with %d times %d bytes", n, size)
	}
	if in.err != nil {
		return 0
	}
	return int(n)
}

// marks reads what writeMarks wrote of that many segments.
func (in *imageInput) marks(segments int) *loadedImage {
	i := &loadedImage{written: int64(in.number())}
	if n := in.count(3 * 8); n != segments {
		in.err = errors.Join(in.err, fmt.Errorf("it has %d segments, the manifest %d", n, segments))
	}
	if in.err != nil {
		return nil
	}
	i.segments = make([]openSegment, segments)
	numbers := map[uint32]bool{}
	for n := range i.segments {
		sl := &i.segments[n]
		sl.number, sl.records = uint32(in.number()), int64(in.number())
		if in.err == nil && (sl.number >= imageNumbersMax || numbers[sl.number]) {
			in.err = fmt.Errorf("two segments, or none, can have the number %d", sl.number)
		}
		numbers[sl.number] = true
		sl.marks = make([]mark, in.count(2*8))
		for m := range sl.marks {
			sl.marks[m] = mark{kv.Revision(in.number()), int64(in.number())}
		}
		for range in.count(2 * 8) {
			sl.addValue(in.number(), uint32(in.number()))
		}
	}
	return i
}
