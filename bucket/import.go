package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"kvd/bucket/journal"
	"kvd/kv"
)

// An import makes a bucket out of records that another bucket wrote:
//
//  1. An operation makes the bucket, hidden: it has an id and no name, so nothing finds it.
//  2. The records take the path of all other writes. The judge takes their revisions and times
//     instead of giving new ones, and computes floors as ever (judgeRecordLocked).
//  3. An operation reveals the bucket: it gets its name, and everything in it becomes visible
//     at once. If the log ends before that, the open that follows removes the bucket.
//
// The manifest names a hidden bucket with its segments, as any other: checkpoints may come in
// between. It calls a bucket hidden also where the log revealed it behind the manifest's
// position. Replay then reveals it again, after it has deleted the bucket that had the name before.

var (
	_ kv.BucketImporter = (*Store)(nil)
	_ kv.Importer       = (*Import)(nil)
)

// Import is the import of one bucket; see [kv.Importer].
type Import struct {
	store  *Store
	bucket *Bucket     // hidden
	next   kv.Revision // of the first write after the import; 0: behind the last record

	mu      sync.Mutex  // one call at a time
	last    kv.Revision // of the newest record
	created int64       // unix ns: the time of the newest record
	ended   error       // why nothing more is written; nil: it goes on
	done    bool        // committed or discarded
	memory  importMemory
}

// given is what a record of an import has from its origin.
type given struct {
	revision          kv.Revision
	created, deadline int64 // unix ns; deadline 0: none
	op                kv.Operation
	reason            kv.MarkerReason
}

const (
	// importBatch bounds the bytes of the records that an import queues at a time, so that
	// other writers wait for no more than these. A larger record is queued alone.
	importBatch = 256 << 10
	// importRecords bounds the number of these records.
	importRecords = 4096
)

// importMemory is used again for each batch.
type importMemory struct {
	mutations []mutation
	given     []given
}

var (
	errCommitted = errors.New("the import was committed")
	errDiscarded = errors.New("the import was discarded")
)

// ImportBucket begins the import of a bucket; see [kv.BucketImporter].
func (s *Store) ImportBucket(ctx context.Context, config kv.Config, next kv.Revision) (kv.Importer, error) {
	config, err := checkConfig(config)
	if err != nil {
		return nil, err
	}
	if next > kv.MaxImportRevision+1 {
		return nil, fmt.Errorf("%w: next revision %d, must be at most %d", kv.ErrInvalidOption, next, kv.MaxImportRevision+1)
	}
	var id uint64
	err = s.operate(ctx, func() (journal.Operation, error) {
		op := s.newBucketOperation(config)
		op.Hidden, id = true, op.Bucket
		return op, nil
	})
	if err != nil {
		return nil, err
	}
	return &Import{store: s, bucket: s.byID(id), next: next}, nil
}

// Write writes records; see [kv.Importer].
func (i *Import) Write(ctx context.Context, records []kv.Entry) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended != nil {
		return i.name(i.ended)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := i.check(records); err != nil {
		return err
	}
	for len(records) > 0 {
		n := nextBatch(records)
		if err := i.writeBatch(ctx, records[:n]); err != nil {
			i.ended = fmt.Errorf("%w: records of the import may be missing, so it can only be discarded: %w", kv.ErrReadOnly, err)
			return err
		}
		last := &records[n-1]
		i.last, i.created, records = last.Revision, last.Created.UnixNano(), records[n:]
	}
	return nil
}

// nextBatch returns how many of the records are queued next, at least one.
func nextBatch(records []kv.Entry) int {
	size := 0
	for n := range records {
		r := &records[n]
		if size += len(r.Key) + len(r.Headers) + len(r.Value); n > 0 && (size > importBatch || n == importRecords) {
			return n
		}
	}
	return len(records)
}

// check returns the error of the first record that breaks a rule.
func (i *Import) check(records []kv.Entry) error {
	config, err := i.bucket.config()
	if err != nil {
		return err
	}
	c := recordCheck{config: &config, next: i.next, now: i.store.clock.now(), last: i.last, created: i.created}
	for n := range records {
		r := &records[n]
		if err := c.check(r); err != nil {
			return kv.NameKey(i.bucket.name, r.Key, fmt.Errorf("record of revision %d: %w", r.Revision, err))
		}
	}
	return nil
}

// writeBatch takes records, which were checked, through the commit path. It returns the error of
// the first that was not written.
func (i *Import) writeBatch(ctx context.Context, records []kv.Entry) error {
	r, err := i.request(ctx, records)
	defer i.store.commit.free(r)
	if err == nil {
		err = i.store.carryOut(ctx, r)
	} else {
		r.cancelled = err
		r.cutOff()
		i.store.values.removeRefused(r.mutations, err)
	}
	for n := range r.mutations {
		m := &r.mutations[n]
		if m.err != nil {
			err = kv.NameKey(i.bucket.name, m.key, fmt.Errorf("record of revision %d: %w", m.record.revision, m.err))
			break
		}
	}
	clear(i.memory.mutations)
	return err
}

// request makes the mutations of records, and writes their large values.
func (i *Import) request(ctx context.Context, records []kv.Entry) (*request, error) {
	m := &i.memory
	m.mutations, m.given = m.mutations[:0], m.given[:0]
	for n := range records {
		r := &records[n]
		m.given = append(m.given, given{revision: r.Revision, created: r.Created.UnixNano(), op: r.Operation, reason: r.Reason})
		if !r.Deadline.IsZero() {
			m.given[n].deadline = r.Deadline.UnixNano()
		}
		m.mutations = append(m.mutations, mutation{kind: writeRecord, key: r.Key, headers: r.Headers, value: r.Value})
	}
	request := i.store.commit.newRequest()
	request.mutations = m.mutations
	for n := range m.mutations {
		own := &m.mutations[n]
		own.record = &m.given[n]
		err := i.bucket.prepare(own)
		if err == nil && own.large {
			err = i.store.values.write(ctx, own)
		}
		if err != nil {
			return request, err
		}
	}
	return request, nil
}

// Commit makes the bucket visible; see [kv.Importer].
func (i *Import) Commit(ctx context.Context, digest kv.Digest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended != nil {
		return i.name(i.ended)
	}
	s, b := i.store, i.bucket
	err := s.operate(ctx, func() (journal.Operation, error) {
		if err := i.committable(digest); err != nil {
			return nil, err
		}
		return &journal.Reveal{Bucket: b.id, Last: i.last, Next: max(i.next, b.next)}, nil
	})
	if err != nil {
		return i.name(err)
	}
	i.ended, i.done = errCommitted, true
	return nil
}

// committable returns nil, or why the import cannot be committed now. The caller holds path.
func (i *Import) committable(digest kv.Digest) error {
	s, b := i.store, i.bucket
	switch _, err := s.lookup(b.name); {
	case err == nil:
		return fmt.Errorf("%w: %q; delete it, and commit the import again", kv.ErrBucketExists, b.name)
	case !errors.Is(err, kv.ErrBucketNotFound):
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err := b.checkWritableLocked(); err != nil {
		return err
	}
	if got := b.mu.index.Digest(); got != digest {
		return &kv.DigestError{Bucket: b.name, Want: digest, Got: got}
	}
	return nil
}

// Discard removes the bucket; see [kv.Importer].
func (i *Import) Discard(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done {
		return nil
	}
	err := i.store.operate(ctx, func() (journal.Operation, error) {
		return &journal.Delete{Bucket: i.bucket.id}, nil
	})
	if err != nil {
		return i.name(err)
	}
	i.ended, i.done = errDiscarded, true
	return nil
}

// name returns an error with the name of the bucket.
func (i *Import) name(err error) error { return kv.NameKey(i.bucket.name, "", err) }
