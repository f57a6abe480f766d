package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
)

// This file implements buckets with storage=memory. They use the same commit path and the
// same segments as other buckets, in files that are memory. Reads, histories and watches
// are the same. Checksums are verified too, since they detect faulty memory. Only the log
// is missing: the records are encoded outside the frame, and a group without other records
// has no frame and no sync. Creating, editing and deleting such a bucket is logged. After
// an open the bucket is empty and has a new id.
//
// Its revisions go on: a client may know an old one and send it as a condition, or resume a
// watch behind it, also over a protocol without ids. So the log has a bound of what may be
// issued (issueStride), and an open continues above the bound.

// memorySegmentSize is the limit of a memory segment, bytes. It is small, so that dead
// records fill whole segments and rewriting one does not delay writers for long.
const memorySegmentSize = 1 << 20

// memorySlack is how many dead bytes a memory bucket may have, whatever its size.
const memorySlack = 2 * memorySegmentSize

// issueStride is how many revisions of a memory bucket one operation of the log allows. A
// put takes about a microsecond, so the sync of this operation is spread over a second of
// puts. A crash skips as many revisions at most.
const issueStride = 1 << 20

// setStorage sets the bucket's storage, which never changes again.
func (b *Bucket) setStorage(storage kv.Storage) {
	b.disk = b.store.segments
	b.disk.Bucket = b.name
	if storage == kv.MemoryStorage {
		b.memory, b.issuable = true, issueStride
		b.disk.FS, b.disk.Dir = vfs.NewRAM(), "memory"
		b.disk.Released = nil // freeMemory removes the files
	}
}

// issueError reports that a memory bucket needs revisions that the log does not allow yet.
type issueError struct {
	bucket *Bucket
	upTo   kv.Revision
}

// errIssue is matched by every *issueError.
var errIssue = errors.New("revisions are not logged")

// Is matches errIssue.
func (e *issueError) Is(target error) bool { return target == errIssue }

func (e *issueError) Error() string {
	return fmt.Sprintf("revisions of bucket %q up to %d are not logged", e.bucket.name, e.upTo)
}

// checkIssuable returns an *issueError if a group gave the bucket revisions that the log
// does not allow yet. The caller holds path.
func (b *Bucket) checkIssuable() error {
	if !b.memory || b.next-1 <= b.issuable {
		return nil
	}
	return &issueError{b, b.next - 1 + issueStride}
}

// logIssue logs that the revisions may be issued that a group needs; short is the *issueError
// that says which. If the bucket was deleted meanwhile, it does nothing.
func (s *Store) logIssue(short error) error {
	var e *issueError
	if !errors.As(short, &e) {
		return short
	}
	err := s.operate(context.Background(), func() (journal.Operation, error) {
		if e.bucket.checkWritable() != nil {
			return nil, errUnchanged
		}
		return &journal.Issue{Bucket: e.bucket.id, UpTo: e.upTo}, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// unissued returns a revision that was not issued, nor any above it, and that is not issued
// before log or manifest allow it. The caller holds path.
func (b *Bucket) unissued() kv.Revision {
	if b.memory && !b.store.closed.Load() {
		return b.issuable + 1
	}
	return b.next
}

// markMemory makes the last checkpoint of a store that closes record which revisions the
// memory buckets issued, so that the next open does not skip a stride.
func (s *Store) markMemory() {
	s.path.Lock()
	defer s.path.Unlock()
	for _, b := range s.list() {
		if b.memory {
			b.markDirty()
		}
	}
}

// reserveMemory is reserve for a memory bucket. The caller holds path.
func (b *Bucket) reserveMemory(records int64) error {
	if b.active != nil {
		if err := b.active.Reserve(records, 0); !errors.Is(err, segment.ErrFull) {
			return err
		}
		b.active = nil
	}
	if err := b.reclaimMemory(); err != nil {
		return err
	}
	sl, err := b.startMemory(max(memorySegmentSize, segment.SizeFor(records, 0)), true)
	if err != nil {
		return err
	}
	b.active = sl
	return sl.Reserve(records, 0)
}

// startMemory makes a memory segment with room for at least size bytes. If newest, it is
// the bucket's newest segment; otherwise it is not in the bucket's order yet.
func (b *Bucket) startMemory(size int64, newest bool) (*openSegment, error) {
	number := len(b.mu.segments)
	if number >= segmentsMax {
		return nil, fmt.Errorf("%w: bucket %q has had %d segments since it was opened: reopen the store", kv.ErrReadOnly, b.name, segmentsMax)
	}
	seg, err := segment.Create(b.disk, uint64(number), b.id, size)
	if err != nil {
		return nil, err
	}
	return b.addSegment(seg, &manifest.Segment{}, newest), nil
}

// reclaimMemory rewrites segments until the dead bytes are at most the live bytes and the
// slack. There is no background for this: the writer that fills a segment does it, so that
// dead memory cannot grow without bound. The caller holds path.
func (b *Bucket) reclaimMemory() error {
	for {
		worst, live, dead := b.deadestMemory()
		if worst == nil || dead <= live+memorySlack {
			return nil
		}
		if err := b.rewriteMemory(worst); err != nil {
			return err
		}
	}
}

// deadestMemory returns the segment with the most dead bytes, nil if there is none, and the
// live and dead bytes of the bucket.
func (b *Bucket) deadestMemory() (worst *openSegment, live, dead int64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	most := int64(0)
	for sl := range b.files() {
		n := sl.records - b.mu.index.Use(sl.number).Bytes
		if dead += n; n > most && !sl.unfit.Load() {
			worst, most = sl, n
		}
	}
	return worst, b.mu.index.Bytes(), dead
}

// moved is a record that was copied to another segment.
type moved struct {
	key      string // its memory is the buffer that the segment was read into
	hash     uint64
	revision kv.Revision
	from, to int64 // offsets
}

// rewriteMemory copies the live records of a segment to a new one, which replaces it.
// Readers see each record in one or the other. A scan finds all of them in the old one
// until the new one is in the bucket's order. A damaged segment is kept as it is. The
// caller holds path, so that nothing else changes the places in the index.
func (b *Bucket) rewriteMemory(old *openSegment) error {
	live, err := b.liveIn(old)
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		old.unfit.Store(true)
		b.store.opts.Logger.Error("damage found", "bucket", b.name, "cause", damage)
		return nil
	}
	if err != nil {
		return err
	}
	if len(live.moves) == 0 {
		b.replaceMemory(old, nil, live.forgottenUpTo)
		return nil
	}
	size := int64(len(live.records))
	sl, err := b.startMemory(segment.SizeFor(size, 0), false)
	if err == nil {
		err = sl.Reserve(size, 0)
	}
	if err != nil {
		return err
	}
	base, err := sl.Append(live.records)
	if err != nil {
		return err
	}
	sl.records = size // no other goroutine has it yet
	for _, m := range live.moves {
		sl.addMark(m.revision, base+m.to)
	}
	b.mu.Lock()
	b.holdLocked(sl)
	b.mu.Unlock()
	for moves := range slices.Chunk(live.moves, applySlice) {
		b.mu.Lock()
		for _, m := range moves {
			b.mu.index.Move(m.hash, m.key, m.revision,
				index.Place{Segment: old.number, Offset: m.from}, index.Place{Segment: sl.number, Offset: base + m.to})
		}
		b.mu.Unlock()
	}
	b.replaceMemory(old, sl, live.forgottenUpTo)
	return nil
}

// liveRecords are the records of a segment that the index points to.
type liveRecords struct {
	records       []byte
	moves         []moved
	forgottenUpTo kv.Revision // the highest revision of the other records whose key is not in the index
}

// liveIn reads a memory segment and returns its live records.
func (b *Bucket) liveIn(sl *openSegment) (*liveRecords, error) {
	file, err := b.disk.FS.Open(b.memoryFile(sl), vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	whole := make([]byte, sl.Size())
	if _, err := file.ReadAt(whole, 0); err != nil {
		return nil, err
	}
	a := &liveRecords{}
	for at := segment.HeaderSize; at < len(whole); {
		r, size, err := b.disk.Seed.DecodeRecord(whole[at:])
		if err != nil {
			return nil, &kv.CorruptError{File: b.memoryFile(sl), Offset: int64(at), Detail: fmt.Sprintf("memory of bucket %q", b.name), Err: err}
		}
		a.sort(b, &r, index.Place{Segment: sl.number, Offset: int64(at)}, whole[at:at+size])
		at += size
	}
	return a, nil
}

// sort copies a record if the index points to it. An erasure was applied already.
func (a *liveRecords) sort(b *Bucket, r *segment.Record, at index.Place, record []byte) {
	if r.Op == segment.Erase {
		return
	}
	key := view.String(r.Key)
	hash := index.Hash(key)
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.mu.index.At(hash, key, r.Revision)
	if ok && v.Place() == at {
		a.moves = append(a.moves, moved{key, hash, r.Revision, at.Offset, int64(len(a.records))})
		a.records = append(a.records, record...)
		return
	}
	if _, ok := b.mu.index.Newest(hash, key); !ok {
		a.forgottenUpTo = r.Revision
	}
}

// replaceMemory replaces a segment by another, or removes it if by is nil. The old one's
// memory is freed by the next replacement after its last reader is done. The caller holds
// path.
func (b *Bucket) replaceMemory(old, by *openSegment, forgottenUpTo kv.Revision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.mu.order, old)
	// A new list, since readers may still use the old one.
	var between []*openSegment
	if by != nil {
		between = []*openSegment{by}
	}
	b.mu.order = slices.Concat(b.mu.order[:at], between, b.mu.order[at+1:])
	b.mu.compactedEndUpTo = max(b.mu.compactedEndUpTo, forgottenUpTo)
	old.released = old.Retire()
	b.removeNumberLocked(old)
	b.retiredMemory = append(b.retiredMemory, old)
	b.freeMemory()
}

// freeMemory removes the files of replaced memory segments that have no readers any more.
// It has to wait for them, since readers open files by name. The caller holds path.
func (b *Bucket) freeMemory() {
	b.retiredMemory = slices.DeleteFunc(b.retiredMemory, func(sl *openSegment) bool {
		select {
		case <-sl.released:
			_ = b.disk.FS.Remove(b.memoryFile(sl)) // the file exists
			return true
		default:
			return false
		}
	})
}

func (b *Bucket) memoryFile(sl *openSegment) string {
	return path.Join(b.disk.Dir, segment.FileName(sl.Number()))
}

// volatile reports whether an operation is not logged, because it concerns only records
// that are lost at a restart anyway.
func (b *Bucket) volatile(op journal.Operation) bool {
	switch op.(type) {
	case *journal.Create, *journal.Edit, *journal.Delete, *journal.Issue, *journal.Reveal:
		return false
	}
	return b != nil && b.memory
}

// emptyMemory makes the memory buckets that were found empty. Their revisions continue
// above all that may have been issued. A watch that resumes at an old one gets a
// *kv.CompactedError. One revision more is skipped, so that this holds also for the watch
// that was sent the last one.
func (r *recovery) emptyMemory() {
	for _, b := range r.store.list() {
		if !b.memory {
			continue
		}
		last := kv.Revision(0)
		if b.issuable > 0 {
			last = b.issuable + 1
		}
		b.next, b.issuable, b.position = last+1, last+issueStride, 0
		b.mu.live, b.mu.compactedEndUpTo, b.mu.skipped, b.mu.revision, b.mu.written = manifest.Liveness{}, last, nil, last, 0
	}
}

// renewMemory gives the memory buckets, which are empty, new ids.
// Recovery's checkpoint makes the ids durable before they are visible, and the manifest
// keeps the highest id ever given, so that no id is used again. A store that is opened
// read-only keeps the ids.
func (r *recovery) renewMemory() {
	for _, b := range r.store.list() {
		if !b.memory {
			continue
		}
		r.store.path.removedIDs = append(r.store.path.removedIDs, b.id)
		delete(r.store.mu.ids, b.id)
		b.id = r.store.path.nextID
		r.store.path.nextID++
		r.store.mu.ids[b.id] = b
		b.life = r.store.newLife()
		b.markDirty()
	}
}
