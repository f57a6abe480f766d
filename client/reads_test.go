package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"kvd/kv"
)

// readKeys are the keys of a bucket that tests read; some of them need quotes on the wire.
var readKeys = []string{"a", "a.b", "a.b.c", "a/b", "a.b/c", "a-b", "b", "b.c", `"q"`, `"q".x`, "c,d", "ключ.x", "c/d.e", "a..b", "a b", ""}

// fillReads writes values and markers to the valid ones of readKeys, in a random order.
func fillReads(t *testing.T, rng *rand.Rand, b kv.Bucket) {
	t.Helper()
	for range 60 {
		key := readKeys[rng.IntN(len(readKeys))]
		if kv.CheckKey(key) != nil {
			continue
		}
		_, err := b.Put(t.Context(), key, []byte(strings.Repeat("v", rng.IntN(50))))
		if rng.IntN(4) == 0 {
			_, err = b.Delete(t.Context(), key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func randomRange(rng *rand.Rand) kv.RangeOptions {
	bound := func() string {
		if rng.IntN(2) == 0 {
			return ""
		}
		return readKeys[rng.IntN(len(readKeys))] + []string{"", "\x00", " ", "~"}[rng.IntN(4)]
	}
	o := kv.RangeOptions{
		From: bound(), To: bound(), After: bound(), Reverse: rng.IntN(2) == 0, KeysOnly: rng.IntN(3) == 0, Markers: rng.IntN(3) == 0,
		ChangedAfter: kv.Revision(rng.IntN(2) * rng.IntN(60)), Limit: rng.IntN(2) * rng.IntN(9), MaxBytes: int64(rng.IntN(2) * rng.IntN(99)),
	}
	for range rng.IntN(3) {
		o.Patterns = append(o.Patterns, []string{">", "a.>", "*", "*.b", "c,d", `"q".*`, "b"}[rng.IntN(7)])
	}
	if rng.IntN(4) == 0 { // too many for a line
		for i := range 300 {
			o.Patterns = append(o.Patterns, fmt.Sprintf("none.%0100d", i))
		}
	}
	return o
}

// texts returns the results of a sequence in comparable form.
func texts[T any](seq iter.Seq2[T, error]) (all []string) {
	for v, err := range seq {
		if e, ok := any(v).(kv.Entry); ok {
			all = append(all, fmt.Sprintf("%s/%s %d %v %v %q %v: %v", e.Bucket, e.Key, e.Revision, e.Operation, e.Created.UnixNano(), e.Value, e.Deadline.UnixNano(), err))
			continue
		}
		all = append(all, fmt.Sprintf("%+v: %v", v, err))
	}
	return all
}

// TestReadsAreThoseOfTheStore compares what the client reads with what the store of the server does.
func TestReadsAreThoseOfTheStore(t *testing.T) {
	s := serveDir(t, t.TempDir())
	t.Cleanup(func() { s.stop(); _ = s.close() })
	c := s.dial(t, Options{})
	for seed := range uint64(3 * *effortFlag) {
		rng := rand.New(rand.NewPCG(seed, 11))
		remote := newBucket(t, c, kv.Config{Bucket: fmt.Sprintf("b%d", seed)})
		fillReads(t, rng, remote)
		b, err := s.store.Bucket(t.Context(), remote.Name())
		if err != nil {
			t.Fatal(err)
		}
		local, _ := kv.As[kv.Reader](b)
		same := func(what any, got, want []string) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %+v is\n%s\nwant\n%s", seed, what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for range 40 {
			o := randomRange(rng)
			same(o, texts(remote.Range(t.Context(), o)), texts(local.Range(t.Context(), o)))
			keys := make([]string, rng.IntN(30))
			for i := range keys {
				keys[i] = readKeys[rng.IntN(len(readKeys))]
			}
			same(keys, texts(remote.GetMany(t.Context(), keys)), texts(local.GetMany(t.Context(), keys)))
			prefix, by, limit := []string{"", "a.", "a.b.", "c", `"q".`}[rng.IntN(5)], []string{".", "./", "b"}[rng.IntN(3)], rng.IntN(2)*rng.IntN(4)
			same([]any{prefix, by, limit}, texts(remote.Children(t.Context(), prefix, by, limit)), texts(local.Children(t.Context(), prefix, by, limit)))
		}
		same("count", texts(one(remote.Count(t.Context(), "a.>"))), texts(one(local.Count(t.Context(), "a.>"))))
	}
}

func one[T any](v T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) { yield(v, err) }
}

// TestReadsThatCannotBeSent expects an error that says why, and no connection that breaks.
func TestReadsThatCannotBeSent(t *testing.T) {
	s := serveDir(t, t.TempDir())
	t.Cleanup(func() { s.stop(); _ = s.close() })
	b := newBucket(t, s.dial(t, Options{}), kv.Config{Bucket: "b"})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	many := make([]string, kv.GetManyMax+1)
	quotes := strings.Repeat(`"`, kv.MaxKeySize)
	for name, tt := range map[string]struct {
		read iter.Seq2[kv.Entry, error]
		want error
	}{
		"too many keys":         {b.GetMany(t.Context(), many), kv.ErrInvalidOption},
		"the context has ended": {b.GetMany(ended, []string{"a"}), context.Canceled},
		"a bad pattern":         {b.Range(t.Context(), kv.RangeOptions{Patterns: []string{"a..b"}}), kv.ErrInvalidPattern},
		"a negative limit":      {b.Range(t.Context(), kv.RangeOptions{Limit: -1}), kv.ErrInvalidOption},
		"bytes that no text is": {b.Range(t.Context(), kv.RangeOptions{From: "\xff"}), kv.ErrInvalidOption},
		"a line too long":       {b.Range(t.Context(), kv.RangeOptions{From: quotes, To: quotes, After: quotes}), kv.ErrInvalidOption},
		"too many patterns": {b.Range(t.Context(), kv.RangeOptions{Patterns: strings.Split(strings.Repeat(strings.Repeat("x", 1000)+" ", 70)+"x", " ")}),
			kv.ErrInvalidOption},
	} {
		n := 0
		for e, err := range tt.read {
			if n++; !errors.Is(err, tt.want) || e.Key != "" {
				t.Errorf("%s: %+v, %v, want %v", name, e, err, tt.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d results", name, n)
		}
	}
	for _, child := range []iter.Seq2[kv.Child, error]{
		b.Children(t.Context(), "", "", 0), b.Children(t.Context(), "", ".", -1), b.Children(t.Context(), "\xff", ".", 0),
		b.Children(t.Context(), strings.Repeat("x", kv.MaxKeySize+1), ".", 0),
	} {
		for c, err := range child {
			if !errors.Is(err, kv.ErrInvalidOption) {
				t.Errorf("%+v, %v", c, err)
			}
		}
	}
	for _, err := range b.GetMany(t.Context(), nil) {
		t.Errorf("no keys: %v", err)
	}
	if err := b.client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReadsOfMostKeys sends as many keys as are allowed, each as long as allowed.
func TestReadsOfMostKeys(t *testing.T) {
	s := serveDir(t, t.TempDir())
	t.Cleanup(func() { s.stop(); _ = s.close() })
	b := newBucket(t, s.dial(t, Options{}), kv.Config{Bucket: "b"})
	keys := make([]string, kv.GetManyMax)
	for i := range keys {
		keys[i] = fmt.Sprintf("%0*d", kv.MaxKeySize, i)
	}
	if _, err := b.Put(t.Context(), keys[len(keys)-1], []byte("v")); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range b.GetMany(t.Context(), keys) {
		if found := n == len(keys)-1; e.Key != keys[n] || found != (err == nil) || !found && !errors.Is(err, kv.ErrKeyNotFound) {
			t.Fatalf("entry %d: revision %d, %v", n, e.Revision, err)
		}
		n++
	}
	if n != len(keys) {
		t.Errorf("%d entries", n)
	}
}
