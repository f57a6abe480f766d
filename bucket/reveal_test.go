package bucket

import (
	"testing"

	"kvd/kv"
)

// An import that is committed while a checkpoint captures its buckets stays, whatever checkpoints follow.
func TestAnImportCommittedDuringACheckpoint(t *testing.T) {
	h := newHarness(t)
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	records := []kv.Entry{imported("k", 1, "v")}
	if err := i.Write(ctx, records); err != nil {
		t.Fatal(err)
	}
	low := h.s.log.Last() // a checkpoint takes the position of the log
	if err := i.Commit(ctx, sum(records)); err != nil {
		t.Fatal(err)
	}
	h.s.checkpoint.Lock()
	cp := &pendingCheckpoint{}
	h.s.path.Lock()
	dirty := h.s.path.dirty
	h.s.path.dirty = nil
	cp.edit.LogLow = low
	for _, b := range dirty { // and, in a later hold of the path, the buckets
		cp.captures = append(cp.captures, b.capture(h.s.lastLSN(), low))
	}
	h.s.path.Unlock()
	if err := h.s.writeCheckpoint(cp, unpaced); err != nil {
		t.Fatal(err)
	}
	h.s.checkpoint.Unlock()
	mustPut(t, h.bucket("other"), "k", "v")
	h.checkpoint()
	h.powerCut()
	h.open()
	mustGet(t, h.find("b"), "k", "v")
}
