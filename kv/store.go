package kv

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Revision numbers the records of one bucket, from 1. Zero is "none".
type Revision uint64

// Store is a set of buckets. All methods are safe for concurrent use.
//
// Besides the errors that a method names, any method returns [ErrClosed] once
// the store was closed, the context's error where the context ended first, and
// every method that writes returns [ErrReadOnly] or [ErrOutcomeUnknown] after a
// fault (see there).
type Store interface {
	// CreateBucket makes a bucket and returns it. A bucket of that name with the
	// same configuration (after defaults are filled in) is returned as it is;
	// with another it is ErrBucketExists.
	CreateBucket(ctx context.Context, cfg Config) (Bucket, error)

	// UpdateBucket changes the configuration of an existing bucket to cfg, as a
	// whole. A shorter history is applied to what is stored, at once.
	// ErrBucketNotFound if there is none.
	UpdateBucket(ctx context.Context, cfg Config) (Bucket, error)

	// CreateOrUpdateBucket makes the bucket, or changes it to cfg.
	CreateOrUpdateBucket(ctx context.Context, cfg Config) (Bucket, error)

	// Bucket returns an existing bucket, or ErrBucketNotFound.
	Bucket(ctx context.Context, name string) (Bucket, error)

	// DeleteBucket removes a bucket and everything in it, for good. A bucket made
	// later under the same name has another id and starts at revision 1.
	// ErrBucketNotFound if there is none.
	DeleteBucket(ctx context.Context, name string) error

	// BucketNames yields the names of all buckets in ascending order.
	BucketNames(ctx context.Context) iter.Seq2[string, error]

	// Buckets yields the status of all buckets in ascending order of names.
	Buckets(ctx context.Context) iter.Seq2[Status, error]
}

// Submitter is a [Store] that takes many mutations of one caller in one call, so that
// they share commit groups and syncs. [As] finds it.
type Submitter interface {
	// Submit carries out the mutations in order, each seeing those before it, and
	// returns when all have an outcome. It is not atomic: each mutation succeeds
	// or fails by itself, and its Revision and Err say how. Submit's own error is
	// that of the context, if it ended before every mutation was taken; those not
	// taken carry it too.
	//
	// Keys and values are the callee's until Submit returns.
	Submit(ctx context.Context, mutations []Mutation) error
}

// Mutation is one write handed to [Submitter.Submit].
type Mutation struct {
	Bucket string
	Op     MutationOp
	Key    string
	Value  []byte        // MutatePut, MutateCreate, MutateUpdate, msglog.Append; nil is the empty value
	Last   Revision      // MutateUpdate: the revision expected to be the newest, 0 for none
	IfLast bool          // MutateDelete, MutatePurge: succeed only if Last is the newest
	TTL    time.Duration // of the key, or of a purge's marker; 0 is none

	// Headers are stored with the record and come back in [Entry.Headers]: opaque,
	// at most MaxHeadersSize bytes. Not for MutateTouch, which keeps the headers there are.
	Headers []byte
	// Rollup makes MutatePut, MutateCreate and MutateUpdate end the key's history, as
	// MutatePurge does.
	Rollup bool
	// IfNewest makes every write but MutateTouch succeed only if Newest is the
	// bucket's newest revision, whatever its key; 0 for a bucket that had none. It is
	// checked after the condition on the key, and after a key that has expired was
	// given its marker. Otherwise Err is a *[RevisionMismatchError] without a key.
	IfNewest bool
	Newest   Revision

	// Filled in by Submit.
	Revision Revision // of the record written
	Err      error    // nil if it was written
}

// MutationOp says which write a [Mutation] is.
type MutationOp uint8

// The writes, named as the methods of [Bucket]. The number 7 is msglog.Append.
const (
	MutatePut MutationOp = iota + 1
	MutateCreate
	MutateUpdate
	MutateDelete
	MutatePurge
	MutateTouch
)

// String returns the name of the method, or Append for that of package msglog.
func (op MutationOp) String() string {
	names := [...]string{"", "Put", "Create", "Update", "Delete", "Purge", "Touch", "Append"}
	if op == 0 || int(op) >= len(names) {
		return fmt.Sprintf("MutationOp(%d)", uint8(op))
	}
	return names[op]
}
