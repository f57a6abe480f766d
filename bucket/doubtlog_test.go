package bucket

import (
	"context"
	"errors"
	"testing"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// TestLogReadsOfWhatIsInDoubt asks for records by revision and in order. A sound record of
// the very revision is an answer; another one, or none, may stand for a missing record.
func TestLogReadsOfWhatIsInDoubt(t *testing.T) {
	_, b := doubted(t)
	for _, c := range []struct {
		name string
		read func(context.Context) (kv.Entry, error)
		want kv.Revision // 0: in doubt
		// What a reader gets that accepts stale answers; 0: nothing.
		stale kv.Revision
	}{
		{"a sound record", func(ctx context.Context) (kv.Entry, error) { return b.At(ctx, 1) }, 1, 1},
		{"another sound record", func(ctx context.Context) (kv.Entry, error) { return b.At(ctx, 2) }, 2, 2},
		{"a revision that is trimmed", func(ctx context.Context) (kv.Entry, error) { return b.At(ctx, 3) }, 0, 0},
		{"the next, which is that revision", func(ctx context.Context) (kv.Entry, error) { return b.Next(ctx, ">", 2) }, 2, 2},
		{"the next, which is another", func(ctx context.Context) (kv.Entry, error) { return b.Next(ctx, ">", 3) }, 0, 4},
		{"the next of a key, which is above", func(ctx context.Context) (kv.Entry, error) { return b.Next(ctx, "full", 4) }, 0, 5},
		{"the next of an absent key", func(ctx context.Context) (kv.Entry, error) { return b.Next(ctx, "absent", 4) }, 0, 0},
		{"the next from above", func(ctx context.Context) (kv.Entry, error) { return b.Next(ctx, ">", 5) }, 5, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := c.read(t.Context())
			if c.want == 0 {
				wantDoubt(t, "strict", err)
			} else if err != nil || e.Revision != c.want {
				t.Errorf("strict: revision %d, %v; want %d", e.Revision, err, c.want)
			}
			e, err = c.read(kv.WithStale(t.Context()))
			if c.stale == 0 && !errors.Is(err, kv.ErrKeyNotFound) || c.stale != 0 && (err != nil || e.Revision != c.stale) {
				t.Errorf("stale: revision %d, %v; want %d", e.Revision, err, c.stale)
			}
		})
	}
	if _, err := b.Next(t.Context(), "absent", 5); !errors.Is(err, kv.ErrKeyNotFound) {
		t.Errorf("the next of an absent key from above: %v", err)
	}
	b.mu.Lock()
	b.setDoubtLocked(manifest.Doubt{Unknown: true})
	b.mu.Unlock()
	if _, err := b.At(t.Context(), 1000); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a revision above all of a bucket in doubt as a whole: %v", err)
	}
}

// The newest message of a subject is known if it is above the bound. That there is none is
// in doubt.
func TestLastAppendedInDoubt(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.History = 1 })
	b.mu.Lock()
	b.setDoubtLocked(manifest.Doubt{Bound: 4})
	b.mu.Unlock()
	if _, err := b.LastAppended(t.Context(), "subject"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("of a subject without a message: %v", err)
	}
	if _, err := b.LastAppended(kv.WithStale(t.Context()), "subject"); !errors.Is(err, kv.ErrKeyNotFound) {
		t.Errorf("stale: %v", err)
	}
}
