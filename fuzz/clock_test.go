package fuzz

import (
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
)

// TestClockGoesBack sets the clock back while a store is closed, after a close and after a
// crash. The times of records must not decrease.
func TestClockGoesBack(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1}, simdisk.New())
		put := op{kind: opPut, bucket: "a", key: "k", size: 10, tick: time.Hour}
		w.must(t, op{kind: opCreateBucket, bucket: "a", config: config{history: 5, maxBytes: -1}}, put)
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
		if err := w.run(&put); err != nil {
			t.Fatal(err)
		}
		image := w.disk
		if crash {
			image = w.disk.Crash(simdisk.KeepNone())
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		later := newWorld(w.workload, image) // at the epoch again
		later.now = epoch - int64(24*time.Hour)
		if err := later.start(); err != nil {
			t.Fatal(err)
		}
		rev, err := later.send(later.mutation(&put, w.acked))
		if err != nil || rev != 3 {
			t.Fatalf("revision %d, error %v", rev, err)
		}
		got, _, err := later.observe() // it compares the times within a history
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got.Buckets["a"].Keys["k"]); n != 3 {
			t.Errorf("%d records, want 3", n)
		}
		if err := later.stop(); err != nil {
			t.Error(err)
		}
	}
}
