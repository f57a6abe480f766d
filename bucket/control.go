package bucket

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/wal"
)

// This file is the other half of the commit path: the operations, which change a bucket
// as a whole. The caller of an operation decides, logs, syncs and applies it under
// Store.path. Replay applies operations with the same function.
//
// An operation has two frames of its own, with equal payloads, on different pages and
// under one sync. So a lost page of the log never loses an operation. Replay applies both:
// every operation sets what it changes to a value, or raises it, so the second time changes
// nothing.

// errUnchanged ends a decision that needs no operation, because the state is as wanted.
var errUnchanged = errors.New("unchanged")

// operate carries out the operation that decide returns. If decide returns an error,
// operate returns it and does nothing. decide runs with path held, and may run more than
// once.
func (s *Store) operate(ctx context.Context, decide func() (journal.Operation, error)) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	s.path.Lock()
	defer s.path.Unlock()
	var stuck error  // why the files of the full log could not be recycled
	settled := false // the log has given back what it can
	for {
		if err := s.checkWritable(); err != nil {
			return err
		}
		if err := s.checkPlace(); err != nil {
			return err
		}
		op, err := decide()
		if err != nil {
			return err
		}
		if s.byID(op.BucketID()).volatile(op) {
			s.apply(op)
			return nil
		}
		s.path.frame = journal.Append(wal.NewFrame(s.path.frame), op)
		err = s.reserveLog(op)
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
		if errors.Is(err, kv.ErrNoSpace) && !settled && s.canSettle() {
			settled = true
			if err = s.settleFull(); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if err := s.logTwice(op); err != nil {
			return err
		}
		s.apply(op)
		s.warnMode(op)
		s.noticeLog()
		return nil
	}
}

// logTwice appends both frames of an operation to the log, and syncs them. Path.frame is
// the frame, and the caller holds path. On a full disk that copies what is overwritten the
// second may be missing.
func (s *Store) logTwice(op journal.Operation) error {
	var t tally
	t.addOperation(op)
	now := s.clock.advance()
	for i := range 2 {
		s.log.NextPage()
		err := s.appendFrame(s.path.frame, now, t)
		if i == 1 && errors.Is(err, kv.ErrNoSpace) {
			break
		}
		if err != nil {
			return err
		}
		journal.MarkSecond(s.path.frame[wal.FrameHeaderSize:])
	}
	return s.syncPathLocked()
}

// reserveLog makes room in the log for both frames of an operation, path.frame. An
// operation that frees space may use the reserve. The caller holds path.
func (s *Store) reserveLog(op journal.Operation) error {
	payload := len(s.path.frame) - wal.FrameHeaderSize
	config := configOf(op) // operations with a configuration free no space
	if s.path.reserve.spent && config != nil {
		if err := s.refillReserve(); err != nil {
			return s.noSpace(err)
		}
	}
	for {
		err := s.log.Reserve(payload, payload)
		switch {
		case err == nil, errors.Is(err, wal.ErrFull):
			return err
		case s.log.Err() != nil:
			return s.poisonLog(err)
		case !errors.Is(err, vfs.ErrNoSpace):
			return err
		case config != nil || !s.spendReserve():
			return s.noSpace(err)
		}
	}
}

// configOf returns the configuration that an operation carries, or nil.
func configOf(op journal.Operation) *kv.Config {
	switch op := op.(type) {
	case *journal.Create:
		return &op.Config
	case *journal.Edit:
		return &op.Config
	}
	return nil
}

// apply makes an operation take effect in memory. It is called with path held once the
// operation is durable, and by replay. An operation on a bucket that does not exist has
// no effect.
func (s *Store) apply(op journal.Operation) {
	if create, ok := op.(*journal.Create); ok {
		s.applyCreate(create)
		return
	}
	b := s.byID(op.BucketID())
	if b == nil {
		return
	}
	switch op := op.(type) {
	case *journal.Edit:
		b.applyEdit(op)
	case *journal.Delete:
		s.applyDelete(b)
		return
	case *journal.Accept:
		b.applyAccept(op)
	case *journal.PurgeDeletes:
		b.beginRules(func(l *manifest.Liveness) {
			journal.ChangeRules(l, op)
			b.recordForgottenLocked(op.Rule.MarkersUpTo)
		})
	case *trimOperation:
		b.applyExpire(&op.Expire, op.versions)
	case *journal.Expire:
		b.applyExpire(op, nil)
	case *journal.ExpireMarkers:
		b.changeRules(func(l *manifest.Liveness) {
			journal.ChangeRules(l, op)
			b.recordForgottenLocked(op.UnmarkedUpTo)
			b.awaitRemovalLocked()
		})
	case *journal.Issue:
		b.issuable = max(b.issuable, op.UpTo)
	case *journal.Reveal:
		s.applyReveal(b, op)
	}
	b.markDirty()
}

func (s *Store) applyCreate(op *journal.Create) {
	b := newBucket(s, op.Bucket, op.Life, op.Created, op.Config)
	b.hidden = op.Hidden
	close(b.ready)
	if op.Config.TTL != 0 {
		b.willExpire()
	}
	s.path.nextID = max(s.path.nextID, op.Bucket+1)
	s.mu.Lock()
	s.mu.ids[b.id] = b
	if !b.hidden {
		s.mu.buckets[b.name] = b
	}
	s.mu.Unlock()
	b.markDirty()
}

func (b *Bucket) applyEdit(op *journal.Edit) {
	b.mu.Lock()
	b.mu.config = op.Config
	if op.Config.TTL != 0 {
		b.willExpire()
	}
	b.mu.Unlock()
	b.setSync(&op.Config)
	if op.Cuts() {
		b.beginRules(func(l *manifest.Liveness) { journal.ChangeRules(l, op) })
	}
}

func (s *Store) applyDelete(b *Bucket) {
	s.mu.Lock()
	if s.mu.buckets[b.name] == b { // another one may have the name of a hidden bucket
		delete(s.mu.buckets, b.name)
	}
	delete(s.mu.ids, b.id)
	s.mu.Unlock()
	s.path.deleted = append(s.path.deleted, b)
	b.retire(b.notFound())
}

// applyExpire changes the rules, and removes the given versions from the index under the
// same hold of mu. If there are none, the caller of the operation removes them later.
func (b *Bucket) applyExpire(op *journal.Expire, versions []versionRef) {
	b.changeRules(func(l *manifest.Liveness) {
		journal.ChangeRules(l, op)
		b.recordForgottenLocked(op.UnmarkedUpTo)
		for _, d := range versions {
			b.removeIfDeadLocked(d)
		}
		if versions == nil {
			b.awaitRemovalLocked()
		}
	})
}

// byID returns the bucket with that id, nil if there is none.
func (s *Store) byID(id uint64) *Bucket {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.ids[id]
}

// markDirty records that the manifest does not have the bucket's newest state. The caller
// holds path.
func (b *Bucket) markDirty() {
	if !b.dirty {
		b.dirty = true
		b.store.path.dirty = append(b.store.path.dirty, b)
	}
}

// CreateBucket makes a bucket, or returns the existing one if it has the same
// configuration. Otherwise the error is [kv.ErrBucketExists].
func (s *Store) CreateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.operate(ctx, func() (journal.Operation, error) {
		b, err := s.lookup(config.Bucket)
		if err == nil {
			if have, _ := b.config(); !have.Equal(msglog.KeepReserved(config, have)) {
				return nil, fmt.Errorf("%w: %q", kv.ErrBucketExists, config.Bucket)
			}
			return nil, errUnchanged
		}
		return s.decideCreate(config, err)
	})
	return s.outcome(config.Bucket, err)
}

// UpdateBucket changes the configuration of a bucket. The storage and the kind cannot be
// changed.
func (s *Store) UpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.edit(ctx, func() (journal.Operation, error) {
		b, err := s.lookup(config.Bucket)
		if err != nil {
			return nil, err
		}
		return b.decideEdit(config)
	})
	return s.outcome(config.Bucket, err)
}

// CreateOrUpdateBucket makes the bucket, or changes its configuration if it exists.
func (s *Store) CreateOrUpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	err = s.edit(ctx, func() (journal.Operation, error) {
		b, err := s.lookup(config.Bucket)
		if err == nil {
			return b.decideEdit(config)
		}
		return s.decideCreate(config, err)
	})
	return s.outcome(config.Bucket, err)
}

// errUnswept reports that a bucket has to be swept before the decision.
var errUnswept = errors.New("what has expired goes first")

// edit is operate for an operation that may be an edit. An edit that changes which
// records are live is decided under the lock of its bucket's sweep, after a sweep. Only
// decide knows whether the operation is such an edit, and of which bucket, because other
// callers may create, edit and delete buckets at any time. So edit runs decide without
// the lock first, and runs it again under the lock if it is needed.
func (s *Store) edit(ctx context.Context, decide func() (journal.Operation, error)) error {
	var op journal.Operation
	var turn, wanted *Bucket // the bucket whose sweep is locked, and the one whose sweep should be
	operate := s.operate
	for {
		err := operate(ctx, func() (_ journal.Operation, err error) {
			if op, err = decide(); err == nil {
				wanted = s.byID(op.BucketID())
				if wanted.changesLiveness(op) && wanted != turn {
					return nil, errUnswept
				}
			}
			return op, err
		})
		switch {
		case errors.Is(err, errUnswept):
			turn, operate = wanted, wanted.operateAfterWait
		case turn != nil && errors.Is(err, kv.ErrBucketNotFound): // deleted before the lock was taken
			turn, operate = nil, s.operate
		case err == nil && cuts(op):
			turn.finishRules()
			return nil
		default:
			return err
		}
	}
}

// changesLiveness reports whether an operation on the bucket is an edit that changes which
// of its records are live. b is nil for a new bucket.
func (b *Bucket) changesLiveness(op journal.Operation) bool {
	edit, ok := op.(*journal.Edit)
	if !ok {
		return false
	}
	have, _ := b.config()
	return edit.Cuts() || have.TTL != edit.Config.TTL
}

// cuts reports whether an operation shortens the history of a bucket.
func cuts(op journal.Operation) bool {
	edit, ok := op.(*journal.Edit)
	return ok && edit.Cuts()
}

// outcome turns the error of the calls above into their results: the bucket, or the error.
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

// decideCreate decides to make a bucket. absent is the error of looking for it.
func (s *Store) decideCreate(config kv.Config, absent error) (journal.Operation, error) {
	if !errors.Is(absent, kv.ErrBucketNotFound) {
		return nil, absent
	}
	return s.newBucketOperation(config), nil
}

// newBucketOperation returns the operation that makes a bucket. The caller holds path.
func (s *Store) newBucketOperation(config kv.Config) *journal.Create {
	return &journal.Create{Bucket: s.path.nextID, Created: s.clock.advance(), Life: s.newLife(), Config: config}
}

// newLife returns what clients will see as the id of a bucket.
func (s *Store) newLife() uint64 {
	for {
		if life := s.opts.env.Random() & manifest.LifeMax; life != 0 {
			return life
		}
	}
}

func (b *Bucket) decideEdit(config kv.Config) (journal.Operation, error) {
	have, err := b.config()
	if err != nil {
		return nil, err
	}
	if config = msglog.KeepReserved(config, have); have.Equal(config) {
		return nil, errUnchanged
	}
	if err := config.Validate(); err != nil { // with the reserved metadata it may be too large
		return nil, err
	}
	if err := b.checkWritable(); err != nil {
		return nil, err
	}
	if have.Storage != config.Storage {
		return nil, fmt.Errorf("%w: the storage of bucket %q is %v and cannot become %v", kv.ErrInvalidConfig, b.name, have.Storage, config.Storage)
	}
	if have.Kind != config.Kind {
		return nil, fmt.Errorf("%w: the kind of bucket %q is %d and cannot become %d", kv.ErrInvalidConfig, b.name, have.Kind, config.Kind)
	}
	op := &journal.Edit{Bucket: b.id, Config: config}
	if config.History < have.History {
		if err := b.checkDoubt(); err != nil {
			return nil, err // it would decide about records that may be missing
		}
		op.Cut = manifest.Cut{UpTo: b.next - 1, Keep: config.History}
	}
	return op, nil
}

// checkConfig refuses an invalid configuration, and fills in defaults.
func checkConfig(config kv.Config) (kv.Config, error) {
	if err := config.Validate(); err != nil {
		return config, err
	}
	return config.WithDefaults(), nil
}

// Bucket returns an existing bucket. If there is none of that name, the error is
// [kv.ErrBucketNotFound].
func (s *Store) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.outcome(name, nil)
}

// DeleteBucket removes a bucket for good. It returns once the deletion is durable. The
// files are removed in the background.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	return s.operate(ctx, func() (journal.Operation, error) {
		b, err := s.lookup(name)
		if err != nil {
			return nil, err
		}
		return &journal.Delete{Bucket: b.id}, nil
	})
}
