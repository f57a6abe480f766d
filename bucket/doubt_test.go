package bucket

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"slices"
	"testing"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// doubted is a bucket of history 3 with a hole: its records up to revision 4 may not be
// all. Above are one newer value of "new" and a full history of "full".
func doubted(t *testing.T, change ...func(*Options)) (*harness, *Bucket) {
	t.Helper()
	h := newHarness(t, change...)
	b := h.bucket("b", func(c *kv.Config) { c.History = 3 })
	mustPut(t, b, "old", "1")
	mustPut(t, b, "new", "2")
	mustPut(t, b, "full", "3")
	mustPut(t, b, "old", "4")
	for _, value := range []string{"5", "6", "7"} {
		mustPut(t, b, "full", value)
	}
	mustPut(t, b, "new", "8")
	mustPut(t, b, "over", "9")
	if _, err := b.Purge(t.Context(), "over"); err != nil {
		t.Fatal(err)
	}
	b.store.path.Lock()
	b.mu.Lock()
	b.addHoleLocked(manifest.Hole{After: 2, UpTo: 4, Records: 2, File: "wal/0000000000000001.wal", Offset: 4096})
	b.mu.Unlock()
	b.markDirty()
	b.store.path.Unlock()
	return h, b
}

// wantDoubt fails the test unless err says what is missing, and where.
func wantDoubt(t *testing.T, what string, err error) {
	t.Helper()
	var c *kv.CorruptError
	if !errors.As(err, &c) {
		t.Errorf("%s: error is %v, want a *kv.CorruptError", what, err)
		return
	}
	if c.Bucket != "b" || c.After != 2 || c.UpTo != 4 || c.File != "wal/0000000000000001.wal" || c.Offset != 4096 {
		t.Errorf("%s: error is %+v", what, c)
	}
}

func wantNoError(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// lastError returns the last error of a sequence.
func lastError[T any](seq iter.Seq2[T, error]) (err error) {
	for _, err = range seq {
	}
	return err
}

func watchError(ctx context.Context, b *Bucket, pattern string, opts ...kv.WatchOption) error {
	w, err := b.Watch(ctx, []string{pattern}, opts...)
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		u, ok := <-w.Updates()
		switch {
		case !ok:
			return w.Err()
		case u.Entry == nil:
			return nil
		}
	}
}

// TestReadsOfWhatIsInDoubt asks for everything twice: as a reader that must not be told
// anything wrong, and as one that accepts stale answers.
func TestReadsOfWhatIsInDoubt(t *testing.T) {
	_, b := doubted(t)
	get := func(key string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.Get(ctx, key); return err }
	}
	at := func(key string, rev kv.Revision) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.GetRevision(ctx, key, rev); return err }
	}
	history := func(key string) func(context.Context) error {
		return func(ctx context.Context) error { return lastError(b.History(ctx, key)) }
	}
	watch := func(pattern string, opts ...kv.WatchOption) func(context.Context) error {
		return func(ctx context.Context) error { return watchError(ctx, b, pattern, opts...) }
	}
	for _, c := range []struct {
		name string
		read func(context.Context) error
		// What the two readers get: nil, kv.ErrCorrupt or kv.ErrKeyNotFound.
		strict, stale error
	}{
		{"a key that has no newer record", get("old"), kv.ErrCorrupt, nil},
		{"a key that has none", get("absent"), kv.ErrCorrupt, kv.ErrKeyNotFound},
		{"a key that has a newer record", get("new"), nil, nil},
		{"a key that ended above", get("over"), kv.ErrKeyNotFound, kv.ErrKeyNotFound},
		{"a sound record by its revision", at("old", 1), nil, nil},
		{"a revision that may be missing", at("old", 3), kv.ErrCorrupt, kv.ErrKeyNotFound},
		{"a revision above that is another key's", at("old", 8), kv.ErrKeyNotFound, kv.ErrKeyNotFound},
		{"the history of a key that is in doubt", history("old"), kv.ErrCorrupt, nil},
		{"a history that begins below", history("new"), kv.ErrCorrupt, nil},
		{"a full history above", history("full"), nil, nil},
		{"a history that begins with a purge", history("over"), nil, nil},
		{"the history of an absent key", history("absent"), kv.ErrCorrupt, kv.ErrKeyNotFound},
		{"the keys", func(ctx context.Context) error { return lastError(b.Keys(ctx)) }, kv.ErrCorrupt, nil},
		{"the keys and values", func(ctx context.Context) error { return lastError(b.All(ctx)) }, kv.ErrCorrupt, nil},
		{"the last record", func(ctx context.Context) error { _, err := b.Last(ctx, "old"); return err }, kv.ErrCorrupt, nil},
		{"a watch of everything", watch(">"), kv.ErrCorrupt, nil},
		{"a watch of a key in doubt", watch("old"), kv.ErrCorrupt, nil},
		{"a watch of an absent key", watch("absent"), kv.ErrCorrupt, nil},
		{"a watch of a key above", watch("new"), nil, nil},
		{"a watch of the history of a key", watch("new", kv.IncludeHistory()), kv.ErrCorrupt, nil},
		{"a watch of a full history", watch("full", kv.IncludeHistory()), nil, nil},
		{"a watch that resumes above", watch(">", kv.ResumeFromRevision(5)), nil, nil},
		{"a watch that resumes below", watch(">", kv.ResumeFromRevision(4)), kv.ErrCorrupt, nil},
		{"a watch of one key that resumes below", watch("new", kv.ResumeFromRevision(4)), kv.ErrCorrupt, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(reader string, err, want error) {
				switch {
				case want == nil:
					wantNoError(t, reader, err)
				case errors.Is(want, kv.ErrCorrupt):
					wantDoubt(t, reader, err)
				case !errors.Is(err, want):
					t.Errorf("%s: error is %v, want %v", reader, err, want)
				}
			}
			check("strict", c.read(t.Context()), c.strict)
			check("stale", c.read(kv.WithStale(t.Context())), c.stale)
		})
	}
}

// A watch of what comes begins with nothing that could be missing.
func TestAWatchOfUpdatesIsNotInDoubt(t *testing.T) {
	_, b := doubted(t)
	w, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	rev := mustPut(t, b, "old", "x")
	if u := <-w.Updates(); u.Entry == nil || u.Entry.Revision != rev {
		t.Errorf("update %+v", u)
	}
}

// Whatever decides by the newest record of a key is a read of it. What a reader accepts
// makes no difference.
func TestConditionsOnWhatIsInDoubt(t *testing.T) {
	h, b := doubted(t)
	for name, ctx := range map[string]context.Context{"strict": t.Context(), "stale": kv.WithStale(t.Context())} {
		t.Run(name, func(t *testing.T) {
			next := b.next
			_, err := b.Create(ctx, "absent", []byte("x"))
			wantDoubt(t, "create", err)
			_, err = b.Update(ctx, "old", []byte("x"), 4)
			wantDoubt(t, "update of the revision that is known", err)
			_, err = b.Update(ctx, "old", []byte("x"), 1)
			wantDoubt(t, "update of an older revision", err)
			_, err = b.Update(ctx, "absent", []byte("x"), 0)
			wantDoubt(t, "update of an absent key", err)
			_, err = b.Delete(ctx, "old", kv.LastRevision(4))
			wantDoubt(t, "delete", err)
			_, err = b.Purge(ctx, "old", kv.LastRevision(4))
			wantDoubt(t, "purge", err)
			wantDoubt(t, "purge of deletes", b.PurgeDeletes(ctx, -1))
			_, err = b.Erase(ctx, ">", 0, 0)
			wantDoubt(t, "erasure", err)
			_, err = h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 1})
			wantDoubt(t, "shorter history", err)
			if b.next != next {
				t.Errorf("revisions were given out: the next is %d, was %d", b.next, next)
			}
		})
	}
	if _, err := b.Update(t.Context(), "new", []byte("x"), 8); err != nil {
		t.Errorf("update of a key above: %v", err)
	}
}

func TestWritesTakeTheirKeysOutOfDoubt(t *testing.T) {
	h, b := doubted(t)
	ctx := t.Context()
	mustPut(t, b, "old", "x")
	mustPut(t, b, "absent", "y")
	if _, err := b.Delete(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		b := h.find("b")
		e, err := b.Get(ctx, "old")
		if err != nil || string(e.Value) != "x" {
			t.Errorf("Get = %q, %v", e.Value, err)
		}
		if _, err := b.Get(ctx, "gone"); !errors.Is(err, kv.ErrKeyNotFound) {
			t.Errorf("a deleted key: %v", err)
		}
		// Records of the keys that the history keeps may be missing.
		wantDoubt(t, "history", lastError(b.History(ctx, "old")))
		wantDoubt(t, "history", lastError(b.History(ctx, "absent")))
		wantDoubt(t, "keys", lastError(b.Keys(ctx)))
	}
	check()
	h.checkpoint()
	check()
	h.reopen()
	check()
	h.kill()
	h.open()
	check()
	b = h.find("b")
	for range 2 { // now nothing of its history is left below
		mustPut(t, b, "old", "z")
	}
	wantNoError(t, "a history above", lastError(b.History(ctx, "old")))
	for range 5 { // a history stays as long as it may be
		mustPut(t, b, "absent", "z")
	}
	if n := len(b.mu.index.Versions(nil, index.Hash("absent"), "absent")); n != 3 {
		t.Errorf("%d records are kept", n)
	}
}

func TestDoubtEndsByADecisionAlone(t *testing.T) {
	for _, end := range []string{"closed", "killed", "killed after a checkpoint"} {
		t.Run(end, func(t *testing.T) {
			h, _ := doubted(t)
			h.checkpoint()
			h.reopen()
			if _, err := h.s.Reclaim(t.Context(), nil, "b"); err != nil {
				t.Fatal(err)
			}
			b := h.find("b")
			_, err := b.Get(t.Context(), "old")
			wantDoubt(t, "after a checkpoint, a restart and compaction", err)
			given, err := b.AcceptLoss(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []kv.MissingRange{{After: 2, UpTo: 4, Records: 2, File: "wal/0000000000000001.wal", Offset: 4096}}
			if given.Bound != 4 || given.Unknown || !slices.Equal(given.Missing, want) {
				t.Errorf("given up: %+v", given)
			}
			switch end {
			case "closed":
				h.reopen()
			case "killed after a checkpoint":
				h.checkpoint()
				fallthrough
			default:
				h.kill()
				h.open()
			}
			b = h.find("b")
			if d, err := b.Doubt(t.Context()); err != nil || d.Bound != 0 || len(d.Missing) != 0 {
				t.Errorf("the doubt is %+v, %v", d, err)
			}
			if e, err := b.Get(t.Context(), "old"); err != nil || string(e.Value) != "4" {
				t.Errorf("Get = %q, %v", e.Value, err)
			}
			wantNoError(t, "keys", lastError(b.Keys(t.Context())))
			if _, err := b.Create(t.Context(), "absent", nil); err != nil {
				t.Errorf("create: %v", err)
			}
			if again, err := b.AcceptLoss(t.Context()); err != nil || again.Bound != 0 {
				t.Errorf("a second acceptance: %+v, %v", again, err)
			}
		})
	}
}

// A bucket that the operator has asked for is served by what is known, and keeps its
// doubt for the day when that ends.
func TestServeStale(t *testing.T) {
	for _, names := range [][]string{{"b"}, {ServeStaleAll}} {
		h, b := doubted(t, func(o *Options) { o.ServeStale = names })
		if _, err := b.Update(t.Context(), "old", []byte("x"), 4); err != nil {
			t.Errorf("update: %v", err)
		}
		wantNoError(t, "keys", lastError(b.Keys(t.Context())))
		if st, err := b.Status(t.Context()); err != nil || st.Doubt != 4 {
			t.Errorf("the doubt is up to %d, %v", st.Doubt, err)
		}
		h.opts.ServeStale = nil
		h.reopen()
		_, err := h.find("b").Get(t.Context(), "absent")
		wantDoubt(t, "after a restart without it", err)
	}
}

// A bucket of which a change may be missing is in doubt as a whole.
func TestABucketInDoubtAsAWhole(t *testing.T) {
	_, b := doubted(t)
	b.mu.Lock()
	d := b.mu.doubt
	d.Unknown = true
	b.setDoubtLocked(d)
	b.mu.Unlock()
	if _, err := b.Get(t.Context(), "new"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.PutString(t.Context(), "new", "x"); !errors.Is(err, kv.ErrReadOnly) || !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.GetRevision(t.Context(), "new", 8); err != nil {
		t.Errorf("a sound record by its revision: %v", err)
	}
	if _, err := b.AcceptLoss(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutString(t.Context(), "new", "x"); err != nil {
		t.Errorf("put after the acceptance: %v", err)
	}
}

// Holes of segments are found again by loading them. Anything else that a manifest says of a
// doubt stays.
func TestADoubtKeepsWhatNoSegmentExplains(t *testing.T) {
	named := []manifest.Segment{{Desc: segment.Desc{Number: 7}}}
	log := manifest.Hole{After: 1, UpTo: 4, File: "wal/0000000000000001.wal"}
	own := manifest.Hole{After: 4, UpTo: 9, File: holeFile(7)}
	other := manifest.Hole{After: 4, UpTo: 8, File: holeFile(8)}
	for _, c := range []struct{ doubt, want manifest.Doubt }{
		{manifest.Doubt{Bound: 9}, manifest.Doubt{Bound: 9}},
		{manifest.Doubt{Bound: 9, Holes: []manifest.Hole{own}}, manifest.Doubt{Holes: []manifest.Hole{}}},
		{manifest.Doubt{Bound: 9, Holes: []manifest.Hole{log, own}}, manifest.Doubt{Bound: 4, Holes: []manifest.Hole{log}}},
		{manifest.Doubt{Bound: 9, Unknown: true, Holes: []manifest.Hole{other, own}}, manifest.Doubt{Bound: 8, Unknown: true, Holes: []manifest.Hole{other}}},
	} {
		if got := withoutHolesOf(c.doubt, named); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v becomes %+v, want %+v", c.doubt, got, c.want)
		}
	}
}
