package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// pace says whether a checkpoint leaves the disk to the log in between.
type pace bool

const (
	paced   pace = true
	unpaced pace = false
)

const (
	// checkpointPause is the least time between two files' syncs of a paced
	// checkpoint: 300 syncs in a row raised the log's p99 by 40 %.
	checkpointPause = 2 * time.Millisecond
	// checkpointGlance is how many buckets are captured per hold of the path.
	checkpointGlance = 64
)

// unsyncedFile is a segment that was written to since the last checkpoint.
type unsyncedFile struct {
	segment *openSegment
	blocks  []*segment.Block // begun and not written, in order; a checkpoint that met a full disk leaves some
	created bool             // the directory does not durably name it
	seal    bool             // nothing more will be appended
}

// beginIndex lets an index block over everything noted so far begin.
func (f *unsyncedFile) beginIndex() {
	if block, ok := f.segment.BeginIndex(); ok {
		f.blocks = append(f.blocks, block)
	}
}

// capture is a bucket as it stood between two groups.
type capture struct {
	bucket   *Bucket
	desc     *manifest.Bucket // its segments are filled in once their blocks are written
	segments []*openSegment
	files    []*unsyncedFile
}

// makeCheckpoint moves everything up to a position of the log into segments and
// manifest, so that replay begins behind it:
//
//  1. between two groups, note the log's position; then, for each dirty bucket,
//     take its state and let its index block begin;
//  2. sync the log, so that no position in the manifest is ahead of it;
//  3. write the blocks, sync the files, sync the directory;
//  4. append to manifest copy 1, sync, copy 2, sync;
//  5. remove the files of deleted buckets, recycle the log below the position.
//
// An error in step 2 to 4 poisons the store, other than a full disk that was met
// by something else than a sync. A checkpoint that had to wait until the store
// was closed does nothing: the directory may be another process's by now.
func (s *Store) makeCheckpoint(p pace) error {
	_, err := s.freeLog(p)
	return err
}

// freeLog is makeCheckpoint for who needs room in the log: stuck says why files
// of it could not be recycled, which is no error of the checkpoint.
func (s *Store) freeLog(p pace) (stuck, err error) {
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	if err := s.checkFailure(); err != nil {
		return nil, err
	}
	if s.checkpoint.manifest == nil {
		return nil, kv.ErrClosed
	}
	cp, err := s.capture()
	if err != nil {
		return nil, err
	}
	err = s.writeCheckpoint(cp, p)
	switch {
	case errors.Is(err, vfs.ErrNoSpace):
		s.restore(cp)
		return nil, fmt.Errorf("checkpoint: %w: %w", kv.ErrNoSpace, err)
	case err != nil:
		s.restore(cp)
		return nil, s.poison(fmt.Errorf("checkpoint: %w", err))
	}
	s.path.Lock()
	s.path.reserved = cp.edit.Numbers
	s.rest()
	s.path.Unlock()
	for _, b := range cp.deleted {
		if b.memory {
			b.release()
			continue
		}
		s.removeLater(b.handles())
	}
	if s.log == nil { // recovery: the old files go once the fresh one is there
		return nil, nil
	}
	stuck = s.log.Recycle(cp.edit.LogLow + 1)
	if stuck != nil {
		s.opts.Logger.Warn("log files could not be recycled; the next checkpoint tries again", "cause", stuck)
	}
	return stuck, nil
}

// pendingCheckpoint is a checkpoint under way.
type pendingCheckpoint struct {
	edit     manifest.Edit
	captures []*capture
	deleted  []*Bucket
}

// capture takes the state of every dirty bucket. A group that failed while it
// waited for the path has left records in segments that no index block names: of a
// poisoned store nothing is captured.
func (s *Store) capture() (*pendingCheckpoint, error) {
	cp := &pendingCheckpoint{}
	s.path.Lock()
	if err := s.checkFailure(); err != nil {
		s.path.Unlock()
		return nil, err
	}
	dirty := s.path.dirty
	s.path.dirty = nil
	cp.deleted, s.path.deleted = s.path.deleted, nil
	cp.edit = manifest.Edit{LogLow: s.lastLSN(), Clock: s.clock.newest.Load(), MaxBucketID: s.path.nextID - 1, Numbers: s.moreNumbers()}
	cp.edit.Clean = s.closed.Load() // whoever takes the path from here on writes no more
	for _, b := range cp.deleted {
		cp.edit.Deleted = append(cp.edit.Deleted, b.id)
	}
	cp.edit.Deleted = append(cp.edit.Deleted, s.path.removedIDs...)
	s.path.removedIDs = nil
	s.path.Unlock()
	for len(dirty) > 0 {
		n := min(len(dirty), checkpointGlance)
		s.path.Lock()
		err := s.checkFailure()
		for _, b := range dirty[:n] {
			if err != nil {
				break
			}
			if c := b.capture(s.lastLSN()); c != nil {
				cp.captures = append(cp.captures, c)
			}
		}
		s.path.Unlock()
		if err != nil {
			cp.unpin()
			return nil, err
		}
		dirty = dirty[n:]
	}
	return cp, nil
}

// unpin lets go of the segments of all captures.
func (cp *pendingCheckpoint) unpin() {
	for _, c := range cp.captures {
		c.unpin()
	}
}

// restore marks everything dirty again that a checkpoint could not write.
func (s *Store) restore(cp *pendingCheckpoint) {
	s.path.Lock()
	defer s.path.Unlock()
	s.path.deleted = append(s.path.deleted, cp.deleted...)
	for _, c := range cp.captures {
		c.bucket.unsynced = append(c.files, c.bucket.unsynced...)
		c.bucket.markDirty()
	}
}

// capture takes the bucket's state as of position; nil if it is gone. The caller
// holds path.
func (b *Bucket) capture(position wal.LSN) *capture {
	b.dirty = false
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil
	}
	c := &capture{bucket: b, files: b.unsynced}
	c.desc = &manifest.Bucket{ID: b.id, Created: b.created, Config: b.mu.config, Position: position, Next: b.next, Keys: uint64(b.mu.index.Len()), Live: b.mu.live}
	c.desc.CompactedEndUpTo, c.desc.Lost = b.mu.compactedEndUpTo, b.mu.lost
	if b.memory {
		return c
	}
	c.segments = slices.Clone(b.mu.order)
	for sl := range b.files() {
		sl.Pin() // the bucket may be deleted meanwhile
	}
	b.unsynced = nil
	if n := len(c.files); n > 0 && !c.files[n-1].seal {
		c.files[n-1].beginIndex()
	}
	return c
}

// writeCheckpoint is steps 2 to 4.
func (s *Store) writeCheckpoint(cp *pendingCheckpoint, p pace) error {
	defer cp.unpin()
	if err := s.syncLog(); err != nil {
		return err
	}
	created := false
	files := 0
	for _, c := range cp.captures {
		for _, f := range c.files {
			if files++; files > 1 {
				s.pause(p)
			}
			if err := f.write(); err != nil {
				return err
			}
			created = created || f.created
		}
	}
	if created {
		if err := s.opts.env.FS.SyncDir(s.segments.Dir); err != nil {
			return fmt.Errorf("sync %s: %w", s.segments.Dir, vfs.WithoutNoSpace(err))
		}
	}
	for _, c := range cp.captures {
		c.describe()
		cp.edit.Buckets = append(cp.edit.Buckets, c.desc)
	}
	if err := s.logEdit(&cp.edit); err != nil {
		return err
	}
	for _, c := range cp.captures {
		for _, f := range c.files {
			f.created = false
		}
	}
	return nil
}

// write makes a captured file durable.
func (f *unsyncedFile) write() error {
	for len(f.blocks) > 0 {
		if err := f.segment.WriteIndex(f.blocks[0]); err != nil {
			return err
		}
		f.blocks = f.blocks[1:]
	}
	switch {
	case f.segment.Desc().Sealed: // by a checkpoint that then met a full disk
		return nil
	case f.seal:
		return f.segment.Seal() // which syncs
	}
	return f.segment.Sync()
}

// describe fills in the segments, whose blocks are written by now.
func (c *capture) describe() {
	c.desc.Segments = make([]manifest.Segment, 0, len(c.segments))
	for _, sl := range c.segments {
		d := manifest.Segment{RemovedUpTo: sl.removedUpTo}
		if sl.lost != nil {
			d = *sl.lost
		} else {
			d.Desc = sl.Desc()
		}
		c.desc.Segments = append(c.desc.Segments, d)
	}
}

func (c *capture) unpin() {
	for _, sl := range c.segments {
		if sl.lost == nil {
			sl.Unpin()
		}
	}
}

// logEdit writes an edit to both copies of the manifest, anew where they have
// grown too large. An error matching vfs.ErrNoSpace left them as they were.
func (s *Store) logEdit(e *manifest.Edit) error {
	cp := &s.checkpoint
	cp.state.Merge(e)
	if cp.manifest.Overgrown() {
		m, err := manifest.Rewrite(s.opts.env.FS, s.dir, s.identity, cp.manifest.Generation()+1, &cp.state)
		for errors.Is(err, vfs.ErrNoSpace) && s.lendReserve() {
			m, err = manifest.Rewrite(s.opts.env.FS, s.dir, s.identity, cp.manifest.Generation()+1, &cp.state)
		}
		if err != nil {
			return err
		}
		cp.manifest.Close()
		cp.manifest = m
		return nil
	}
	record := cp.manifest.Encode(e)
	err := cp.manifest.Reserve(record)
	for errors.Is(err, vfs.ErrNoSpace) && s.lendReserve() {
		err = cp.manifest.Reserve(record)
	}
	if err != nil {
		return err
	}
	return cp.manifest.Append(record)
}

// syncLog makes the log durable as far as it goes.
func (s *Store) syncLog() error {
	s.path.Lock()
	defer s.path.Unlock()
	if s.log == nil || s.log.Synced() == s.log.Last() {
		return nil
	}
	return s.syncPathLocked()
}

// lastLSN returns the log's position. The caller holds path.
func (s *Store) lastLSN() wal.LSN {
	if s.log == nil { // recovery: nothing is logged yet
		return s.path.replayed
	}
	return s.log.Last()
}

// pause lets the log have the disk, unless it is short of room itself.
func (s *Store) pause(p pace) {
	if p == unpaced || s.maintain == nil || s.log.Used() > s.opts.LogMaxSize/2 {
		return
	}
	select {
	case <-time.After(checkpointPause):
	case <-s.maintain.quit:
	}
}

// numberBlock is how many file numbers are reserved at a time: the manifest says
// which numbers may be in use, so that whatever else a crash left under them is
// known to be scratch.
const numberBlock = 1 << 16

// errNumbers says that the reserved file numbers are used up: a checkpoint
// reserves more.
var errNumbers = errors.New("file numbers are used up")

// moreNumbers returns the end of the numbers to reserve. The caller holds path,
// and may hand them out only once the manifest has them.
func (s *Store) moreNumbers() uint64 {
	if s.path.reserved-s.path.numbers > numberBlock/2 {
		return s.path.reserved
	}
	return s.path.reserved + numberBlock
}

// Checkpoint moves everything that only the log holds into the segments' index
// blocks and the manifest, so that the log can be reused and the next Open has
// nothing to replay. It runs by itself in the background; calling it is never
// needed, but for a store opened with Manual.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.makeCheckpoint(unpaced)
}
