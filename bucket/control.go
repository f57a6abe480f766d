package bucket

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/kv/msglog"
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
		if _, err := s.log.Append(s.path.frame, s.clock.advance()); err != nil {
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
		if op.cuts() {
			c := manifest.Cut{UpTo: kv.Revision(op.a), Keep: int(op.b)}
			b.unsettle(func(l *manifest.Liveness) { l.AddCut(c) })
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
		f := manifest.PurgeDeletes{UpTo: kv.Revision(op.a), MarkersUpTo: kv.Revision(op.b)}
		b.unsettle(func(l *manifest.Liveness) {
			l.AddPurgeDeletes(f)
			b.forgetLocked(f.MarkersUpTo)
		})
	case opExpire:
		b.change(func(l *manifest.Liveness) {
			l.ExpiredUpTo, l.UnmarkedUpTo = max(l.ExpiredUpTo, kv.Revision(op.a)), max(l.UnmarkedUpTo, kv.Revision(op.b))
			b.forgetLocked(kv.Revision(op.b))
			for _, d := range op.leaving {
				b.dropLocked(d)
			}
		})
	case opLapse:
		b.change(func(l *manifest.Liveness) {
			l.MarkersExpiredUpTo, l.UnmarkedUpTo = max(l.MarkersExpiredUpTo, int64(op.a)), max(l.UnmarkedUpTo, kv.Revision(op.b))
			b.forgetLocked(kv.Revision(op.b))
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

// CreateBucket makes a bucket, or returns the one that is there with the same
// configuration.
func (s *Store) CreateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.operate(ctx, func() (operation, error) {
		if b, err := s.lookup(config.Bucket); err == nil {
			if have, _ := b.config(); !have.Equal(msglog.KeepReserved(config, have)) {
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
	err = s.edit(ctx, func() (operation, error) {
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
	err = s.edit(ctx, func() (operation, error) {
		if b, err := s.lookup(config.Bucket); err == nil {
			return b.decideEdit(config)
		}
		return s.decideCreate(config), nil
	})
	return s.outcome(config.Bucket, err)
}

// errUnswept says that what has expired in a bucket has to go before the decision.
var errUnswept = errors.New("what has expired goes first")

// edit is operate for what may be an edit. One that says anew which records stay is
// decided in the turn of its bucket's sweep. Only the decision knows whether it is
// one, and of which bucket: others may create, edit and delete in between.
func (s *Store) edit(ctx context.Context, decide func() (operation, error)) error {
	var op operation
	var turn, wanted *Bucket // whose turn it is, and whose it should be
	operate := s.operate
	for {
		err := operate(ctx, func() (_ operation, err error) {
			if op, err = decide(); err == nil {
				wanted = s.byID(op.bucketID)
				if wanted.restates(&op) && wanted != turn {
					return operation{}, errUnswept
				}
			}
			return op, err
		})
		switch {
		case errors.Is(err, errUnswept):
			turn, operate = wanted, wanted.operateAfterSweep
		case turn != nil && errors.Is(err, kv.ErrBucketNotFound): // deleted before its turn came
			turn, operate = nil, s.operate
		case err == nil && op.cuts():
			turn.settle()
			return nil
		default:
			return err
		}
	}
}

// restates reports whether an operation on the bucket, nil for a new one, is an edit
// that says anew which of its records stay.
func (b *Bucket) restates(op *operation) bool {
	if op.kind != opEdit {
		return false
	}
	have, _ := b.config()
	return op.cuts() || have.TTL != op.config.TTL
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
	return operation{kind: opCreate, bucketID: s.path.nextID, a: uint64(s.clock.advance()), config: config}
}

func (b *Bucket) decideEdit(config kv.Config) (operation, error) {
	have, err := b.config()
	if err != nil {
		return operation{}, err
	}
	if config = msglog.KeepReserved(config, have); have.Equal(config) {
		return operation{}, errUnchanged
	}
	if err := config.Validate(); err != nil { // with what is kept it may be too large
		return operation{}, err
	}
	if err := b.takesWrites(); err != nil {
		return operation{}, err
	}
	if have.Storage != config.Storage {
		return operation{}, fmt.Errorf("%w: the storage of bucket %q is %v and cannot become %v", kv.ErrInvalidConfig, b.name, have.Storage, config.Storage)
	}
	if have.Kind != config.Kind {
		return operation{}, fmt.Errorf("%w: the kind of bucket %q is %d and cannot become %d", kv.ErrInvalidConfig, b.name, have.Kind, config.Kind)
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
