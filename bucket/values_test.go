package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/bucket/manifest"
	"kvd/bucket/verify"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

// withLargeValues gives values from 4 KiB on files of their own.
func withLargeValues(o *Options) { o.env.LargeValue = segment.ValueFileMin }

// withoutLargeValues gives no value a file of its own.
func withoutLargeValues(o *Options) { o.env.LargeValue = kv.MaxValueSizeLimit + 1 }

// largeText returns a value that has a file under withLargeValues, and that begins with text.
func largeText(text string) string {
	return text + strings.Repeat("-", segment.ValueFileMin)
}

// valueFiles returns the names of the value files on the disk.
func (h *harness) valueFiles() (names []string) {
	for _, name := range h.names(manifest.SegmentDir) {
		if _, ok := segment.ParseValueFileName(name); ok {
			names = append(names, name)
		}
	}
	return names
}

// wantValueFiles checks how many value files there are beside the spares, and that the segments
// name just these.
func (h *harness) wantValueFiles(n int) {
	h.t.Helper()
	var named []string
	for _, b := range h.s.list() {
		for sl := range b.files() {
			for _, v := range sl.values {
				named = append(named, segment.ValueFileName(v.number))
			}
		}
	}
	slices.Sort(named)
	got := slices.DeleteFunc(h.valueFiles(), func(name string) bool {
		number, _ := segment.ParseValueFileName(name)
		return slices.ContainsFunc(h.s.values.spares.files, func(f spareValue) bool { return f.number == number })
	})
	if len(got) != n || !slices.Equal(got, named) {
		h.t.Errorf("there are the value files %v, the segments name %v, want %d", got, named, n)
	}
}

// A large value is read as any other, by every way to read it, before and after a checkpoint, a
// clean close, a kill and a power cut.
func TestLargeValues(t *testing.T) {
	for name, keys := range map[string]int{"from segments": -1, "from images": 1} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			testLargeValues(t, newHarness(t, withLargeValues, func(o *Options) { o.ImageKeys = keys }))
		})
	}
}

func testLargeValues(t *testing.T, h *harness) {
	b := h.bucket("b", withHistory(2))
	w := mustWatch(t, b, nil)
	old, large := largeText("old"), largeText("large")
	mustPut(t, b, "small", "s")
	mustPut(t, b, "key", old)
	sent := h.submit(kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "key", Value: []byte(large), Headers: []byte("NATS/1.0\r\nA: b\r\n\r\n")})
	if sent[0].Err != nil {
		t.Fatal(sent[0].Err)
	}
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		b = h.find("b")
		mustGet(t, b, "small", "s")
		mustGet(t, b, "key", large)
		dst, e, err := b.GetAppend(ctx, []byte("mine"), "key")
		if err != nil || string(dst) != "mine"+large || string(e.Headers) != "NATS/1.0\r\nA: b\r\n\r\n" {
			t.Errorf("%s: GetAppend: %d bytes, %q, %v", when, len(dst), e.Headers, err)
		}
		if e, err := b.GetRevision(ctx, "key", 2); err != nil || string(e.Value) != old {
			t.Errorf("%s: revision 2: %d bytes, %v", when, len(e.Value), err)
		}
		var history []string
		for e, err := range b.History(ctx, "key") {
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, string(e.Value))
		}
		if !slices.Equal(history, []string{old, large}) {
			t.Errorf("%s: history of %d", when, len(history))
		}
		var watched []string
		for _, opts := range [][]kv.WatchOption{{kv.IncludeHistory()}, {kv.ResumeFromRevision(2)}} {
			watched = watched[:0]
			w := mustWatch(t, b, []string{"key"}, opts...)
			for len(watched) < 2 {
				u, ok := <-w.Updates()
				if !ok {
					t.Fatal(w.Err())
				}
				if u.Entry != nil {
					watched = append(watched, string(u.Entry.Value))
				}
			}
			if !slices.Equal(watched, history) {
				t.Errorf("%s: watched %d other values", when, len(watched))
			}
			_ = w.Stop()
		}
		for e, err := range b.All(ctx) {
			if err != nil || e.Key == "key" && string(e.Value) != large {
				t.Errorf("%s: listed %q with %d bytes, %v", when, e.Key, len(e.Value), err)
			}
		}
		if st, err := b.Status(ctx); err != nil || st.Bytes < uint64(2*len(large)) || st.Disk < st.Bytes {
			t.Errorf("%s: %d bytes, %d on the disk, %v", when, st.Bytes, st.Disk, err)
		}
		h.wantValueFiles(2)
	}
	check("written")
	h.checkpoint()
	check("checkpoint")
	h.reopen()
	check("reopened")
	mustPut(t, b, "small", "s")
	h.kill()
	h.open()
	check("killed")
	if _, err := b.Touch(ctx, "key"); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Get(ctx, "key"); err != nil || string(e.Value) != large {
		t.Errorf("touched: %d bytes, %v", len(e.Value), err)
	}
	h.powerCut()
	h.open()
	b = h.find("b")
	mustGet(t, b, "key", large)
	h.close()
	if r := h.verify(); r.Err() != nil || r.Bytes < int64(3*len(large)) {
		t.Errorf("verify: %+v", r)
	}
}

// The log and the segments get the records of large values without the values.
func TestLargeValuesAreWrittenOnce(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	written := int64(0)
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpWriteAt {
			written += int64(op.Len)
		}
		return simdisk.Action{}
	})
	const size = 1 << 20
	before := written
	if _, err := b.Put(ctx, "key", make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	if n := written - before; n > size+64<<10 {
		t.Errorf("a value of %d bytes takes %d written bytes", size, n)
	}
	h.wantValueFiles(1)
}

// A value just below the limit has no file, and buckets in memory never have any.
func TestWhatHasNoValueFile(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	mustPut(t, b, "key", strings.Repeat("v", segment.ValueFileMin-1))
	m := h.bucket("m", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
	mustPut(t, m, "key", largeText("v"))
	z := h.bucket("z", func(c *kv.Config) { c.Compression = true })
	mustPut(t, z, "key", largeText("compressed"))
	h.wantValueFiles(0)
	mustGet(t, m, "key", largeText("v"))
	mustGet(t, z, "key", largeText("compressed"))
	if h.s.checkpoint.state.ValueFiles {
		t.Error("the manifest says that there are value files")
	}
}

// The file of a value that was refused is removed, or not even written.
func TestTheFileOfARefusedValueIsRemoved(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b", withMaxBytes(20_000))
	mustPut(t, b, "key", largeText("1"))
	created := h.count(simdisk.OpOpen, ".val")
	if _, err := b.Create(ctx, "key", []byte(largeText("2"))); !errors.Is(err, kv.ErrKeyExists) {
		t.Errorf("created: %v", err)
	}
	if _, err := b.Update(ctx, "key", []byte(largeText("2")), 7); !errors.Is(err, kv.ErrKeyRevisionMismatch) {
		t.Errorf("updated: %v", err)
	}
	if n := created(); n != 0 {
		t.Errorf("%d files were made for conditions that fail", n)
	}
	sent := h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "new", Value: []byte(largeText("3"))},
		kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "new", Value: []byte(largeText("4"))},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "full", Value: make([]byte, 16_000)},
		kv.Mutation{Bucket: "none", Op: kv.MutatePut, Key: "full", Value: make([]byte, 16_000)},
	)
	for i, want := range []error{nil, kv.ErrKeyExists, kv.ErrBucketFull, kv.ErrBucketNotFound} {
		if !errors.Is(sent[i].Err, want) {
			t.Errorf("mutation %d: %v, want %v", i, sent[i].Err, want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Put(ended, "key", []byte(largeText("5"))); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	h.wantValueFiles(2)
}

// A value file goes with its record: when compaction removes the record, or its bucket is deleted.
func TestValueFilesAreRemovedWithTheirRecords(t *testing.T) {
	h := newHarness(t, withLargeValues, func(o *Options) { o.ImageKeys = 1 })
	b := h.bucket("b")
	for i := range 5 {
		mustPut(t, b, "over", largeText(fmt.Sprint(i)))
		mustPut(t, b, fmt.Sprint("stays", i), "small")
	}
	mustPut(t, b, "purged", largeText("p"))
	mustPut(t, b, "large", largeText("stays"))
	if _, err := b.Purge(ctx, "purged"); err != nil {
		t.Fatal(err)
	}
	h.wantValueFiles(7)
	sum := h.reclaim()
	h.wantValueFiles(2)
	if sum.Freed < 5*segment.ValueFileMin {
		t.Errorf("reclaimed %+v", sum)
	}
	mustGet(t, b, "over", largeText("4"))
	mustGet(t, b, "large", largeText("stays"))
	h.reopen()
	h.wantValueFiles(2)
	b = h.find("b")
	mustGet(t, b, "over", largeText("4"))
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	h.wantValueFiles(0)
}

// A reader of a segment that compaction has replaced reads its values to the end.
func TestAReaderKeepsTheValueFilesOfItsSegments(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	mustPut(t, b, "a", largeText("1"))
	mustPut(t, b, "b", largeText("2"))
	var got []string
	for e, err := range b.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, string(e.Value)); len(got) == 1 {
			mustPut(t, b, "b", largeText("3"))
			h.reclaim()
			h.reclaim()
		}
	}
	if !slices.Equal(got, []string{largeText("1"), largeText("2")}) {
		t.Errorf("listed %d values, or others", len(got))
	}
	h.s.removeLater(nil)
	h.wantValueFiles(2)
}

// Damage to a value file is damage of its record alone. Verify names it, an open that misses a
// file says so and removes nothing, and a scrub finds it.
func TestDamageToAValueFile(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	mustPut(t, b, "bad", largeText("b"))
	file := path.Join(testDir, manifest.SegmentDir, h.valueFiles()[0])
	mustPut(t, b, "good", largeText("g"))
	mustPut(t, b, "small", "s")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.flip(file, 5000, 3)
	if r := h.verify(); r.Damage != 1 || !strings.Contains(r.Err().Error(), file) {
		t.Errorf("verify: %+v", r)
	}
	h.open()
	b = h.find("b")
	_, err := b.Get(ctx, "bad")
	wantError(t, err, kv.ErrCorrupt, file, `"bad"`)
	mustGet(t, b, "good", largeText("g"))
	mustGet(t, b, "small", "s")
	h.checkpoint()
	if lost := b.doubt().Lost; len(lost) != 1 || lost[0].Key != "bad" {
		t.Errorf("lost are %+v", lost)
	}
	mustPut(t, b, "bad", largeText("new"))
	mustGet(t, b, "bad", largeText("new"))
	h.reclaim()
	h.wantValueFiles(2)
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := h.verify(); r.Err() != nil {
		t.Errorf("verify after a reclaim: %+v", r)
	}

	missing := h.valueFiles()[0]
	if err := h.disk.Remove(path.Join(testDir, manifest.SegmentDir, missing)); err != nil {
		t.Fatal(err)
	}
	if err := h.disk.WriteFile(path.Join(testDir, manifest.SegmentDir, segment.ValueFileName(1)), []byte("stray")); err != nil {
		t.Fatal(err)
	}
	if r := h.verify(); r.Damage != 1 || !strings.Contains(r.Err().Error(), missing) || len(r.Notes) != 1 {
		t.Errorf("verify: %+v", r)
	}
	h.open()
	if r := h.s.Report(); len(r.Damages) != 1 || !strings.Contains(r.Damages[0].Error(), missing) || r.Scratch != 0 {
		t.Errorf("opened with %+v", r)
	}
	b = h.find("b")
	_, err = b.Get(ctx, "good")
	wantError(t, err, kv.ErrCorrupt, missing)
	mustGet(t, b, "bad", largeText("new"))
	mustGet(t, b, "small", "s")
}

// On a full disk a large value is refused, and deletes and reads go on. There is room again
// once records are removed.
func TestALargeValueOnAFullDisk(t *testing.T) {
	h := newHarness(t, withLargeValues, func(o *Options) { o.ReserveSize = 1 << 20 })
	b := h.bucket("b")
	value := make([]byte, 1<<20)
	mustPut(t, b, "small", "s")
	if _, err := b.Put(ctx, "first", value); err != nil {
		t.Fatal(err)
	}
	h.disk.SetCapacity(h.disk.Used() + 1<<20)
	for i := range 3 {
		_, err := b.Put(ctx, fmt.Sprint("full", i), value)
		wantError(t, err, kv.ErrNoSpace)
	}
	h.wantValueFiles(1)
	mustGet(t, b, "small", "s")
	if _, err := b.Delete(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	h.reclaim()
	h.wantValueFiles(0)
	if _, err := b.Put(ctx, "second", value); err != nil {
		t.Fatal(err)
	}
	h.powerCut()
	h.open()
	if e, err := h.find("b").Get(ctx, "second"); err != nil || len(e.Value) != len(value) {
		t.Errorf("%d bytes, %v", len(e.Value), err)
	}
}

// largeWork writes large values, overwrites and deletes them, compacts, and deletes a bucket. It
// returns what was acknowledged, by key: the last value, "" for none; a key of which a write ended
// with an error is in unsure.
func largeWork(s *Store) (acked map[string]string, unsure map[string]bool) {
	acked, unsure = map[string]string{}, map[string]bool{}
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		return acked, unsure
	}
	other, err := s.CreateBucket(ctx, kv.Config{Bucket: "other"})
	if err != nil {
		return acked, unsure
	}
	_, _ = other.Put(ctx, "gone", []byte(largeText("gone")))
	put := func(key, value string) {
		if _, err := b.Put(ctx, key, []byte(value)); err != nil {
			unsure[key] = true
			return
		}
		acked[key] = value
		delete(unsure, key)
	}
	for i := range 3 {
		put("over", largeText(fmt.Sprint("over", i)))
		put(fmt.Sprint("key", i), largeText(fmt.Sprint("key", i)))
		put("small", fmt.Sprint(i))
	}
	_ = s.DeleteBucket(ctx, "other")
	_ = s.Checkpoint(ctx)
	if _, err := b.Delete(ctx, "key1"); err != nil {
		unsure["key1"] = true
	} else {
		acked["key1"] = ""
	}
	put("over", largeText("last"))
	_, _ = s.Reclaim(ctx, nil)
	put("behind", largeText("behind"))
	return acked, unsure
}

// checkLargeWork opens the store of a harness and compares it with what was acknowledged.
func (h *harness) checkLargeWork(what string, acked map[string]string, unsure map[string]bool) {
	h.t.Helper()
	if found, err := manifest.Load(h.disk, testDir); err == nil && found.Best != nil && !found.Best.State.ValueFiles && len(h.valueFiles()) > 0 {
		h.t.Fatalf("%s: there are value files, and the manifest does not say so", what)
	}
	if r, err := h.tryVerify(); err != nil && !errors.Is(err, kv.ErrNotStore) || r.Err() != nil {
		h.t.Fatalf("%s: verify: %v, %v", what, err, r.Err())
	}
	if err := h.tryOpen(); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	defer h.close()
	if r := h.s.Report(); len(r.Damages) > 0 {
		h.t.Fatalf("%s: damage %v", what, r.Damages)
	}
	files := 0
	for _, b := range h.s.list() {
		for sl := range b.files() {
			files += len(sl.values)
		}
		for key := range b.Keys(ctx) {
			if _, err := b.Get(ctx, key); err != nil {
				h.t.Errorf("%s: %q: %v", what, key, err)
			}
		}
	}
	h.wantValueFiles(files)
	if len(acked) == 0 {
		return
	}
	b := h.find("b")
	for key, want := range acked {
		e, err := b.Get(ctx, key)
		if !unsure[key] && (string(e.Value) != want || (err == nil) != (want != "")) {
			h.t.Errorf("%s: %q has %.10q, %v; want %.10q", what, key, e.Value, err, want)
		}
	}
}

// A power cut at every call keeps every acknowledged value, whatever of the rest the disk keeps,
// and leaves no file that no record names.
func TestPowerCutAtEveryCallOfLargeValues(t *testing.T) {
	count := newHarness(t, withLargeValues)
	before := count.fs.Calls()
	largeWork(count.s)
	calls := count.fs.Calls() - before
	if calls < 100 {
		t.Fatalf("%d calls", calls)
	}
	for n := int64(0); n < calls; n++ {
		h := newHarness(t, withLargeValues)
		h.fs.Inject(simdisk.StopAt(h.fs.Calls() + 1 + n))
		acked, unsure := largeWork(h.s)
		disk := h.disk
		h.close()
		for name, keep := range map[string]simdisk.Choice{"none": simdisk.KeepNone(), "all": simdisk.KeepAll(), "some": simdisk.Random(uint64(n))} {
			h.insert(disk.Crash(keep))
			h.checkLargeWork(fmt.Sprintf("call %d of %d, kept %s", n, calls, name), acked, unsure)
		}
		if t.Failed() {
			return
		}
	}
}

// When any call fails, the values that were acknowledged before and after it are there.
func TestEveryCallOfLargeValuesFails(t *testing.T) {
	failEveryCall(t, func(s *Store) func(*harness, string) {
		acked, unsure := largeWork(s)
		return func(h *harness, what string) { h.checkLargeWork(what, acked, unsure) }
	})
}

// failEveryCall does some work in a new store for each call that it makes, of which that call
// fails. Then the power is cut. The work returns what checks the disk.
func failEveryCall(t *testing.T, work func(*Store) (check func(h *harness, what string))) {
	t.Helper()
	count := newHarness(t, withLargeValues)
	before := count.fs.Calls()
	work(count.s)
	calls := count.fs.Calls() - before
	for n := int64(1); n <= calls; n++ {
		for name, err := range map[string]error{"no space": vfs.ErrNoSpace, "too many files": vfs.ErrTooManyFiles, "broken": errors.New("injected")} {
			h := newHarness(t, withLargeValues)
			h.fs.Inject(simdisk.FailNth(h.fs.Calls()+n, err))
			check := work(h.s)
			h.fs.Inject(nil)
			disk := h.disk
			h.close()
			h.insert(disk.Crash(simdisk.KeepNone()))
			check(h, fmt.Sprintf("call %d of %d, %s", n, calls, name))
		}
		if t.Failed() {
			return
		}
	}
}

// Close waits until value files are written, and no value file is made afterwards.
func TestCloseWaitsForLargeValues(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	h.s.values.writing.RLock()
	done := make(chan error)
	go func() { done <- h.s.Close() }()
	for !h.s.closed.Load() {
		runtime.Gosched()
	}
	select {
	case err := <-done:
		t.Errorf("closed while a value was written: %v", err)
	default:
	}
	h.s.values.writing.RUnlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "key", []byte(largeText("late"))); !errors.Is(err, kv.ErrClosed) {
		t.Error(err)
	}
	if names := h.valueFiles(); len(names) != 0 {
		t.Error(names)
	}
}

// The file of a value that was removed is written to again. None that is not used stays after a
// close, or on a full disk.
func TestValueFilesAreUsedAgain(t *testing.T) {
	h := newHarness(t, withLargeValues)
	b := h.bucket("b")
	for i := range 3 {
		mustPut(t, b, "key", largeText(fmt.Sprint(i)))
	}
	h.reclaim()
	h.wantValueFiles(1)
	spares := h.s.values.spares.files
	old := slices.IndexFunc(spares, func(f spareValue) bool { return f.size > 0 })
	if old < 0 {
		t.Fatalf("the spares are %+v", spares)
	}
	number, allocated := spares[old].number, h.disk.Used()
	mustPut(t, b, "key", largeText("again"))
	if v := b.active.values; v[len(v)-1].number != number {
		t.Errorf("the value is in file %d, the spares were %+v", v[len(v)-1].number, spares)
	}
	if more := h.disk.Used() - allocated; more > 3*4096 {
		t.Errorf("the disk has %d bytes less", more)
	}
	mustGet(t, b, "key", largeText("again"))
	h.reopen()
	b = h.find("b")
	mustGet(t, b, "key", largeText("again"))
	h.wantValueFiles(2)
	if n := len(h.valueFiles()); n != 2 {
		t.Errorf("%d value files after a close", n)
	}
	mustPut(t, b, "other", largeText("other"))
	mustPut(t, b, "other", largeText("more"))
	h.reclaim()
	if h.s.values.spares.bytes == 0 {
		t.Error("there are no spares")
	}
	h.disk.SetCapacity(h.disk.Used())
	_, err := b.Put(ctx, "full", make([]byte, 1<<20))
	wantError(t, err, kv.ErrNoSpace)
	if n := h.s.values.spares.bytes; n != 0 {
		t.Errorf("spares take %d bytes of a full disk", n)
	}
}

// Writers, readers, listings, compaction and the deletion of a bucket go on side by side, with
// the files of the system and all background work. No read gets another value than its key had.
func TestLargeValuesBesideEverything(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{SegmentSize: pageSize, env: environment.Env{LargeValue: segment.ValueFileMin}})
	if err != nil {
		t.Fatal(err)
	}
	b := mustCreate(t, s, "b")
	gone := mustCreate(t, s, "gone")
	const rounds = 150
	var writers, readers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := range rounds {
				key := fmt.Sprint(w, ".", i%5)
				if _, err := b.PutString(ctx, key, largeText(fmt.Sprint(key, " ", i))); err != nil {
					t.Error(err)
				}
				if _, err := gone.PutString(ctx, key, largeText(key)); err != nil && !errors.Is(err, kv.ErrBucketNotFound) {
					t.Error(err)
				}
			}
		})
	}
	writers.Go(func() {
		for range 5 {
			if _, err := s.Reclaim(ctx, nil); err != nil {
				t.Error(err)
			}
		}
		if err := s.DeleteBucket(ctx, "gone"); err != nil {
			t.Error(err)
		}
	})
	var done atomic.Bool
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				for e, err := range b.All(ctx) {
					if err != nil || !strings.HasPrefix(string(e.Value), e.Key+" ") {
						t.Errorf("%q lists %.10q, %v", e.Key, e.Value, err)
					}
				}
				if e, err := b.Get(ctx, "0.0"); err == nil && !strings.HasPrefix(string(e.Value), "0.0 ") || err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
					t.Errorf("0.0 has %.10q, %v", e.Value, err)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if _, err := s.Reclaim(ctx, nil); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Store(dir, verify.Options{})
	if err != nil || r.Err() != nil || r.Values != 15 || len(r.Notes) != 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

func mustCreate(t *testing.T, s *Store, name string) *Bucket {
	t.Helper()
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: name})
	if err != nil {
		t.Fatal(err)
	}
	return b.(*Bucket)
}

// A damaged frame that names a value file is filled from the segment, and the file stays. Where
// the segment does not have it either, the bucket is in doubt, and no file is removed.
func TestADamagedFrameOfALargeValue(t *testing.T) {
	for name, killed := range map[string]bool{"kill": true, "power cut": false} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			h := newHarness(t, withLargeValues)
			b := h.bucket("b")
			mustPut(t, b, "needle", largeText("n"))
			mustPut(t, b, "later", largeText("l"))
			mustPut(t, b, "last", "small")
			files := len(h.valueFiles())
			end := h.powerCut
			if killed {
				end = h.kill
			}
			end()
			file, offset := h.locate(manifest.LogDir, "needle")
			h.flip(file, offset, 2)
			h.open()
			b = h.find("b")
			e, err := b.Get(ctx, "needle")
			if sound := err == nil && string(e.Value) == largeText("n"); sound != killed || !killed && !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("%d bytes, %v", len(e.Value), err)
			}
			if n := len(h.valueFiles()); n < files {
				t.Errorf("%d value files of %d", n, files)
			}
		})
	}
}
