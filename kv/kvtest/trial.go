package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"kvd/kv"
)

// trial is one fact that is tried against a store. Its methods end the test if a result
// is not the expected one.
type trial struct {
	*testing.T
	Store   kv.Store
	ctx     context.Context
	harness *Harness
	names   *int // number of bucket names used
}

// differs reports whether the store named the difference.
func (t *trial) differs(d Difference) bool {
	_, ok := t.harness.Differs[d]
	return ok
}

// ok ends the test if err is not nil.
func (t *trial) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// fails ends the test unless err matches want.
func (t *trial) fails(err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want one that matches %q", err, want)
	}
}

// equal ends the test unless got is want.
func equal[V comparable](t *trial, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

// freshName returns a bucket name that no fact has used.
func (t *trial) freshName() string {
	*t.names++
	return fmt.Sprintf("bucket-%d", *t.names)
}

// makeBucket creates a bucket of cfg, under a fresh name if cfg has none.
func (t *trial) makeBucket(cfg kv.Config) kv.Bucket {
	t.Helper()
	if cfg.Bucket == "" {
		cfg.Bucket = t.freshName()
	}
	b, err := t.Store.CreateBucket(t.ctx, cfg)
	t.ok(err)
	return b
}

// bucket creates a bucket that keeps that many revisions per key.
func (t *trial) bucket(history int) kv.Bucket {
	t.Helper()
	return t.makeBucket(kv.Config{History: history})
}

// edit changes a bucket's configuration.
func (t *trial) edit(b kv.Bucket, change func(*kv.Config)) {
	t.Helper()
	cfg := t.status(b).Config
	change(&cfg)
	_, err := t.Store.UpdateBucket(t.ctx, cfg)
	t.ok(err)
}

func (t *trial) put(b kv.Bucket, key, value string) kv.Revision {
	t.Helper()
	rev, err := b.Put(t.ctx, key, []byte(value))
	t.ok(err)
	return rev
}

func (t *trial) create(b kv.Bucket, key, value string) kv.Revision {
	t.Helper()
	rev, err := b.Create(t.ctx, key, []byte(value))
	t.ok(err)
	return rev
}

func (t *trial) update(b kv.Bucket, key, value string, last kv.Revision) kv.Revision {
	t.Helper()
	rev, err := b.Update(t.ctx, key, []byte(value), last)
	t.ok(err)
	return rev
}

func (t *trial) delete(b kv.Bucket, key string) kv.Revision {
	t.Helper()
	rev, err := b.Delete(t.ctx, key)
	t.ok(err)
	return rev
}

func (t *trial) purge(b kv.Bucket, key string) kv.Revision {
	t.Helper()
	rev, err := b.Purge(t.ctx, key)
	t.ok(err)
	return rev
}

func (t *trial) get(b kv.Bucket, key string) kv.Entry {
	t.Helper()
	e, err := b.Get(t.ctx, key)
	t.ok(err)
	return e
}

func (t *trial) status(b kv.Bucket) kv.Status {
	t.Helper()
	s, err := b.Status(t.ctx)
	t.ok(err)
	return s
}

// holds ends the test unless key's newest entry is this value.
func (t *trial) holds(b kv.Bucket, key, value string) {
	t.Helper()
	if e := t.get(b, key); string(e.Value) != value {
		t.Fatalf("%q holds %s, want %s", key, abbreviate(e.Value), abbreviate([]byte(value)))
	}
}

// absent ends the test unless key has no value.
func (t *trial) absent(b kv.Bucket, key string) {
	t.Helper()
	_, err := b.Get(t.ctx, key)
	t.fails(err, kv.ErrKeyNotFound)
}

// history returns the entries of key. It ends the test if there is none.
func (t *trial) history(b kv.Bucket, key string) []kv.Entry {
	t.Helper()
	entries, err := collect(b.History(t.ctx, key))
	t.ok(err)
	return entries
}

// noHistory ends the test if key has any record.
func (t *trial) noHistory(b kv.Bucket, key string) {
	t.Helper()
	entries, err := collect(b.History(t.ctx, key))
	t.fails(err, kv.ErrKeyNotFound)
	equal(t, "number of entries before the error", len(entries), 0)
}

// keys returns the keys that the patterns list.
func (t *trial) keys(b kv.Bucket, patterns ...string) []string {
	t.Helper()
	keys, err := collect(b.Keys(t.ctx, patterns...))
	t.ok(err)
	return keys
}

// lists ends the test unless a listing is exactly want.
func (t *trial) lists(got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("listing is %q, want %q", got, want)
	}
}

// mismatch ends the test unless err is a refusal with these details.
func (t *trial) mismatch(err error, want kv.RevisionMismatchError) {
	t.Helper()
	var got *kv.RevisionMismatchError
	if !errors.As(err, &got) {
		t.Fatalf("error is %v, want a RevisionMismatchError", err)
	}
	if *got != want {
		t.Fatalf("refusal is %+v, want %+v", *got, want)
	}
	if errors.Is(err, kv.ErrKeyExists) != want.Create || errors.Is(err, kv.ErrKeyRevisionMismatch) == want.Create {
		t.Fatalf("error %v matches the wrong sentinel", err)
	}
}

// entry ends the test unless got is want. Created may be any time, but must be set.
func (t *trial) entry(got, want kv.Entry) {
	t.Helper()
	if got.Created.IsZero() {
		t.Fatalf("entry of %q at revision %d has no creation time", got.Key, got.Revision)
	}
	same := got.Bucket == want.Bucket && got.Key == want.Key && bytes.Equal(got.Value, want.Value) &&
		got.Revision == want.Revision && got.Delta == want.Delta && got.Operation == want.Operation &&
		got.Reason == want.Reason && got.Deadline.Equal(want.Deadline)
	if !same {
		t.Fatalf("entry is\n%+v, want\n%+v", got, want)
	}
}

// together runs f(0) to f(n-1) at once and waits for all. f must not end the test: it
// stores its result for the caller.
func together(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// collect reads a sequence up to its end or its first error.
func collect[V any](seq iter.Seq2[V, error]) ([]V, error) {
	var all []V
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// drain reads a sequence and returns its error.
func drain[V any](seq iter.Seq2[V, error]) error {
	_, err := collect(seq)
	return err
}

// abbreviate returns a value for a message, shortened if it is large.
func abbreviate(value []byte) string {
	const shown = 32
	if len(value) <= shown {
		return fmt.Sprintf("%q", value)
	}
	return fmt.Sprintf("%q… (%d bytes)", value[:shown], len(value))
}
