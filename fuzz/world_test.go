package fuzz

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/bucket/verify"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
)

// epoch is the time at which every workload begins.
const epoch = 1_800_000_000_000_000_000 // unix ns

const storeDir = "db"

// world is a store on a simulated disk, together with a model that carries out the
// same steps. It is for one goroutine: the workload alone determines the order of the
// store's file-system calls.
type world struct {
	workload *workload
	disk     *simdisk.Disk
	fault    *simdisk.Fault                  // the open store's file system
	decide   func(simdisk.Op) simdisk.Action // called before every call of the store
	open     atomic.Int64                    // number of open files, mappings and locks
	store    *bucket.Store
	random   *rand.Rand
	now      int64
	skew     time.Duration   // of the wall clock; an open store does not read the wall clock
	during   func()          // called once, before a segment is read; nil: not at all
	serial   uint64          // number of values made
	ids      map[uint64]bool // ids of all buckets that ever existed; replaced, never changed

	acked  *Model   // what the store has acknowledged
	midway []*Model // states on the way to flight, if a step consists of several frames
	flight *Model   // the state after the step in flight; acked if the step changes nothing
	since  []*Model // the acknowledged states since the last sync
}

func newWorld(w *workload, disk *simdisk.Disk) *world {
	m := NewModel()
	return &world{workload: w, disk: disk, now: epoch, acked: m, flight: m,
		random: rand.New(rand.NewPCG(w.seed, 2))}
}

func (w *world) options() bucket.Options {
	w.fault = simdisk.NewFault(w.disk)
	w.fault.Inject(w.decide)
	var fs vfs.FS = w.fault
	if w.workload.bug != nil {
		fs = w.workload.bug(fs)
	}
	return environment.With(bucket.Options{
		LogFileSize: w.workload.logFileSize, LogMaxSize: w.workload.logMaxSize,
		ReserveSize: w.workload.reserveSize, SegmentSize: w.workload.segmentSize, MaxFiles: w.workload.maxFiles, ImageKeys: w.workload.imageKeys,
	}, environment.Env{
		Manual: true, FS: &countingFS{FS: fs, open: &w.open, during: &w.during},
		Now:     func() time.Time { return time.Unix(0, w.now).Add(w.skew) },
		Elapsed: func() time.Duration { return time.Duration(w.now - epoch) },
		Random:  w.random.Uint64, LargeValue: w.workload.largeValue, TailBuckets: w.workload.tailBuckets,
	})
}

// start opens the store.
func (w *world) start() error {
	w.skew = 0
	s, err := bucket.Open(storeDir, w.options())
	w.store = s
	if err != nil && w.open.Load() != 0 {
		return fmt.Errorf("%d files are open after a failed open: %w", w.open.Load(), err)
	}
	return err
}

// stop closes the store.
func (w *world) stop() error {
	if w.store == nil {
		return nil
	}
	err := w.store.Close()
	w.store = nil
	if n := w.open.Load(); n != 0 {
		return errors.Join(fmt.Errorf("%d files are open after close", n), err)
	}
	return err
}

// must opens the store, carries out the steps and closes the store.
func (w *world) must(t testing.TB, steps ...op) {
	t.Helper()
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		if err := w.run(&steps[i]); err != nil {
			t.Fatalf("step %d, %v: %v", i, steps[i], err)
		}
	}
	if err := w.agrees(); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

// observe reads the whole store.
func (w *world) observe() (*Model, []Loss, error) { return Observe(w.store, keyNames) }

// agrees compares the store with the acknowledged state.
func (w *world) agrees() error {
	got, losses, err := w.observe()
	if err != nil {
		return err
	}
	if len(losses) > 0 {
		return fmt.Errorf("record lost: %+v", losses[0])
	}
	if d := w.acked.Diff(got); d != "" {
		return errors.New(d)
	}
	return nil
}

// tellsOfEnds checks that a watch returns ErrCompacted if it resumes before the end of
// a key that was removed from a bucket without expiry markers.
func (w *world) tellsOfEnds() error {
	for name, b := range w.acked.Buckets {
		if b.ended == 0 {
			continue
		}
		handle, err := w.store.Bucket(context.Background(), name)
		if err != nil {
			return err
		}
		watch, err := handle.Watch(context.Background(), nil, kv.ResumeFromRevision(b.ended), kv.Notify(func() {}))
		var gone *kv.CompactedError
		if err == nil {
			err = watch.Stop()
		}
		if !errors.As(err, &gone) || gone.First <= b.ended {
			return fmt.Errorf("bucket %q: a watch resumes from revision %d, at which a key ended without a marker: %v", name, b.ended, err)
		}
	}
	return nil
}

// run carries out one step, which is no crash, on the store and on the model. The
// returned error says where they differ. err is the store's own error: nil, or a
// refusal that the model expects too.
func (w *world) run(o *op) error {
	w.now += int64(o.tick)
	w.skew += o.skew
	before, next := w.acked, w.acked.Clone()
	next.Clock = w.now
	w.flight, w.midway = next, nil
	var err error
	switch {
	case o.writes():
		err = w.write(o, next)
	case o.kind == opSubmit:
		err = w.submit(o, next)
	case o.kind == opCheckpoint:
		err = w.store.Checkpoint(context.Background())
	case o.kind == opReclaim:
		_, err = w.store.Reclaim(context.Background(), nil)
	case o.kind == opReopen:
		w.flight = next.restarted()
		err = w.reopen()
	case o.kind == opSweep:
		err = w.sweep(o, next)
	case o.kind == opErase:
		err = w.erase(o, next)
	case o.kind == opTrim:
		err = w.trim(o, next)
	default:
		err = w.control(o, next)
	}
	if err == nil && (o.kind >= opCreateBucket && o.kind <= opUpsertBucket || o.kind == opReopen) {
		w.flight, err = w.learnIDs(w.flight)
	}
	if err == nil {
		if w.acked = w.flight; o.syncs(before, w.acked) {
			w.since = nil
		} else {
			w.since = append(append(w.since, before), w.midway...)
		}
		w.midway = nil
	}
	return err
}

// reopen closes the store and opens it again. The report must be clean. One kind of
// note is allowed: a log file's header that a power cut tore, until the file is reused.
func (w *world) reopen() error {
	err := w.stop()
	if err == nil {
		err = w.verify()
	}
	if err == nil {
		err = w.start()
	}
	if err != nil {
		return err
	}
	if r := w.store.Report(); r.Records != 0 || r.Scratch != 0 || r.Torn != nil || len(r.Damages) > 0 || len(r.Strays) > 0 {
		return fmt.Errorf("report after a clean close: %v; %d scratch files, strays %q, notes %q", r, r.Scratch, r.Strays, r.Notes)
	}
	return nil
}

// verify checks the files of a closed store: they are sound, every segment is named by the
// manifest, and every value file by a record.
func (w *world) verify() error {
	report, err := verify.Store(storeDir, environment.With(verify.Options{}, environment.Env{FS: w.disk}))
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		return fmt.Errorf("verify after a close: %w", err)
	}
	files, err := w.disk.List(storeDir + "/seg")
	if err == nil && len(files) != report.Segments+report.Values {
		err = fmt.Errorf("%d files in seg/ after a close, and the manifest and the records name %d", len(files), report.Segments+report.Values)
	}
	return err
}

// syncs reports whether after this successful step everything acknowledged is known to
// be durable.
func (o *op) syncs(before, after *Model) bool {
	if !before.interval() && !after.interval() {
		return true
	}
	was, is := before.Buckets[o.bucket], after.Buckets[o.bucket]
	switch o.kind {
	case opCheckpoint, opReopen:
		return true
	case opCreateBucket, opUpdateBucket, opUpsertBucket:
		return is != nil && (was == nil || !was.Config.Equal(is.Config))
	case opDeleteBucket:
		return was != nil
	case opSweep, opErase, opTrim, opPurgeDeletes: // of several buckets, in any order, or nothing
		return false
	}
	for name, b := range after.Buckets {
		if b.Config.Sync == kv.SyncAlways && b.Config.Storage == kv.FileStorage && b.Revision != before.Buckets[name].Revision {
			return true
		}
	}
	return false
}

// mutation makes the write of a step. The write may depend on the current state.
func (w *world) mutation(o *op, m *Model) kv.Mutation {
	mut := kv.Mutation{Bucket: o.bucket, Key: o.key, TTL: o.ttl}
	switch o.kind {
	case opPut:
		mut.Op = kv.MutatePut
	case opCreate:
		mut.Op = kv.MutateCreate
	case opUpdate:
		mut.Op = kv.MutateUpdate
	case opTouch:
		mut.Op = kv.MutateTouch
	case opAppend:
		mut.Op = msglog.Append
	case opDelete, opDeleteIf:
		mut.Op, mut.IfLast = kv.MutateDelete, o.kind == opDeleteIf
	case opPurge, opPurgeIf:
		mut.Op, mut.IfLast = kv.MutatePurge, o.kind == opPurgeIf
	}
	if o.hasValue() {
		mut.Value = w.value(o)
	}
	if b := m.Buckets[o.bucket]; b != nil && o.conditional() && o.want != wantNone {
		if records := b.Keys[o.key]; len(records) > 0 {
			mut.Last = records[len(records)-1].Revision
		}
		switch o.want {
		case wantOlder:
			mut.Last = max(mut.Last, 1) - 1
		case wantNewer:
			mut.Last++
		}
	}
	return mut
}

// value makes a value that differs from every other value, or a value of zeros.
func (w *world) value(o *op) []byte {
	v := make([]byte, o.size)
	if o.zeros {
		return v
	}
	w.serial++
	state := w.serial * 0x9e3779b97f4a7c15
	for i := 0; i < len(v); i += 8 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], w.serial+state*uint64(i))
		copy(v[i:], b[:])
	}
	return v
}

func (w *world) write(o *op, next *Model) error {
	mut := w.mutation(o, next)
	rev, want := next.Write(mut)
	got, err := w.send(mut)
	return compare(got, err, rev, want)
}

// send carries out one mutation through the method for its operation, if there is one.
func (w *world) send(m kv.Mutation) (kv.Revision, error) {
	ctx := context.Background()
	if w.workload.lie != nil {
		w.workload.lie(&m)
	}
	b, err := w.store.Bucket(ctx, m.Bucket)
	if err != nil {
		return 0, err
	}
	if m.Op == msglog.Append {
		batch := []kv.Mutation{m}
		err := w.store.Submit(ctx, batch)
		return batch[0].Revision, cmp.Or(err, batch[0].Err)
	}
	var opts []kv.WriteOption
	if m.IfLast {
		opts = append(opts, kv.LastRevision(m.Last))
	}
	switch {
	case m.TTL == 0:
	case m.Op == kv.MutatePurge:
		opts = append(opts, kv.PurgeTTL(m.TTL))
	default:
		opts = append(opts, kv.KeyTTL(m.TTL))
	}
	switch m.Op {
	case kv.MutatePut:
		return b.Put(ctx, m.Key, m.Value, opts...)
	case kv.MutateCreate:
		return b.Create(ctx, m.Key, m.Value, opts...)
	case kv.MutateUpdate:
		return b.Update(ctx, m.Key, m.Value, m.Last, opts...)
	case kv.MutateTouch:
		return b.Touch(ctx, m.Key, opts...)
	case kv.MutateDelete:
		return b.Delete(ctx, m.Key, opts...)
	}
	return b.Purge(ctx, m.Key, opts...)
}

// unexpectedError is an error of the store that the model does not expect.
type unexpectedError struct{ err, want error }

func (e *unexpectedError) Error() string { return fmt.Sprintf("error %v, want %v", e.err, e.want) }
func (e *unexpectedError) Unwrap() error { return e.err }

// compare checks the result of a write.
func compare(rev kv.Revision, err error, wantRev kv.Revision, want error) error {
	switch {
	case !errors.Is(err, want) || want == nil && err != nil:
		return &unexpectedError{err, want}
	case rev != wantRev:
		return fmt.Errorf("revision %d, want %d", rev, wantRev)
	}
	return nil
}

func (w *world) submit(o *op, next *Model) error {
	muts := make([]kv.Mutation, len(o.batch))
	for i := range o.batch {
		muts[i] = w.mutation(&o.batch[i], next)
		if b := next.Buckets[muts[i].Bucket]; b != nil && o.batch[i].size%8 == 3 { // not by a draw of its own: seeds keep their meaning
			muts[i].IfNewest, muts[i].Newest = true, b.Revision+kv.Revision(o.batch[i].size/8%2)
		}
		_, _ = next.Write(muts[i])
	}
	if err := w.store.Submit(context.Background(), muts); err != nil {
		return &unexpectedError{err, nil}
	}
	// A full disk may refuse the puts of a batch and accept its deletes.
	admitted := w.acked.Clone()
	admitted.Clock = next.Clock
	var refused, failed error
	for i, m := range muts {
		if errors.Is(m.Err, kv.ErrNoSpace) {
			refused = m.Err
			continue
		}
		m.Err, m.Revision = nil, 0
		rev, want := admitted.Write(m)
		m = muts[i]
		if err := compare(m.Revision, m.Err, rev, want); err != nil && failed == nil {
			failed = fmt.Errorf("mutation %d: %w", i, err)
		}
	}
	w.flight = admitted
	if failed != nil {
		return failed
	}
	w.acked = admitted
	return refused
}

// control carries out an operation on a whole bucket.
func (w *world) control(o *op, next *Model) error {
	ctx, c := context.Background(), o.config.of(o.bucket)
	var err, want error
	if w.workload.aging { // a sweep may run before
		swept := next.Clone()
		swept.Sweep(o.bucket)
		w.midway = []*Model{swept}
	}
	switch o.kind {
	case opCreateBucket:
		want = next.CreateBucket(c)
		_, err = w.store.CreateBucket(ctx, c)
	case opUpdateBucket:
		want = next.UpdateBucket(c)
		_, err = w.store.UpdateBucket(ctx, c)
	case opUpsertBucket:
		if next.Buckets[o.bucket] != nil {
			want = next.UpdateBucket(c)
		} else {
			want = next.CreateBucket(c)
		}
		_, err = w.store.CreateOrUpdateBucket(ctx, c)
	case opDeleteBucket:
		want = next.DeleteBucket(o.bucket)
		err = w.store.DeleteBucket(ctx, o.bucket)
	case opPurgeDeletes:
		want = next.PurgeDeletes(o.bucket, o.age)
		var b kv.Bucket
		if b, err = w.store.Bucket(ctx, o.bucket); err == nil {
			err = b.PurgeDeletes(ctx, o.age)
		}
	}
	return compare(0, err, 0, want)
}

// sweep sweeps all buckets, in the order of their ids.
func (w *world) sweep(o *op, next *Model) error {
	w.midway = next.sweeps()
	w.flight = w.midway[len(w.midway)-1]
	var err error
	if o.during != nil {
		w.during = func() { err = w.writeDuring(o.during, next) }
	}
	swept := w.store.Sweep(context.Background())
	w.during = nil
	return errors.Join(err, swept)
}

// sweeps returns the model after the sweep of each bucket, in the order of their ids.
// The first model is the state before.
func (m *Model) sweeps() []*Model {
	states := []*Model{m}
	for _, name := range slices.SortedFunc(maps.Keys(m.Buckets), func(a, b string) int { return cmp.Compare(m.Buckets[a].ID, m.Buckets[b].ID) }) {
		m = m.Clone()
		m.Sweep(name)
		states = append(states, m)
	}
	return states
}

// writeDuring writes while a sweep searches for expired records, unless the sweep has
// already written markers in that bucket. The write comes before all of them.
func (w *world) writeDuring(o *op, next *Model) error {
	was := next.Buckets[o.bucket]
	b, err := w.store.Bucket(context.Background(), o.bucket)
	if err != nil {
		return compare(0, err, 0, next.Clone().DeleteBucket(o.bucket))
	}
	if status, err := b.Status(context.Background()); err != nil || status.Revision != was.Revision {
		return err
	}
	written := next.Clone()
	mut := w.mutation(o, written)
	rev, want := written.Write(mut)
	w.midway = append(w.midway, written.sweeps()...)
	w.flight = w.midway[len(w.midway)-1]
	got, err := w.send(mut)
	if err = compare(got, err, rev, want); err != nil {
		return err
	}
	if was.Config.Sync == kv.SyncInterval {
		w.since = append(w.since, next)
	}
	w.acked, w.midway = written, written.sweeps()
	return nil
}

// erase erases some of a bucket's records.
func (w *world) erase(o *op, next *Model) error {
	below, keep := kv.Revision(o.size%7), uint64(o.size%3)
	if b := next.Buckets[o.bucket]; b != nil && below > 0 {
		below = max(b.Revision, below) - below + 1
	}
	swept := next.Clone()
	swept.Sweep(o.bucket)
	w.midway = []*Model{swept}
	n, want := next.Erase(o.bucket, o.key, below, keep)
	b, err := w.store.Bucket(context.Background(), o.bucket)
	var got uint64
	if err == nil {
		got, err = b.(msglog.Log).Erase(context.Background(), o.key, below, keep)
	}
	if err == nil && got != n {
		return fmt.Errorf("%d records erased, want %d", got, n)
	}
	return compare(0, err, 0, want)
}

// trim removes the oldest records of a bucket.
func (w *world) trim(o *op, next *Model) error {
	below, records, bytes := o.limits()
	if b := next.Buckets[o.bucket]; b != nil && below > 0 {
		below = max(b.Revision, below) - below + 1
	}
	if b := next.Buckets[o.bucket]; b != nil && b.Config.Kind == msglog.Kind {
		swept := next.Clone()
		swept.Sweep(o.bucket)
		w.midway = []*Model{swept}
	}
	n, want := next.Trim(o.bucket, below, records, bytes)
	b, err := w.store.Bucket(context.Background(), o.bucket)
	var got uint64
	if err == nil {
		got, err = b.(msglog.Log).Trim(context.Background(), below, records, bytes)
	}
	if err == nil && got != n {
		return fmt.Errorf("%d records trimmed, want %d", got, n)
	}
	return compare(0, err, 0, want)
}

// learnIDs returns the model with the ids and the revisions of its new buckets, and of
// memory buckets after a restart. It fails if a bucket had one of these ids before, or may
// issue a revision again.
func (w *world) learnIDs(m *Model) (*Model, error) {
	m = m.Clone() // other goroutines may read the model in flight
	for name, b := range m.Buckets {
		if b.ID != 0 {
			continue
		}
		got, err := w.store.Bucket(context.Background(), name)
		if err != nil {
			return m, err
		}
		status, err := got.Status(context.Background())
		if err != nil {
			return m, err
		}
		if w.ids[status.ID] {
			return m, fmt.Errorf("bucket %q has an id that was used before: %d", name, status.ID)
		}
		if !b.at(status.Revision) {
			return m, fmt.Errorf("bucket %q has revision %d after an open; before it was at %d", name, status.Revision, b.Revision)
		}
		b = m.change(b)
		b.ID, b.Revision = status.ID, status.Revision
	}
	w.know(m)
	return m, nil
}

// know adds the ids of a model's buckets to ids.
func (w *world) know(m *Model) {
	ids := make(map[uint64]bool, len(w.ids)+len(m.Buckets))
	maps.Copy(ids, w.ids)
	for _, b := range m.Buckets {
		ids[b.ID] = true
	}
	w.ids = ids
}

// countingFS counts the open files, mappings and locks.
type countingFS struct {
	vfs.FS
	open   *atomic.Int64
	during *func() // the world's during
}

func (c *countingFS) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := c.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedFile{File: f, open: c.open, during: c.during, path: path}, nil
}

func (c *countingFS) Lock(path string) (io.Closer, error) {
	l, err := c.FS.Lock(path)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &counted{Closer: l, open: c.open}, nil
}

// counted decrements the count when it is closed, once.
type counted struct {
	io.Closer
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Closer.Close()
}

type countedFile struct {
	vfs.File
	open   *atomic.Int64
	closed atomic.Bool
	during *func()
	path   string
}

func (c *countedFile) ReadAt(p []byte, off int64) (int, error) {
	if during := *c.during; during != nil && strings.HasSuffix(c.path, ".seg") {
		*c.during = nil
		during()
	}
	return c.File.ReadAt(p, off)
}

func (c *countedFile) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.File.Close()
}

func (c *countedFile) Map(n int64) (vfs.Mapping, error) {
	m, err := c.File.Map(n)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedMapping{Mapping: m, open: c.open}, nil
}

type countedMapping struct {
	vfs.Mapping
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedMapping) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Mapping.Close()
}
