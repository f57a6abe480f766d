package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

// Store is the buckets of one JetStream account. It is safe for concurrent use.
type Store struct {
	js js.JetStream
}

var _ kv.Store = (*Store)(nil)

// New returns the store behind a JetStream context. The connection stays the
// caller's to close, after which every method returns [kv.ErrClosed].
func New(stream js.JetStream) *Store { return &Store{js: stream} }

// CreateBucket makes a bucket; see [kv.Store].
func (s *Store) CreateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return s.configure(ctx, cfg, s.js.CreateKeyValue)
}

// UpdateBucket edits a bucket; see [kv.Store].
func (s *Store) UpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return s.configure(ctx, cfg, s.js.UpdateKeyValue)
}

// CreateOrUpdateBucket makes or edits a bucket; see [kv.Store].
func (s *Store) CreateOrUpdateBucket(ctx context.Context, cfg kv.Config) (kv.Bucket, error) {
	return s.configure(ctx, cfg, s.js.CreateOrUpdateKeyValue)
}

func (s *Store) configure(ctx context.Context, cfg kv.Config,
	call func(context.Context, js.KeyValueConfig) (js.KeyValue, error),
) (kv.Bucket, error) {
	if err := checkConfig(cfg); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := call(ctx, toNATS(cfg)); err != nil {
		return nil, fmt.Errorf("jetstream: bucket %q: %w", cfg.Bucket, translate(err))
	}
	return s.bind(ctx, cfg.Bucket)
}

// Bucket returns an existing bucket; see [kv.Store].
func (s *Store) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if err := checkBucketName(name); err != nil {
		return nil, err
	}
	return s.bind(ctx, name)
}

func (s *Store) bind(ctx context.Context, name string) (*bucket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values, err := s.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %q: %w", name, translate(err))
	}
	stream, err := s.js.Stream(ctx, streamName(name))
	if err != nil {
		return nil, fmt.Errorf("jetstream: bucket %q: %w", name, translate(err))
	}
	return &bucket{name: name, js: s.js, values: values, stream: stream}, nil
}

// DeleteBucket removes a bucket; see [kv.Store].
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	if err := checkBucketName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.js.DeleteKeyValue(ctx, name); err != nil {
		return fmt.Errorf("jetstream: delete bucket %q: %w", name, translate(err))
	}
	return nil
}

// BucketNames yields the names of all buckets; see [kv.Store].
func (s *Store) BucketNames(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := s.names(ctx)
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Buckets yields the status of all buckets; see [kv.Store]. One that is deleted
// meanwhile is left out.
func (s *Store) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	return func(yield func(kv.Status, error) bool) {
		names, err := s.names(ctx)
		if err != nil {
			yield(kv.Status{}, err)
			return
		}
		for _, name := range names {
			st, err := s.status(ctx, name)
			if errors.Is(err, kv.ErrBucketNotFound) {
				continue
			}
			if !yield(st, err) || err != nil {
				return
			}
		}
	}
}

// names returns the names of all buckets, sorted: the server's order is that of
// its pages.
func (s *Store) names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var names []string
	lister := s.js.KeyValueStoreNames(ctx)
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Error(); err != nil {
		return nil, fmt.Errorf("jetstream: list buckets: %w", translate(err))
	}
	slices.Sort(names)
	return names, nil
}

func (s *Store) status(ctx context.Context, name string) (kv.Status, error) {
	b, err := s.bind(ctx, name)
	if err != nil {
		return kv.Status{}, err
	}
	return b.Status(ctx)
}
