package wal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Log appends frames. Only one goroutine at a time may call Reserve, Append, Sync, Vouch,
// Err and Close. Another one may call Prepare and Recycle at the same time. Last, Synced,
// Used and NeedsSpare are safe for concurrent use.
//
// After any error except the refusals of Reserve and Append the log is broken: it is unknown which of
// its bytes are on disk. Nothing is tried again, and every later call that would write
// returns the first error.
type Log struct {
	// Immutable after Start.
	opts Options

	dir vfs.Dir // of the files: no rotation fails for want of a descriptor once a file has its name

	// Owned by the goroutine that appends.
	file    *openFile
	pos     int64  // offset of the next frame; frame-aligned
	begun   int64  // time of the newest frame before the file, as given to Append; of its first frame if there is none
	now     int64  // time of the newest frame
	planned bool   // the size of the file after this one was decided
	vouched bool   // a durable record shows that the newest frame is durable
	next    Words  // of the next frame
	vouch   []byte // buffer for a vouching frame
	mark    markWriter
	broken  error

	last   atomic.Uint64 // newest frame appended
	synced atomic.Uint64 // newest frame that is durable

	// tidying is locked during Prepare and Recycle.
	tidying sync.Mutex

	mu struct { // guards the fields inside; never locked during I/O
		sync.Mutex
		old       []oldFile   // finished files, ascending; those outside the chain first
		spares    []*openFile // complete and durable, at most sparesKept
		used      int64       // bytes of the old files with needed frames, and of the current file
		next      int64       // size of the next file, bytes
		wanted    bool        // a spare of that size should be made
		preparing bool        // a spare is being made
		maxFileID uint64      // highest file id in use
		closed    bool
	}
}

// Start makes the log ready for the frame after the LSN after. next are the words of that
// frame. Start makes a fresh file whose header names the newest of the old files, and after
// as that file's final LSN. It syncs both copies of the header and the directory, and
// removes unfinished files of an interrupted process. Old files stay until they are recycled. There is one exception: an
// old file with only frames below the start of the Replay may become the fresh file.
//
// If there are old files or a mark, a Replay must have succeeded, and after must be its End.
// By now every frame that it delivered must be durable elsewhere: after a failed sync a
// frame can be readable although it is not on the disk. In a directory without files no
// Replay is needed and any value of after is accepted; a new log uses 0.
//
// Start never uses or removes the files of [Reader.Damaged], and neither does the log.
//
// The Reader must not be used afterwards. Only after an error that matches vfs.ErrNoSpace
// Start may be called again.
func (r *Reader) Start(after LSN, next Words) (*Log, error) {
	if err := r.mayStart(after); err != nil {
		return nil, err
	}
	h := header{number: 1, size: r.opts.FirstFileSize, after: after}
	if n := len(r.chain); n > 0 {
		newest := &r.chain[n-1]
		h.prev, h.began = newest.number, newest.after
		h.number = newest.number + 1
	}
	h.number += uint64(len(r.unreadable)) // one of them may be newer than all others
	for _, name := range r.scratch {
		if err := r.opts.FS.Remove(r.opts.path(name)); err != nil {
			return nil, wrap(err)
		}
	}
	r.scratch = nil
	l := &Log{opts: r.opts, next: next}
	l.mu.next = r.opts.FirstFileSize
	l.last.Store(uint64(after))
	l.synced.Store(uint64(after))
	var err error
	if l.dir, err = l.opts.FS.OpenDir(l.opts.Dir); err != nil {
		return nil, wrap(err)
	}
	l.mark.open(&l.opts)
	err = l.adopt(r)
	if err == nil {
		err = l.open(h)
	}
	if err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

func (r *Reader) mayStart(after LSN) error {
	if len(r.chain)+len(r.stale)+len(r.unreadable) == 0 && r.mark.lsn <= after {
		return nil
	}
	if !r.ended {
		return errors.New("wal: start without a replay that reached the end of the log")
	}
	if after != r.end && (len(r.chain) > 0 || after < r.end) {
		return fmt.Errorf("wal: start after LSN %d, but the log ends at LSN %d", after, r.end)
	}
	return nil
}

// adopt takes over the reader's files. Files without a frame that the replay wanted become
// spares, as many as are kept.
func (l *Log) adopt(r *Reader) error {
	l.mu.maxFileID = r.maxFileID
	var old []oldFile
	for _, f := range r.stale {
		old = append(old, oldFile{fileID: f.fileID, size: f.actual})
	}
	for _, u := range r.unreadable { // a use of such a file gives it headers again
		if !r.damaged[u.err.File] {
			old = append(old, oldFile{fileID: u.fileID, size: u.size})
		}
	}
	for i, f := range r.chain {
		if r.damaged[f.path] {
			continue
		}
		final := l.Last()
		if i+1 < len(r.chain) {
			final = r.chain[i+1].after
		}
		old = append(old, oldFile{fileID: f.fileID, size: f.actual, final: final, used: final >= r.from})
	}
	for _, f := range old {
		if !f.used && f.size == l.mu.next && len(l.mu.spares) < sparesKept {
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

// Last returns the LSN of the newest appended frame, durable or not.
func (l *Log) Last() LSN { return LSN(l.last.Load()) }

// Synced returns the LSN of the newest durable frame.
func (l *Log) Synced() LSN { return LSN(l.synced.Load()) }

// Used returns the bytes of all files with frames that no Recycle has released yet,
// including the current file.
func (l *Log) Used() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.used
}

// Err returns the error that broke the log, or nil.
func (l *Log) Err() error { return l.broken }

// fail breaks the log.
func (l *Log) fail(err error) error {
	l.broken = wrap(vfs.WithoutRefusal(err)) // it must not look like a refusal of Reserve
	return l.broken
}

// Reserve makes sure that frames with payloads of that many bytes fit into the current
// file, each on pages of its own, with a vouching frame after them. If they do not fit,
// Reserve syncs the file and moves to the next: a spare, or a new file, which takes long.
//
// Four errors are refusals and do not change the log: ErrFull; an error matching
// vfs.ErrNoSpace if the disk has no room for a file; an error matching vfs.ErrTooManyFiles if
// there is no descriptor for it; and an error matching kv.ErrValueTooLarge for a payload above
// 80 MiB. Any other error breaks the log.
func (l *Log) Reserve(payloads ...int) error {
	if l.broken != nil {
		return l.broken
	}
	space := int64(pageSize) // for the vouching frame
	for _, n := range payloads {
		if n < 0 || n > maxLonePayload {
			return &kv.LimitError{What: "log frame", Got: int64(n), Min: 0, Max: maxLonePayload, Err: kv.ErrValueTooLarge}
		}
		space += pageUp(FrameHeaderSize + int64(n))
	}
	if pageUp(l.pos)+space <= l.file.end() {
		return nil
	}
	if !l.planned {
		l.plan()
	}
	need := pagesOfHeaders*pageSize + space
	size := l.sizeFor(need)
	// If only the current file is in use, no Recycle can make more room. Then a frame that
	// exceeds MaxSize is accepted; otherwise it would wait for ever.
	if used := l.Used(); used+size > l.opts.MaxSize && used > l.file.size {
		return ErrFull
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.rotate(size, need)
}

// Append writes frame, which was begun with NewFrame, after the newest one and returns its
// LSN. The frame is not durable before Sync. now, in nanoseconds, is the time that Replay
// returns. next are the words of the frame after this one; those of this frame were given
// before. Append writes the header, and may use frame's spare capacity. Afterwards the
// caller may reuse frame, or append it again. Reserve must have made room before. An error
// that matches vfs.ErrNoSpace is a refusal: the file system copies what is overwritten, and
// has no room for that. The log has no such frame then, and what was appended before is
// durable. Any other error breaks the log.
func (l *Log) Append(frame []byte, now int64, next Words) (LSN, error) {
	if l.broken != nil {
		return 0, l.broken
	}
	end := l.pos + int64(len(frame))
	if len(frame) < FrameHeaderSize || end > l.file.end() {
		return 0, l.fail(fmt.Errorf("append %d bytes at offset %d of %s: no room was reserved", len(frame), l.pos, l.file.path))
	}
	h := frameHeader{lsn: l.Last() + 1, synced: l.Synced(), time: now, words: l.next}
	h.seal(frame, l.file.identity(), l.pos)
	n, err := l.writePadded(frame, end)
	if errors.Is(err, vfs.ErrNoSpace) {
		return 0, l.withdraw(n, err)
	}
	if err != nil {
		return 0, l.fail(err)
	}
	if l.begun == 0 {
		l.begun = now
	}
	l.now, l.pos = now, frameUp(end)
	l.vouched, l.next = false, next
	if !l.planned && l.shouldPlan() {
		l.plan()
	}
	l.last.Store(uint64(h.lsn))
	return h.lsn, nil
}

// NextPage makes the next frame begin on a page of its own, so that no page has parts of
// it and of the frame before.
func (l *Log) NextPage() { l.pos = pageUp(l.pos) }

// Sync makes every appended frame durable, and then writes the mark. The next frame begins
// at the next page, so that no later write touches the pages of durable frames. An error
// breaks the log.
func (l *Log) Sync() error {
	if l.broken != nil {
		return l.broken
	}
	last := l.last.Load()
	if l.synced.Load() == last {
		return nil
	}
	return l.syncFile()
}

// syncFile is Sync, and syncs the file also if every frame is durable.
func (l *Log) syncFile() error {
	last := l.last.Load()
	if err := l.file.Sync(); err != nil {
		return l.fail(err)
	}
	l.pos = pageUp(l.pos)
	l.synced.Store(last)
	l.mark.write(mark{lsn: LSN(last), words: l.next}, l.opts.StoreID)
	return nil
}

// Vouched reports whether a durable vouching frame, or the header of the current file,
// shows that the newest frame is durable. Then Vouch does nothing.
func (l *Log) Vouched() bool { return l.vouched }

// Vouch makes every frame durable, and then writes a vouching frame unless the log is
// [Log.Vouched]. Without it damage to the newest frame could look like a torn tail. next
// are the words of the frame after the vouching one. Call it when the log becomes idle,
// and before Close. An error that matches vfs.ErrNoSpace is a refusal, as in Append: the log
// is not vouched. Any other error breaks the log.
func (l *Log) Vouch(now int64, next Words) error {
	if err := l.Sync(); err != nil {
		return err
	}
	if l.vouched {
		return nil
	}
	if l.vouch == nil {
		l.vouch = NewFrame(make([]byte, 0, pageSize))
	}
	if _, err := l.Append(l.vouch, now, next); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	l.vouched = true
	return nil
}

// Close calls Sync, unless the log is broken, and closes the files. Every later call that
// would write returns kv.ErrClosed. Prepare and Recycle may still be called, and do
// nothing.
func (l *Log) Close() error {
	var errSync error
	if l.broken == nil {
		errSync = l.Sync()
		l.broken = kv.ErrClosed
	}
	return errors.Join(errSync, l.closeFiles())
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	files := l.mu.spares
	l.mu.spares, l.mu.closed = nil, true
	l.mu.Unlock()
	l.mark.close()
	var errs []error
	l.tidying.Lock() // a file that is being made gets its name before
	defer l.tidying.Unlock()
	if l.dir != nil {
		errs = append(errs, wrap(l.dir.Close()))
		l.dir = nil
	}
	if l.file != nil {
		files = append(files, l.file)
		l.file = nil
	}
	for _, f := range files {
		if err := f.Close(); err != nil {
			errs = append(errs, wrap(err))
		}
	}
	return errors.Join(errs...)
}
