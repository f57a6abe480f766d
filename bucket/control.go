package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/index"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/wal"
)

// This file is the other half of the commit path: the operations that change a
// bucket as a whole. Each is decided, logged, synced and applied by its caller
// under Store.path, as a frame of its own; replay applies the same operations
// with the same function.

// errUnchanged ends a decision that needs no operation: things are as wanted.
var errUnchanged = errors.New("unchanged")

// operate carries out one operation: decide returns it, or an error that ends
// the matter. It runs with path held and may run more than once.
func (s *Store) operate(ctx context.Context, decide func() (operation, error)) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	s.path.Lock()
	defer s.path.Unlock()
	var stuck error // why the log, which is full, could not be freed
	for {
		if err := s.takesWrites(); err != nil {
			return err
		}
		op, err := decide()
		if err != nil {
			return err
		}
		if s.byID(op.bucketID).volatile(&op) {
			s.apply(&op)
			return nil
		}
		s.path.frame = appendOperation(wal.NewFrame(s.path.frame), &op)
		err = s.reserveLog(len(s.path.frame)-wal.FrameHeaderSize, op.kind)
		if errors.Is(err, wal.ErrFull) && stuck != nil {
			return stuck
		}
		if errors.Is(err, wal.ErrFull) {
			s.path.Unlock()
			stuck, err = s.freeLog(unpaced)
			s.path.Lock()
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if _, err := s.log.Append(s.path.frame, s.now()); err != nil {
			return s.logBroke(err)
		}
		if err := s.syncHeld(); err != nil {
			return err
		}
		s.apply(&op)
		s.noticeMode(&op)
		s.noticeLog()
		return nil
	}
}

// reserveLog makes sure that the log takes a frame of so many bytes. What frees
// space may draw on the reserve for it.
func (s *Store) reserveLog(payload int, kind itemKind) error {
	if s.path.reserve.spent && (kind == opCreate || kind == opEdit) {
		if err := s.refillReserve(); err != nil {
			return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
		}
	}
	for {
		err := s.log.Reserve(payload)
		switch {
		case err == nil, errors.Is(err, wal.ErrFull):
			return err
		case s.log.Err() != nil:
			return s.logBroke(err)
		case !errors.Is(err, vfs.ErrNoSpace):
			return err
		case kind == opCreate || kind == opEdit || !s.spendReserve():
			return fmt.Errorf("%w: %w", kv.ErrNoSpace, err)
		}
	}
}

// apply makes an operation take effect in memory. It is called with path held,
// once the operation is durable, and by replay. What names a bucket that is gone
// has no effect.
func (s *Store) apply(op *operation) {
	if op.kind == opCreate {
		s.applyCreate(op)
		return
	}
	b := s.byID(op.bucketID)
	if b == nil {
		return
	}
	switch op.kind {
	case opEdit:
		b.mu.Lock()
		b.mu.config = op.config
		if op.config.TTL != 0 {
			b.willExpire()
		}
		b.mu.Unlock()
		b.setSync(&op.config)
		if op.b != 0 {
			c := cut{upTo: kv.Revision(op.a), keep: int(op.b)}
			b.change(op, func(l *liveness) { l.addCut(c) })
		}
	case opDelete:
		s.mu.Lock()
		delete(s.mu.buckets, b.name)
		delete(s.mu.ids, b.id)
		s.mu.Unlock()
		s.path.deleted = append(s.path.deleted, b)
		b.retire(b.notFound())
		return
	case opForget:
		f := forgetting{upTo: kv.Revision(op.a), markers: kv.Revision(op.b)}
		b.change(op, func(l *liveness) { l.addForgetting(f) })
	case opExpire:
		b.change(op, func(l *liveness) {
			l.expired, l.aged = max(l.expired, kv.Revision(op.a)), max(l.aged, kv.Revision(op.b))
		})
	case opLapse:
		b.change(op, func(l *liveness) {
			l.lapsed, l.aged = max(l.lapsed, int64(op.a)), max(l.aged, kv.Revision(op.b))
		})
	}
	b.markDirty()
}

func (s *Store) applyCreate(op *operation) {
	b := newBucket(s, op.bucketID, int64(op.a), op.config)
	close(b.ready)
	if op.config.TTL != 0 {
		b.willExpire()
	}
	s.path.nextID = max(s.path.nextID, op.bucketID+1)
	s.mu.Lock()
	s.mu.buckets[b.name] = b
	s.mu.ids[b.id] = b
	s.mu.Unlock()
	b.markDirty()
}

// byID returns the bucket with that id, nil if there is none (any more).
func (s *Store) byID(id uint64) *Bucket {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.ids[id]
}

// markDirty notes that the manifest does not know the bucket's state. The caller
// holds path.
func (b *Bucket) markDirty() {
	if !b.dirty {
		b.dirty = true
		b.store.path.dirty = append(b.store.path.dirty, b)
	}
}

// change changes the bucket's rules and takes the records that they make dead out
// of the index. The caller holds path: no writer sees a key before its turn has
// come. What is replayed may be a thousand of these, so recovery does that once,
// at its end.
func (b *Bucket) change(op *operation, change func(*liveness)) {
	b.mu.Lock()
	change(&b.mu.live)
	b.mu.Unlock()
	switch {
	case b.store.log == nil:
		b.stale = true
	case !op.swept:
		b.dropDead()
	}
}

// dropDead takes what is dead by the bucket's rules out of the index, a few keys
// at a time, so that readers pass between.
func (b *Bucket) dropDead() {
	const slice = 32 // keys per turn at the lock
	keys := b.affected()
	for len(keys) > 0 {
		n := min(slice, len(keys))
		b.mu.Lock()
		for _, key := range keys[:n] {
			b.sweepKeyLocked(key)
		}
		b.mu.Unlock()
		keys = keys[n:]
	}
}

// affected returns the keys that have a version which is dead by the bucket's
// rules.
func (b *Bucket) affected() []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var keys []string
	var room [kv.MaxHistory]index.Version
	b.mu.index.All(func(key []byte, _ index.Version) bool {
		name := stringOf(key)
		versions := b.mu.index.Versions(room[:0], index.Hash(name), name)
		if n := len(versions); len(b.mu.live.keep(versions)) < n {
			keys = append(keys, string(key))
		}
		return true
	})
	return keys
}

// sweepKeyLocked drops the versions of one key that are dead by the bucket's
// rules.
func (b *Bucket) sweepKeyLocked(key string) {
	hash := index.Hash(key)
	var room, kept [kv.MaxHistory]index.Version
	versions := b.mu.index.Versions(room[:0], hash, key)
	live := b.mu.live.keep(append(kept[:0], versions...))
	for _, v := range versions {
		if len(live) > 0 && live[0].Revision == v.Revision {
			live = live[1:]
			continue
		}
		b.mu.index.Remove(hash, key, v.Revision, nil)
	}
}

// CreateBucket makes a bucket, or returns the one that is there with the same
// configuration.
func (s *Store) CreateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.operate(ctx, func() (operation, error) {
		if b, err := s.lookup(config.Bucket); err == nil {
			if have, _ := b.config(); !have.Equal(config) {
				return operation{}, fmt.Errorf("%w: %q", kv.ErrBucketExists, config.Bucket)
			}
			return operation{}, errUnchanged
		}
		return s.decideCreate(config), nil
	})
	return s.outcome(config.Bucket, err)
}

// UpdateBucket changes the configuration of a bucket.
func (s *Store) UpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.edit(ctx, config, func() (operation, error) {
		b, err := s.lookup(config.Bucket)
		if err != nil {
			return operation{}, err
		}
		return b.decideEdit(config)
	})
	return s.outcome(config.Bucket, err)
}

// CreateOrUpdateBucket makes the bucket, or changes it.
func (s *Store) CreateOrUpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.edit(ctx, config, func() (operation, error) {
		if b, err := s.lookup(config.Bucket); err == nil {
			return b.decideEdit(config)
		}
		return s.decideCreate(config), nil
	})
	return s.outcome(config.Bucket, err)
}

// edit is operate for a change of a configuration. Where it says anew which
// records stay, what has expired goes before.
func (s *Store) edit(ctx context.Context, config kv.Config, decide func() (operation, error)) error {
	b, err := s.lookup(config.Bucket)
	if err != nil {
		return s.operate(ctx, decide)
	}
	have, err := b.config()
	if err != nil || have.TTL == config.TTL && have.History <= config.History {
		return s.operate(ctx, decide)
	}
	return b.operateAfterSweep(ctx, decide)
}

// outcome is what the calls above return: the bucket, if all went well.
func (s *Store) outcome(name string, err error) (kv.Bucket, error) {
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, err
	}
	b, err := s.lookup(name)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s *Store) decideCreate(config kv.Config) operation {
	return operation{kind: opCreate, bucketID: s.path.nextID, a: uint64(s.now()), config: config}
}

func (b *Bucket) decideEdit(config kv.Config) (operation, error) {
	have, err := b.config()
	if err != nil {
		return operation{}, err
	}
	if have.Equal(config) {
		return operation{}, errUnchanged
	}
	if err := b.takesWrites(); err != nil {
		return operation{}, err
	}
	if have.Storage != config.Storage {
		return operation{}, fmt.Errorf("%w: the storage of bucket %q is %v and cannot become %v", kv.ErrInvalidConfig, b.name, have.Storage, config.Storage)
	}
	op := operation{kind: opEdit, bucketID: b.id, config: config}
	if config.History < have.History {
		op.a, op.b = uint64(b.next-1), uint64(config.History)
	}
	return op, nil
}

// checkConfig fills in defaults, and refuses what no bucket can be.
func checkConfig(config kv.Config) (kv.Config, error) {
	if err := config.Validate(); err != nil {
		return config, err
	}
	return config.WithDefaults(), nil
}

// Bucket returns an existing bucket.
func (s *Store) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.outcome(name, nil)
}

// DeleteBucket removes a bucket for good. It returns at once: files go in the
// background.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	return s.operate(ctx, func() (operation, error) {
		b, err := s.lookup(name)
		if err != nil {
			return operation{}, err
		}
		return operation{kind: opDelete, bucketID: b.id}, nil
	})
}

// purgeDeletes decides up to which revisions markers and what is behind them go.
func (s *Store) purgeDeletes(ctx context.Context, b *Bucket, olderThan time.Duration) error {
	return b.operateAfterSweep(ctx, func() (operation, error) {
		op := operation{kind: opForget, bucketID: b.id, a: uint64(b.next - 1)}
		cutoff := int64(1<<63 - 1)
		if olderThan >= 0 {
			cutoff = s.now() - int64(olderThan)
		}
		b.mu.RLock() // readers go on while it looks at every key
		defer b.mu.RUnlock()
		if err := b.takesWritesLocked(); err != nil {
			return operation{}, err
		}
		b.mu.index.All(func(_ []byte, newest index.Version) bool {
			if newest.Op.IsMarker() && newest.Created <= cutoff {
				op.b = max(op.b, uint64(newest.Revision))
			}
			return true
		})
		return op, nil
	})
}
