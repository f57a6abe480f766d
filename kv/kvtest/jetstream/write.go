package jetstream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

// Headers of a record, and what they hold, by NATS' ADR-8.
const (
	operationHeader = "KV-Operation"
	operationDelete = "DEL"
	operationPurge  = "PURGE"
)

// record is one message to be published to a key's subject.
type record struct {
	op    kv.MutationOp
	key   string
	value []byte
	last  *kv.Revision // of the newest record, if that is a condition
	ttl   time.Duration
}

func (b *bucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, record{op: kv.MutatePut, key: key, value: value}, opts)
}

func (b *bucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.Put(ctx, key, []byte(value), opts...)
}

func (b *bucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, record{op: kv.MutateUpdate, key: key, value: value, last: &last}, opts)
}

func (b *bucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, record{op: kv.MutateDelete, key: key}, opts)
}

func (b *bucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, record{op: kv.MutatePurge, key: key}, opts)
}

// Create writes on condition that there is no record. Where it is refused
// because of a marker, it writes on condition that the marker is the newest.
func (b *bucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	var last kv.Revision
	for {
		rev, err := b.write(ctx, record{op: kv.MutateCreate, key: key, value: value, last: &last}, opts)
		if !isRefused(err) {
			return rev, err
		}
		newest, marker, err := b.newest(ctx, key)
		if err != nil {
			return 0, err
		}
		if newest != 0 && !marker {
			return 0, &kv.RevisionMismatchError{Bucket: b.name, Key: key, Got: newest, Create: true}
		}
		last = newest
	}
}

// Touch writes the newest value on condition that it still is the newest.
func (b *bucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	if _, err := kv.ResolveWrite(kv.MutateTouch, opts); err != nil {
		return 0, kv.NameKey(b.name, key, err)
	}
	for {
		e, err := b.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		rev, err := b.write(ctx, record{op: kv.MutateTouch, key: key, value: e.Value, last: &e.Revision}, opts)
		if !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			return rev, err
		}
	}
}

// write publishes a record and returns its revision. A refusal because of the
// newest record is a *kv.RevisionMismatchError; for Create it is the server's
// error, because only the record itself says whether the key exists.
func (b *bucket) write(ctx context.Context, r record, opts []kv.WriteOption) (kv.Revision, error) {
	o, err := kv.ResolveWrite(r.op, opts)
	if err != nil {
		return 0, kv.NameKey(b.name, r.key, err)
	}
	if r.ttl = o.TTL; o.IfLast {
		r.last = &o.Last
	}
	if err := b.check(ctx, r.key); err != nil {
		return 0, err
	}
	msg, conditions := b.message(r)
	ack, err := b.js.PublishMsg(ctx, msg, conditions...)
	switch {
	case err == nil:
		return kv.Revision(ack.Sequence), nil
	case isRefused(err) && r.op == kv.MutateCreate:
		return 0, err
	case isRefused(err):
		return 0, b.mismatch(ctx, r)
	}
	err = b.failed(ctx, r.op.String(), r.key, err)
	if errors.Is(err, kv.ErrValueTooLarge) {
		return 0, b.tooLarge(ctx, r, err)
	}
	return 0, err
}

// message returns what is published for a record, and on which conditions.
func (b *bucket) message(r record) (*nats.Msg, []js.PublishOpt) {
	msg := &nats.Msg{Subject: b.subject(r.key), Data: r.value, Header: nats.Header{}}
	switch r.op {
	case kv.MutateDelete:
		msg.Header.Set(operationHeader, operationDelete)
	case kv.MutatePurge:
		msg.Header.Set(operationHeader, operationPurge)
		msg.Header.Set(js.MsgRollup, js.MsgRollupSubject)
	}
	var conditions []js.PublishOpt
	if r.last != nil {
		conditions = append(conditions, js.WithExpectLastSequencePerSubject(uint64(*r.last)))
	}
	if r.ttl > 0 {
		conditions = append(conditions, js.WithMsgTTL(r.ttl))
	}
	return msg, conditions
}

func (b *bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// newest returns the revision of key's newest record, 0 if there is none, and
// whether it is a marker.
func (b *bucket) newest(ctx context.Context, key string) (revision kv.Revision, marker bool, err error) {
	msg, err := b.stream.GetLastMsgForSubject(ctx, b.subject(key))
	if errors.Is(err, js.ErrMsgNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, b.failed(ctx, "newest revision of", key, err)
	}
	marker = msg.Header.Get(operationHeader) != "" || msg.Header.Get(js.MarkerReasonHeader) != ""
	return kv.Revision(msg.Sequence), marker, nil
}

// mismatch returns the error of a write whose condition did not hold.
func (b *bucket) mismatch(ctx context.Context, r record) error {
	newest, _, err := b.newest(ctx, r.key)
	if err != nil {
		return err
	}
	return &kv.RevisionMismatchError{Bucket: b.name, Key: r.key, Want: *r.last, Got: newest}
}

// tooLarge returns the error of a value over the bucket's limit. It is the cause
// where the value alone would fit, or the limit is not known.
func (b *bucket) tooLarge(ctx context.Context, r record, cause error) error {
	info, err := b.stream.Info(ctx)
	if err != nil || len(r.value) <= int(info.Config.MaxMsgSize) {
		return cause
	}
	return kv.NameKey(b.name, r.key, &kv.LimitError{What: "value size", Got: int64(len(r.value)), Max: int64(info.Config.MaxMsgSize), Err: kv.ErrValueTooLarge})
}
