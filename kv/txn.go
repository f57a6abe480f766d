package kv

import (
	"context"
	"fmt"
)

// Transactor is a [Store] that carries out transactions. [As] finds it.
type Transactor interface {
	// Txn checks the conditions of t.If, all at one moment, and carries out t.Then if
	// all hold, t.Else if not: all its writes or none, whatever buckets they are in. It is
	// no error that a condition does not hold: TxnResult.Then says which branch it was.
	//
	// All writes of a transaction become visible at the same moment. A reader that has seen
	// one of them sees all, in every bucket, and after a crash all are there or none. In each
	// bucket their revisions follow each other without others in between. The markers
	// of expired keys that they replace count among them.
	//
	// A *[TxnError] names the condition, write or read that was refused; nothing was
	// written then, unless its Done is set: the transaction was carried out, but the values
	// of reads are damaged, and there is an error for each. A transaction that breaks the rules of [Txn] is
	// ErrInvalidTxn or ErrTxnTooLarge. Where the value of a condition changes again and
	// again while it is compared, the error is ErrContended, and nothing was written.
	//
	// Txn sets the Revision of each write: that of the record it wrote, or 0. t and
	// everything in it are the callee's until Txn returns. The entries of the result are
	// the caller's.
	Txn(ctx context.Context, t *Txn) (TxnResult, error)
}

// Txn is a transaction: conditions, and what is done where all of them hold or not.
//
// The writes of a branch are carried out in order. Each may have a condition of its own, as
// in [Submitter.Submit], and sees the writes before it; there may be several of one key.
// A write whose condition does not hold refuses the whole transaction. The reads of a branch
// see the state after all of its writes.
//
// A branch writes either to buckets with storage=file or to those in memory, because a crash
// would take its writes of the latter alone. A write cannot be a MutateTouch: it is
// ErrNotSupported, and a read followed by a MutateUpdate does the same.
type Txn struct {
	If   []Cond // at most MaxTxnOps; none: Then is carried out
	Then Branch
	Else Branch
}

// Branch is one outcome of a transaction. The zero Branch does nothing.
type Branch struct {
	// Writes are carried out in order. At most MaxTxnOps; their values and headers have at
	// most MaxTxnSize bytes together. Txn does not set their Err.
	Writes []Mutation
	// Reads are of the newest entries of keys, at most MaxTxnOps.
	Reads []KeyRef
}

// KeyRef names a key of a bucket.
type KeyRef struct {
	Bucket string
	Key    string
}

// Limits of a transaction.
const (
	// MaxTxnOps is the largest number of conditions of a transaction, and of writes and of
	// reads of each of its branches.
	MaxTxnOps = 1024
	// MaxTxnSize is the largest size of a branch in bytes: of the values and headers of its
	// writes.
	MaxTxnSize = 64 << 20
)

// Cond is a condition of a transaction.
type Cond struct {
	Bucket   string
	Key      string // not for BucketAtRevision
	Is       CondKind
	Revision Revision // for AtRevision, NotAtRevision and BucketAtRevision
	Value    []byte   // for ValueIs and ValueIsNot; nil is the empty value
	BucketID uint64   // refuse the transaction with ErrBucketNotFound if the bucket has another id; 0: do not check
}

// CondKind is what a condition says of its key or bucket.
type CondKind uint8

// The kinds of conditions. A key has a value if [Bucket.Get] finds one.
const (
	// Exists: the key has a value.
	Exists CondKind = iota + 1
	// Absent: the key has no value. It has no record, or its newest is a marker or expired.
	Absent
	// AtRevision: the key's newest record, marker or not, has the revision; 0: the key has no
	// record. A key that has expired is at no revision that was ever issued.
	AtRevision
	// NotAtRevision: AtRevision does not hold.
	NotAtRevision
	// BucketAtRevision: the bucket's newest revision is this one, whatever its key; 0: the
	// bucket never had a record.
	BucketAtRevision
	// ValueIs: the key has this value.
	ValueIs
	// ValueIsNot: the key has another value, or none.
	ValueIsNot
)

// String returns the name of the kind.
func (k CondKind) String() string {
	names := [...]string{"", "Exists", "Absent", "AtRevision", "NotAtRevision", "BucketAtRevision", "ValueIs", "ValueIsNot"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("CondKind(%d)", uint8(k))
	}
	return names[k]
}

// ComparesValue reports whether a condition of the kind has to know the key's value.
func (k CondKind) ComparesValue() bool { return k == ValueIs || k == ValueIsNot }

// TxnResult is the outcome of a transaction.
type TxnResult struct {
	// Then says that all conditions held and Then was carried out, otherwise Else.
	Then bool
	// Entries has an entry for each read of the branch, in the same order. One whose key has
	// no value has Bucket and Key alone, and the revision 0.
	Entries []Entry
	// At has, by the name of each bucket of the transaction, the newest revision after it.
	At map[string]Revision
}

// Branch returns the branch that was carried out.
func (t *Txn) Branch(then bool) *Branch {
	if then {
		return &t.Then
	}
	return &t.Else
}

// Check returns nil, or why the transaction breaks the rules that need no store: an error
// that matches ErrInvalidTxn, ErrTxnTooLarge or ErrNotSupported. It checks no names.
func (t *Txn) Check() error {
	if err := checkTxnOps("conditions", len(t.If)); err != nil {
		return err
	}
	for i := range t.If {
		if err := t.If[i].check(); err != nil {
			return &TxnError{Part: TxnIf, Op: i, Err: err}
		}
	}
	if err := t.Then.check(ThenWrite); err != nil {
		return err
	}
	return t.Else.check(ElseWrite)
}

func checkTxnOps(what string, n int) error {
	if n > MaxTxnOps {
		return &LimitError{What: "number of " + what, Got: int64(n), Max: MaxTxnOps, Err: ErrTxnTooLarge}
	}
	return nil
}

func (c *Cond) check() error {
	switch {
	case c.Is < Exists || c.Is > ValueIsNot:
		return fmt.Errorf("%w: %v is no kind of condition", ErrInvalidTxn, c.Is)
	case c.Is == BucketAtRevision && c.Key != "":
		return fmt.Errorf("%w: %v is about a bucket and has the key %.64q", ErrInvalidTxn, c.Is, c.Key)
	}
	return nil
}

// check checks a branch. writes is the part of the transaction that its writes are.
func (b *Branch) check(writes TxnPart) error {
	if err := checkTxnOps("writes", len(b.Writes)); err != nil {
		return err
	}
	if err := checkTxnOps("reads", len(b.Reads)); err != nil {
		return err
	}
	var size int64
	for i := range b.Writes {
		m := &b.Writes[i]
		if m.Op == MutateTouch {
			err := fmt.Errorf("%w: %v in a transaction; read the key and use %v", ErrNotSupported, m.Op, MutateUpdate)
			return &TxnError{Part: writes, Op: i, Err: NameKey(m.Bucket, m.Key, err)}
		}
		size += int64(len(m.Value)) + int64(len(m.Headers))
	}
	if size > MaxTxnSize {
		return &LimitError{What: "size of the values and headers", Got: size, Max: MaxTxnSize, Err: ErrTxnTooLarge}
	}
	return nil
}
