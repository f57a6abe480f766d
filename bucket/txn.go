package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// transaction is a kv.Txn on its way through the commit path. It is one mutation there, the
// carrier, with kind runTransaction. A group takes all of it or nothing (group.go), judges it
// at once (txnjudge.go), and makes its writes visible at once (txnpublish.go).
type transaction struct {
	// Immutable once it is queued.
	conditions []condition
	branches   [2]branch // what is done if the conditions hold, and if not
	buckets    []*Bucket // of its conditions, writes and reads: each once, in ascending order of ids
	written    []*Bucket // those that may be written to, likewise
	size       int       // upper bound of the bytes of the records of a branch
	writes     int       // of a branch, at most
	stale      bool      // its reads accept what is in doubt: kv.WithStale

	// Its outcome. The leader writes it.
	now      int64
	branch   *branch       // the one that is carried out
	waits    bool          // the group has records of its buckets, and the outcome, of which at is a part, may tell of them: it is told after the sync
	from, to int           // its effects are group.effects[from:to]
	saved    savepoint     // of the group before its writes
	at       []kv.Revision // of buckets: their newest revisions after it
}

// branch is a kv.Branch in terms of the engine.
type branch struct {
	mutations []mutation
	order     []*mutation // mutations, as the judge takes them
	reads     []read
	write     kv.TxnPart // what its writes and reads are in errors
	read      kv.TxnPart
}

// condition is a kv.Cond in terms of the engine.
type condition struct {
	subject  mutation // with bucket, key and hash alone: what the condition is about
	is       kv.CondKind
	revision kv.Revision
	value    []byte

	// Of ValueIs and ValueIsNot: what the caller read.
	seen  kv.Revision // the revision of the key's value, 0: none
	equal bool        // that value is the condition's
}

// read is a read of a branch.
type read struct {
	subject mutation         // as of a condition
	version index.Version    // what it found
	segment *segment.Segment // that has it, pinned; nil: it found nothing
}

// errValueMoved is the error of a transaction whose caller compared a value that is not the
// newest any more.
var errValueMoved = errors.New("the value of a condition was written again")

// valueAttempts is how often a caller compares values before it gives up.
const valueAttempts = 16

var _ kv.Transactor = (*Store)(nil)

// Txn carries out a transaction; see [kv.Transactor].
func (s *Store) Txn(ctx context.Context, t *kv.Txn) (kv.TxnResult, error) {
	own, err := s.newTransaction(ctx, t)
	if err == nil {
		err = s.runTransaction(ctx, own)
		own.removeRefused(s, err)
	}
	if err != nil {
		own.setRevisions(t, nil)
		return kv.TxnResult{}, err
	}
	own.setRevisions(t, own.branch)
	return own.result()
}

// runTransaction carries a transaction through the commit path. The values of its conditions are
// compared here, in the caller's goroutine, so that no page fault stalls other writers. If another
// write of such a key comes in between, it starts over.
func (s *Store) runTransaction(ctx context.Context, t *transaction) error {
	for range valueAttempts {
		if err := t.compareValues(ctx); err != nil {
			return err
		}
		if err := s.carryOutTransaction(ctx, t); err != errValueMoved { //nolint:errorlint // nothing wraps it
			return err
		}
	}
	return fmt.Errorf("%w: the values of the conditions changed %d times while they were compared; try again", kv.ErrContended, valueAttempts)
}

func (s *Store) carryOutTransaction(ctx context.Context, t *transaction) error {
	r := s.commit.newRequest()
	defer s.commit.free(r)
	carrier := &r.single[0]
	carrier.kind, carrier.txn = runTransaction, t
	if err := s.commit.do(ctx, r); err != nil {
		return err
	}
	return carrier.err
}

// newTransaction checks and translates a transaction of the contract, and writes the large values of its
// branches to files. It never returns nil.
func (s *Store) newTransaction(ctx context.Context, t *kv.Txn) (*transaction, error) {
	own := &transaction{stale: kv.IsStale(ctx)}
	own.branches[0].write, own.branches[0].read = kv.ThenWrite, kv.ThenRead
	own.branches[1].write, own.branches[1].read = kv.ElseWrite, kv.ElseRead
	if err := s.open(ctx); err != nil {
		return own, err
	}
	if err := t.Check(); err != nil {
		return own, err
	}
	if err := own.addConditions(s, t.If); err != nil {
		return own, err
	}
	for i, b := range [...]*kv.Branch{&t.Then, &t.Else} {
		if err := own.addBranch(s, &own.branches[i], b); err != nil {
			return own, err
		}
	}
	own.buckets, own.written = ordered(own.buckets), ordered(own.written)
	own.at = make([]kv.Revision, len(own.buckets))
	if err := own.checkFiles(s); err != nil {
		return own, err
	}
	return own, own.writeValues(ctx, s)
}

// ordered returns the buckets in ascending order of ids, each once.
func ordered(buckets []*Bucket) []*Bucket {
	slices.SortFunc(buckets, func(a, b *Bucket) int { return cmp.Compare(a.id, b.id) })
	return slices.Compact(buckets)
}

func (t *transaction) addConditions(s *Store, conditions []kv.Cond) error {
	t.conditions = make([]condition, len(conditions))
	for i := range conditions {
		from, c := &conditions[i], &t.conditions[i]
		c.is, c.revision, c.value = from.Is, from.Revision, from.Value
		if err := t.addSubject(s, &c.subject, from.Bucket, from.Key, from.Is != kv.BucketAtRevision); err != nil {
			return &kv.TxnError{Part: kv.TxnIf, Op: i, Err: err}
		}
		if b := c.subject.bucket; from.BucketID != 0 && from.BucketID != b.life {
			err := fmt.Errorf("%w: %q with id %d; the one of that name has id %d", kv.ErrBucketNotFound, b.name, from.BucketID, b.life)
			return &kv.TxnError{Part: kv.TxnIf, Op: i, Err: err}
		}
	}
	return nil
}

// addSubject fills in what a condition or a read is about. hasKey says that it is a key.
func (t *transaction) addSubject(s *Store, m *mutation, bucket, key string, hasKey bool) error {
	b, err := s.lookup(bucket)
	if err == nil && hasKey {
		err = kv.CheckKey(key)
	}
	if err != nil {
		return kv.NameKey(bucket, key, err)
	}
	m.bucket, m.key, m.hash = b, key, index.Hash(key)
	t.buckets = append(t.buckets, b)
	return nil
}

func (t *transaction) addBranch(s *Store, own *branch, b *kv.Branch) error {
	own.mutations, own.order = make([]mutation, len(b.Writes)), make([]*mutation, len(b.Writes))
	size := 0
	for i := range b.Writes {
		from, m := &b.Writes[i], &own.mutations[i]
		err := s.translate(from, m)
		if err == nil && m.bucket.memory != own.mutations[0].bucket.memory {
			err = fmt.Errorf("%w: a branch writes to buckets with storage=file or to those in memory, not to both", kv.ErrInvalidTxn)
		}
		if err != nil {
			return &kv.TxnError{Part: own.write, Op: i, Err: kv.NameKey(from.Bucket, from.Key, err)}
		}
		own.order[i] = m
		t.buckets, t.written = append(t.buckets, m.bucket), append(t.written, m.bucket)
		size += m.size + expiryMarkerSize(m.key)
	}
	own.reads = make([]read, len(b.Reads))
	for i, r := range b.Reads {
		if err := t.addSubject(s, &own.reads[i].subject, r.Bucket, r.Key, true); err != nil {
			return &kv.TxnError{Part: own.read, Op: i, Err: err}
		}
	}
	t.size, t.writes = max(t.size, size), max(t.writes, len(b.Writes))
	return nil
}

// files returns how many more files the transaction needs in the group.
func (t *transaction) files(group uint64) (n int) {
	for _, b := range t.written {
		if !b.memory && b.taken != group {
			n++
		}
	}
	return n
}

// checkFiles refuses a transaction of more buckets than may have a file open at a time.
func (t *transaction) checkFiles(s *Store) error {
	n := 0
	for _, b := range t.written {
		if !b.memory {
			n++
		}
	}
	if most := s.commit.group.filesMax; n > most {
		return &kv.LimitError{What: "number of buckets that are written to", Got: int64(n), Max: int64(most), Err: kv.ErrTxnTooLarge}
	}
	return nil
}

// writeValues writes the large values of both branches to files.
func (t *transaction) writeValues(ctx context.Context, s *Store) error {
	for i := range t.branches {
		b := &t.branches[i]
		for n := range b.mutations {
			m := &b.mutations[n]
			if !m.large {
				continue
			}
			if err := s.values.write(ctx, m); err != nil {
				t.removeRefused(s, err)
				return &kv.TxnError{Part: b.write, Op: n, Err: kv.NameKey(m.bucket.name, m.key, err)}
			}
		}
	}
	return nil
}

// removeRefused gives up the files of large values that no record names. err is the transaction's.
func (t *transaction) removeRefused(s *Store, err error) {
	for i := range t.branches {
		b := &t.branches[i]
		cause := err
		if cause == nil && b != t.branch {
			cause = errNotTaken
		}
		if cause != nil {
			for n := range b.mutations {
				b.mutations[n].revision = 0
			}
			s.values.removeRefused(b.mutations, cause)
		}
	}
}

// errNotTaken stands for the error of writes of the branch that is not carried out.
var errNotTaken = errors.New("the other branch was carried out")

// setRevisions sets the revisions of the caller's writes: those of the branch that was carried out,
// nil for none.
func (t *transaction) setRevisions(callers *kv.Txn, carriedOut *branch) {
	for i, b := range [...]*kv.Branch{&callers.Then, &callers.Else} {
		for n := range b.Writes {
			b.Writes[n].Revision = 0
			if carriedOut == &t.branches[i] {
				b.Writes[n].Revision = carriedOut.mutations[n].revision
			}
		}
	}
}

// compareValues compares the values that conditions are about.
func (t *transaction) compareValues(ctx context.Context) error {
	var value []byte
	for i := range t.conditions {
		c := &t.conditions[i]
		if !c.is.ComparesValue() {
			continue
		}
		var e kv.Entry
		var err error
		value, e, err = c.subject.bucket.GetAppend(ctx, value[:0], c.subject.key)
		if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
			return &kv.TxnError{Part: kv.TxnIf, Op: i, Err: err}
		}
		c.seen, c.equal = e.Revision, err == nil && bytes.Equal(value, c.value)
	}
	return nil
}

// result returns the result of a transaction that was carried out.
func (t *transaction) result() (kv.TxnResult, error) {
	var r kv.TxnResult
	var damaged []error
	r.Then = t.branch == &t.branches[0]
	r.At = make(map[string]kv.Revision, len(t.buckets))
	for i, b := range t.buckets {
		r.At[b.name] = t.at[i]
	}
	r.Entries = make([]kv.Entry, len(t.branch.reads))
	for i := range t.branch.reads {
		var cause error
		r.Entries[i], cause = t.branch.reads[i].entry()
		if cause != nil {
			damaged = append(damaged, &kv.TxnError{Part: t.branch.read, Op: i, Done: true, Err: cause})
		}
	}
	return r, errors.Join(damaged...)
}

// entry returns what the read found, and unpins its segment.
func (r *read) entry() (kv.Entry, error) {
	m := &r.subject
	if r.segment == nil {
		return kv.Entry{Bucket: m.bucket.name, Key: m.key}, nil
	}
	defer r.segment.Unpin()
	e, err := m.bucket.readVersion(r.segment, m.key, r.version)
	if err != nil {
		e = m.bucket.withoutValue(m.key, r.version)
	}
	return e, err
}
