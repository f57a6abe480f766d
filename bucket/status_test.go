package bucket

import (
	"testing"
	"time"
)

// The time of the newest record is known as long as the process runs, and after that
// where the segments have it.
func TestWrittenIsTheNewestRecordsTime(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	written := func() time.Time {
		t.Helper()
		st, err := h.find("b").Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return st.Written
	}
	mustPut(t, b, "k", "v")
	rev := mustPut(t, b, "l", "v")
	e, err := b.At(ctx, rev)
	if err != nil || !written().Equal(e.Created) {
		t.Fatalf("written %v, the newest record is of %v: %v", written(), e.Created, err)
	}
	h.reopen()
	if !written().Equal(e.Created) {
		t.Errorf("written %v after a restart, want %v", written(), e.Created)
	}
	if n, err := h.find("b").Erase(ctx, ">", 0, 0); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if !written().Equal(e.Created) {
		t.Errorf("written %v where all is erased, want %v", written(), e.Created)
	}
}
