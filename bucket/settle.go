package bucket

import (
	"errors"
	"time"

	"kvd/internal/vfs"
	"kvd/kv"
)

// This file gives back the room that the log took under load: at rest, at a clean close, and
// when the disk is full.

// settleAfter is how long the store has to be at rest before the log becomes small again. The
// files are zeroed when they are made, so load that begins anew writes up to twice as much for
// a while.
const settleAfter = 5 * time.Second

// settleLog moves the log to a small file and makes a checkpoint, which releases the large
// ones. An error that matches kv.ErrNoSpace is a refusal.
func (s *Store) settleLog(p pace) error {
	err := s.shrinkLog(false)
	if errors.Is(err, kv.ErrNoSpace) { // the checkpoint frees files, and the reserve lends the rest
		if err = s.makeCheckpoint(p); err == nil {
			err = s.shrinkLog(true)
		}
	}
	if err != nil {
		return err
	}
	return s.makeCheckpoint(p)
}

// shrinkLog moves the log to a small file if it has large ones. It may use the reserve if lend
// is true. An error that matches kv.ErrNoSpace is a refusal.
func (s *Store) shrinkLog(lend bool) error {
	s.path.Lock()
	defer s.path.Unlock()
	if err := s.checkFailure(); err != nil {
		return err
	}
	if !s.log.Oversized() {
		return nil
	}
	err := s.log.Shrink()
	for lend && errors.Is(err, vfs.ErrNoSpace) && s.spendReserve() {
		err = s.log.Shrink()
	}
	switch {
	case err == nil:
		s.recordDurable()
	case s.log.Err() != nil:
		return s.poisonLog(err)
	case errors.Is(err, vfs.ErrNoSpace):
		return s.noSpace(err)
	}
	return err
}

// hasLargeFiles reports whether the log has files that it needs under load only.
func (s *Store) hasLargeFiles() bool {
	s.path.Lock()
	defer s.path.Unlock()
	return s.log.Oversized()
}

// calm measures for how long the store has been at rest. It belongs to one goroutine.
type calm struct {
	lull  lull
	since time.Time // zero: it is not at rest
}

// look takes the present time and the bytes logged so far, and reports whether the store has
// been at rest for settleAfter.
func (c *calm) look(now time.Time, logged int64) bool {
	switch {
	case !c.lull.look(now, logged):
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = now
	}
	return !c.since.IsZero() && now.Sub(c.since) >= settleAfter
}

// canSettle reports whether settleFull gives back room. The caller holds path.
func (s *Store) canSettle() bool {
	return s.log.Oversized() || s.log.Used() > 2*s.opts.firstLogFileSize() || s.hasImages.Load() || s.values.spares.any()
}

// settleFull is settleLog for a write that finds the disk full. A full disk is no error: the
// write is then tried again with what room there is. The caller holds path, which settleFull
// releases meanwhile.
func (s *Store) settleFull() error {
	s.path.Unlock()
	defer s.path.Lock()
	s.dropImages()
	s.values.spares.drop()
	_ = s.settleLog(unpaced) // a refusal leaves the log large
	return s.checkWritable()
}
