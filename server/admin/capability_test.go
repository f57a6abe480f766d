package admin_test

import (
	"context"
	"errors"
	"testing"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/admin"
)

// TestObserveLosesNoCapability has a store and a bucket with each single capability, and
// without any, be as able through the observing wrappers as without them.
func TestObserveLosesNoCapability(t *testing.T) {
	inner := openStore(t, admin.NewMetrics("", ""))
	b, err := inner.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	log := b.(msglog.Log)
	stores := map[string]kv.Store{
		"engine": inner,
		"plain":  struct{ kv.Store }{inner},
		"submitter": struct {
			kv.Store
			kv.Submitter
		}{inner, inner},
		"reclaimer": struct {
			kv.Store
			kv.Reclaimer
		}{inner, inner},
		"identified": struct {
			kv.Store
			identified
		}{inner, inner},
		"of another package": struct {
			kv.Store
			foreign
		}{inner, foreignness{}},
	}
	buckets := map[string]kv.Bucket{
		"engine": b,
		"plain":  struct{ kv.Bucket }{b},
		"log": struct {
			kv.Bucket
			msglog.Log
		}{b, log},
		"watched": struct {
			kv.Bucket
			kv.Watched
		}{b, b.(kv.Watched)},
		"numbered": struct {
			kv.Bucket
			numbered
		}{b, b.(numbered)},
		"of another package": struct {
			kv.Bucket
			foreign
		}{b, foreignness{}},
	}
	for name, s := range stores {
		m := admin.NewMetrics("", "")
		same[kv.Submitter](t, name, s, m.Observe(s))
		same[kv.Reclaimer](t, name, s, m.Observe(s))
		same[identified](t, name, s, m.Observe(s))
		same[foreign](t, name, s, m.Observe(s))
		same[kv.Submitter](t, name+", twice", s, m.Observe(m.Observe(s)))
	}
	for name, b := range buckets {
		s := admin.NewMetrics("", "").Observe(holder{inner, b})
		observed, err := s.Bucket(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		same[msglog.Log](t, name, b, observed)
		same[kv.Watched](t, name, b, observed)
		same[numbered](t, name, b, observed)
		same[foreign](t, name, b, observed)
	}
}

type (
	identified interface{ ID() [16]byte }
	numbered   interface{ ID() uint64 }
	// foreign is a capability that package admin has never heard of.
	foreign     interface{ Foreign() }
	foreignness struct{}
)

func (foreignness) Foreign() {}

// holder is a store whose every bucket is one and the same.
type holder struct {
	kv.Store
	b kv.Bucket
}

func (h holder) Bucket(context.Context, string) (kv.Bucket, error) { return h.b, nil }

// same checks that the wrapper has the capability T if what it wraps does.
func same[T any](t *testing.T, name string, inside, wrapper any) {
	t.Helper()
	_, want := inside.(T)
	if _, got := kv.As[T](wrapper); got != want {
		t.Errorf("%s: %T: %v inside, %v through the wrapper", name, new(T), want, got)
	}
}

// TestObservedHandles has the counting handle of a bucket be the same for as long as the
// bucket is.
func TestObservedHandles(t *testing.T) {
	m := admin.NewMetrics("", "")
	s := m.Observe(openStore(t, m))
	first, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Bucket(ctx, "b")
	if err != nil || again != first {
		t.Errorf("another handle of one bucket, %v", err)
	}
	if err := s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	second, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Get(ctx, "k"); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("the handle of a bucket that is gone: %v", err)
	}
	if _, err := second.Put(ctx, "k", nil); err != nil {
		t.Errorf("the handle of its successor: %v", err)
	}
}
