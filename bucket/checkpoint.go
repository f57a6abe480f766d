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

// pace is whether a checkpoint pauses between its syncs, so that the log gets the disk.
type pace bool

const (
	paced   pace = true
	unpaced pace = false
)

const (
	// checkpointPause is the least time between the syncs of two files in a paced
	// checkpoint. 300 syncs in a row raised the p99 of the log by 40 %.
	checkpointPause = 2 * time.Millisecond
	// checkpointGlance is how many buckets are captured per hold of the path.
	checkpointGlance = 64
)

// unsyncedFile is a segment that was written to since the last checkpoint.
type unsyncedFile struct {
	segment *openSegment
	blocks  []*segment.Block // begun and not written, in order; a checkpoint that found the disk full leaves some
	created bool             // its name in the directory is not durable yet
	seal    bool             // nothing more is appended to it
}

// beginIndex begins an index block over the records appended so far, if there are new
// ones.
func (f *unsyncedFile) beginIndex() {
	if block, ok := f.segment.BeginIndex(); ok {
		f.blocks = append(f.blocks, block)
	}
}

// capture is the state of a bucket between two groups.
type capture struct {
	bucket   *Bucket
	desc     *manifest.Bucket // describe fills in the segments once their blocks are written
	segments []*openSegment
	files    []*unsyncedFile
}

// makeCheckpoint moves everything up to a position of the log into segments and
// manifest, so that replay begins behind that position:
//
//  1. between two groups, record the log's position; then, for each dirty bucket,
//     take its state and begin its index block;
//  2. sync the log, so that no position in the manifest is ahead of it;
//  3. write the blocks, sync the files, sync the directory;
//  4. append to manifest copy 1, sync, copy 2, sync;
//  5. remove the files of deleted buckets, recycle the log below the position.
//
// An error in steps 2 to 4 poisons the store. A full disk does not, unless a sync reports
// it, and neither does a file that cannot be opened for want of a descriptor. A checkpoint
// that waited until the store was closed does nothing, because another process may have
// opened the directory by then.
func (s *Store) makeCheckpoint(p pace) error {
	_, err := s.freeLog(p)
	return err
}

// freeLog is makeCheckpoint for a caller that needs room in the log. stuck is the error
// of recycling the log's files. Even then the checkpoint has succeeded.
func (s *Store) freeLog(p pace) (stuck, err error) {
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	return s.checkpointLocked(p, nil)
}

// checkpointLocked is freeLog for a caller that holds checkpoint. If c is not nil, the checkpoint
// takes the state of that cut's buckets at one position of the log.
func (s *Store) checkpointLocked(p pace, c *heldCut) (stuck, err error) {
	if err := s.checkFailure(); err != nil {
		return nil, err
	}
	if s.checkpoint.manifest == nil {
		return nil, kv.ErrClosed
	}
	if err := s.checkPlaceNow(); err != nil {
		return nil, err
	}
	cp, err := s.capture(c)
	if err != nil {
		return nil, err
	}
	err = s.writeCheckpoint(cp, p)
	switch {
	case vfs.Refuses(err):
		s.restore(cp)
		return nil, fmt.Errorf("checkpoint: %w", s.refused(err))
	case err != nil:
		s.restore(cp)
		return nil, s.poison(fmt.Errorf("checkpoint: %w", err))
	}
	s.numbers.reserve(cp.edit.Numbers)
	for _, b := range cp.deleted {
		if b.memory {
			b.release()
			continue
		}
		s.removeLater(b.handles())
	}
	if s.log == nil { // recovery: the old files are removed once there is a new one
		return nil, nil
	}
	s.fitReserve()
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

// capture takes the state of every dirty bucket. A group may fail while capture waits for
// the path, and leave records in segments that no index block names. That poisons the
// store, and capture takes nothing from a poisoned store. The buckets of a cut are captured in the
// first hold of the path.
func (s *Store) capture(c *heldCut) (*pendingCheckpoint, error) {
	cp := &pendingCheckpoint{}
	s.path.Lock()
	if err := s.checkFailure(); err != nil {
		s.path.Unlock()
		return nil, err
	}
	s.takeNotes()
	dirty := s.path.dirty
	s.path.dirty = nil
	cp.deleted, s.path.deleted = s.path.deleted, nil
	cp.edit = manifest.Edit{LogLow: s.lastLSN(), LogWords: s.path.totals.words, Clock: s.clock.newest.Load(), MaxBucketID: s.path.nextID - 1, Numbers: s.numbers.more()}
	if lost := s.lostOperations.Load(); lost != s.checkpoint.state.LostOperations {
		cp.edit.LostOperations = &lost
	}
	cp.edit.Clean = s.closed.Load() // if true, nothing is written after this hold of the path
	for _, b := range cp.deleted {
		cp.edit.Deleted = append(cp.edit.Deleted, b.id)
	}
	cp.edit.Deleted = append(cp.edit.Deleted, s.path.removedIDs...)
	s.path.removedIDs = nil
	if c != nil {
		dirty = c.take(cp, dirty)
	}
	s.path.Unlock()
	for len(dirty) > 0 {
		n := min(len(dirty), checkpointGlance)
		s.path.Lock()
		err := s.checkFailure()
		for _, b := range dirty[:n] {
			if err != nil {
				break
			}
			if c := b.capture(s.lastLSN(), cp.edit.LogLow); c != nil {
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

// unpin releases the segments of all captures.
func (cp *pendingCheckpoint) unpin() {
	for _, c := range cp.captures {
		c.unpin()
	}
}

// restore marks the buckets of a failed checkpoint dirty again.
func (s *Store) restore(cp *pendingCheckpoint) {
	s.path.Lock()
	defer s.path.Unlock()
	s.path.deleted = append(s.path.deleted, cp.deleted...)
	for _, c := range cp.captures {
		c.bucket.unsynced = append(c.files, c.bucket.unsynced...)
		c.bucket.markDirty()
	}
}

// capture takes the bucket's state as of position, for a manifest behind whose position low the
// log is replayed. It returns nil if the bucket was deleted. The caller holds path.
func (b *Bucket) capture(position, low wal.LSN) *capture {
	b.dirty = false
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil
	}
	c := &capture{bucket: b, files: b.unsynced}
	c.desc = &manifest.Bucket{ID: b.id, Life: b.life, Created: b.created, Config: b.mu.config, Position: position, Next: b.unissued(), Keys: uint64(b.mu.index.Len()), Live: b.mu.live}
	c.desc.CompactedEndUpTo, c.desc.Skipped, c.desc.Doubt = b.mu.compactedEndUpTo, b.mu.skipped, b.mu.doubt
	c.desc.Doubt.Lost = b.lostLocked()
	c.desc.Hidden = b.hidden || b.revealed > low // behind low the log deletes the bucket that had the name before
	if b.revealed > low {
		b.markDirty() // the next checkpoint takes the log that reveals it
	}
	if b.memory {
		return c
	}
	c.desc.Digest = b.digestLocked()
	c.segments = slices.Clone(b.mu.order)
	for sl := range b.files() {
		sl.Pin() // the bucket may be deleted before they are written
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
			err := s.writeFile(f)
			for errors.Is(err, vfs.ErrNoSpace) && s.lendReserve() {
				err = s.writeFile(f)
			}
			if err != nil {
				return err
			}
			created = created || f.created
		}
	}
	if created {
		vfs.Yield()
		if err := s.segmentDir.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", s.segments.Dir, vfs.WithoutRefusal(err))
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

// writeFile writes a captured file, and opens it before if it is closed. A checkpoint that
// found the disk full afterwards may have sealed it.
func (s *Store) writeFile(f *unsyncedFile) error {
	if f.segment.Desc().Sealed {
		return nil
	}
	if !s.warm.useOpen(f.segment) {
		if err := s.checkPlaceNow(); err != nil {
			return err
		}
		if err := s.warm.use(f.segment); err != nil {
			return err
		}
	}
	defer s.warm.release(f.segment)
	if err := s.tails.write(f.segment); err != nil {
		return err
	}
	return f.write()
}

// write writes the blocks of a captured file and makes the file durable.
func (f *unsyncedFile) write() error {
	for len(f.blocks) > 0 {
		if err := f.segment.WriteIndex(f.blocks[0]); err != nil {
			return err
		}
		f.blocks = f.blocks[1:]
	}
	if f.seal {
		return f.segment.Seal() // which syncs
	}
	return f.segment.Sync()
}

// describe fills in the segments. Their blocks are written.
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

// logEdit writes an edit to both copies of the manifest. If they have grown too large, it
// writes new ones. After an error that vfs.Refuses recognizes they are unchanged.
// The caller holds checkpoint.
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
	return cp.manifest.Append(record, s.lendReserve)
}

// syncLog makes every frame of the log durable.
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

// pause leaves the disk to the log for a while. It does nothing if the log is more than
// half full, because then the checkpoint is urgent.
func (s *Store) pause(p pace) {
	if p == unpaced || s.maintain == nil || s.log.Used() > s.opts.LogMaxSize/2 {
		return
	}
	select {
	case <-time.After(checkpointPause):
	case <-s.maintain.quit:
	}
}

// numberBlock is how many file numbers are reserved at a time. The manifest has the end of
// the reserved numbers. A segment or a value file with a number below that end that belongs to
// no bucket is scratch of a crash, and an open can remove it. New numbers may be used only once
// the manifest has their end.
const numberBlock = 1 << 16

// errNumbers reports that the reserved file numbers are used up. A checkpoint reserves
// more.
var errNumbers = errors.New("file numbers are used up")

// Checkpoint moves the state that only the log has into the index blocks of the segments
// and into the manifest. Then the log can be reused, and the next Open has nothing to
// replay. The store makes checkpoints in the background, so a call is needed only for a
// store that was opened with Manual.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.makeCheckpoint(unpaced)
}
