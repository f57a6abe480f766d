package bucket

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"kvd/internal/vfs"
)

// heldTails are the ends of segments that are in the log, and in memory instead of their files. A
// group with records of many buckets does not write to the file of each before it is answered: its
// records are held ([segment.Segment.Hold]), and readers find them there. writesTails writes them
// soon after, and so does whatever needs them in the file: the checkpoint, a further write to the
// segment by a group of few buckets, its end, and the closing of its file.
//
// The files of one bucket get their records in the order of the log, because a segment ends only
// once all of it is in its file. A crash that damages the log counts on that order (evidence.go).
type heldTails struct {
	store *Store
	least int          // how many buckets a group has at least whose records are held
	bytes atomic.Int64 // held, of all segments

	mu       sync.Mutex                // a leaf; guards the field inside
	segments map[*openSegment]struct{} // those of which something may be held; pinned

	wake chan struct{} // holds one: something is held
	full chan struct{} // holds one: much is held
}

const (
	// tailBuckets is how many buckets a group has at least whose records are held. With fewer the
	// writes take 0.2 µs a record, and the files are evidence in case the log is damaged.
	tailBuckets = 9
	// tailsMax bounds the bytes that are held. A group that would exceed it writes to the files.
	tailsMax = 16 << 20
	// tailWait is how long records are held before writesTails begins to write. Under load, several
	// groups have records of the same bucket in that time, and these are one write.
	tailWait = 80 * time.Millisecond
)

func (t *heldTails) init(s *Store) {
	t.store, t.least = s, s.opts.env.TailBuckets
	switch {
	case t.least != 0:
	case s.opts.env.Manual:
		t.least = math.MaxInt
	default:
		t.least = tailBuckets
	}
	t.segments = make(map[*openSegment]struct{})
	t.wake, t.full = make(chan struct{}, 1), make(chan struct{}, 1)
}

// holds reports whether the group's records are held in memory.
func (t *heldTails) holds(g *group) bool {
	buckets, size := 0, int64(0)
	for i := range g.parts {
		if p := &g.parts[i]; !p.bucket.memory {
			buckets++
			size += int64(p.size)
		}
	}
	return buckets >= t.least && t.bytes.Load()+size <= tailsMax
}

// hold appends records to the bucket's active segment, in memory. The caller holds path, and uses
// the segment's file.
func (t *heldTails) hold(sl *openSegment, records []byte) (offset int64) {
	size := int64(len(records))
	sl.held.Add(size) // before a write can take them off
	offset = sl.Hold(records)
	if t.bytes.Add(size) > tailsMax/2 {
		signal(t.full)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.segments[sl]; !known {
		t.segments[sl] = struct{}{}
		sl.Pin() // the bucket may be deleted meanwhile
	}
	return offset
}

// write writes what is held of a segment. An error that matches vfs.ErrNoSpace comes from a file
// system that copies what is overwritten; the rest is still held then. Any other error must poison
// the store. The file must be open if something is held.
func (t *heldTails) write(sl *openSegment) error {
	n, err := sl.WriteHeld()
	t.uncount(sl, n)
	if n > 0 && t.remove(sl) {
		sl.Unpin()
	}
	return err
}

// end is write for a segment whose bucket ends. What its file lacks then is no longer counted:
// the readers that are left have it in memory. The caller holds path.
func (t *heldTails) end(sl *openSegment) {
	if t.write(sl) == nil {
		return
	}
	t.uncount(sl, math.MaxInt64)
	t.mu.Lock()
	_, known := t.segments[sl]
	delete(t.segments, sl)
	t.mu.Unlock()
	if known {
		sl.Unpin()
	}
}

// uncount takes up to n bytes of a segment off the bytes that are held. A segment that has ended
// has none.
func (t *heldTails) uncount(sl *openSegment, n int64) {
	for {
		held := sl.held.Load()
		less := min(n, held)
		if sl.held.CompareAndSwap(held, held-less) {
			t.bytes.Add(-less)
			return
		}
	}
}

// remove removes a segment of which nothing is held. It reports whether the caller has to unpin it.
func (t *heldTails) remove(sl *openSegment) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.segments[sl]
	if !known || sl.Holds() {
		return false
	}
	delete(t.segments, sl)
	return true
}

// take removes all segments. The caller unpins them.
func (t *heldTails) take() []*openSegment {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := make([]*openSegment, 0, len(t.segments))
	for sl := range t.segments {
		taken = append(taken, sl)
	}
	clear(t.segments)
	return taken
}

// release unpins all segments. Nothing is written any more.
func (t *heldTails) release() {
	for _, sl := range t.take() {
		sl.Unpin()
	}
}

// writeAll writes what is held of all segments. An error poisons the store.
func (t *heldTails) writeAll() {
	for _, sl := range t.take() {
		if t.store.checkFailure() == nil {
			t.writeOpen(sl)
		}
		sl.Unpin()
	}
}

// writeOpen is write for a segment whose file may be closed: then nothing of it is held. It spends
// the reserve if it must.
func (t *heldTails) writeOpen(sl *openSegment) {
	s := t.store
	for s.warm.useOpen(sl) {
		vfs.Yield() // as all background work does before it may keep a processor
		err := t.write(sl)
		s.warm.release(sl)
		switch {
		case err == nil:
			return
		case !errors.Is(err, vfs.ErrNoSpace) || !s.lendReserve(): // which waits for the path: nothing is in use here
			_ = s.poison(err)
			return
		}
	}
}

// writesTails is the goroutine that writes what is held.
func (m *maintainer) writesTails() {
	t := &m.store.tails
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-t.wake:
		}
		timer.Reset(tailWait)
		select {
		case <-m.quit:
			return
		case <-timer.C:
		case <-t.full:
		}
		t.writeAll()
	}
}
