package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// This file holds what the tests of the package share: a store on a disk in
// memory whose calls can be counted and failed, and stores written by hand.

// childDir, in the environment, makes the test binary a process that holds the
// store of that directory open until its standard input ends.
const childDir = "KVD_TEST_HOLD_STORE"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if limit := os.Getenv(childLimit); limit != "" {
		if err := fewDescriptorsChild(dir, limit); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	s, err := Open(dir, Options{ReserveSize: -1, LogFileSize: 64 << 10})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = s.Close()
}

var ctx = context.Background()

// testDir is where the harness's store lives on its disk.
const testDir = "store"

// harness is a store on a disk in memory.
type harness struct {
	t     testing.TB
	disk  *simdisk.Disk
	fs    *simdisk.Fault // around disk
	gates *gatedFS       // around fs
	opts  Options
	s     *Store
}

// newHarness opens a new store. Without a change it is one without background
// and without a reserve, with a log of small files.
func newHarness(t testing.TB, change ...func(*Options)) *harness {
	t.Helper()
	h := &harness{t: t, opts: Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{Manual: true}}}
	for _, f := range change {
		f(&h.opts)
	}
	h.insert(simdisk.New())
	h.open()
	t.Cleanup(func() { h.close() })
	return h
}

// insert gives the harness another disk. No store is open.
func (h *harness) insert(disk *simdisk.Disk) {
	h.disk, h.fs = disk, simdisk.NewFault(disk)
	h.gates = &gatedFS{FS: h.fs}
	h.opts.env.FS = h.gates
}

func (h *harness) open() {
	h.t.Helper()
	if err := h.tryOpen(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) tryOpen() (err error) {
	if h.s, err = Open(testDir, h.opts); err == nil {
		checkDigests(h.t, h.s)
	}
	return err
}

// close closes the store, if one is open, whatever became of it.
func (h *harness) close() {
	if h.s != nil && !h.s.closed.Load() {
		checkDigests(h.t, h.s)
		_ = h.s.Close() // a test that cares about the error closes the store itself
	}
}

// reopen closes the store and opens it again.
func (h *harness) reopen() {
	h.t.Helper()
	checkDigests(h.t, h.s)
	if err := h.s.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

// kill ends the store as the end of its process does: nothing more reaches the
// disk, and what was written stays.
func (h *harness) kill() {
	disk := h.disk.Clone()
	h.close()
	h.insert(disk)
}

// powerCut ends the store as a power cut that loses all that was not synced.
func (h *harness) powerCut() {
	disk := h.disk.Crash(simdisk.KeepNone())
	h.close()
	h.insert(disk)
}

// bucket makes a bucket.
func (h *harness) bucket(name string, change ...func(*kv.Config)) *Bucket {
	h.t.Helper()
	config := kv.Config{Bucket: name}
	for _, f := range change {
		f(&config)
	}
	b, err := h.s.CreateBucket(ctx, config)
	if err != nil {
		h.t.Fatal(err)
	}
	return b.(*Bucket)
}

// find returns a bucket that is there.
func (h *harness) find(name string) *Bucket {
	h.t.Helper()
	b, err := h.s.Bucket(ctx, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return b.(*Bucket)
}

func withHistory(n int) func(*kv.Config) { return func(c *kv.Config) { c.History = n } }

func messageLog(c *kv.Config) { c.Kind = msglog.Kind }

func withMaxBytes(n int64) func(*kv.Config) { return func(c *kv.Config) { c.MaxBytes = n } }

func (h *harness) checkpoint() {
	h.t.Helper()
	if err := h.s.Checkpoint(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) submit(mutations ...kv.Mutation) []kv.Mutation {
	h.t.Helper()
	if err := h.s.Submit(ctx, mutations); err != nil {
		h.t.Fatal(err)
	}
	return mutations
}

// count counts the calls of a kind whose path contains part, from now on. It
// replaces what was injected.
func (h *harness) count(kind simdisk.OpKind, part string) func() int {
	var mu sync.Mutex
	n := 0
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == kind && strings.Contains(op.Path, part) {
			n++
		}
		return simdisk.Action{}
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// fail makes calls of a kind whose path contains part fail.
func (h *harness) fail(kind simdisk.OpKind, part string, err error) {
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == kind && strings.Contains(op.Path, part) {
			return simdisk.Action{Err: err}
		}
		return simdisk.Action{}
	})
}

// gatedFS is a file system whose syncs can be held up, while everything else
// goes on. It counts the bytes that it is to begin to write.
type gatedFS struct {
	vfs.FS
	mu      sync.Mutex
	gate    func(path string) // nil: syncs pass
	started atomic.Int64      // bytes of segments
}

func (g *gatedFS) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := g.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return &gatedFile{File: f, fs: g, path: path}, nil
}

type gatedFile struct {
	vfs.File
	fs   *gatedFS
	path string
}

func (f *gatedFile) Sync() error {
	f.fs.mu.Lock()
	gate := f.fs.gate
	f.fs.mu.Unlock()
	if gate != nil {
		gate(f.path)
	}
	return f.File.Sync()
}

func (f *gatedFile) WriteBack(off, n int64, wait bool) error {
	if path.Ext(f.path) == ".seg" {
		f.fs.started.Add(n)
	}
	return f.File.WriteBack(off, n, wait)
}

// gate holds up the log's syncs, one by one.
type gate struct {
	reached chan struct{} // a sync has begun
	pass    chan struct{} // lets it go on
}

// gateLog makes every sync of the log stop at the gate returned, until open is
// called.
func (h *harness) gateLog() (g gate, open func()) {
	g = gate{make(chan struct{}), make(chan struct{})}
	opened := make(chan struct{})
	h.gates.mu.Lock()
	defer h.gates.mu.Unlock()
	h.gates.gate = func(path string) {
		if !strings.Contains(path, manifest.LogDir) {
			return
		}
		select {
		case g.reached <- struct{}{}:
			select {
			case <-g.pass:
			case <-opened:
			}
		case <-opened:
		}
	}
	return g, sync.OnceFunc(func() { close(opened) })
}

// waitQueued returns once n requests wait for the commit path.
func (h *harness) waitQueued(n int64) {
	for h.s.commit.queued.Load() != n {
		runtime.Gosched()
	}
}

// outcome is what a write returned.
type outcome struct {
	revision kv.Revision
	err      error
}

// goPut puts in a goroutine of its own.
func goPut(ctx context.Context, b *Bucket, key, value string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		rev, err := b.PutString(ctx, key, value)
		done <- outcome{rev, err}
	}()
	return done
}

func mustPut(t testing.TB, b *Bucket, key, value string) kv.Revision {
	t.Helper()
	rev, err := b.PutString(ctx, key, value)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func mustGet(t testing.TB, b *Bucket, key, want string) {
	t.Helper()
	e, err := b.Get(ctx, key)
	if err != nil {
		t.Errorf("get %q: %v", key, err)
	} else if string(e.Value) != want {
		t.Errorf("get %q: %d bytes beginning %.20q, want %.20q", key, len(e.Value), e.Value, want)
	}
}

// wantError fails the test unless err matches target and its text holds every
// part.
func wantError(t testing.TB, err, target error, parts ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want one that matches %q", err, target)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// shown is what a bucket shows: the revisions of each key, markers included.
func shown(t testing.TB, b *Bucket) map[string][]kv.Revision {
	t.Helper()
	got := map[string][]kv.Revision{}
	var keys []string
	b.mu.RLock()
	pending := b.mu.rulesPending > 0
	b.mu.index.All(func(key []byte, _ index.Version) bool {
		keys = append(keys, string(key))
		return true
	})
	b.mu.RUnlock()
	for _, key := range keys {
		for e, err := range b.History(ctx, key) {
			if pending && errors.Is(err, kv.ErrKeyNotFound) {
				continue // the index has yet to follow
			}
			if err != nil {
				t.Errorf("history of %q: %v", key, err)
			}
			got[key] = append(got[key], e.Revision)
		}
	}
	return got
}

func wantShown(t testing.TB, b *Bucket, want map[string][]kv.Revision) {
	t.Helper()
	if got := shown(t, b); !reflect.DeepEqual(got, want) {
		t.Errorf("bucket %q shows %v, want %v", b.name, got, want)
	}
}

// recordFloors returns what the bucket's segments hold of each key, dead or not:
// revision and floor, in the order written.
func recordFloors(t testing.TB, b *Bucket) map[string][][2]kv.Revision {
	t.Helper()
	got := map[string][][2]kv.Revision{}
	for sl := range b.files() {
		err := sl.Walk(0, sl.Size(), func(_ int64, r *segment.Record, _ int, _ bool) error {
			got[string(r.Key)] = append(got[string(r.Key)], [2]kv.Revision{r.Revision, r.Floor})
			return nil
		}, func(c *kv.CorruptError) { t.Errorf("walk: %v", c) })
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// seeded returns a source of repeatable random numbers.
func seeded(seed uint64) func() uint64 {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, seed))
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return r.Uint64()
	}
}

var testIdentity = manifest.Identity{StoreID: [16]byte([]byte("0123456789abcdef")), Seed: 0x1122334455667788}

// written is a store made by hand: a bucket "b" of the records given, in the
// segments given, and a manifest that says what live says.
type written struct {
	live     manifest.Liveness
	segments [][]segment.Record
}

const (
	writtenID      = 3
	writtenHistory = 64
)

// onto writes the store to a disk and returns the description of its bucket.
func (w *written) onto(t testing.TB, disk vfs.FS) *manifest.Bucket {
	t.Helper()
	o := segment.Options{FS: disk, Dir: path.Join(testDir, manifest.SegmentDir), Seed: segment.Seed(testIdentity.Seed), StoreID: testIdentity.StoreID}
	for _, dir := range []string{testDir, o.Dir} {
		if err := disk.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	config := kv.Config{Bucket: "b", History: writtenHistory}.WithDefaults()
	d := &manifest.Bucket{ID: writtenID, Life: 1, Created: 1, Config: config, Next: 1, Live: w.live}
	for i, records := range w.segments {
		seg := writeSegment(t, o, uint64(i+1), records)
		d.Segments = append(d.Segments, manifest.Segment{Desc: seg})
		for _, r := range records {
			d.Next = max(d.Next, r.Revision+1)
		}
	}
	state := manifest.State{Numbers: uint64(len(w.segments)) + 1, MaxBucketID: writtenID, Buckets: map[uint64]*manifest.Bucket{d.ID: d}}
	m, err := manifest.Rewrite(disk, testDir, testIdentity, 1, &state)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	for _, dir := range []string{o.Dir, "."} {
		if err := vfs.SyncDir(disk, dir); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func writeSegment(t testing.TB, o segment.Options, number uint64, records []segment.Record) segment.Desc {
	t.Helper()
	s, err := segment.Create(o, number, writtenID, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		r := &records[i]
		r.BucketID, r.Created = writtenID, int64(r.Revision)
		b := o.Seed.AppendRecord(nil, r)
		if err := s.Reserve(int64(len(b)), int64(segment.EntryBound(len(r.Key), false))); err != nil {
			t.Fatal(err)
		}
		offset, err := s.Append(b)
		if err != nil {
			t.Fatal(err)
		}
		s.AddEntry(&segment.Entry{
			Key: r.Key, Revision: r.Revision, Floor: r.Floor, Created: r.Created, Deadline: r.Deadline,
			Offset: offset, Size: uint32(len(b)), ValueLen: uint32(len(r.Value)), HeadSum: segment.HeadSum(b),
			Op: r.Op, Reason: r.Reason, First: r.First, Lost: r.Lost,
		})
	}
	if block, ok := s.BeginIndex(); ok {
		if err := s.WriteIndex(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	d := s.Desc()
	<-s.Retire()
	return d
}

// harness opens a store written by hand.
func (w *written) harness(t testing.TB) *harness {
	t.Helper()
	h := &harness{t: t, opts: Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{Manual: true}}}
	h.opts.env.Now = func() time.Time { return time.Unix(0, 0) } // before every deadline
	h.insert(simdisk.New())
	w.onto(t, h.disk)
	h.open()
	t.Cleanup(func() { h.close() })
	return h
}

// waitFor returns once done says so. What it waits for must be certain to come:
// the test's own time limit is the only one.
func waitFor(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
}

// names returns what a directory of the disk holds.
func (h *harness) names(dir string) []string {
	h.t.Helper()
	infos, err := h.disk.List(path.Join(testDir, dir))
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.Name)
	}
	return names
}

// segmentFiles returns the paths of the segment files, in order.
func (h *harness) segmentFiles() []string {
	var files []string
	for _, name := range h.names(manifest.SegmentDir) {
		files = append(files, path.Join(testDir, manifest.SegmentDir, name))
	}
	return files
}

// flip changes one bit of a file, at rest.
func (h *harness) flip(file string, offset int64, bit int) {
	h.t.Helper()
	if err := h.disk.Corrupt(file, offset, 1, func(b []byte) { b[0] ^= 1 << bit }); err != nil {
		h.t.Fatal(err)
	}
}

// damages returns the texts of the damages in a report.
func damages(r Report) []string {
	var all []string
	for _, d := range r.Damages {
		all = append(all, d.Error())
	}
	return all
}

// collect returns the keys that a listing yields.
func collect(t testing.TB, b *Bucket, patterns ...string) []string {
	t.Helper()
	keys := []string{}
	for key, err := range b.Keys(ctx, patterns...) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

func wantKeys(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("keys are %q, want %q", got, want)
	}
}

// testClock is a clock that tests set.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// recordSeed is the seed of records in a store whose random numbers are
// seeded(1): the first 16 are its id.
func recordSeed() segment.Seed {
	random := seeded(1)
	for range 16 {
		random()
	}
	return segment.Seed(random())
}
