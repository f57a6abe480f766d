package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/index"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/watch"
)

func inMemory(c *kv.Config) { c.Storage = kv.MemoryStorage }

// memoryBytes returns the bytes of a memory bucket's segments. It checks that slots and
// index have the same counts of live records.
func memoryBytes(t *testing.T, b *Bucket) (size int64) {
	t.Helper()
	b.mu.RLock()
	defer b.mu.RUnlock()
	var live int64
	files := 0
	for sl := range b.files() {
		size += sl.Size()
		live += b.mu.index.Use(sl.number).Bytes
		files++
	}
	if live != b.mu.index.Bytes() {
		t.Errorf("segments have %d live bytes, the index %d", live, b.mu.index.Bytes())
	}
	if list, err := b.disk.FS.List(b.disk.Dir); err != nil || len(list) != files+len(b.retiredMemory) {
		t.Errorf("%d files for %d segments, %v", len(list), files, err)
	}
	return size
}

func TestMemoryBucketsTouchNoFile(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory, withHistory(3))
	calls, last := h.fs.Calls(), h.s.log.Last()
	for i := range 10 {
		mustPut(t, b, fmt.Sprint(i%4), strings.Repeat("v", 1000*i))
	}
	if _, err := b.Create(ctx, "1", nil); !errors.Is(err, kv.ErrKeyExists) {
		t.Errorf("create over a key: %v", err)
	}
	if _, err := b.Purge(ctx, "2"); err != nil {
		t.Error(err)
	}
	if err := b.PurgeDeletes(ctx, -1); err != nil {
		t.Error(err)
	}
	wantShown(t, b, showing{"0": revs{1, 5, 9}, "1": revs{2, 6, 10}, "3": revs{4, 8}})
	mustGet(t, b, "1", strings.Repeat("v", 9000))
	if n := h.fs.Calls() - calls; n != 0 || h.s.log.Last() != last {
		t.Errorf("%d calls of the file system, and the log went from LSN %d to %d", n, last, h.s.log.Last())
	}
	if st, err := b.Status(ctx); err != nil || st.Disk != 0 || st.Bytes == 0 {
		t.Errorf("status %+v, %v", st, err)
	}
}

// If a group has records of memory buckets and of others, only the others are logged.
func TestAGroupOfFilesAndMemory(t *testing.T) {
	h := newHarness(t)
	m, f := h.bucket("m", inMemory), h.bucket("f")
	var batch []kv.Mutation
	for i := range 20 {
		batch = append(batch, kv.Mutation{Bucket: []string{"m", "f"}[i%2], Op: kv.MutatePut, Key: fmt.Sprint(i / 4), Value: fmt.Append(nil, i)})
	}
	for _, m := range h.submit(batch...) {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
	}
	for i := range 5 {
		mustGet(t, m, fmt.Sprint(i), fmt.Sprint(i*4+2))
		mustGet(t, f, fmt.Sprint(i), fmt.Sprint(i*4+3))
	}
	h.powerCut()
	h.open()
	for i := range 5 {
		mustGet(t, h.find("f"), fmt.Sprint(i), fmt.Sprint(i*4+3))
	}
	wantShown(t, h.find("m"), showing{})
	h.close()
	if r := h.verify(); r.Err() != nil {
		t.Error(r.Err())
	}
}

// After every open a memory bucket is empty and has a new id, and its revisions go on. Its
// configuration, edits and deletion are as durable as those of other buckets.
func TestMemoryBucketsAcrossOpens(t *testing.T) {
	h := newHarness(t)
	h.bucket("gone", inMemory)
	b := h.bucket("b", inMemory, withHistory(5))
	seen, told := map[uint64]bool{}, kv.Revision(0)
	for i, end := range []func(){h.reopen, func() { h.kill(); h.open() }, func() { h.powerCut(); h.open() }, h.reopen, func() { h.checkpoint(); h.powerCut(); h.open() }} {
		if i == 1 {
			if err := h.s.DeleteBucket(ctx, "gone"); err != nil {
				t.Fatal(err)
			}
			if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", Storage: kv.MemoryStorage, History: 2}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []uint64{b.ID(), h.bucket(fmt.Sprint("new", i)).ID()} {
			if seen[id] {
				t.Errorf("id %d is used again", id)
			}
			seen[id] = true
		}
		for n := range kv.Revision(4) {
			rev := mustPut(t, b, "k", "v")
			if rev <= told || n > 0 && rev != told+1 {
				t.Errorf("put %d has revision %d after %d", n, rev, told)
			}
			told = rev
		}
		if _, err := b.Delete(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		told++
		if err := b.PurgeDeletes(ctx, -1); err != nil { // must not affect the bucket after the next open
			t.Fatal(err)
		}
		end()
		b = h.find("b")
		st, err := b.Status(ctx)
		if err != nil || st.Revision <= told || st.Keys != 0 || st.Config.Storage != kv.MemoryStorage {
			t.Errorf("status %+v, %v", st, err)
		}
		if want := []int{5, 2, 2, 2, 2}[i]; st.Config.History != want {
			t.Errorf("history is %d, want %d", st.Config.History, want)
		}
		if r := h.s.Report(); len(r.Damages) > 0 || len(r.Strays) > 0 {
			t.Errorf("report %v", r)
		}
	}
	if _, err := h.s.Bucket(ctx, "gone"); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("a deleted memory bucket: %v", err)
	}
}

// A revision of a memory bucket is never issued twice, and a watch that knows the bucket of
// before a restart gets kv.ErrCompacted, also where the bucket has issued all revisions that
// the log allows, and behind a clean close.
func TestRevisionsOfMemoryGoOn(t *testing.T) {
	for name, end := range map[string]func(h *harness){
		"close": func(h *harness) { h.reopen() },
		"kill":  func(h *harness) { h.kill(); h.open() },
		"power cut": func(h *harness) {
			h.powerCut()
			h.open()
		},
		"power cut behind a checkpoint": func(h *harness) {
			h.checkpoint()
			h.powerCut()
			h.open()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.bucket("unused", inMemory)
			b := h.bucket("b", inMemory)
			for life := range 4 {
				if life > 0 { // the first stride needs no operation of the log
					b.issuable = b.next + 2
				}
				puts := []int{1, 3, 4, 9}[life] // to the end of the stride, and past it
				logged := h.s.log.Last()
				for range puts {
					mustPut(t, b, "k", "v")
				}
				if frames := h.s.log.Last() - logged; (frames > 0) != (puts > 3) || frames > 2 { // an operation is logged twice
					t.Errorf("%d puts wrote %d frames", puts, frames)
				}
				told := b.next - 1
				end(h)
				b = h.find("b")
				if st, err := b.Status(ctx); err != nil || st.Revision <= told || st.Revision > told+2*issueStride {
					t.Fatalf("status after %d is %+v, %v", told, st, err)
				}
				for _, from := range []kv.Revision{1, told, told + 1} {
					var gone *kv.CompactedError
					_, err := b.Watch(ctx, nil, kv.ResumeFromRevision(from))
					if !errors.As(err, &gone) {
						t.Fatalf("a watch from %d, where %d was told: %v", from, told, err)
					}
					drain(t, mustWatch(t, b, nil, kv.ResumeFromRevision(gone.First)))
				}
				rev := mustPut(t, b, "k", "v")
				if rev <= told+1 {
					t.Fatalf("revision %d after %d", rev, told)
				}
				_, err := b.Update(ctx, "k", nil, told)
				wantError(t, err, kv.ErrKeyRevisionMismatch)
			}
			if st, err := h.find("unused").Status(ctx); name == "close" && (err != nil || st.Revision != 0) {
				t.Errorf("a bucket that issued nothing: %+v, %v", st, err)
			}
		})
	}
}

// A store that damage made read-only has empty memory buckets too, which are not those that
// a watch knows.
func TestMemoryOfAReadOnlyStoreIsEmpty(t *testing.T) {
	h := newHarness(t)
	told := mustPut(t, h.bucket("b", inMemory), "k", "v")
	h.checkpoint()
	h.kill()
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpRename {
			return simdisk.Action{Err: syscall.EROFS}
		}
		return simdisk.Action{}
	})
	h.open()
	b := h.find("b")
	if h.s.Report().ReadOnly == nil {
		t.Fatal("the store is writable")
	}
	wantShown(t, b, showing{})
	_, err := b.Watch(ctx, nil, kv.ResumeFromRevision(told+1))
	wantError(t, err, kv.ErrCompacted)
}

// stopAtWrite lets the disk do nothing from the n-th write, sync or rename on. It returns the
// number of such calls so far.
func (h *harness) stopAtWrite(n int) *int {
	calls := new(int)
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		switch op.Kind {
		case simdisk.OpWriteAt, simdisk.OpSync, simdisk.OpSyncDir, simdisk.OpRename:
			if *calls++; *calls == n {
				return simdisk.Action{Stop: true}
			}
		}
		return simdisk.Action{}
	})
	return calls
}

// Whichever call of the file system is the last before a power cut, no revision that was
// told is issued again.
func TestStridesAreDurable(t *testing.T) {
	for n := 1; ; n++ {
		h := newHarness(t)
		b := h.bucket("b", inMemory)
		h.checkpoint()
		b.issuable = b.next + 1
		calls := h.stopAtWrite(n)
		var told kv.Revision
		for range 5 {
			rev, err := b.PutString(ctx, "k", "v")
			if err != nil {
				break
			}
			told = rev
		}
		h.powerCut()
		h.open()
		if rev := mustPut(t, h.find("b"), "k", "v"); rev <= told {
			t.Fatalf("stopped at call %d: revision %d after %d", n, rev, told)
		}
		if told == 5 && *calls < n {
			return
		}
	}
}

// A bucket that is deleted while its revisions are logged does not fail the others of the
// group.
func TestADeletedBucketNeedsNoRevisions(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := h.s.logIssue(&issueError{b, 100}); err != nil {
		t.Error(err)
	}
}

// No id is used twice, whichever write of an open a power cut interrupts.
func TestIDsOfMemoryBucketsAreDurable(t *testing.T) {
	h := newHarness(t)
	made := h.bucket("b", inMemory).ID()
	base := h.disk.Crash(simdisk.KeepNone())
	h.close()
	for n := 1; ; n++ {
		h.insert(base.Clone())
		calls := h.stopAtWrite(n)
		err := h.tryOpen()
		told := made
		if err == nil {
			told = h.find("b").ID()
			if told == made {
				t.Fatal("the bucket has the id of its life before")
			}
		}
		image := h.disk.Crash(simdisk.KeepNone())
		h.fs.Inject(simdisk.StopAt(0))
		h.close()
		h.insert(image)
		h.open()
		if id := h.find("b").ID(); id == told || id == made {
			t.Fatalf("stopped at call %d: id %d after %d", n, id, told)
		}
		h.close()
		if err == nil && *calls < n {
			return
		}
	}
}

// Memory of dead records is freed, whatever the mix of writes, and live records are kept.
func TestDeadMemoryIsFreed(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory, withHistory(2))
	rng := rand.New(rand.NewPCG(1, 1))
	want := map[string][]string{}
	for i := range 30_000 {
		key := fmt.Sprint("k", rng.IntN(1+rng.IntN(2000)))
		switch rng.IntN(20) {
		case 0:
			if _, err := b.Purge(ctx, key); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
		default:
			value := fmt.Sprint(i, strings.Repeat("v", rng.IntN(3000)))
			mustPut(t, b, key, value)
			kept := append(want[key], value)
			want[key] = kept[max(0, len(kept)-2):]
		}
		if i%3000 == 0 {
			live := b.mu.index.Bytes()
			if size := memoryBytes(t, b); size > 2*live+memorySlack+2*memorySegmentSize {
				t.Fatalf("%d bytes for %d that are alive", size, live)
			}
		}
	}
	if len(b.mu.segments) < 20 {
		t.Fatalf("%d segments: nothing was rewritten", len(b.mu.segments))
	}
	for key, values := range want {
		var got []string
		for e, err := range b.History(ctx, key) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Operation == kv.Put {
				got = append(got, string(e.Value))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(values) {
			t.Errorf("%q has %d values, want %d", key, len(got), len(values))
		}
	}
	wantScanned(t, b)
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	if list, err := b.disk.FS.List(b.disk.Dir); err != nil || len(list) > 0 {
		t.Errorf("a deleted bucket has %d files, %v", len(list), err)
	}
}

// wantScanned checks that reading by revision finds every record in the index, in order,
// once.
func wantScanned(t *testing.T, b *Bucket) {
	t.Helper()
	missing := map[kv.Revision]bool{}
	for _, revisions := range shown(t, b) {
		for _, rev := range revisions {
			missing[rev] = true
		}
	}
	var last kv.Revision
	p := watch.Position{}
	for p.Revision < b.next-1 {
		err := b.scan(&p, b.next-1, func(f *scanned) bool {
			if f.record.Revision <= last {
				t.Fatalf("revision %d behind %d", f.record.Revision, last)
			}
			last = f.record.Revision
			delete(missing, last)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%d live records were not scanned", len(missing))
	}
}

// Readers, histories and scans run while writers rewrite the segments that they read.
func TestReadersOfMemoryThatMoves(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory, withHistory(3))
	const keys, writers = 200, 2
	value := func(i int) string { return fmt.Sprint(i, strings.Repeat("v", 2000)) }
	for i := range keys {
		mustPut(t, b, fmt.Sprint(i), value(i))
	}
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range 5000 / slowness {
				i := rng.IntN(keys)
				if _, err := b.PutString(ctx, fmt.Sprint(i), value(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for r := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(r)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rng.IntN(keys)
				e, err := b.Get(ctx, fmt.Sprint(i))
				if err != nil || string(e.Value) != value(i) {
					t.Errorf("key %d: %d bytes, %v", i, len(e.Value), err)
					return
				}
				for e, err := range b.History(ctx, fmt.Sprint(i)) {
					if err != nil || string(e.Value) != value(i) {
						t.Errorf("history of key %d: %d bytes, %v", i, len(e.Value), err)
						return
					}
				}
				p, last := watch.Position{}, kv.Revision(0)
				err = b.scan(&p, 1<<40, func(f *scanned) bool {
					if f.record.Revision <= last {
						t.Errorf("revision %d behind %d", f.record.Revision, last)
					}
					last = f.record.Revision
					return true
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	memoryBytes(t, b)
	wantScanned(t, b)
}

// A read finds a faulty bit of memory.
func TestMemoryIsVerified(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory)
	mustPut(t, b, "bad", "value")
	mustPut(t, b, "good", "value")
	v, _ := b.mu.index.Newest(index.Hash("bad"), "bad")
	f, err := b.disk.FS.Open(b.memoryFile(b.active), vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("V"), v.Offset+int64(v.Size)-8); err != nil {
		t.Fatal(err)
	}
	var corrupt *kv.CorruptError
	if _, err := b.Get(ctx, "bad"); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("read of damaged memory: %v", err)
	}
	mustGet(t, b, "good", "value")
}

// A value of the largest size fits, and its memory is freed again.
func TestLargeValuesInMemory(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", inMemory, func(c *kv.Config) { c.MaxValueSize = 16 << 20 })
	for i := range 6 {
		mustPut(t, b, "k", strings.Repeat(fmt.Sprint(i), 5<<20+i))
		mustPut(t, b, "small", "v")
	}
	mustGet(t, b, "k", strings.Repeat("5", 5<<20+5))
	if size := memoryBytes(t, b); size > 17<<20 { // one live value, as much dead, and the value that the last put superseded
		t.Errorf("%d bytes for a value of 5 MiB", size)
	}
}

// A full disk does not affect a memory bucket, also if its group has other buckets.
func TestAFullDiskDoesNotFillMemory(t *testing.T) {
	h := newHarness(t)
	m, f := h.bucket("m", inMemory), h.bucket("f")
	h.disk.SetCapacity(h.disk.Used())
	value := strings.Repeat("v", 5000)
	var err error
	for range 1000 {
		if _, err = f.PutString(ctx, "k", value); err != nil {
			break
		}
	}
	wantError(t, err, kv.ErrNoSpace)
	mustPut(t, m, "k", value)
	if !h.s.path.full {
		t.Error("a put to memory was taken for room on the disk")
	}
	got := h.submit(
		kv.Mutation{Bucket: "f", Op: kv.MutatePut, Key: "x", Value: []byte(value)},
		kv.Mutation{Bucket: "m", Op: kv.MutatePut, Key: "x", Value: []byte(value)},
	)
	wantError(t, got[0].Err, kv.ErrNoSpace)
	if got[1].Err != nil {
		t.Errorf("a put to memory: %v", got[1].Err)
	}
	mustGet(t, m, "x", value)
}
