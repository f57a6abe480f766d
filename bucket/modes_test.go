package bucket_test

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/kvtest"
)

// TestConformanceOfModes runs the suite of kv.Store over buckets that are all of
// one mode, whatever the suite asks for.
func TestConformanceOfModes(t *testing.T) {
	for name, mode := range map[string]func(*kv.Config){
		"compressed": func(c *kv.Config) { c.Compression = true },
		"interval":   func(c *kv.Config) { c.Sync = kv.SyncInterval },
		"memory":     inMemory,
	} {
		t.Run(name, func(t *testing.T) {
			h := kvtest.Harness{
				Open:   func(t *testing.T) kv.Store { return openModal(t, t.TempDir(), mode, make(map[string]kv.Config)) },
				Reopen: reopenModal,

				ShortestTTL: 20 * time.Millisecond,
			}
			if name == "memory" {
				h.Reopen = nil // it keeps nothing
			}
			kvtest.Run(t, h)
		})
	}
}

// inMemory makes a bucket one in memory. What asks for file storage by name wants
// to see an edit refused.
func inMemory(c *kv.Config) {
	if c.Storage == kv.FileStorage {
		c.Storage = kv.MemoryStorage
	} else {
		c.Storage = kv.FileStorage
	}
}

// modal is a store whose buckets are of one mode. It shows configurations as they
// were asked for.
type modal struct {
	*bucket.Store
	dir  string
	mode func(*kv.Config)

	mu    sync.Mutex // guards asked
	asked map[string]kv.Config
}

func openModal(t *testing.T, dir string, mode func(*kv.Config), asked map[string]kv.Config) *modal {
	t.Helper()
	s, err := bucket.Open(dir, bucket.Options{ReserveSize: -1, LogFileSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the suite may have closed it
	return &modal{Store: s, dir: dir, mode: mode, asked: asked}
}

func reopenModal(t *testing.T, s kv.Store) kv.Store {
	t.Helper()
	m := s.(*modal)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return openModal(t, m.dir, m.mode, m.asked)
}

// change carries out a call that makes or edits a bucket.
func (m *modal) change(config kv.Config, call func(kv.Config) (kv.Bucket, error)) (kv.Bucket, error) {
	asked := config.WithDefaults()
	if config.Validate() == nil { // the mode must not make a bad one good
		m.mode(&config)
	}
	b, err := call(config)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[asked.Bucket] = asked
	return modalBucket{b, m}, nil
}

func (m *modal) CreateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	return m.change(config, func(c kv.Config) (kv.Bucket, error) {
		b, err := m.Store.CreateBucket(ctx, c)
		m.mu.Lock()
		defer m.mu.Unlock()
		// The mode may have made two configurations one.
		if was, ok := m.asked[c.Bucket]; ok && err == nil && !was.Equal(config) {
			return nil, fmt.Errorf("%w: %q", kv.ErrBucketExists, c.Bucket)
		}
		return b, err
	})
}

func (m *modal) UpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	return m.change(config, func(c kv.Config) (kv.Bucket, error) { return m.Store.UpdateBucket(ctx, c) })
}

func (m *modal) CreateOrUpdateBucket(ctx context.Context, config kv.Config) (kv.Bucket, error) {
	return m.change(config, func(c kv.Config) (kv.Bucket, error) { return m.Store.CreateOrUpdateBucket(ctx, c) })
}

func (m *modal) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	b, err := m.Store.Bucket(ctx, name)
	if err != nil {
		return nil, err
	}
	return modalBucket{b, m}, nil
}

func (m *modal) DeleteBucket(ctx context.Context, name string) error {
	err := m.Store.DeleteBucket(ctx, name)
	if err == nil {
		m.mu.Lock()
		delete(m.asked, name)
		m.mu.Unlock()
	}
	return err
}

func (m *modal) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	return func(yield func(kv.Status, error) bool) {
		for st, err := range m.Store.Buckets(ctx) {
			if !yield(m.show(st), err) {
				return
			}
		}
	}
}

// show puts the configuration back that was asked for.
func (m *modal) show(st kv.Status) kv.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if asked, ok := m.asked[st.Config.Bucket]; ok {
		st.Config = asked.WithDefaults()
	}
	return st
}

type modalBucket struct {
	kv.Bucket
	store *modal
}

func (b modalBucket) Status(ctx context.Context) (kv.Status, error) {
	st, err := b.Bucket.Status(ctx)
	return b.store.show(st), err
}
