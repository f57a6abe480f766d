package client

import (
	"context"
	"fmt"
	"iter"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var _ kv.Reader = (*Bucket)(nil)

// GetMany yields the newest entry of each of the keys, as of one moment; see [kv.Reader].
func (b *Bucket) GetMany(ctx context.Context, keys []string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		m := many{bucket: b, keys: keys, yield: yield}
		m.run(ctx)
	}
}

// many is one GetMany. Only valid keys are sent: the others are answered here.
type many struct {
	bucket *Bucket
	keys   []string
	yield  func(kv.Entry, error) bool
	next   int // of keys
}

// run yields the entries, and what ends the sequence early.
func (m *many) run(ctx context.Context) {
	l := m.bucket.entries(ctx, lineproto.VerbGetMany)
	l.command.Value, l.check = m.valid()
	for e, err := range l.all(ctx) {
		if err != nil && e.Key == "" {
			m.yield(kv.Entry{}, err)
			return
		}
		if !m.skipInvalid() {
			return
		}
		if m.next == len(m.keys) || e.Key != m.keys[m.next] {
			m.yield(kv.Entry{}, &ConnError{Addr: m.bucket.client.address, Err: errWrongReply})
			return
		}
		if m.next++; !m.yield(e, err) {
			return
		}
	}
	if m.skipInvalid() && m.next < len(m.keys) {
		m.yield(kv.Entry{}, &ConnError{Addr: m.bucket.client.address, Err: errWrongReply})
	}
}

// valid returns the valid keys as they are sent.
func (m *many) valid() ([]byte, error) {
	if err := kv.CheckGetMany(m.keys); err != nil {
		return nil, err
	}
	sent := make([]string, 0, len(m.keys))
	for _, key := range m.keys {
		if kv.CheckKey(key) == nil {
			sent = append(sent, key)
		}
	}
	return lineproto.JoinWords(sent), nil
}

// skipInvalid yields the errors of the invalid keys that come next. It reports whether to go on.
func (m *many) skipInvalid() bool {
	for ; m.next < len(m.keys); m.next++ {
		key := m.keys[m.next]
		err := kv.CheckKey(key)
		if err == nil {
			break
		}
		if !m.yield(kv.Entry{Bucket: m.bucket.name, Key: key}, kv.NameKey(m.bucket.name, key, err)) {
			return false
		}
	}
	return true
}

// Range yields the newest entries of a range of keys, as of one moment; see [kv.Reader]. From, To
// and After have to be UTF-8, and fit a line of the protocol together; Patterns have at most 64 KiB.
func (b *Bucket) Range(ctx context.Context, o kv.RangeOptions) iter.Seq2[kv.Entry, error] {
	l := b.entries(ctx, lineproto.VerbRange)
	if l.check = o.Validate(); l.check == nil {
		l.command.SetRange(&o, patternsMax)
		l.check = sendable(&l.command)
	}
	if o.KeysOnly {
		l.decode = b.decodeName
	}
	return l.all(ctx)
}

// entries returns a listing of entries.
func (b *Bucket) entries(ctx context.Context, verb lineproto.Verb) *listing[kv.Entry] {
	return &listing[kv.Entry]{
		client:  b.client,
		command: lineproto.Command{Verb: verb, Bucket: b.name, BucketID: b.id, Stale: kv.IsStale(ctx)},
		decode:  b.decodeRead,
		name:    b.named,
	}
}

// decodeRead takes one entry of a GetMany or a Range.
func (b *Bucket) decodeRead(r *lineproto.Reply) (item[kv.Entry], error) {
	if r.Kind != lineproto.ReplyNone {
		return b.decodeEntry(r)
	}
	e := b.own(&kv.Entry{Key: r.Name})
	e.Value = nil
	err := r.Err(b.name, e.Key)
	if err == nil {
		err = kv.ErrKeyNotFound
	}
	return item[kv.Entry]{value: e, err: kv.NameKey(b.name, e.Key, err), size: len(e.Key)}, nil
}

// decodeName is decodeRead of an entry without its value.
func (b *Bucket) decodeName(r *lineproto.Reply) (item[kv.Entry], error) {
	it, err := b.decodeRead(r)
	it.value.Value = nil
	return it, err
}

// sendable returns an error matching kv.ErrInvalidOption or kv.ErrInvalidBucketName if the protocol
// cannot say a command.
func sendable(c *lineproto.Command) error {
	if _, err := lineproto.AppendCommand(nil, c); err != nil {
		return fmt.Errorf("%w: %w", kv.ErrInvalidOption, err)
	}
	return nil
}

// Children yields the next level of the tree of keys below prefix, as of one moment; see
// [kv.Reader]. Prefix and separators have to be UTF-8.
func (b *Bucket) Children(ctx context.Context, prefix, separators string, limit int) iter.Seq2[kv.Child, error] {
	l := listing[kv.Child]{
		client: b.client,
		command: lineproto.Command{
			Verb: lineproto.VerbChildren, Bucket: b.name, BucketID: b.id, Stale: kv.IsStale(ctx),
			Prefix: prefix, Separators: separators, Range: kv.RangeOptions{Limit: limit},
		},
		check:  kv.CheckChildren(prefix, separators, limit),
		decode: decodeChild,
		name:   b.named,
	}
	if l.check == nil {
		l.check = sendable(&l.command)
	}
	return l.all(ctx)
}

func decodeChild(r *lineproto.Reply) (item[kv.Child], error) {
	if r.Kind != lineproto.ReplyChild {
		return item[kv.Child]{}, errWrongReply
	}
	child := r.Child
	child.Name = string([]byte(child.Name)) // in memory of its own
	return item[kv.Child]{value: child, size: len(child.Name)}, nil
}
