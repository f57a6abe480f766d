package segment

import (
	"errors"
	"fmt"

	"kvd/internal/vfs"
)

// The disk space of a file is reserved in steps. It doubles up to growMin; then it grows by a
// quarter, in steps between growMin and growMax. So small buckets stay small, and large
// ones rarely ask the file system.
const (
	growMin = 1 << 20
	growMax = 4 << 20
)

// SizeFor returns the limit that a new segment needs for records of that many bytes, whose
// index entries have at most the sum of their [EntryBound]. It suffices if they are reserved in
// several steps too, with one index block at the end.
func SizeFor(records, entries int64) int64 {
	return new(pending).endWith(HeaderSize+records, entries)
}

// Reserve makes sure that there is disk space for that many bytes of records, and for the
// index block over them and over everything pending. entries is the sum of the records'
// [EntryBound]. It returns ErrFull if the limit would be exceeded, and an error that matches
// vfs.ErrNoSpace if the disk is full. Neither changes the segment.
func (s *Segment) Reserve(records, entries int64) error {
	need := s.pending.endWith(s.size.Load()+records, entries)
	if need > s.limit {
		return ErrFull
	}
	if err := s.OpenFile(); err != nil {
		return err
	}
	allocated := s.allocated.Load()
	if need <= allocated {
		return nil
	}
	step := min(allocated, max(growMin, min(allocated/4, growMax)))
	target := min(max(need, pageAlign(allocated+step)), s.limit)
	err := s.file.Allocate(allocated, target-allocated)
	if errors.Is(err, vfs.ErrNoSpace) && target > need {
		target = need // the required space may still fit
		err = s.file.Allocate(allocated, target-allocated)
	}
	if err != nil {
		return fmt.Errorf("segment: reserve in %s: %w", s.path, err)
	}
	s.allocated.Store(target)
	s.unsynced.Store(true)
	return nil
}

// Append writes p, which consists of whole encoded records, at the end and returns the
// offset of the first. Readers can read them from then on. The room must have been reserved,
// and what is held must have been written. After an error the segment is unchanged, but the
// bytes may be in the file.
func (s *Segment) Append(p []byte) (offset int64, err error) {
	offset = s.size.Load()
	s.checkRoom(p, offset)
	s.checkNothingHeld(offset)
	_, err = s.file.WriteAt(p, offset)
	s.unsynced.Store(true) // behind the write: a sync meanwhile does not cover all of it
	if err != nil {
		return 0, fmt.Errorf("segment: append to %s: %w", s.path, err)
	}
	s.size.Store(offset + int64(len(p)))
	return offset, nil
}

// checkRoom panics if p cannot be appended at an offset.
func (s *Segment) checkRoom(p []byte, offset int64) {
	if len(p)%alignment != 0 || offset+int64(len(p)) > s.allocated.Load() {
		panic("segment: append of unaligned bytes or without a reservation")
	}
}

// Sync makes everything that was appended and written durable. The writer may append at the
// same time; those records may be durable or not. The error never matches vfs.ErrNoSpace,
// because nothing may be tried again after it.
func (s *Segment) Sync() error {
	if err := s.sync(); err != nil {
		return fmt.Errorf("segment: sync %s: %w", s.path, err)
	}
	return nil
}

// sync changes a sync's error so that nobody takes it for a full disk found before anything
// happened: the pages are lost, and a second sync would not report that.
func (s *Segment) sync() error {
	vfs.Yield()
	s.unsynced.Store(false)
	return vfs.WithoutRefusal(s.file.Sync())
}

// Seal ends the segment: it releases the space beyond the end, syncs the file and closes it.
// Every record must be in an index block, and every block written. Only readers may run at
// the same time. They may read before and afterwards.
func (s *Segment) Seal() error {
	size := s.size.Load()
	if d := s.Desc(); d.Size != size {
		panic(fmt.Sprintf("segment: seal at %d where the index ends at %d", size, d.Size))
	}
	s.checkNothingHeld(size)
	err := s.OpenFile()
	if err == nil {
		vfs.Yield()
		err = s.file.Truncate(size)
	}
	if err == nil {
		err = s.sync()
	}
	if err == nil {
		err = s.file.Close()
	}
	if err != nil {
		return fmt.Errorf("segment: seal %s: %w", s.path, err)
	}
	s.file = nil
	s.allocated.Store(size)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.desc.Sealed = true
	return nil
}

// EndUnchanged seals a segment that was opened and not appended to, without touching its file:
// a damaged file stays as it is. Only readers may run at the same time.
func (s *Segment) EndUnchanged() {
	size := s.size.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil || s.mu.desc.Size != size {
		panic(fmt.Sprintf("segment: end at %d of a segment in use, whose index ends at %d", size, s.mu.desc.Size))
	}
	s.mu.desc.Sealed = true
}

// removeStep is how much of a removed file is freed at once: freeing 64 MiB at once stalled
// syncs of the log on the same disk for milliseconds.
const removeStep = 4 << 20

// Remove removes a segment's file. It first shrinks it in steps of 4 MiB and calls step after
// each; step may wait. The segment must be neither open nor mapped.
func Remove(o Options, number uint64, step func()) error {
	return removeFile(o.FS, o.path(number), step)
}

func removeFile(fsys vfs.FS, name string, step func()) error {
	err := shrink(fsys, name, step)
	if err == nil {
		vfs.Yield()
		err = fsys.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("segment: remove %s: %w", name, err)
	}
	return nil
}

func shrink(fs vfs.FS, name string, step func()) error {
	file, err := fs.Open(name, vfs.ReadWrite)
	if err != nil {
		return err
	}
	size, err := file.Size()
	for err == nil && size > removeStep {
		size -= removeStep
		vfs.Yield()
		if err = file.Truncate(size); err == nil {
			step()
		}
	}
	return errors.Join(err, file.Close())
}
