package bucket

import (
	"errors"
	"io/fs"
)

// This file has the system write segments while they grow. Otherwise a checkpoint's sync of a
// file has to write all bytes since the last checkpoint at once, some 40 MiB under load, and
// the syncs of the log wait for as long.

const (
	// behindStep is how much of a segment is written at once, in bytes: a sync of the log waits
	// for as much if the disk has just begun with it.
	behindStep = 512 << 10
	// behindMax is how many ranges may wait for writesBehind. Others are left to the checkpoint.
	behindMax = 64
)

// writeBehind has the system write what was appended to a segment, if that is at least as many
// bytes. The caller holds path, and the segment's file is open.
func (s *Store) writeBehind(sl *openSegment, least int64) {
	m := s.maintain
	if m == nil {
		return
	}
	if b, ok := sl.Behind(least); ok {
		select {
		case m.behind <- b:
		default: // the disk's queue is full
		}
	}
}

// writesBehind is the goroutine that writeBehind hands ranges to: a call waits where the disk's
// queue is full, and a leader must not.
func (m *maintainer) writesBehind() {
	for {
		select {
		case <-m.quit:
			return
		case b := <-m.behind:
			if err := b.Start(); err != nil && !errors.Is(err, fs.ErrClosed) { // Seal syncs before it closes
				_ = m.store.poison(err)
			}
		}
	}
}
