package fuzz

import (
	"context"
	"errors"
	"path"
	"strings"
	"syscall"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// The tests in this file are failures that other tests found, in their smallest form.

// TestFrameLargerThanLog: a frame that did not fit into the log beside the current file
// made its writer run checkpoints for ever.
func TestFrameLargerThanLog(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1}, simdisk.New())
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

// TestCrashAfterBucketCreate: Open panicked if the log contained the creation of a bucket.
func TestCrashAfterBucketCreate(t *testing.T) {
	load := &workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1, ops: []op{
		{kind: opCreateBucket, bucket: "a", config: config{history: 2, maxBytes: -1}},
		{kind: opCrash},
		{kind: opPut, bucket: "a", key: "k", size: 10},
	}}
	sweepOne(t, load)
}

// sweepOne checks all crashes of one workload.
func sweepOne(t *testing.T, load *workload) {
	t.Helper()
	c := newChecks()
	defer c.close()
	if err := runSweep(load, plan{samples: 6, nested: 3, goOn: 3}, c); err != nil {
		t.Errorf("%v\n%v", err, load)
	}
}

// TestCrashWithOneHeader: a power cut may tear the last header of a log file. If the next
// use of that file, or its removal, was cut short too, no header was left, and a sound
// store became read-only.
func TestCrashWithOneHeader(t *testing.T) {
	c := newChecks()
	defer c.close()
	for _, last := range []bool{true, false} {
		// Files of the wanted size are reused, others are removed.
		for _, size := range []int64{16 << 10, 32 << 10} {
			w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: -1}, simdisk.New())
			steps := []op{{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}}}
			for range 12 {
				steps = append(steps, op{kind: opPut, bucket: "a", key: "k", size: 3000})
			}
			w.must(t, steps...)
			tearHeaders(t, w.disk, last)
			w.workload.logFileSize = size
			w.workload.ops = append(steps[1:], op{kind: opReopen}, op{kind: opCheckpoint}, op{kind: opReopen})
			if err := runSweepOn(w, plan{samples: 7}, c); err != nil {
				t.Errorf("last=%t, files of %d: %v", last, size, err)
			}
		}
	}
}

// tearHeaders damages one header of every file of the log.
func tearHeaders(t *testing.T, disk *simdisk.Disk, last bool) {
	t.Helper()
	files, err := disk.List(storeDir + "/wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if path.Ext(f.Name) != ".wal" { // the mark has no header
			continue
		}
		offset := int64(0)
		if last {
			offset = f.Size - 4096
		}
		err := disk.Corrupt(storeDir+"/wal/"+f.Name, offset, 512, func(b []byte) { clear(b) })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashWhileReplacingTornManifest: the first power cut tore a record of the manifest.
// The next open writes both copies anew. After a second power cut between the two, Open
// reported the torn record as damage.
func TestCrashWhileReplacingTornManifest(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: -1}, simdisk.New())
	w.must(t, op{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}},
		op{kind: opPut, bucket: "a", key: "k", size: 10}, op{kind: opCheckpoint})
	const second = storeDir + "/manifest.2"
	b, err := w.disk.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.disk.WriteFile(second, b[:len(b)-16]); err != nil {
		t.Fatal(err)
	}
	c := newChecks()
	defer c.close()
	if err := runSweepOn(w, plan{samples: 3}, c); err != nil {
		t.Error(err)
	}
}

// TestCrashAfterBucketDelete: if the deletion of a bucket was replayed, the bucket's files
// were removed only by the second open after it.
func TestCrashAfterBucketDelete(t *testing.T) {
	sweepOne(t, &workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1, ops: []op{
		{kind: opCreateBucket, bucket: "a", config: config{history: 2, maxBytes: -1}},
		{kind: opPut, bucket: "a", key: "k", size: 10},
		{kind: opReopen},
		{kind: opDeleteBucket, bucket: "a"},
	}})
}

// TestRefusedByWhatFailed: the commit of a batch failed. A create in it returned that the
// key exists, at the revision of the put before it, although that put had failed too.
func TestRefusedByWhatFailed(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1}, simdisk.New())
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	if err := w.run(&op{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}}); err != nil {
		t.Fatal(err)
	}
	w.fault.Inject(simdisk.FailKind(simdisk.OpSync, syscall.EIO))
	batch := []kv.Mutation{
		{Bucket: "a", Op: kv.MutatePut, Key: "k"},
		{Bucket: "a", Op: kv.MutateCreate, Key: "k"},
		{Bucket: "a", Op: kv.MutateUpdate, Key: "other", Last: 7},
	}
	if err := w.store.Submit(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{kv.ErrOutcomeUnknown, kv.ErrOutcomeUnknown, kv.ErrKeyRevisionMismatch} {
		if !errors.Is(batch[i].Err, want) || batch[i].Revision != 0 {
			t.Errorf("mutation %d: revision %d, error %v, want %v", i, batch[i].Revision, batch[i].Err, want)
		}
	}
	_ = w.stop() // the calls still fail
}

// TestSyncWithoutSpace: a checkpoint took the error of a failed sync for a full disk
// because it was ENOSPC. It tried the sync again, and released the log although the system
// had dropped the pages.
func TestSyncWithoutSpace(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 32 << 10, reserveSize: -1}, simdisk.New())
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []op{
		{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}},
		{kind: opPut, bucket: "a", key: "k", size: 100},
	} {
		if err := w.run(&o); err != nil {
			t.Fatal(err)
		}
	}
	w.fault.Inject(func(o simdisk.Op) simdisk.Action {
		if o.Kind == simdisk.OpSync && strings.HasSuffix(o.Path, ".seg") {
			return simdisk.Action{Err: syscall.ENOSPC, DropSync: true}
		}
		return simdisk.Action{}
	})
	if err := w.store.Checkpoint(t.Context()); !errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrOutcomeUnknown", err)
	}
	w.fault.Inject(nil)
	_ = w.stop() // it cannot write any more
	f := finding{workload: w.workload, image: w.disk.Crash(simdisk.KeepNone()), now: w.now, before: w.acked, after: w.acked}
	if err := f.check(func() {}); err != nil {
		t.Error(err)
	}
}

// TestLogThatCannotBeFreed: the files that a checkpoint freed could not be recycled. Then
// every writer that found the log full ran checkpoints for ever.
func TestLogThatCannotBeFreed(t *testing.T) {
	w := newWorld(&workload{logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: -1}, simdisk.New())
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	if err := w.run(&op{kind: opCreateBucket, bucket: "a", config: config{history: 1, maxBytes: -1}}); err != nil {
		t.Fatal(err)
	}
	w.fault.Inject(simdisk.FailKind(simdisk.OpTruncate, syscall.EIO))
	refused := false
	for range 40 {
		err := w.run(&op{kind: opPut, bucket: "a", key: "k", size: 3000})
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		refused = refused || err != nil
	}
	if !refused {
		t.Error("the log was freed in spite of the fault: the test tests nothing")
	}
	w.fault.Inject(nil)
	if err := w.run(&op{kind: opPut, bucket: "a", key: "k", size: 3000}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := errors.Join(w.agrees(), w.stop()); err != nil {
		t.Error(err)
	}
}

// TestRefusedForSpaceAndFailed: a full disk refused the puts of a batch, and then the
// batch's deletes failed. The puts returned that their outcome is unknown.
func TestRefusedForSpaceAndFailed(t *testing.T) {
	purge := func(key string) op { return op{kind: opPurge, bucket: "a", key: key} }
	put := op{kind: opPut, bucket: "a", key: "k", size: 4500}
	load := &workload{logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: 64 << 10, ops: []op{
		{kind: opCreateBucket, bucket: "a", config: config{history: 2, maxBytes: -1, text: 3919}},
		{kind: opReopen}, put, purge("k"),
		{kind: opSubmit, batch: []op{purge("k"), put, purge("k.1"), put, purge("k.1")}},
	}}
	c := newChecks()
	defer c.close()
	if err := failEvery(load, 0, c); err != nil {
		t.Error(err)
	}
}
