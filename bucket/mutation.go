package bucket

import (
	"fmt"
	"time"

	"kvd/index"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// mutation is one write: the request of the caller and its outcome.
type mutation struct {
	bucket *Bucket
	key    string
	hash   uint64 // of key

	// What it writes.
	kind    mutationKind
	expect  expectation
	rollup  bool   // the older records of the key are removed
	rawLen  uint32 // size of the value before compression, bytes; 0: it is not compressed
	given   []byte // the value, for watchers
	value   []byte // the value as it is stored
	large   bool   // the value has a file of its own
	file    segment.ValueFile
	headers []byte
	ttl     time.Duration // of the record; 0: the record has none of its own
	floor   kv.Revision   // for eraseRecords: the records of the key below it are removed
	record  *given        // for writeRecord
	txn     *transaction  // for runTransaction, which has none of the other fields
	size    int           // of the record, bytes, without a value that has a file of its own

	// What it expects besides expect. last belongs to expectLast.
	last     kv.Revision // the key's newest
	newest   kv.Revision // the bucket's newest, if ifNewest is set
	ifNewest bool

	// Its outcome.
	revision kv.Revision
	erased   int // for eraseRecords: the number of removed records
	err      error
}

// mutationKind is what a mutation writes.
type mutationKind uint8

const (
	writeValue     mutationKind = iota + 1
	writeAppended               // a value under a key that is made from its revision
	writeDelete                 // a delete marker
	writePurge                  // a purge marker
	writeExpiry                 // an expiry marker if the key has expired, otherwise nothing
	eraseRecords                // an erase record if there are records to remove
	writeRecord                 // a record of an import, with a given revision
	runTransaction              // what a transaction writes
)

// expectation is what a mutation expects of the newest record of its key.
type expectation uint8

const (
	expectAnything expectation = iota
	expectAbsent               // the key has no record, or its newest is a marker
	expectLast                 // the newest has the revision mutation.last; 0: the key has no record
)

// translations gives the kind and the expectation of each write of the contract.
var translations = [...]struct {
	kind   mutationKind
	expect expectation
}{
	kv.MutatePut:    {writeValue, expectAnything},
	kv.MutateCreate: {writeValue, expectAbsent},
	kv.MutateUpdate: {writeValue, expectLast},
	kv.MutateDelete: {writeDelete, expectAnything}, // or expectLast
	kv.MutatePurge:  {writePurge, expectAnything},  // or expectLast
	msglog.Append:   {writeAppended, expectAnything},
}

// translate turns a mutation of the contract (package kv) into one of the engine, own,
// which has no field set. It ignores m.Bucket. After an error own has no meaning.
func (b *Bucket) translate(m *kv.Mutation, own *mutation) error {
	if int(m.Op) >= len(translations) || translations[m.Op].kind == 0 {
		return fmt.Errorf("%w: %v", kv.ErrInvalidOption, m.Op)
	}
	own.kind, own.expect = translations[m.Op].kind, translations[m.Op].expect
	own.key, own.headers, own.ttl = m.Key, m.Headers, m.TTL
	own.last, own.newest, own.ifNewest = m.Last, m.Newest, m.IfNewest
	plain := own.kind == writeDelete || own.kind == writeAppended
	if m.TTL < 0 || m.TTL > 0 && plain {
		return &kv.LimitError{What: fmt.Sprintf("TTL of a %v", m.Op), Got: int64(m.TTL), Duration: true, Err: kv.ErrInvalidOption}
	}
	if m.Rollup && plain {
		return fmt.Errorf("%w: %v keeps the history", kv.ErrInvalidOption, m.Op)
	}
	if own.operation().IsMarker() {
		if m.IfLast {
			own.expect = expectLast
		}
	} else {
		own.value, own.rollup = m.Value, m.Rollup
	}
	return b.prepare(own)
}

// prepare does the checks that need no lock of the commit path, so that they cost the
// leader no time. It then fills in the fields that the commit path needs. It also
// compresses the value, by the configuration of this moment: here writers compress in
// parallel, and under the path they would do it one after the other.
func (b *Bucket) prepare(m *mutation) error {
	if err := m.checkKey(); err != nil {
		return err
	}
	config, err := b.config()
	if err != nil {
		return err
	}
	if config.Kind == msglog.Kind && m.ttl != 0 {
		return fmt.Errorf("%w: bucket %q is a message log, in which no record has a TTL of its own", kv.ErrInvalidOption, b.name)
	}
	if err := checkSizes(&config, len(m.value), len(m.headers)); err != nil {
		return err
	}
	m.given = m.value
	if config.Compression {
		if packed := segment.Compress(m.value); packed != nil {
			m.value, m.rawLen = packed, uint32(len(m.value))
		}
	}
	m.bucket = b
	m.hash = index.Hash(m.key)
	deadline := m.ttl != 0 || m.record != nil && m.record.deadline != 0
	if m.large = !b.memory && len(m.value) >= b.store.opts.env.LargeValue; m.large {
		m.size = segment.FileRecordSize(m.recordKeySize(), len(m.headers), deadline, m.rawLen != 0)
		return nil
	}
	m.size = segment.RecordSize(m.recordKeySize(), len(m.headers), len(m.value), deadline, m.rawLen != 0)
	return nil
}

// checkSizes refuses a value or headers that are too large for a bucket.
func checkSizes(config *kv.Config, value, headers int) error {
	if int64(value) > config.MaxValueSize {
		return &kv.LimitError{What: "value size", Got: int64(value), Max: config.MaxValueSize, Err: kv.ErrValueTooLarge}
	}
	if headers > kv.MaxHeadersSize {
		return &kv.LimitError{What: "size of the headers", Got: int64(headers), Max: kv.MaxHeadersSize, Err: kv.ErrValueTooLarge}
	}
	return nil
}

// valueInRecord returns the value that the mutation's record has itself.
func (m *mutation) valueInRecord() []byte {
	if m.large {
		return nil
	}
	return m.value
}

// recordKeySize returns the size in bytes of the key of the mutation's record.
func (m *mutation) recordKeySize() int {
	if m.kind == writeAppended {
		return len(m.key) + msglog.AppendedKeySize
	}
	return len(m.key)
}

// checkKey is kv.CheckKey for the key of the mutation's record.
func (m *mutation) checkKey() error {
	if err := kv.CheckKey(m.key); err != nil {
		return err
	}
	if n := m.recordKeySize(); n > kv.MaxKeySize {
		const shown = 64 // bytes of the name
		return &kv.NameError{
			Name: m.key[:shown], Offset: -1, Err: kv.ErrInvalidKey,
			Reason: fmt.Sprintf("%d bytes with what an append adds, at most %d", n, kv.MaxKeySize),
		}
	}
	return nil
}

func (m *mutation) operation() kv.Operation {
	switch m.kind {
	case writeDelete:
		return kv.Delete
	case writePurge:
		return kv.Purge
	case writeRecord:
		return m.record.op
	}
	return kv.Put
}

func (m *mutation) reason() kv.MarkerReason {
	if m.kind == writeRecord {
		return m.record.reason
	}
	if m.operation().IsMarker() {
		return kv.ReasonClient
	}
	return kv.ReasonNone
}

// effect returns the effect of a mutation, with that revision and time of creation. The
// caller fills in the other fields. prev is the newest effect of the group on the key, -1
// for none.
func (m *mutation) effect(revision kv.Revision, prev int, now int64) effect {
	e := effect{key: m.key, value: m.given, headers: m.headers, hash: m.hash, prev: prev, size: uint32(m.size), file: m.file.Number}
	e.version = index.Version{Revision: revision, Created: now, Size: e.size + m.file.Size, Op: m.operation(), Reason: m.reason()}
	if m.ttl != 0 {
		e.version.Deadline = later(now, m.ttl)
	}
	return e
}

// passesFullDisk reports whether a mutation is admitted on a full disk, where puts are
// refused. Expiry markers may use half of the reserve, because the rest is meant for
// deletes by clients.
func (m *mutation) passesFullDisk(r *reserve) bool {
	return m.bucket.memory || m.operation().IsMarker() || m.kind == eraseRecords || m.kind == writeExpiry && r.available > r.size/2
}

// refusal returns the error that the mutation's condition has at this moment, nil if there is
// none or if the commit path has to decide.
func (m *mutation) refusal() error {
	if m.expect == expectAnything {
		return nil
	}
	b := m.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	newest, present := b.newestLocked(m.hash, m.key)
	if b.inDoubtLocked(newest.Revision) || b.expiredLocked(&newest, true) {
		return nil
	}
	return m.condition(newest, present)
}

// condition checks what the mutation expects of the key's newest record.
func (m *mutation) condition(newest index.Version, present bool) error {
	var got kv.Revision
	if present {
		got = newest.Revision
	}
	switch m.expect {
	case expectAbsent:
		if present && !newest.Op.IsMarker() {
			return &kv.RevisionMismatchError{Bucket: m.bucket.name, Key: m.key, Got: got, Create: true}
		}
	case expectLast:
		if got != m.last {
			return &kv.RevisionMismatchError{Bucket: m.bucket.name, Key: m.key, Want: m.last, Got: got}
		}
	}
	return nil
}
