package bucket

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
)

// reserve is disk space for the work that must go on when the disk is full: deletes,
// checkpoints, the manifest. It is a file of allocated blocks that is never read. It is
// spent by truncating the file. Puts are admitted again once it is whole. Its size follows
// that of the segments, because a compaction needs more room in a large store. Guarded by
// Store.path.
type reserve struct {
	file      vfs.File // nil: there is none
	size      int64    // bytes wanted: see reserveFor
	available int64    // bytes there
	spent     bool     // less is there than wanted
}

// reserveStep is how many bytes of the reserve are spent at a time. It is small, so that
// a segment cannot use it to grow ahead of its writes, and takes only what it needs. The reserve
// is allocated in such steps too: btrfs frees nothing of an extent as long as a part of it is
// in use.
const reserveStep = 256 << 10

const (
	reserveMin   = 1 << 20 // bytes
	reserveShare = 8       // the reserve is this part of the segments, in whole reserveMin
	reserveCut   = 4 << 20 // bytes that are freed at once when the reserve becomes smaller
)

// reserveFor returns how large the reserve of a store with segments of that many bytes is.
func (o *Options) reserveFor(segments int64) int64 {
	return min(max(segments/reserveShare/reserveMin*reserveMin, reserveMin), o.ReserveSize)
}

// openReserve opens or makes the reserve. A disk without room for it is full
// from the start; that is not an error.
func (s *Store) openReserve() error {
	r := &s.path.reserve
	if s.opts.ReserveSize < 0 {
		return nil
	}
	name := path.Join(s.dir, manifest.ReserveFile)
	f, err := s.opts.env.FS.Open(name, vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.opts.env.FS.Open(name, vfs.Create)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	r.file = f
	if r.available, err = f.Size(); err == nil && r.available > s.opts.ReserveSize {
		err = f.Truncate(s.opts.ReserveSize)
		r.available = s.opts.ReserveSize
	}
	r.size = max(r.available, s.opts.reserveFor(0)) // fitReserve knows better once the buckets are loaded
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if err := s.refillReserve(); err != nil && !errors.Is(err, vfs.ErrNoSpace) {
		return err
	}
	return nil
}

// refillReserve makes the reserve whole again, if the disk has the room. The
// caller holds path.
func (s *Store) refillReserve() error {
	r := &s.path.reserve
	if s.opts.ReserveSize < 0 {
		return nil
	}
	if r.file == nil { // removeReserve
		f, err := s.opts.env.FS.Open(path.Join(s.dir, manifest.ReserveFile), vfs.Create)
		if err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
		r.file = f
	}
	for r.available < r.size {
		step := min(reserveStep, r.size-r.available)
		if err := r.file.Allocate(r.available, step); err != nil {
			r.spent = true
			return fmt.Errorf("reserve of %d bytes: %w", r.size, err)
		}
		r.available += step
	}
	r.spent = false
	return nil
}

// fitReserve makes the reserve as large as the segments want it. If the disk has no room for
// that, puts are refused until it has. A reserve that is spent does not grow, so that it takes
// nothing from the deletes that spend it.
func (s *Store) fitReserve() {
	var segments int64
	for _, b := range s.all() {
		segments += b.diskSize()
	}
	for more := true; more; {
		s.path.Lock()
		more = s.fitReserveLocked(s.opts.reserveFor(segments))
		s.path.Unlock()
		if more {
			s.pause(paced)
		}
	}
}

// fitReserveLocked is a step of fitReserve, and reports whether there are more. The caller
// holds path.
func (s *Store) fitReserveLocked(want int64) (more bool) {
	r := &s.path.reserve
	if r.file == nil {
		return false
	}
	r.size = want
	if r.available > want {
		size := max(want, r.available-reserveCut)
		if r.file.Truncate(size) == nil { // it holds nothing: the next checkpoint tries again
			r.available = size
			return size > want
		}
		return false
	}
	if r.available < want && !r.spent {
		_ = s.refillReserve() // an error is that of the next put
	}
	r.spent = r.available < want
	return false
}

// spendReserve frees a part of the reserve and reports whether there was any. The caller
// holds path.
func (s *Store) spendReserve() bool {
	r := &s.path.reserve
	if r.file == nil || r.available == 0 {
		return false
	}
	r.spent = true
	if left := max(0, r.available-reserveStep); r.file.Truncate(left) == nil {
		r.available = left
		return true
	}
	return s.removeReserve()
}

// removeReserve spends all of the reserve. On a full btrfs a file cannot be made shorter, for
// want of space, and can be removed. The caller holds path.
func (s *Store) removeReserve() bool {
	r := &s.path.reserve
	if s.opts.env.FS.Remove(path.Join(s.dir, manifest.ReserveFile)) != nil {
		return false
	}
	r.close()
	r.file, r.available = nil, 0
	return true
}

// withReserve runs a step that an open needs, and spends the reserve for it if the disk
// is full. The store has no other user yet.
func (s *Store) withReserve(do func() error) error {
	err := do()
	for errors.Is(err, vfs.ErrNoSpace) && s.spendReserve() {
		err = do()
	}
	if errors.Is(err, vfs.ErrNoSpace) {
		return fmt.Errorf("%w on the file system of %s: nothing is lost, make room and open again: %w", kv.ErrNoSpace, s.dir, err)
	}
	return err
}

// noSpace returns the error of a write that the full disk refuses, with its cause.
func (s *Store) noSpace(cause error) error { return fmt.Errorf("%w: %w", s.fullDisk, cause) }

// refused returns the error of work that vfs.Refuses: for want of space, or of a descriptor.
func (s *Store) refused(cause error) error {
	if errors.Is(cause, vfs.ErrNoSpace) {
		return s.noSpace(cause)
	}
	return cause
}

// spaceLogged is the least time between two messages about the room on the disk. A disk that
// is almost full can refuse a put and take the next one hundreds of times a second.
const spaceLogged = time.Minute

// recordFull records that puts are refused. The caller holds path.
func (s *Store) recordFull(cause error) {
	if !s.path.full {
		s.path.full, s.path.fullCause = true, cause
		s.full.Store(true)
		if s.maintain != nil {
			s.maintain.wakeCompactor()
		}
	}
	s.logSpace()
}

// recordRoom records that a group found room; puts reports whether the group had puts for
// the disk. The caller holds path.
func (s *Store) recordRoom(puts bool) {
	if puts && (s.path.full || s.path.fullLogged) {
		s.path.full = false
		s.full.Store(false)
		s.logSpace()
	}
}

// logSpace logs whether the disk is full, if that is not what was logged last, and that was
// long enough ago. The caller holds path.
func (s *Store) logSpace() {
	now := s.clock.now()
	if s.path.full == s.path.fullLogged || s.path.fullLoggedAt != 0 && now-s.path.fullLoggedAt < int64(spaceLogged) {
		return
	}
	s.path.fullLogged, s.path.fullLoggedAt = s.path.full, now
	if s.path.full {
		s.opts.Logger.Warn("disk full: puts are refused, reads and deletes go on; free space on its file system", "dir", s.dir, "cause", s.path.fullCause)
	} else {
		s.opts.Logger.Info("there is room on the disk again", "dir", s.dir)
	}
}

// lendReserve is spendReserve for callers that do not hold path.
func (s *Store) lendReserve() bool {
	s.path.Lock()
	defer s.path.Unlock()
	return s.spendReserve()
}

func (r *reserve) close() {
	if r.file != nil {
		_ = r.file.Close() // it holds nothing
	}
}
