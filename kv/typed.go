package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// Typed is a bucket whose values are encoded values of T. Its zero Codec is JSON. It is
// a view of the bucket: markers, revisions, options and errors are the bucket's. Safe for
// concurrent use if the codec is.
//
//	users := kv.Typed[User]{Bucket: b}
type Typed[T any] struct {
	Bucket Bucket
	Codec  Codec[T] // nil: JSON
}

// Codec turns values into bytes and back. Decode must not keep the bytes.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(b []byte) (T, error)
}

// TypedEntry is an [Entry] and its decoded value: the zero T for a marker, and for a
// watch that leaves values out. The bytes are in Entry.Value.
type TypedEntry[T any] struct {
	Entry
	Value T
}

// TypedUpdate is one event of [Typed.Watch].
type TypedUpdate[T any] struct {
	Entry *TypedEntry[T] // nil: every initial entry has been delivered
	Err   error          // the value is damaged, or is a *DecodeError; the watch goes on
}

// DecodeError is a value that the codec could not decode.
type DecodeError struct {
	Bucket   string
	Key      string
	Revision Revision
	Err      error // the codec's
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("decode %q in bucket %q at revision %d: %v", e.Key, e.Bucket, e.Revision, e.Err)
}

// Unwrap returns the codec's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// Get is [Bucket.Get] with the value decoded. It also returns a *[DecodeError].
func (t Typed[T]) Get(ctx context.Context, key string) (TypedEntry[T], error) {
	return t.decoded(t.Bucket.Get(ctx, key))
}

// Put is [Bucket.Put] of the encoded value.
func (t Typed[T]) Put(ctx context.Context, key string, v T, opts ...WriteOption) (Revision, error) {
	b, err := t.encode(key, v)
	if err != nil {
		return 0, err
	}
	return t.Bucket.Put(ctx, key, b, opts...)
}

// Create is [Bucket.Create] of the encoded value.
func (t Typed[T]) Create(ctx context.Context, key string, v T, opts ...WriteOption) (Revision, error) {
	b, err := t.encode(key, v)
	if err != nil {
		return 0, err
	}
	return t.Bucket.Create(ctx, key, b, opts...)
}

// Update is [Bucket.Update] with the encoded value.
func (t Typed[T]) Update(ctx context.Context, key string, v T, last Revision, opts ...WriteOption) (Revision, error) {
	b, err := t.encode(key, v)
	if err != nil {
		return 0, err
	}
	return t.Bucket.Update(ctx, key, b, last, opts...)
}

// History is [Bucket.History] with the values decoded. An entry that cannot be decoded
// comes with its *[DecodeError], and those behind it follow.
func (t Typed[T]) History(ctx context.Context, key string) iter.Seq2[TypedEntry[T], error] {
	return t.sequence(t.Bucket.History(ctx, key))
}

// All is [Bucket.All] with the values decoded. An entry that cannot be decoded comes
// with its *[DecodeError], and those behind it follow.
func (t Typed[T]) All(ctx context.Context, patterns ...string) iter.Seq2[TypedEntry[T], error] {
	return t.sequence(t.Bucket.All(ctx, patterns...))
}

// Watch yields the events of [Bucket.Watch] with the values decoded. The watch begins
// with the loop and is stopped when the loop ends. An error ends it.
func (t Typed[T]) Watch(ctx context.Context, patterns []string, opts ...WatchOption) iter.Seq2[TypedUpdate[T], error] {
	var o WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	return func(yield func(TypedUpdate[T], error) bool) {
		w, err := t.Bucket.Watch(ctx, patterns, opts...)
		if err != nil {
			yield(TypedUpdate[T]{}, err)
			return
		}
		defer func() { _ = w.Stop() }() // its error is that of the watch, which was yielded
		for u, err := range w.All() {
			if !yield(t.update(u, o.MetaOnly), err) {
				return
			}
		}
	}
}

func (t Typed[T]) update(u Update, metaOnly bool) TypedUpdate[T] {
	if u.Entry == nil {
		return TypedUpdate[T]{Err: u.Err}
	}
	if metaOnly || u.Err != nil {
		return TypedUpdate[T]{Entry: &TypedEntry[T]{Entry: *u.Entry}, Err: u.Err}
	}
	e, err := t.decoded(*u.Entry, nil)
	return TypedUpdate[T]{Entry: &e, Err: err}
}

func (t Typed[T]) sequence(entries iter.Seq2[Entry, error]) iter.Seq2[TypedEntry[T], error] {
	return func(yield func(TypedEntry[T], error) bool) {
		for e, err := range entries {
			if !yield(t.decoded(e, err)) {
				return
			}
		}
	}
}

func (t Typed[T]) decoded(e Entry, err error) (TypedEntry[T], error) {
	typed := TypedEntry[T]{Entry: e}
	if err != nil || e.Operation.IsMarker() {
		return typed, err
	}
	if typed.Value, err = t.codec().Decode(e.Value); err != nil {
		err = &DecodeError{Bucket: e.Bucket, Key: e.Key, Revision: e.Revision, Err: err}
	}
	return typed, err
}

func (t Typed[T]) encode(key string, v T) ([]byte, error) {
	b, err := t.codec().Encode(v)
	if err != nil {
		return nil, NameKey(t.Bucket.Name(), key, fmt.Errorf("encode: %w", err))
	}
	return b, nil
}

func (t Typed[T]) codec() Codec[T] {
	if t.Codec != nil {
		return t.Codec
	}
	return jsonCodec[T]{}
}

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}
