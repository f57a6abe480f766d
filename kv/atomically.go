package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Tx is what the function of [Atomically] reads and writes by. It is for one goroutine, and only
// until the function returns.
type Tx struct {
	ctx     context.Context
	store   Store
	buckets map[string]*txBucket
	reads   map[KeyRef]txRead
	written map[KeyRef]int // the key's last write, in txn.Then.Writes
	txn     Txn
}

// txBucket is a bucket that a Tx reads.
type txBucket struct {
	Bucket
	id uint64
}

// txRead is what a Tx read of a key.
type txRead struct {
	entry Entry
	err   error // nil or ErrKeyNotFound
}

// Limits of Atomically.
const (
	atomicallyAttempts = 32
	atomicallyPauseMax = 50 * time.Millisecond // between two attempts
)

// Atomically runs fn and carries out all its writes as one transaction, if every key that fn has
// read is still as fn saw it. Otherwise it runs fn again, at most 32 times, and returns ErrContended
// then. So fn must do nothing but compute and use tx. Between two attempts Atomically waits for a
// random time, up to 50 ms.
//
// The reads of one run may be of different moments. A run that saw such a mixture writes
// nothing, but fn must be able to bear it. Where fn returns an error, nothing is written, and
// Atomically returns that error, even if it is due to such a mixture.
//
// The store must be a [Transactor]; otherwise the error is ErrNotSupported. The other errors are
// those of [Transactor.Txn] and of the reads.
func Atomically(ctx context.Context, store Store, fn func(tx *Tx) error) error {
	transactor, ok := As[Transactor](store)
	if !ok {
		return fmt.Errorf("%w: this store has no transactions", ErrNotSupported)
	}
	for attempt := range atomicallyAttempts {
		if err := pauseAttempt(ctx, attempt); err != nil {
			return err
		}
		tx := &Tx{ctx: ctx, store: store, buckets: map[string]*txBucket{}, reads: map[KeyRef]txRead{}, written: map[KeyRef]int{}}
		if err := fn(tx); err != nil {
			return err
		}
		if len(tx.txn.If)+len(tx.txn.Then.Writes) == 0 {
			return nil
		}
		if r, err := transactor.Txn(ctx, &tx.txn); err != nil || r.Then {
			return err
		}
	}
	return fmt.Errorf("%w: a key that was read was written each of %d times; try again", ErrContended, atomicallyAttempts)
}

// pauseAttempt waits before an attempt that is not the first: longer, the more there were.
func pauseAttempt(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return nil
	}
	longest := min(100*time.Microsecond<<min(attempt, 16), atomicallyPauseMax)
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get returns the entry of a key as [Bucket.Get] does, or what fn has written to it before: then
// the entry has no revision and no times. A key that was read before is not read again.
func (tx *Tx) Get(bucket, key string) (Entry, error) {
	ref := KeyRef{bucket, key}
	if i, ok := tx.written[ref]; ok {
		return tx.own(&tx.txn.Then.Writes[i])
	}
	r, ok := tx.reads[ref]
	if !ok {
		b, err := tx.bucket(bucket)
		if err != nil {
			return Entry{}, err
		}
		r.entry, err = b.Get(tx.ctx, key)
		condition := Cond{Bucket: bucket, Key: key, Is: AtRevision, Revision: r.entry.Revision, BucketID: b.id}
		switch {
		case errors.Is(err, ErrKeyNotFound):
			r.err, condition.Is, condition.Revision = err, Absent, 0
		case err != nil:
			return Entry{}, err
		}
		tx.txn.If = append(tx.txn.If, condition)
		tx.reads[ref] = r
	}
	e := r.entry
	e.Value, e.Headers = bytes.Clone(e.Value), bytes.Clone(e.Headers)
	return e, r.err
}

// own returns the entry of a key that fn has written to.
func (tx *Tx) own(m *Mutation) (Entry, error) {
	if m.Op != MutatePut {
		return Entry{}, NameKey(m.Bucket, m.Key, ErrKeyNotFound)
	}
	return Entry{Bucket: m.Bucket, Key: m.Key, Value: bytes.Clone(m.Value), Operation: Put}, nil
}

// bucket returns a bucket and its id. The id keeps a read of a bucket that is deleted from
// counting in the next bucket of its name.
func (tx *Tx) bucket(name string) (*txBucket, error) {
	if b := tx.buckets[name]; b != nil {
		return b, nil
	}
	b, err := tx.store.Bucket(tx.ctx, name)
	if err != nil {
		return nil, err
	}
	own := &txBucket{Bucket: b}
	if identified, ok := As[interface{ ID() uint64 }](b); ok {
		own.id = identified.ID()
	} else {
		st, err := b.Status(tx.ctx)
		if err != nil {
			return nil, err
		}
		own.id = st.ID
	}
	tx.buckets[name] = own
	return own, nil
}

// Put writes a value to a key, as [Bucket.Put] does. The value must not change before Atomically
// returns. An option that is not for a put is ErrInvalidOption.
func (tx *Tx) Put(bucket, key string, value []byte, opts ...WriteOption) error {
	return tx.write(Mutation{Bucket: bucket, Op: MutatePut, Key: key, Value: value}, opts)
}

// Delete writes a delete marker for a key, as [Bucket.Delete] does.
func (tx *Tx) Delete(bucket, key string) error {
	return tx.write(Mutation{Bucket: bucket, Op: MutateDelete, Key: key}, nil)
}

// Purge writes a purge marker for a key, as [Bucket.Purge] does. An option that is not for a
// purge is ErrInvalidOption.
func (tx *Tx) Purge(bucket, key string, opts ...WriteOption) error {
	return tx.write(Mutation{Bucket: bucket, Op: MutatePurge, Key: key}, opts)
}

func (tx *Tx) write(m Mutation, opts []WriteOption) error {
	if err := m.Apply(opts); err != nil {
		return NameKey(m.Bucket, m.Key, err)
	}
	tx.written[KeyRef{m.Bucket, m.Key}] = len(tx.txn.Then.Writes)
	tx.txn.Then.Writes = append(tx.txn.Then.Writes, m)
	return nil
}
