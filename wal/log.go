package wal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Log appends frames. Reserve, Append, Sync, Vouch, Err and Close belong to one
// goroutine at a time; Prepare and Recycle may run beside it in another, and
// Last, Synced, Used and NeedsSpare anywhere.
//
// After an error other than the refusals of Reserve the log is broken: nobody
// knows what of it is on disk, nothing is tried again, and every later call that
// would write returns the first error.
type Log struct {
	// Immutable after Start.
	opts Options

	// Owned by the goroutine that appends.
	file    *openFile
	pos     int64  // where the next frame goes; frame-aligned
	vouched bool   // something durable says that the newest frame is
	time    int64  // of the newest frame
	vouch   []byte // room for a vouching frame
	broken  error

	last   atomic.Uint64 // newest frame appended
	synced atomic.Uint64 // newest frame that is durable

	// tidying is held through one Prepare or Recycle.
	tidying sync.Mutex

	mu struct { // guards the fields inside; held for no I/O
		sync.Mutex
		old    []oldFile   // finished files, ascending; those outside the chain first
		spares []*openFile // complete and durable, at most sparesKept
		used   int64       // bytes of the old files that hold needed frames, and of the current one
		slots  uint64      // highest slot given out
		closed bool
	}
}

// Start makes the log ready for the frame after the LSN after: it makes a fresh
// file whose header names the newest of the old ones, and after as its final
// LSN; syncs that in both copies, with its directory; and removes what an
// interrupted run left half made. Old files stay until they are recycled, but
// one that holds only frames below where the Replay began may be the fresh one.
//
// Where there are old files, a Replay must have reached their end without
// damage, and after must be the last LSN that it found. Every frame that it
// delivered must be durable elsewhere by now: after a sync that once went wrong
// a frame can be readable and yet not be on the disk. In a directory without
// files no Replay is needed and any after is taken; a new log has 0.
//
// The Reader must not be used afterwards, but for another Start after an error
// that matches vfs.ErrNoSpace.
func (r *Reader) Start(after LSN) (*Log, error) {
	if err := r.mayStart(after); err != nil {
		return nil, err
	}
	h := header{number: 1, size: r.opts.FileSize, after: after}
	if n := len(r.chain); n > 0 {
		h.prev = r.chain[n-1].number
		h.number = h.prev + 1
	}
	for _, name := range r.scratch {
		if err := r.opts.FS.Remove(r.opts.path(name)); err != nil {
			return nil, wrap(err)
		}
	}
	r.scratch = nil
	l := &Log{opts: r.opts}
	l.last.Store(uint64(after))
	l.synced.Store(uint64(after))
	err := l.adopt(r)
	if err == nil {
		err = l.open(h)
	}
	if err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

func (r *Reader) mayStart(after LSN) error {
	if len(r.chain)+len(r.stale)+len(r.unreadable) == 0 {
		return nil
	}
	if !r.ended {
		return errors.New("wal: start without a replay that reached the end of the log")
	}
	if after != r.last && len(r.chain) > 0 {
		return fmt.Errorf("wal: start after LSN %d, but the log ends at LSN %d", after, r.last)
	}
	return nil
}

// adopt takes over the reader's files: those that hold nothing from the
// replay's first frame on as spares, as far as they fit.
func (l *Log) adopt(r *Reader) error {
	l.mu.slots = r.slots
	var old []oldFile
	for _, f := range r.stale {
		old = append(old, oldFile{slot: f.slot, size: f.actual})
	}
	for i, f := range r.chain {
		final := l.Last()
		if i+1 < len(r.chain) {
			final = r.chain[i+1].after
		}
		old = append(old, oldFile{slot: f.slot, size: f.actual, final: final, used: final >= r.from})
	}
	for _, f := range old {
		if !f.used && f.size == l.opts.FileSize && len(l.mu.spares) < sparesKept {
			if err := l.keep(f); err != nil {
				return wrap(err)
			}
			continue
		}
		l.mu.old = append(l.mu.old, f)
		if f.used {
			l.mu.used += f.size
		}
	}
	return nil
}

// Last returns the newest frame appended, durable or not.
func (l *Log) Last() LSN { return LSN(l.last.Load()) }

// Synced returns the newest frame that is durable.
func (l *Log) Synced() LSN { return LSN(l.synced.Load()) }

// Used returns the bytes of all files that hold frames which no Recycle has
// released yet, the current file included.
func (l *Log) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used
}

// Err returns the error that broke the log, or nil.
func (l *Log) Err() error { return l.broken }

// fail breaks the log.
func (l *Log) fail(err error) error {
	if errors.Is(err, vfs.ErrNoSpace) {
		err = errors.New(err.Error()) // keeps the words only: it must not pass for a refusal of Reserve
	}
	l.broken = wrap(err)
	return l.broken
}

// Reserve makes sure that a frame with so many payload bytes fits into the
// current file, and a vouching frame behind it. If not, it syncs the file and
// moves on to the next: a spare, or one that it makes, which takes long.
//
// Three refusals leave the log as it was: ErrFull; an error matching
// vfs.ErrNoSpace if there is no room on the disk for a file; and one matching
// kv.ErrValueTooLarge for a payload above 80 MiB. Any other error
// breaks the log.
func (l *Log) Reserve(payload int) error {
	if l.broken != nil {
		return l.broken
	}
	if payload < 0 || payload > maxLonePayload {
		return &kv.LimitError{What: "log frame", Got: int64(payload), Min: 0, Max: maxLonePayload, Err: kv.ErrValueTooLarge}
	}
	if pageUp(l.pos)+spaceFor(payload) <= l.file.end() {
		return nil
	}
	size := max(l.opts.FileSize, pagesOfHeaders*pageSize+spaceFor(payload))
	// Where only the current file is left, no Recycle can make more room: a frame
	// that is large beside MaxSize passes it rather than wait forever.
	if used := l.Used(); used+size > l.opts.MaxSize && used > l.file.size {
		return ErrFull
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.open(header{number: l.file.number + 1, size: size, prev: l.file.number, after: l.Last()})
}

// spaceFor returns the bytes that a frame takes at the start of a page, with
// the page that a vouching frame will need.
func spaceFor(payload int) int64 { return pageUp(FrameHeaderSize+int64(payload)) + pageSize }

// Append writes frame, which NewFrame began, behind the newest and returns its
// LSN. It is not durable before Sync. now, in nanoseconds, is handed back by
// Replay. Append fills in the header, and may use frame's spare capacity as
// scratch; afterwards the caller may use frame again. There must be room: see
// Reserve. An error breaks the log.
func (l *Log) Append(frame []byte, now int64) (LSN, error) {
	if l.broken != nil {
		return 0, l.broken
	}
	end := l.pos + int64(len(frame))
	if len(frame) < FrameHeaderSize || end > l.file.end() {
		return 0, l.fail(fmt.Errorf("append %d bytes at offset %d of %s: no room was reserved", len(frame), l.pos, l.file.path))
	}
	h := frameHeader{lsn: l.Last() + 1, synced: l.Synced(), time: now}
	h.seal(frame, l.file.identity(), l.pos)
	if err := l.writePadded(frame, end); err != nil {
		return 0, l.fail(err)
	}
	l.pos = frameUp(end)
	l.vouched, l.time = false, now
	l.last.Store(uint64(h.lsn))
	return h.lsn, nil
}

// writePadded writes frame at l.pos, and zeros behind it to the end of the
// page: a page is first written from its start to its end, so the system never
// needs to read what it held before. One write if frame has the capacity.
func (l *Log) writePadded(frame []byte, end int64) error {
	pad := int(pageUp(end) - end)
	if cap(frame)-len(frame) >= pad {
		n := len(frame)
		frame = frame[:n+pad]
		clear(frame[n:])
		pad = 0
	}
	if _, err := l.file.WriteAt(frame, l.pos); err != nil {
		return err
	}
	if pad == 0 {
		return nil
	}
	_, err := l.file.WriteAt(zeros[:pad], end)
	return err
}

// Sync makes every frame appended so far durable. The next one begins at the
// next page, so that no later write touches theirs. An error breaks the log.
func (l *Log) Sync() error {
	if l.broken != nil {
		return l.broken
	}
	last := l.last.Load()
	if l.synced.Load() == last {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return l.fail(err)
	}
	l.pos = pageUp(l.pos)
	l.synced.Store(last)
	return nil
}

// Vouch makes every frame durable, and then a frame without payload that says
// so, if nothing says so yet of the newest. Without it damage to the newest
// frame could not be told from a torn tail. For an idle log. An error breaks it.
func (l *Log) Vouch(now int64) error {
	if err := l.Sync(); err != nil {
		return err
	}
	if l.vouched {
		return nil
	}
	if l.vouch == nil {
		l.vouch = NewFrame(make([]byte, 0, pageSize))
	}
	if _, err := l.Append(l.vouch, now); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	l.vouched = true
	return nil
}

// Close vouches for the newest frame, unless the log is broken, and closes the
// files. Every later call that would write returns kv.ErrClosed, but Prepare and
// Recycle, which may still run, find nothing to do.
func (l *Log) Close() error {
	var errVouch error
	if l.broken == nil {
		errVouch = l.Vouch(l.time)
		l.broken = kv.ErrClosed
	}
	return errors.Join(errVouch, l.closeFiles())
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	files := l.mu.spares
	l.mu.spares, l.mu.closed = nil, true
	l.mu.Unlock()
	if l.file != nil {
		files = append(files, l.file)
		l.file = nil
	}
	var errs []error
	for _, f := range files {
		if err := f.Close(); err != nil {
			errs = append(errs, wrap(err))
		}
	}
	return errors.Join(errs...)
}
