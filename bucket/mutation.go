package bucket

import (
	"fmt"
	"time"

	"kvd/index"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// mutation is one write, from what the caller asks for to its outcome.
type mutation struct {
	bucket *Bucket
	key    string
	hash   uint64 // of key

	// What it writes.
	kind    mutationKind
	expect  expectation
	rollup  bool   // the key's history ends with it
	rawLen  uint32 // of the value before compression, bytes; 0: it is not compressed
	given   []byte // the value, for watchers
	value   []byte // as it is stored
	headers []byte
	ttl     time.Duration // of the record; 0: none of its own
	floor   kv.Revision   // of eraseRecords: the records of the key below it are removed
	size    int           // of the record, bytes

	// What it expects besides, or with expectLast.
	last     kv.Revision // the key's newest
	newest   kv.Revision // the bucket's, where ifNewest
	ifNewest bool

	// Its outcome.
	revision kv.Revision
	erased   int // of eraseRecords: how many were removed
	err      error
}

// mutationKind says what a mutation writes.
type mutationKind uint8

const (
	writeValue    mutationKind = iota + 1
	writeAppended              // a value under a key that its revision makes
	writeDelete                // a delete marker
	writePurge                 // a purge marker
	writeExpiry                // the expiry marker of a key that has expired; otherwise nothing
	eraseRecords               // an erase record, where there is anything to be removed
)

// expectation says what a mutation expects of the newest record of its key.
type expectation uint8

const (
	expectAnything expectation = iota
	expectAbsent               // there is none, or it is a marker
	expectLast                 // it has the revision mutation.last, 0 for none
)

// translations are the writes of the contract.
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

// translate turns a mutation of the contract, whose Bucket is not looked at, into the
// engine's.
func (b *Bucket) translate(m *kv.Mutation) (mutation, error) {
	if int(m.Op) >= len(translations) || translations[m.Op].kind == 0 {
		return mutation{}, fmt.Errorf("%w: %v", kv.ErrInvalidOption, m.Op)
	}
	t := translations[m.Op]
	own := mutation{
		kind: t.kind, expect: t.expect, key: m.Key, headers: m.Headers, ttl: m.TTL,
		last: m.Last, newest: m.Newest, ifNewest: m.IfNewest,
	}
	plain := own.kind == writeDelete || own.kind == writeAppended
	if m.TTL < 0 || m.TTL > 0 && plain {
		return mutation{}, &kv.LimitError{What: fmt.Sprintf("TTL of a %v", m.Op), Got: int64(m.TTL), Duration: true, Err: kv.ErrInvalidOption}
	}
	if m.Rollup && plain {
		return mutation{}, fmt.Errorf("%w: %v keeps the history", kv.ErrInvalidOption, m.Op)
	}
	if own.operation().IsMarker() {
		if m.IfLast {
			own.expect = expectLast
		}
	} else {
		own.value, own.rollup = m.Value, m.Rollup
	}
	return own, b.prepare(&own)
}

// prepare checks what can be checked outside the commit path and fills in what
// it needs: the cheap refusals cost the leader nothing. Values are compressed
// here, by the configuration of this moment, so that writers do it side by side
// and not one after the other under the path.
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
	if int64(len(m.value)) > config.MaxValueSize {
		return &kv.LimitError{What: "value size", Got: int64(len(m.value)), Max: config.MaxValueSize, Err: kv.ErrValueTooLarge}
	}
	if len(m.headers) > kv.MaxHeadersSize {
		return &kv.LimitError{What: "size of the headers", Got: int64(len(m.headers)), Max: kv.MaxHeadersSize, Err: kv.ErrValueTooLarge}
	}
	m.given = m.value
	if config.Compression {
		if packed := segment.Compress(m.value); packed != nil {
			m.value, m.rawLen = packed, uint32(len(m.value))
		}
	}
	m.bucket = b
	m.hash = index.Hash(m.key)
	m.size = segment.RecordSize(m.recordKeySize(), len(m.headers), len(m.value), m.ttl != 0, m.rawLen != 0)
	return nil
}

// recordKeySize returns how many bytes the key of the mutation's record has.
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
	}
	return kv.Put
}

func (m *mutation) reason() kv.MarkerReason {
	if m.operation().IsMarker() {
		return kv.ReasonClient
	}
	return kv.ReasonNone
}

// effect begins the record of a mutation, with that revision and time. prev is the
// group's newest effect on the key, -1 for none.
func (m *mutation) effect(revision kv.Revision, prev int, now int64) effect {
	e := effect{key: m.key, value: m.given, headers: m.headers, hash: m.hash, prev: prev}
	e.version = index.Version{Revision: revision, Created: now, Size: uint32(m.size), Op: m.operation(), Reason: m.reason()}
	if m.ttl != 0 {
		e.version.Deadline = later(now, m.ttl)
	}
	return e
}

// passesFullDisk reports whether a mutation goes on where a put is refused.
func (m *mutation) passesFullDisk(r *reserve) bool {
	return m.bucket.memory || m.operation().IsMarker() || m.kind == eraseRecords || m.kind == writeExpiry && r.available > r.size/2
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
