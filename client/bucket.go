package client

import (
	"context"
	"iter"
	"time"

	"kvd/internal/lineproto"
	"kvd/internal/view"
	"kvd/kv"
)

// Bucket is a handle of one bucket on the server. Every command contains the id of the
// bucket, so that it never reaches a later bucket of the same name.
type Bucket struct {
	client *Client
	name   string
	id     uint64
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// named returns an error of a method that takes no key, with the bucket's name.
func (b *Bucket) named(err error) error { return kv.NameKey(b.name, "", err) }

// call begins a command about a key.
func (b *Bucket) call(v lineproto.Verb, key string) *call {
	k := b.client.calls.get(v)
	k.command.Bucket, k.command.BucketID, k.command.Key = b.name, b.id, key
	return k
}

// Get returns the newest entry of key.
func (b *Bucket) Get(ctx context.Context, key string) (kv.Entry, error) {
	_, e, err := b.GetAppend(ctx, nil, key)
	return e, kv.NameKey(b.name, key, err)
}

// GetAppend is Get that appends the value to dst. It allocates nothing if dst has room
// for the value.
func (b *Bucket) GetAppend(ctx context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	err := checkCall(ctx, key)
	if err != nil {
		return dst, kv.Entry{}, kv.NameKey(b.name, key, err)
	}
	dst, e, err := b.get(ctx, dst, b.call(lineproto.VerbGet, key))
	if err != nil && err != kv.ErrKeyNotFound { //nolint:errorlint // lineproto returns the sentinel alone
		err = kv.NameKey(b.name, key, err)
	}
	return dst, e, err
}

// GetRevision returns the entry of key at exactly that revision.
func (b *Bucket) GetRevision(ctx context.Context, key string, revision kv.Revision) (kv.Entry, error) {
	if err := checkCall(ctx, key); err != nil {
		return kv.Entry{}, kv.NameKey(b.name, key, err)
	}
	k := b.call(lineproto.VerbGet, key)
	k.command.Revision, k.command.HasRevision = revision, true
	_, e, err := b.get(ctx, nil, k)
	return e, kv.NameKey(b.name, key, err)
}

func (b *Bucket) get(ctx context.Context, dst []byte, k *call) ([]byte, kv.Entry, error) {
	k.dst = dst
	k.command.Stale = kv.IsStale(ctx)
	if err := b.client.do(ctx, k); err != nil {
		return dst, kv.Entry{}, err
	}
	dst, e := k.dst, k.entry
	k.free()
	return dst, e, nil
}

// checkCall returns why a call about a key cannot begin.
func checkCall(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return kv.CheckKey(key)
}

// Put writes value as the newest of key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutatePut, Key: key, Value: value}, opts)
}

// PutString is Put of a string.
func (b *Bucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.Put(ctx, key, view.Bytes(value), opts...) // it is only read
}

// Create is Put if the key is absent.
func (b *Bucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateCreate, Key: key, Value: value}, opts)
}

// Update is Put if the newest record of key has the revision last.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateUpdate, Key: key, Value: value, Last: last}, opts)
}

// Touch writes the newest value of key again.
func (b *Bucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateTouch, Key: key}, opts)
}

// Delete writes a delete marker.
func (b *Bucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateDelete, Key: key}, opts)
}

// Purge writes a purge marker, which ends the key's history.
func (b *Bucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutatePurge, Key: key}, opts)
}

// write executes one mutation. It fills in the name of the bucket.
func (b *Bucket) write(ctx context.Context, m kv.Mutation, opts []kv.WriteOption) (kv.Revision, error) {
	revision, err := b.send(ctx, m, opts)
	if err != nil {
		err = kv.NameKey(b.name, m.Key, err)
	}
	return revision, err
}

// send is write, whose errors may name neither bucket nor key.
func (b *Bucket) send(ctx context.Context, m kv.Mutation, opts []kv.WriteOption) (kv.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := m.Apply(opts); err != nil {
		return 0, err
	}
	m.Bucket = b.name
	if err := checkMutation(&m); err != nil {
		return 0, err
	}
	k := b.client.calls.get(0)
	setMutation(&k.command, &m)
	k.command.BucketID = b.id
	if err := b.client.do(ctx, k); err != nil {
		return 0, err
	}
	revision := kv.Revision(k.number)
	k.free()
	return revision, nil
}

// History yields the kept entries of key, oldest first. An entry that is damaged
// comes with its error, and those behind it follow.
func (b *Bucket) History(ctx context.Context, key string) iter.Seq2[kv.Entry, error] {
	l := listing[kv.Entry]{
		client:  b.client,
		command: lineproto.Command{Verb: lineproto.VerbHistory, Bucket: b.name, BucketID: b.id, Key: key, Stale: kv.IsStale(ctx)},
		check:   kv.CheckKey(key),
		decode:  b.decodeEntry,
		name:    func(err error) error { return kv.NameKey(b.name, key, err) },
	}
	return l.all(ctx)
}

// Keys yields the keys that match any of the patterns, ascending, as they were at
// one revision.
func (b *Bucket) Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error] {
	sent, left := fitPatterns(patterns)
	l := listing[string]{
		client:  b.client,
		command: lineproto.Command{Verb: lineproto.VerbKeys, Bucket: b.name, BucketID: b.id, Patterns: sent, Stale: kv.IsStale(ctx)},
		check:   checkPatterns(patterns),
		decode:  decodeKey(left),
		name:    b.named,
	}
	return l.all(ctx)
}

// PurgeDeletes drops the history behind markers, and old markers.
func (b *Bucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	k := b.call(lineproto.VerbPurgeDeletes, "")
	k.command.OlderThan = olderThan
	return b.named(b.client.run(ctx, k))
}

// Status describes the bucket.
func (b *Bucket) Status(ctx context.Context) (kv.Status, error) {
	st, err := b.client.info(ctx, b.name, b.id)
	return st, b.named(err)
}

// Count returns how many keys [Bucket.Keys] would yield for the patterns.
func (b *Bucket) Count(ctx context.Context, patterns ...string) (uint64, error) {
	if err := checkPatterns(patterns); err != nil {
		return 0, b.named(err)
	}
	sent, left := fitPatterns(patterns)
	if left != nil {
		return 0, b.named(&kv.LimitError{What: "size of the patterns", Got: int64(len(lineproto.JoinPatterns(patterns))), Max: patternsMax, Err: kv.ErrInvalidPattern})
	}
	k := b.call(lineproto.VerbCount, "")
	k.command.Patterns, k.command.Stale = sent, kv.IsStale(ctx)
	if err := b.client.do(ctx, k); err != nil {
		return 0, b.named(err)
	}
	n := k.number
	k.free()
	return n, nil
}

// decodeEntry takes one entry of a history.
func (b *Bucket) decodeEntry(r *lineproto.Reply) (item[kv.Entry], error) {
	if r.Kind != lineproto.ReplyEntry && r.Kind != lineproto.ReplyLost {
		return item[kv.Entry]{}, errWrongReply
	}
	e := b.own(&r.Entry)
	return item[kv.Entry]{value: e, err: kv.NameKey(b.name, e.Key, r.Err(b.name, e.Key)), size: len(e.Key) + len(e.Value)}, nil
}

// own returns an entry of this bucket in memory of its own.
func (b *Bucket) own(from *kv.Entry) kv.Entry {
	e := *from
	e.Bucket = b.name
	memory := make([]byte, 0, len(e.Key)+len(e.Value)) // of both: one allocation
	memory = append(append(memory, e.Value...), e.Key...)
	split := len(e.Value)
	e.Value = memory[:split:split]
	e.Key = view.String(memory[split:])
	return e
}
