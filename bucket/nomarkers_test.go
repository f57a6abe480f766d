package bucket

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// Every test below runs with a sweep before the check and without: the results must be the
// same.
func TestSilentExpiry(t *testing.T) {
	for _, swept := range []bool{false, true} {
		for name, storage := range map[string]func(*kv.Config){"file": func(*kv.Config) {}, "memory": inMemory} {
			t.Run(fmt.Sprintf("%s/swept=%t", name, swept), func(t *testing.T) {
				begin := func(t *testing.T) (*aging, *Bucket) {
					put := func(b *Bucket) { mustPut(t, b, "k", "v") }
					return justExpired(t, swept, put, messageLog, withHistory(3), withTTL(time.Minute), storage)
				}
				t.Run("the key is gone with its history, without a word", func(t *testing.T) {
					a, b := begin(t)
					wantGone(t, b, "k", 1, 2)
					a.sweep()
					wantEntries(t, b, "k", "")
					st, err := b.Status(ctx)
					if err != nil || st.Revision != 2 || st.Values != 0 || st.Named != 0 || st.Bytes != 0 {
						t.Errorf("status is %+v, %v", st, err)
					}
				})
				t.Run("a watch that resumes behind it is told", func(t *testing.T) {
					_, b := begin(t)
					_, err := b.Watch(ctx, nil, kv.ResumeFromRevision(2))
					var gone *kv.CompactedError
					if !errors.As(err, &gone) || gone.First != 3 {
						t.Errorf("a watch from revision 2: %v", err)
					}
				})
				t.Run("a write meets an absent key", func(t *testing.T) {
					a, b := begin(t)
					got := a.submit(
						kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: "k", Last: 2},
						kv.Mutation{Bucket: "b", Op: kv.MutateTouch, Key: "k"},
						kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "k", IfLast: true, Last: 2},
						kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "k", IfNewest: true, Newest: 3},
						kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k", IfNewest: true, Newest: 2},
						kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k"},
					)
					var mismatch *kv.RevisionMismatchError
					if !errors.As(got[0].Err, &mismatch) || mismatch.Got != 0 {
						t.Errorf("update of what expired: %v", got[0].Err)
					}
					wantError(t, got[1].Err, kv.ErrKeyNotFound)
					wantError(t, got[2].Err, kv.ErrKeyRevisionMismatch)
					wantError(t, got[3].Err, kv.ErrKeyRevisionMismatch)
					if got[4].Err != nil || got[4].Revision != 3 {
						t.Errorf("create: revision %d, error %v", got[4].Revision, got[4].Err)
					}
					wantError(t, got[5].Err, kv.ErrKeyExists)
					wantEntries(t, b, "k", "PUT@3")
				})
				t.Run("update of nothing succeeds", func(t *testing.T) {
					_, b := begin(t)
					if rev, err := b.Update(ctx, "k", nil, 0); rev != 3 || err != nil {
						t.Errorf("revision %d, error %v", rev, err)
					}
				})
				t.Run("no older value shows again", func(t *testing.T) {
					a, b := begin(t)
					mustPut(t, b, "k", "new")
					wantEntries(t, b, "k", "PUT@3")
					if _, err := a.s.UpdateBucket(ctx, kv.Config{Bucket: "b", Kind: msglog.Kind, History: 3, Storage: b.mu.config.Storage}); err != nil {
						t.Fatal(err)
					}
					a.clock.advance(time.Hour)
					wantEntries(t, b, "k", "PUT@3")
					if _, err := b.Delete(ctx, "k"); err != nil {
						t.Fatal(err)
					}
					wantEntries(t, b, "k", "PUT@3 DEL@4")
				})
				t.Run("an erasure counts what is there", func(t *testing.T) {
					_, b := begin(t)
					mustPut(t, b, "k", "new")
					if n, err := b.Erase(ctx, ">", 0, 0); n != 1 || err != nil {
						t.Errorf("%d records erased, error %v", n, err)
					}
				})
			})
		}
	}
}

// In a bucket without markers the sweep's operations are durable, whatever the clock shows
// after the crash.
func TestWhatASilentSweepSaidSurvives(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", messageLog, withHistory(2), withTTL(time.Minute))
	mustPut(t, b, "k", "1")
	mustPut(t, b, "other", "2")
	a.clock.advance(30 * time.Second)
	mustPut(t, b, "k", "3")
	a.clock.advance(30 * time.Second)
	a.sweep()
	a.powerCut()
	a.clock.advance(-time.Minute)
	a.open()
	b = a.find("b")
	wantShown(t, b, showing{"k": revs{3}})
	if b.mu.live.UnmarkedUpTo != 2 { // the end of other; k goes on
		t.Errorf("aged is %d, want 2", b.mu.live.UnmarkedUpTo)
	}
	if rev := mustPut(t, b, "other", "4"); rev != 4 {
		t.Errorf("the next revision is %d, want 4", rev)
	}
}

func TestAWatchThatMissedASilentEndIsTold(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", messageLog, withTTL(time.Minute))
	live := mustWatch(t, b, nil)
	for i := range 3 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	drain(t, live)
	a.clock.advance(time.Minute)
	mustPut(t, b, "new", "v")
	a.sweep()
	if got := drain(t, live); len(got) != 1 || got[0].Entry.Key != "new" {
		t.Errorf("%d events of keys that expired without a marker", len(got)-1)
	}
	var gone *kv.CompactedError
	if _, err := b.Watch(ctx, nil, kv.ResumeFromRevision(2)); !errors.As(err, &gone) || gone.First != 4 {
		t.Errorf("resuming behind it: %v, want revisions from 4 on", err)
	}
	for _, opts := range [][]kv.WatchOption{{kv.ResumeFromRevision(4)}, {kv.ResumeFromRevision(2), msglog.PassForgotten()}} {
		w := mustWatch(t, b, nil, opts...)
		if got := drain(t, w); len(got) != 2 || got[0].Entry.Revision != 4 {
			t.Errorf("%d events of a watch that resumes, want one and the signal", len(got))
		}
	}
}

func TestASilentBucketRefuses(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	mustPut(t, b, "k", "v")
	_, err := b.Put(ctx, "k", nil, kv.KeyTTL(time.Hour))
	wantError(t, err, kv.ErrInvalidOption, "message log")
	_, err = b.Touch(ctx, "k", kv.KeyTTL(time.Hour))
	wantError(t, err, kv.ErrInvalidOption)
	_, err = b.Purge(ctx, "k", kv.PurgeTTL(time.Hour))
	wantError(t, err, kv.ErrInvalidOption)
	_, err = h.s.UpdateBucket(ctx, kv.Config{Bucket: "b"})
	wantError(t, err, kv.ErrInvalidConfig, "kind of bucket")
	h.bucket("loud")
	_, err = h.s.UpdateBucket(ctx, kv.Config{Bucket: "loud", Kind: msglog.Kind})
	wantError(t, err, kv.ErrInvalidConfig, "kind of bucket")
	wantShown(t, b, showing{"k": revs{1}})
}
