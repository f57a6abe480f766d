package client

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/internal/damage"
	"kvd/kv"
)

// openDoubted opens a store with a bucket b of history 2, in which records up to revision
// 4 are missing. Above is one value of key "new".
func openDoubted(t *testing.T) *bucket.Store {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := damage.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := damage.Doubt(nil, dir, "b", damage.Example()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func findBucket(t *testing.T, s kv.Store) kv.Bucket {
	t.Helper()
	b, err := s.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// firstEvent returns the first event of a watch, or the error that ends it before one.
func firstEvent(ctx context.Context, b kv.Bucket, pattern string) (kv.Update, error) {
	w, err := b.Watch(ctx, []string{pattern})
	if err != nil {
		return kv.Update{}, err
	}
	defer w.Stop()
	u, ok := <-w.Updates()
	if !ok {
		return u, w.Err()
	}
	return u, nil
}

// TestDoubtIsTheSameOverTCP reads what is in doubt from a store and from a client of it,
// with and without accepting stale answers: the errors are equal to the last field.
func TestDoubtIsTheSameOverTCP(t *testing.T) {
	store := openDoubted(t)
	there := serve(t, store, nil)
	defer there.stop()
	remote := there.dial(t, Options{})
	for name, read := range map[string]func(context.Context, kv.Bucket) error{
		"get":            func(ctx context.Context, b kv.Bucket) error { _, err := b.Get(ctx, "old"); return err },
		"get of nothing": func(ctx context.Context, b kv.Bucket) error { _, err := b.Get(ctx, "absent"); return err },
		"get above":      func(ctx context.Context, b kv.Bucket) error { _, err := b.Get(ctx, "new"); return err },
		"get a revision": func(ctx context.Context, b kv.Bucket) error { _, err := b.GetRevision(ctx, "old", 4); return err },
		"history":        func(ctx context.Context, b kv.Bucket) error { return drain(b.History(ctx, "old")) },
		"keys":           func(ctx context.Context, b kv.Bucket) error { return drain(b.Keys(ctx)) },
		"all":            func(ctx context.Context, b kv.Bucket) error { return drain(b.All(ctx)) },
		"watch":          func(ctx context.Context, b kv.Bucket) error { _, err := firstEvent(ctx, b, "old"); return err },
		"watch of all":   func(ctx context.Context, b kv.Bucket) error { _, err := firstEvent(ctx, b, ">"); return err },
		"create":         func(ctx context.Context, b kv.Bucket) error { _, err := b.Create(ctx, "absent", nil); return err },
		"update":         func(ctx context.Context, b kv.Bucket) error { _, err := b.Update(ctx, "old", nil, 3); return err },
	} {
		for reader, ctx := range map[string]context.Context{"strict": t.Context(), "stale": kv.WithStale(t.Context())} {
			t.Run(name+", "+reader, func(t *testing.T) {
				want, got := read(ctx, findBucket(t, store)), read(ctx, findBucket(t, remote))
				if reader == "strict" && name != "get above" && !errors.Is(want, kv.ErrCorrupt) {
					t.Fatalf("the store answers %v", want)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("the client answers\n%#v: %v\nthe store\n%#v: %v", got, got, want, want)
				}
			})
		}
	}
}

func TestCountOfWhatIsInDoubt(t *testing.T) {
	there := serve(t, openDoubted(t), nil)
	defer there.stop()
	b := findBucket(t, there.dial(t, Options{})).(*Bucket)
	for _, patterns := range [][]string{nil, {"old", "new", "k", "lost"}} {
		var corrupt *kv.CorruptError
		if _, err := b.Count(t.Context(), patterns...); !errors.As(err, &corrupt) || corrupt.UpTo != 4 {
			t.Errorf("count: %v", err)
		}
		if n, err := b.Count(kv.WithStale(t.Context()), patterns...); err != nil || n != 4 {
			t.Errorf("stale count: %d, %v", n, err)
		}
	}
}

func TestDoubtAndAcceptLoss(t *testing.T) {
	store := openDoubted(t)
	there := serve(t, store, nil)
	defer there.stop()
	remote := there.dial(t, Options{})
	want := kv.Doubt{
		Bound:   4,
		Missing: []kv.MissingRange{{After: 2, UpTo: 4, Records: 2, File: "seg/00000000000000ff.seg", Offset: 4096}},
		Lost:    []kv.LostRecord{{Key: "lost", Revision: 1}},
	}
	doubtful, ok := kv.As[kv.Doubtful](findBucket(t, remote))
	if !ok {
		t.Fatal("a bucket of the client tells of no doubt")
	}
	if st, err := findBucket(t, remote).Status(t.Context()); err != nil || st.Doubt != 4 {
		t.Errorf("the status has doubt %d, %v", st.Doubt, err)
	}
	if d, err := doubtful.Doubt(t.Context()); err != nil || !reflect.DeepEqual(d, want) {
		t.Errorf("doubt %+v, %v", d, err)
	}
	if given, err := doubtful.AcceptLoss(t.Context()); err != nil || !reflect.DeepEqual(given, want) {
		t.Errorf("given up %+v, %v", given, err)
	}
	if e, err := findBucket(t, remote).Get(t.Context(), "old"); err != nil || e.Revision != 3 {
		t.Errorf("Get = %+v, %v", e, err)
	}
	if given, err := doubtful.AcceptLoss(t.Context()); err != nil || !reflect.DeepEqual(given, kv.Doubt{}) {
		t.Errorf("a second time %+v, %v", given, err)
	}
}

// blind is a store whose buckets tell of no doubt.
type blind struct{ kv.Store }

type blindBucket struct{ kv.Bucket }

func (s blind) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	b, err := s.Store.Bucket(ctx, name)
	return blindBucket{b}, err
}

func TestDoubtThatTheServerDoesNotTellOf(t *testing.T) {
	there := serve(t, blind{openDoubted(t)}, nil)
	defer there.stop()
	b := findBucket(t, there.dial(t, Options{})).(*Bucket)
	if _, err := b.Doubt(t.Context()); !errors.Is(err, kv.ErrNotSupported) || !strings.Contains(err.Error(), `bucket "b"`) {
		t.Errorf("Doubt: %v", err)
	}
	if _, err := b.AcceptLoss(t.Context()); !errors.Is(err, kv.ErrNotSupported) || errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Errorf("AcceptLoss: %v", err)
	}
}

// TestABrokenAcceptLossIsNotRepeated breaks the connection before the answer and within
// it: a second ACCEPT would answer that nothing was given up.
func TestABrokenAcceptLossIsNotRepeated(t *testing.T) {
	for _, answer := range []string{"", "+DOUBT 4\r\n"} {
		s := play(t, idle, func(s *session) {
			s.hello()
			s.want("ACCEPT b id=7")
			s.raw(answer)
		})
		_, err := s.bucket(Options{}).AcceptLoss(t.Context())
		if !errors.Is(err, kv.ErrOutcomeUnknown) || !errors.As(err, new(*ConnError)) {
			t.Errorf("after %q: %v", answer, err)
		}
		if n := s.connections(); n != 2 {
			t.Errorf("after %q: %d connections", answer, n)
		}
	}
}

func TestAnAcceptLossThatWasNotSent(t *testing.T) {
	_, err := play(t, idle).bucket(Options{}).AcceptLoss(t.Context())
	if errors.Is(err, kv.ErrOutcomeUnknown) || !errors.As(err, new(*ConnError)) {
		t.Errorf("without a connection: %v", err)
	}
	s := play(t, idle, func(s *session) {
		s.hello()
		s.line()
		s.say("-ERR SHUTDOWN : the server is shutting down")
	})
	_, err = s.bucket(Options{}).AcceptLoss(t.Context())
	if errors.Is(err, kv.ErrOutcomeUnknown) || !errors.As(err, new(*ConnError)) {
		t.Errorf("refused by a server that shuts down: %v", err)
	}
}
