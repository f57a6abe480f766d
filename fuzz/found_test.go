package fuzz

import (
	"testing"

	"kvd/internal/vfs"
)

// The tests of this file are what the others found, at its smallest.

// TestFrameLargerThanLog: a frame that the log could never hold beside its
// current file made its writer run checkpoints for ever.
func TestFrameLargerThanLog(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1}, vfs.NewMem())
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	many := op{kind: opSubmit}
	for range 60 {
		many.batch = append(many.batch, op{kind: opPut, bucket: "a", key: "k", size: 1000})
	}
	for i, o := range []op{
		{kind: opCreateBucket, bucket: "a", config: config{history: 2, maxBytes: -1}},
		{kind: opPut, bucket: "a", key: "k", size: 60_000},
		{kind: opPut, bucket: "a", key: "k", size: 20_000},
		many,
		{kind: opPut, bucket: "a", key: "k", size: 10},
		{kind: opReopen},
	} {
		if err := w.run(&o); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if err := w.agrees(); err != nil {
		t.Error(err)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
