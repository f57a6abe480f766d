package bucket

import (
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

// This file is about buckets with storage=memory. They go down the same path and
// have the same segments as others, in files that are memory: reads, histories and
// watches know no difference, and checksums are verified, since they find what
// faulty memory does. What is missing is the log: their records are encoded beside
// the frame, and a group that has no others takes no frame and no sync. Only what
// makes, edits or deletes such a bucket is logged. After an open it is empty, and
// another by its id.

// memorySegmentSize is the limit of a memory segment, bytes: small, so that what
// is dead is found in one piece and rewriting one stalls nobody for long.
const memorySegmentSize = 1 << 20

// memorySlack is how many bytes of a memory bucket may be dead whatever its size.
const memorySlack = 2 * memorySegmentSize

// setStorage makes the bucket one of the configuration's storage, for good.
func (b *Bucket) setStorage(storage kv.Storage) {
	b.disk = b.store.segments
	if storage == kv.MemoryStorage {
		b.memory = true
		b.disk.FS, b.disk.Dir = vfs.NewRAM(), "memory"
		b.disk.Released = nil // whoever fills the bucket looks after that: freeMemory
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

// startMemory makes a memory segment that takes at least size bytes. It has a
// place in the bucket if it is the newest.
func (b *Bucket) startMemory(size int64, newest bool) (*slot, error) {
	number := len(b.mu.segments)
	if number >= segmentsMax {
		return nil, fmt.Errorf("%w: bucket %q has had %d segments since it was opened: reopen the store", kv.ErrReadOnly, b.name, segmentsMax)
	}
	seg, err := segment.Create(b.disk, uint64(number), b.id, size)
	if err != nil {
		return nil, err
	}
	return b.addSlot(seg, &manifest.Segment{}, newest), nil
}

// reclaimMemory gives back the memory of dead records until no more is dead than
// alive, but for the slack. There is no background for it: whoever fills a segment
// pays for what became dead meanwhile, so that dead memory cannot run away. The
// caller holds path.
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

// deadestMemory returns the segment with the most dead bytes, and how many are alive
// and dead in all.
func (b *Bucket) deadestMemory() (worst *slot, live, dead int64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	most := int64(0)
	for sl := range b.files() {
		n := sl.records - b.mu.index.Use(sl.number).Bytes
		if dead += n; n > most && !sl.damaged.Load() {
			worst, most = sl, n
		}
	}
	return worst, b.mu.index.Bytes(), dead
}

// moved is a record that was copied to another segment.
type moved struct {
	key      string // of the buffer that it was read into
	hash     uint64
	revision kv.Revision
	from, to int64 // offsets
}

// rewriteMemory copies what is alive in a segment to another, which takes its
// place. Readers see each record in the one or in the other; a scan finds all of
// them in the first until the second stands there. Damage leaves the segment as it
// is. The caller holds path, so that nobody else changes where the index leads.
func (b *Bucket) rewriteMemory(old *slot) error {
	live, err := b.liveIn(old)
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		old.damaged.Store(true)
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
	sl.records = size // nobody else has it yet
	for _, m := range live.moves {
		sl.note(m.revision, base+m.to)
	}
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

// alive is what the index leads to in a segment.
type liveRecords struct {
	records       []byte
	moves         []moved
	forgottenUpTo kv.Revision // the highest among the others whose key has nothing any more
}

// liveIn reads a memory segment.
func (b *Bucket) liveIn(sl *slot) (*liveRecords, error) {
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

// sort takes a record if the index leads to it. An erasure has done its work.
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

// replaceMemory puts a segment in another's place, or nothing if it is nil. The
// memory of the old one goes with the next that is replaced once its last reader
// is done. The caller holds path.
func (b *Bucket) replaceMemory(old, by *slot, forgottenUpTo kv.Revision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.mu.order, old)
	// Not in place: others may hold the list as it was.
	var between []*slot
	if by != nil {
		between = []*slot{by}
	}
	b.mu.order = slices.Concat(b.mu.order[:at], between, b.mu.order[at+1:])
	b.mu.ended = max(b.mu.ended, forgottenUpTo)
	old.released = old.Retire()
	b.mu.segments[old.number] = nil
	b.leaving = append(b.leaving, old)
	b.freeMemory()
}

// freeMemory removes the files of memory segments that nobody reads any more:
// readers open them by name. The caller holds path.
func (b *Bucket) freeMemory() {
	b.leaving = slices.DeleteFunc(b.leaving, func(sl *slot) bool {
		select {
		case <-sl.released:
			_ = b.disk.FS.Remove(b.memoryFile(sl)) // it is there
			return true
		default:
			return false
		}
	})
}

func (b *Bucket) memoryFile(sl *slot) string {
	return path.Join(b.disk.Dir, segment.FileName(sl.Number()))
}

// volatile reports whether an operation needs no place in the log: it concerns
// records that no restart finds.
func (b *Bucket) volatile(op journal.Operation) bool {
	switch op.(type) {
	case *journal.Create, *journal.Edit, *journal.Delete:
		return false
	}
	return b != nil && b.memory
}

// renewMemory makes the memory buckets that were found new ones: empty, with an id
// that none had. The checkpoint of the recovery makes the ids durable before they
// are seen, and the manifest keeps the highest of all times: none is ever used
// again. In a store that opens read-only they keep their ids, empty.
func (r *recovery) renewMemory() {
	for _, b := range r.store.list() {
		if !b.memory {
			continue
		}
		r.store.path.ended = append(r.store.path.ended, b.id)
		delete(r.store.mu.ids, b.id)
		b.id = r.store.path.nextID
		r.store.path.nextID++
		r.store.mu.ids[b.id] = b
		b.next, b.position = 1, 0
		b.mu.live, b.mu.ended, b.mu.lost, b.mu.revision, b.mu.written = manifest.Liveness{}, 0, nil, 0, 0
		b.markDirty()
	}
}
