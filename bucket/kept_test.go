package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"testing"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// Records tells markers and histories in the order of revisions, and a damaged record without its
// value.
func TestRecordsTellsWhatIsKept(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(2))
	for _, key := range []string{"x", "y", "x", "x"} {
		mustPut(t, b, key, "value of "+key)
	}
	if _, err := b.Delete(t.Context(), "y"); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	b.mu.RLock()
	v, ok := b.mu.index.At(index.Hash("x"), "x", 3)
	file := path.Join(h.s.segments.Dir, segment.FileName(b.mu.segments[v.Segment].Number()))
	b.mu.RUnlock()
	if !ok {
		t.Fatal("revision 3 is gone")
	}
	if err := h.disk.Corrupt(file, v.Offset+60, 1, func(b []byte) { b[0] ^= 1 }); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := b.Records(t.Context(), func(k *Kept) error {
		got = append(got, fmt.Sprintf("%s %d %v %q newest %v damaged %v", k.Key, k.Revision, k.Operation, k.Value, k.Newest, k.Damage != nil))
		return nil
	})
	want := []string{
		`y 2 PUT "value of y" newest false damaged false`,
		`x 3 PUT "" newest false damaged true`,
		`x 4 PUT "value of x" newest true damaged false`,
		`y 5 DEL "" newest true damaged false`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: got\n%q\nwant\n%q", err, got, want)
	}
	if n := b.NextRevision(); n != 6 {
		t.Errorf("the next revision is %d", n)
	}
	stop := errors.New("stop")
	if err := b.Records(t.Context(), func(*Kept) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Records(ended, func(*Kept) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	if err := h.s.DeleteBucket(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := b.Records(t.Context(), func(*Kept) error { return nil }); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("a deleted bucket: %v", err)
	}
}
