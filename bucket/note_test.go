package bucket

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// A read that meets a damaged record notes the record. The next checkpoint writes the note to
// the manifest.
func TestDamageThatAReaderMeetsIsNoted(t *testing.T) {
	for name, read := range map[string]func(b *Bucket) error{
		"get":          func(b *Bucket) error { _, err := b.Get(ctx, "victim"); return err },
		"by revision":  func(b *Bucket) error { _, err := b.GetRevision(ctx, "victim", 2); return err },
		"history":      func(b *Bucket) error { return lastError(b.History(ctx, "victim")) },
		"all":          func(b *Bucket) error { return firstError(b) },
		"last":         func(b *Bucket) error { _, err := b.Last(ctx, "victim"); return err },
		"the next":     func(b *Bucket) error { _, err := b.Next(ctx, ">", 2); return err },
		"a watch":      func(b *Bucket) error { return watchedError(b, "victim") },
		"a long watch": func(b *Bucket) error { return watchedError(b, ">", kv.ResumeFromRevision(1)) },
		"a watch, meta": func(b *Bucket) error {
			_ = watchedError(b, ">", kv.MetaOnly())
			_, err := b.Get(ctx, "victim")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			mustPut(t, b, "a", "1")
			mustPut(t, b, "victim", "needle")
			mustPut(t, b, "c", "3")
			h.checkpoint()
			h.damageRecord(b, "victim", -8)
			wantLost(t, b)
			wantError(t, read(b), kv.ErrCorrupt, "victim")
			victim := kv.LostRecord{Key: "victim", Revision: 2}
			wantLost(t, b, victim)
			wantError(t, read(b), kv.ErrCorrupt, "victim") // and is noted once
			h.checkpoint()
			h.kill()
			h.open()
			b = h.find("b")
			wantLost(t, b, victim)
			h.reopen()
			b = h.find("b")
			wantLost(t, b, victim)
			mustPut(t, b, "victim", "new")
			wantLost(t, b)
		})
	}
}

// firstError returns the first error of a listing of values.
func firstError(b *Bucket) error {
	for _, err := range b.All(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// watchedError returns the first error of the initial entries of a watch.
func watchedError(b *Bucket, pattern string, opts ...kv.WatchOption) error {
	w, err := b.Watch(ctx, []string{pattern}, opts...)
	if err != nil {
		return err
	}
	defer w.Stop()
	for u := range w.Updates() {
		if u.Entry == nil || u.Err != nil {
			return u.Err
		}
	}
	return w.Err()
}

// A lost record that can be read again was not lost.
func TestALostRecordThatCanBeReadAgain(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "victim", "needle")
	h.checkpoint()
	sound := h.disk.Clone()
	h.damageRecord(b, "victim", -8)
	_, err := b.Get(ctx, "victim")
	wantError(t, err, kv.ErrCorrupt)
	h.reopen()
	wantLost(t, h.find("b"), kv.LostRecord{Key: "victim", Revision: 1})
	h.close()
	file := h.segmentFiles()[0]
	content, err := sound.ReadFile(file)
	if err == nil {
		err = h.disk.WriteFile(file, content)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.open()
	wantLost(t, h.find("b"))
	mustGet(t, h.find("b"), "victim", "needle")
}

// laggard is a bucket whose log hides one record between others, and a watch that has to read
// all of them from the log.
type laggard struct {
	*harness
	bucket *Bucket
	watch  kv.Poller
	bound  kv.Revision // of the record before the first behind the hole
	hide   func()
}

func newLaggard(t *testing.T, ctx context.Context) *laggard {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "before", "1")
	w, err := b.Watch(ctx, nil, kv.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Stop() })
	l := &laggard{harness: h, bucket: b, watch: w.(kv.Poller)}
	if got, err := l.poll(); err != nil || len(got) > 0 {
		t.Fatalf("a parked watch has %v, %v", got, err)
	}
	mustPut(t, b, "large", strings.Repeat("x", 300<<10)) // too large for the queue of recent events
	h.checkpoint()
	first := b.active.Desc()
	l.bound = mustPut(t, b, "hidden", "2")
	h.checkpoint()
	second := b.active.Desc()
	mustPut(t, b, "large", strings.Repeat("y", 300<<10))
	mustPut(t, b, "hidden", "3")
	b.sealGarbage()
	h.checkpoint()
	file := h.segmentFiles()[0]
	l.hide = func() {
		if err := h.disk.Corrupt(file, first.Size, second.Size-first.Size, func(b []byte) { clear(b) }); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// poll returns the revisions that the watch delivers now.
func (l *laggard) poll() (got []kv.Revision, err error) {
	for {
		more, err := l.watch.Poll(func(u kv.Update) bool {
			got = append(got, u.Entry.Revision)
			return true
		})
		if !more || err != nil {
			return got, err
		}
	}
}

// A watch never passes a revision that may be lost: to its client a gap means that nothing was
// there.
func TestAWatchEndsBeforeALostRevision(t *testing.T) {
	for _, c := range []struct {
		name  string
		raise func(l *laggard)
		seen  []kv.Revision // that the watch may deliver before
	}{
		{"the bound rises", func(l *laggard) {
			l.bucket.mu.Lock()
			defer l.bucket.mu.Unlock()
			l.bucket.addHoleLocked(manifest.Hole{After: l.bound - 1, UpTo: l.bound, Records: 1})
			l.bucket.noted()
		}, nil},
		{"it meets the damage itself", func(l *laggard) { l.hide() }, []kv.Revision{2}},
		{"a compaction copies around the damage", func(l *laggard) { l.hide(); l.reclaim() }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLaggard(t, t.Context())
			c.raise(l)
			got, err := l.poll()
			if !errors.Is(err, kv.ErrCorrupt) || !slices.Equal(got, c.seen) {
				t.Errorf("the watch delivers %v and ends with %v", got, err)
			}
			if d, err := l.bucket.Doubt(t.Context()); err != nil || d.Bound != l.bound || len(d.Missing) != 1 || d.Missing[0].Records != 1 {
				t.Errorf("doubt is %+v, %v", d, err)
			}
			_, err = l.bucket.Watch(t.Context(), nil, kv.ResumeFromRevision(l.bound))
			wantError(t, err, kv.ErrCorrupt)
			mustGet(t, l.bucket, "hidden", "3")
			l.reopen()
			if d, err := l.find("b").Doubt(t.Context()); err != nil || d.Bound != l.bound {
				t.Errorf("after an open: doubt is %+v, %v", d, err)
			}
		})
	}
}

// A watch that accepts what is in doubt goes on, and so does one that is behind the hole.
func TestWatchesThatADoubtDoesNotConcern(t *testing.T) {
	for name, ctx := range map[string]context.Context{"stale": kv.WithStale(t.Context()), "behind": t.Context()} {
		t.Run(name, func(t *testing.T) {
			l := newLaggard(t, ctx)
			want := []kv.Revision{2, 3, 4, 5}
			if name == "behind" {
				if got, err := l.poll(); err != nil || !slices.Equal(got, want) {
					t.Fatalf("the watch delivers %v, %v", got, err)
				}
				want = []kv.Revision{mustPut(t, l.bucket, "large", strings.Repeat("z", 300<<10))}
			}
			l.bucket.mu.Lock()
			l.bucket.addHoleLocked(manifest.Hole{After: l.bound - 1, UpTo: l.bound, Records: 1})
			l.bucket.mu.Unlock()
			if got, err := l.poll(); err != nil || !slices.Equal(got, want) {
				t.Errorf("the watch delivers %v, %v, want %v", got, err, want)
			}
		})
	}
}
