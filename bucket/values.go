package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
)

// valueFiles writes large values to files of their own (package segment). Each caller does that
// before it queues its mutation, so that other groups pass meanwhile:
//
//  1. the manifest says that there may be value files, before the first one exists;
//  2. the caller takes a file whose name is durable (spares.go);
//  3. it writes the value to the file and syncs it;
//  4. it queues the mutation, whose record is small: it names the file.
//
// If the mutation is refused, its file becomes a spare. A file of which a crash took the mutation is
// scratch, and the open that follows removes it. It decides after the replay, because the log may
// name the file. A file goes with its record, by compaction or with its bucket: see
// openSegment.values.
type valueFiles struct {
	store   *Store
	writers chan struct{} // a token for each file that is written or given up

	// writing is held for reading while files are written or removed. Close waits for that. It is
	// locked before Store.checkpoint.
	writing  sync.RWMutex
	declared atomic.Bool // the manifest says that there may be value files
	spares   spareValues

	placeChecked atomic.Int64 // unix ns of the machine's clock: when checkPlace looked
}

const (
	// largeValue is the size in bytes, as stored, from which on a value has a file of its own.
	largeValue = 768 << 10
	// valueWriters bounds the value files that are written at a time.
	valueWriters = 4
)

// valueFile is a value file of a segment's record.
type valueFile struct {
	number uint64
	size   uint32 // of the value, bytes
}

// addValue records that a record of the segment has its value in a file.
func (sl *openSegment) addValue(number uint64, size uint32) {
	sl.values = append(sl.values, valueFile{number, size})
	sl.valueBytes += int64(size)
}

func (v *valueFiles) init(s *Store) {
	v.store, v.spares.store, v.writers = s, s, make(chan struct{}, valueWriters)
}

// close waits for the writers, and removes the spares. The store is closed, so that no other
// writer begins.
func (v *valueFiles) close() {
	v.writing.Lock()
	defer v.writing.Unlock()
	v.spares.drop()
}

// write writes the value of a mutation to a file. After an error nothing was written.
func (v *valueFiles) write(ctx context.Context, m *mutation) error {
	select {
	case v.writers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-v.writers }()
	v.store.logged.Add(int64(len(m.value))) // so that nobody takes the store for one at rest
	v.writing.RLock()
	defer v.writing.RUnlock()
	if err := v.mayWrite(); err != nil {
		return err
	}
	file, err := v.create(m)
	if errors.Is(err, vfs.ErrNoSpace) && v.settle() {
		file, err = v.create(m)
	}
	if errors.Is(err, vfs.ErrNoSpace) {
		v.store.path.Lock()
		v.store.recordFull(err)
		v.store.path.Unlock()
		return v.store.noSpace(err)
	}
	m.file = file
	return err
}

// mayWrite returns nil, or why no value file may be made now.
func (v *valueFiles) mayWrite() error {
	s := v.store
	if err := s.checkWritable(); err != nil {
		return err
	}
	if now := time.Now().UnixNano(); now-v.placeChecked.Load() >= int64(placePause) {
		if err := s.checkPlaceNow(); err != nil {
			return err
		}
		v.placeChecked.Store(now)
	}
	if v.declared.Load() {
		return nil
	}
	return v.declare()
}

// declare writes to the manifest that there may be value files: a program that does not know
// them must not open the store.
func (v *valueFiles) declare() error {
	s := v.store
	s.checkpoint.Lock()
	defer s.checkpoint.Unlock()
	if v.declared.Load() {
		return nil
	}
	if s.checkpoint.manifest == nil {
		return kv.ErrClosed
	}
	if err := s.checkFailure(); err != nil {
		return err
	}
	if err := s.logEdit(&manifest.Edit{ValueFiles: true}); err != nil {
		if vfs.Refuses(err) { // nothing was written, so a later manifest.Rewrite must not contain the edit
			s.checkpoint.state.ValueFiles = false
			return s.refused(err)
		}
		_ = s.poison(fmt.Errorf("value files: %w", err)) // the mutation is in no log: its outcome is known
		return s.checkFailure()
	}
	v.declared.Store(true)
	return nil
}

// create writes the value of a mutation to a file.
func (v *valueFiles) create(m *mutation) (file segment.ValueFile, err error) {
	s := v.store
	number, err := v.spares.take(len(m.value))
	if errors.Is(err, errNumbers) {
		if err = s.makeCheckpoint(paced); err == nil {
			number, err = v.spares.take(len(m.value))
		}
	}
	if err == nil {
		if file, err = segment.WriteValue(s.segments, number, m.bucket.id, m.value); err != nil {
			v.giveUp(number, v.spares.remove) // what is in it is unknown
		}
	}
	return file, err
}

// settle gives back the room that spares and the log took under load. It reports whether there
// was any.
func (v *valueFiles) settle() bool {
	s := v.store
	dropped := v.spares.drop()
	s.path.Lock()
	defer s.path.Unlock()
	return s.canSettle() && s.settleFull() == nil || dropped
}

// removeRefused gives up the files of mutations that were refused. err is what became of their
// request as a whole. It leaves all files if the store has failed: then the log may have the
// mutations.
func (v *valueFiles) removeRefused(mutations []mutation, err error) {
	for i := range mutations {
		m := &mutations[i]
		if m.file.Number != 0 && (m.err != nil || err != nil && m.revision == 0) {
			v.remove(m.file.Number)
		}
	}
}

// remove makes a file that no record names a spare, or removes it.
func (v *valueFiles) remove(number uint64) {
	v.writers <- struct{}{} // a removal has a file open for a moment
	defer func() { <-v.writers }()
	v.writing.RLock()
	defer v.writing.RUnlock()
	v.giveUp(number, v.spares.give)
}

// giveUp removes a file that no record names, by the given function. The caller holds writing.
func (v *valueFiles) giveUp(number uint64, by func(number uint64, step func()) error) {
	s := v.store
	if s.checkWritable() != nil {
		return // another process may have the directory, or it must not be touched; the file is scratch
	}
	if err := by(number, func() {}); err != nil {
		s.opts.Logger.Warn("the file of a value that was not written stays until the next open", "cause", err)
	}
}
