package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kvd/bucket/journal"
	"kvd/kv"
	"kvd/wal"
)

// Tail has the newest frames of a store's log, in memory, until they are taken. It is for a copy of the log
// elsewhere. Its methods are safe for concurrent use.
type Tail struct {
	// Immutable.
	store *Store
	limit TailLimit
	after wal.LSN
	grown chan struct{} // has a token once there is much to take

	mu struct { // guards the fields inside; a leaf: it is locked under Store.path
		sync.Mutex
		frames []TailFrame
		size   int64 // bytes of frames
		newest int64 // bytes of the newest one
		lost   bool  // frames were discarded
		closed bool
	}
}

// TailFrame is a frame of the log. Its memory belongs to the caller of [Tail.Take].
type TailFrame struct {
	LSN     wal.LSN
	Time    int64     // of the store when it was written, Unix time in ns; it never decreases
	Words   wal.Words // of the frame
	Next    wal.Words // of the frame behind it
	Payload []byte    // package journal; empty in a vouching frame
	Values  []TailValue
	Reveals bool // it commits an import, of whose records a backup made before may have none
}

// TailValue is a value file that a frame's record names.
type TailValue struct {
	Bucket uint64 // id
	Number uint64 // of the file
	Value  []byte // as it is stored
}

// Size returns the bytes of the frame's content.
func (f *TailFrame) Size() (n int64) {
	n = int64(len(f.Payload))
	for _, v := range f.Values {
		n += int64(len(v.Value))
	}
	return n
}

// TailLimit bounds the memory of a tail, bytes. A frame that does not fit discards all, and ends the tail.
type TailLimit struct {
	Waiting int64 // of the frames before the newest one
	Frame   int64 // of one frame
}

// ErrTailLost is returned by [Tail.Take] if frames were discarded because they were not taken.
var ErrTailLost = errors.New("frames of the log were discarded before they were taken")

// tailGrown is how many bytes of frames are much.
const tailGrown = 1 << 20

// Tail begins to keep the frames of the log behind its newest one, within a limit. A store has one tail at a
// time: a second one is kv.ErrInvalidOption. The caller closes the tail.
func (s *Store) Tail(ctx context.Context, limit TailLimit) (*Tail, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.path.Lock()
	defer s.path.Unlock()
	if err := s.checkWritable(); err != nil {
		return nil, err
	}
	if s.path.tail != nil {
		return nil, fmt.Errorf("%w: the log is shipped already", kv.ErrInvalidOption)
	}
	t := &Tail{store: s, limit: limit, after: s.log.Last(), grown: make(chan struct{}, 1)}
	s.path.tail = t
	return t, nil
}

// After returns the LSN behind which the tail begins.
func (t *Tail) After() wal.LSN { return t.after }

// Time returns the store's time.
func (t *Tail) Time() time.Time { return time.Unix(0, t.store.clock.now()).UTC() }

// Grown has a token once there is a MiB or more to take, or frames were discarded.
func (t *Tail) Grown() <-chan struct{} { return t.grown }

// Take returns the oldest frames, ascending, and removes them: about sizeMax bytes, and at least one frame if there
// is one. It returns only frames that are durable; none: there are none at the moment. The error matches
// [ErrTailLost] once frames were discarded.
func (t *Tail) Take(sizeMax int64) ([]TailFrame, error) {
	synced := t.store.log.Synced()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.lost {
		return nil, ErrTailLost
	}
	n, size := 0, int64(0)
	for n < len(t.mu.frames) && t.mu.frames[n].LSN <= synced && (n == 0 || size < sizeMax) {
		size += t.mu.frames[n].Size()
		n++
	}
	taken := slices.Clone(t.mu.frames[:n])
	t.mu.frames = slices.Delete(t.mu.frames, 0, n)
	t.mu.size -= size
	if len(t.mu.frames) == 0 {
		t.mu.newest = 0
	}
	return taken, nil
}

// Lost reports whether frames were discarded.
func (t *Tail) Lost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.lost
}

// Behind returns for how long the oldest frame has waited to be taken, by the store's clock; 0: there is none.
func (t *Tail) Behind() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.frames) == 0 {
		return 0
	}
	return time.Duration(t.store.clock.now() - t.mu.frames[0].Time)
}

// Close ends the tail.
func (t *Tail) Close() {
	s := t.store
	s.path.Lock()
	if s.path.tail == t {
		s.path.tail = nil
	}
	s.path.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.closed, t.mu.frames, t.mu.size = true, nil, 0
}

// add adds the newest frame of the log. t may be nil. The caller holds Store.path.
func (t *Tail) add(now int64, words, next wal.Words, payload []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.newest = 0
	t.keepLocked(int64(len(payload)), func() {
		t.mu.frames = append(t.mu.frames, TailFrame{
			LSN: t.store.log.Last(), Time: now, Words: words, Next: next, Payload: slices.Clone(payload), Reveals: reveals(payload),
		})
	})
}

// reveals reports whether a payload commits an import.
func reveals(payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	kind, body, _, err := journal.Next(payload)
	if err != nil || kind == journal.Records {
		return false
	}
	op, _ := journal.Decode(kind, body) // the store has just encoded it
	_, ok := op.(*journal.Reveal)
	return ok
}

// addValues adds the value files of the group whose frame is the newest of the log. The frame is not durable
// yet, so nobody has taken it. t may be nil. The caller holds Store.path.
func (t *Tail) addValues(g *group) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := range g.logged {
		if m.file.Number == 0 {
			continue
		}
		t.keepLocked(int64(len(m.value)), func() {
			f := &t.mu.frames[len(t.mu.frames)-1]
			f.Values = append(f.Values, TailValue{Bucket: m.bucket.id, Number: m.file.Number, Value: slices.Clone(m.value)})
		})
	}
}

// keepLocked adds so many bytes to the newest frame, or discards all. The caller holds mu.
func (t *Tail) keepLocked(size int64, add func()) {
	if t.mu.lost || t.mu.closed {
		return
	}
	waiting := t.mu.size - t.mu.newest
	if waiting > t.limit.Waiting || t.mu.newest+size > t.limit.Frame {
		t.mu.lost, t.mu.frames, t.mu.size, t.mu.newest = true, nil, 0, 0
	} else {
		add()
		t.mu.size += size
		t.mu.newest += size
	}
	if t.mu.lost || t.mu.size >= tailGrown {
		signal(t.grown)
	}
}
