package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// A write whose sync failed may or may not be found later. Everybody in its
// group learns that, nobody writes after it, and reads go on.
func TestAFailedSyncPoisonsTheStore(t *testing.T) {
	const writers = 5
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "old", "v")
	g, open := h.gateLog()
	first := goPut(ctx, b, "first", "v")
	<-g.reached
	var group []<-chan outcome
	for i := range writers {
		group = append(group, goPut(ctx, b, fmt.Sprint(i), "v"))
	}
	h.waitQueued(writers)
	g.pass <- struct{}{}
	if o := <-first; o.err != nil {
		t.Fatal(o.err)
	}
	<-g.reached
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpSync {
			return simdisk.Action{Err: syscall.EIO, DropSync: true}
		}
		return simdisk.Action{}
	})
	open()
	for i, d := range group {
		o := <-d
		if o.revision != 0 {
			t.Errorf("writer %d got revision %d", i, o.revision)
		}
		wantError(t, o.err, kv.ErrOutcomeUnknown, "sync", testDir+"/"+manifest.LogDir)
		wantError(t, o.err, syscall.EIO)
	}
	h.fs.Inject(nil)
	_, err := b.PutString(ctx, "later", "v")
	wantError(t, err, kv.ErrReadOnly, "sync", testDir+"/"+manifest.LogDir)
	wantError(t, err, syscall.EIO)
	for name, err := range callStore(h.s) {
		switch name {
		case "Bucket", "BucketNames", "Buckets", "Submit":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case "mutation Touch": // of a key that is not there
			wantError(t, err, kv.ErrKeyNotFound)
		default:
			wantError(t, err, kv.ErrReadOnly)
		}
	}
	mustGet(t, b, "old", "v")
	mustGet(t, b, "first", "v")
	wantKeys(t, collect(t, b), "first", "old")
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, st.ReadOnly, kv.ErrReadOnly, "sync")
	h.powerCut()
	h.open()
	b = h.find("b")
	wantShown(t, b, showing{"old": revs{1}, "first": revs{2}})
	if rev := mustPut(t, b, "k", "v"); rev != 3 {
		t.Errorf("the next revision is %d", rev)
	}
}

// The first cause stays the cause.
func TestTheFirstFaultIsTheOneReported(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	h.fail(simdisk.OpWriteAt, manifest.LogDir, syscall.EIO)
	_, err := b.PutString(ctx, "k", "v")
	wantError(t, err, kv.ErrOutcomeUnknown)
	h.fail(simdisk.OpWriteAt, manifest.LogDir, syscall.EDQUOT)
	for range 3 {
		_, err = b.PutString(ctx, "k", "v")
		wantError(t, err, syscall.EIO)
		if errors.Is(err, syscall.EDQUOT) || errors.Is(err, kv.ErrOutcomeUnknown) || errors.Is(err, kv.ErrNoSpace) {
			t.Error(err)
		}
	}
	wantError(t, h.s.Close(), syscall.EIO)
}

// Two faults can be on their way at once, of a writer and of a checkpoint.
func TestASecondFaultDoesNotReplaceTheFirst(t *testing.T) {
	h := newHarness(t)
	wantError(t, h.s.poison(syscall.EIO), syscall.EIO)
	err := h.s.poison(syscall.EBADF)
	wantError(t, err, kv.ErrOutcomeUnknown)
	wantError(t, err, syscall.EIO)
	wantError(t, h.s.checkFailure(), syscall.EIO)
	wantError(t, h.s.Close(), syscall.EIO)
}

// Whichever call of a write fails, the write fails, by name or with no effect,
// and what was acknowledged is there in the store as it is and as it opens next.
func TestAWriteSurvivesTheFailureOfEachOfItsCalls(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := int64(1); ; n++ {
			h := newHarness(t)
			b := h.bucket("b")
			acked := showing{"k": revs{mustPut(t, b, "k", "v")}}
			start := h.fs.Calls()
			h.fs.Inject(simdisk.FailNth(start+n, cause))
			for i := range 40 { // past the end of a log file
				key := fmt.Sprintf("k%02d", i)
				rev, err := b.Put(ctx, key, make([]byte, 4000))
				if err == nil {
					acked[key] = revs{rev}
				} else if !strings.Contains(err.Error(), cause.Error()) && !errors.Is(err, kv.ErrNoSpace) {
					t.Errorf("call %d, %v: %v", n, cause, err)
				}
			}
			_ = h.s.Checkpoint(ctx) // it may be what fails
			done := h.fs.Calls()-start < n
			h.fs.Inject(nil)
			wantShown(t, b, acked)
			h.powerCut()
			h.open()
			got := shown(t, h.find("b"))
			for key, want := range acked {
				if !slices.Equal(got[key], want) {
					t.Errorf("call %d, %v: %q is at %v, want %v", n, cause, key, got[key], want)
				}
			}
			if len(got) > len(acked)+1 { // one write may have an unknown outcome
				t.Errorf("call %d, %v: %d keys of %d acknowledged", n, cause, len(got), len(acked))
			}
			h.close()
			if done || t.Failed() {
				break
			}
		}
	}
}

// fillDisk puts until the disk is full and returns how many fitted.
func fillDisk(t *testing.T, b *Bucket, prefix string) int {
	t.Helper()
	for i := 0; ; i++ {
		_, err := b.Put(ctx, fmt.Sprintf("%s%05d", prefix, i), make([]byte, 10_000))
		if err != nil {
			wantError(t, err, kv.ErrNoSpace)
			return i
		}
		if i > 10_000 {
			t.Fatal("the disk does not fill up")
		}
	}
}

func TestAFullDisk(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.ReserveSize = 8 << 20 })
	b := h.bucket("b")
	mustPut(t, b, "old", "v")
	h.disk.SetCapacity(h.disk.Used() + 2<<20)
	n := fillDisk(t, b, "k")
	if n < 20 {
		t.Errorf("only %d puts fitted", n)
	}
	// Puts are refused without an end to the store, reads and deletes go on.
	for range 20 {
		_, err := b.Put(ctx, "more", make([]byte, 10_000))
		wantError(t, err, kv.ErrNoSpace)
	}
	_, err := h.s.CreateBucket(ctx, kv.Config{Bucket: "more"})
	if err != nil {
		wantError(t, err, kv.ErrNoSpace)
	}
	mustGet(t, b, "old", "v")
	for i := range n {
		if _, err := b.Delete(ctx, fmt.Sprintf("k%05d", i)); err != nil {
			t.Fatalf("delete %d: %v", i, err)
		}
	}
	if err := b.PurgeDeletes(ctx, -1); err != nil {
		t.Error(err)
	}
	h.checkpoint()
	wantKeys(t, collect(t, b), "old")
	if err := h.s.checkFailure(); err != nil {
		t.Errorf("a full disk is no fault: %v", err)
	}
	// It survives a restart on the full disk, and goes on when there is room.
	h.powerCut()
	h.open()
	b = h.find("b")
	wantKeys(t, collect(t, b), "old")
	h.disk.SetCapacity(-1)
	if rev := mustPut(t, b, "new", "v"); rev != kv.Revision(2*n+2) {
		t.Errorf("the next revision is %d, want %d: refused writes take none", rev, 2*n+2)
	}
	if h.s.path.reserve.spent {
		t.Error("the reserve was not made whole again")
	}
}

// The reserve is given up bit by bit, and made whole in one go.
func TestTheReserveIsSpentInSteps(t *testing.T) {
	const size = 2*reserveStep + 4096
	h := newHarness(t, func(o *Options) { o.ReserveSize = size })
	h.s.path.Lock()
	defer h.s.path.Unlock()
	file := path.Join(testDir, manifest.ReserveFile)
	for _, want := range []int64{size, size - reserveStep, size - 2*reserveStep, 0} {
		if want < size && !h.s.spendReserve() {
			t.Errorf("nothing to spend above %d bytes", want)
		}
		if info, err := h.disk.Stat(file); err != nil || info.Size != want {
			t.Errorf("the reserve has %d bytes, want %d; %v", info.Size, want, err)
		}
	}
	if h.s.spendReserve() {
		t.Error("an empty reserve was spent")
	}
	if err := h.s.refillReserve(); err != nil || h.s.path.reserve.spent || h.s.path.reserve.available != size {
		t.Errorf("made whole: %+v, %v", h.s.path.reserve, err)
	}
}

// A reserve that cannot be made shorter, as on a full btrfs, is removed, and made anew once there
// is room.
func TestAReserveThatCannotBeCutIsRemoved(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.ReserveSize = 1 << 20 })
	h.s.path.Lock()
	defer h.s.path.Unlock()
	h.fail(simdisk.OpTruncate, manifest.ReserveFile, syscall.ENOSPC)
	before := h.disk.Used()
	if !h.s.spendReserve() || h.disk.Used() != before-1<<20 || !h.s.path.reserve.spent {
		t.Errorf("%d of %d bytes are used; %+v", h.disk.Used(), before, h.s.path.reserve)
	}
	if h.s.spendReserve() {
		t.Error("a removed reserve was spent")
	}
	if err := h.s.refillReserve(); err != nil || h.disk.Used() != before || h.s.path.reserve.spent {
		t.Errorf("made anew: %d of %d bytes are used; %+v, %v", h.disk.Used(), before, h.s.path.reserve, err)
	}
}

// A reserve that was made larger than is wanted now is cut.
func TestAReserveThatIsTooLargeIsCut(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.ReserveSize = 8 << 20 })
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.opts.ReserveSize = 1 << 20
	h.open()
	if info, err := h.disk.Stat(path.Join(testDir, manifest.ReserveFile)); err != nil || info.Size != 1<<20 {
		t.Errorf("the reserve has %d bytes; %v", info.Size, err)
	}
}

// A disk without room for the reserve serves what it holds.
func TestADiskThatIsFullWhenTheStoreOpens(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.opts.ReserveSize = 8 << 20
	h.disk.SetCapacity(h.disk.Used() + 256<<10)
	h.open()
	b := h.find("b")
	mustGet(t, b, "k", "v")
	_, err := b.PutString(ctx, "k", "w")
	wantError(t, err, kv.ErrNoSpace)
	h.disk.SetCapacity(-1)
	mustPut(t, b, "k", "w")
}

// A checkpoint that finds the disk full leaves everything as it was; the next
// one catches up.
func TestACheckpointOnAFullDiskIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		kind simdisk.OpKind
		part string
	}{
		{"at the manifest", simdisk.OpAllocate, "manifest"},
		{"at an index block", simdisk.OpWriteAt, manifest.SegmentDir},
		{"at the end of a segment", simdisk.OpTruncate, manifest.SegmentDir},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			want := showing{}
			put := func(from, to int) {
				for i := from; i < to; i++ {
					key := fmt.Sprintf("k%03d", i)
					rev, err := b.Put(ctx, key, make([]byte, 20_000))
					if err != nil {
						t.Fatal(err)
					}
					want[key] = revs{rev}
				}
			}
			put(0, 70) // more than a segment
			h.fail(c.kind, c.part, syscall.ENOSPC)
			err := h.s.Checkpoint(ctx)
			wantError(t, err, kv.ErrNoSpace)
			h.fs.Inject(nil)
			put(70, 80)
			h.checkpoint()
			wantShown(t, b, want)
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), want)
			if r := h.s.Report(); len(r.Damages) > 0 || r.Records != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

func TestACheckpointThatFailsPoisonsTheStore(t *testing.T) {
	for _, c := range []struct {
		name string
		kind simdisk.OpKind
		part string
	}{
		{"at the sync of a segment", simdisk.OpSync, manifest.SegmentDir},
		{"at the segments' directory", simdisk.OpSyncDir, manifest.SegmentDir},
		{"at the write of the manifest", simdisk.OpWriteAt, "manifest"},
		{"at the sync of the manifest", simdisk.OpSync, "manifest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			mustPut(t, b, "k", "v")
			h.fail(c.kind, c.part, syscall.EIO)
			wantError(t, h.s.Checkpoint(ctx), syscall.EIO, "checkpoint")
			h.fs.Inject(nil)
			_, err := b.PutString(ctx, "k", "w")
			wantError(t, err, kv.ErrReadOnly, "checkpoint")
			wantError(t, h.s.Checkpoint(ctx), kv.ErrReadOnly)
			mustGet(t, b, "k", "v")
			h.powerCut()
			h.open()
			wantShown(t, h.find("b"), showing{"k": revs{1}})
			mustPut(t, h.find("b"), "k", "w")
		})
	}
}

// twoBuckets leaves a closed store whose buckets have a segment each.
func twoBuckets(t *testing.T) (h *harness, fileA, fileB string) {
	t.Helper()
	h = newHarness(t)
	a := h.bucket("a", withHistory(5))
	for i := range 3 {
		mustPut(t, a, fmt.Sprintf("k%d", i), fmt.Sprintf("value %d", i))
	}
	h.checkpoint()
	mustPut(t, h.bucket("b"), "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	files := h.segmentFiles()
	if len(files) != 2 {
		t.Fatalf("files: %q", files)
	}
	return h, files[0], files[1]
}

// A bucket that lost a file is in doubt up to the last record that the file had, until its owner
// decides; the others are not, and nothing that might be the file is removed.
func TestAMissingSegmentCostsItsBucketAlone(t *testing.T) {
	for name, lose := range map[string]func(h *harness, file string) error{
		"the file is gone": func(h *harness, file string) error { return h.disk.Remove(file) },
		"the file is cut":  func(h *harness, file string) error { return h.disk.WriteFile(file, make([]byte, 100)) },
		"the file is another's": func(h *harness, file string) error {
			b, err := h.disk.ReadFile(h.segmentFiles()[1])
			if err != nil {
				return err
			}
			return h.disk.WriteFile(file, append(b, make([]byte, 8192)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, fileA, _ := twoBuckets(t)
			if err := lose(h, fileA); err != nil {
				t.Fatal(err)
			}
			scratch := path.Join(testDir, manifest.SegmentDir, "0000000000000009.seg")
			if err := h.disk.WriteFile(scratch, []byte("may be the one")); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it stays so
				h.open()
				r := h.s.Report()
				d := damages(r)
				if len(d) == 0 || slices.ContainsFunc(d, func(d string) bool { return !strings.Contains(d, fileA) }) || r.ReadOnly != nil || r.Scratch != 0 {
					t.Errorf("report: %v", r)
				}
				a, b := h.find("a"), h.find("b")
				if d, err := a.Doubt(ctx); err != nil || d.Bound != 3 || len(d.Missing) != 1 || d.Missing[0].Records != 3 || d.Missing[0].After != 0 {
					t.Errorf("doubt: %+v, %v", d, err)
				}
				for what, err := range map[string]error{
					"get":    errOf(a.Get(ctx, "k0")),
					"create": errOf(a.Create(ctx, "k0", nil)),
					"update": errOf(a.Update(ctx, "k0", nil, 1)),
					"keys":   lastError(a.Keys(ctx)),
				} {
					t.Log(what)
					wantError(t, err, kv.ErrCorrupt, `"a"`, path.Base(fileA), "3 records are missing")
				}
				mustPut(t, a, "k2", "out of doubt")
				mustGet(t, a, "k2", "out of doubt")
				mustPut(t, b, "k", "w")
				if st, err := b.Status(ctx); err != nil || st.ReadOnly != nil {
					t.Errorf("status of the other bucket: %+v, %v", st, err)
				}
				if _, err := h.disk.Stat(scratch); err != nil {
					t.Error(err)
				}
				if err := h.s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			// A decision ends the doubt for good, and the damage stays known.
			h.open()
			if _, err := h.find("a").AcceptLoss(ctx); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := h.find("a").Get(ctx, "k0")
				wantError(t, err, kv.ErrKeyNotFound)
				wantKeys(t, collect(t, h.find("a")), "k2")
				h.reopen()
				if r := h.s.Report(); len(r.Damages) == 0 {
					t.Errorf("report: %v", r)
				}
			}
			// Without the bucket there is no damage.
			if err := h.s.DeleteBucket(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			h.reopen()
			h.reopen()
			if r := h.s.Report(); len(r.Damages) > 0 {
				t.Errorf("report: %v", r)
			}
			if _, err := h.disk.Stat(scratch); err == nil {
				t.Error("scratch is still kept")
			}
		})
	}
}

// What the log holds of a bucket that lost a file is not lost.
func TestAMissingSegmentDoesNotCostWhatTheLogHolds(t *testing.T) {
	h, fileA, _ := twoBuckets(t)
	h.open()
	rev := mustPut(t, h.find("a"), "k1", "newer")
	h.kill()
	if err := h.disk.Remove(fileA); err != nil {
		t.Fatal(err)
	}
	h.open()
	for range 2 {
		a := h.find("a")
		mustGet(t, a, "k1", "newer")
		if e, err := a.GetRevision(ctx, "k1", rev); err != nil || e.Revision != rev {
			t.Errorf("read by its revision: %+v, %v", e, err)
		}
		_, err := a.Get(ctx, "k0")
		wantError(t, err, kv.ErrCorrupt, path.Base(fileA))
		h.reopen()
	}
}

// A segment in which a page of records and the page that names them are lost hides the newest
// records of some keys: these are in doubt, not old.
func TestAHoleInASegmentPutsItsBucketInDoubt(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	var want []string
	for i := range 40 {
		mustPut(t, b, fmt.Sprintf("k%02d", i), "old")
		want = append(want, fmt.Sprintf("k%02d", i))
	}
	h.checkpoint()
	first := b.active.Desc()
	for i := range 10 {
		mustPut(t, b, fmt.Sprintf("k%02d", i), "new")
	}
	if _, err := b.Delete(ctx, "k10"); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	second := b.active.Desc()
	last := mustPut(t, b, "k39", "newest")
	h.checkpoint()
	h.close()
	file := h.segmentFiles()[0]
	err := h.disk.Corrupt(file, first.Size, second.Size-first.Size, func(b []byte) { clear(b) })
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := h.disk.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h.open()
		b = h.find("b")
		if d, err := b.Doubt(ctx); err != nil || d.Bound != last-1 || len(d.Missing) != 1 || d.Missing[0].Records != 11 || d.Missing[0].After != 40 {
			t.Errorf("doubt: %+v, %v", d, err)
		}
		for _, key := range []string{"k00", "k10", "k21", "absent"} {
			_, err := b.Get(ctx, key)
			wantError(t, err, kv.ErrCorrupt, path.Base(file), "11 records are missing")
		}
		wantError(t, errOf(b.Update(ctx, "k00", nil, 1)), kv.ErrCorrupt)
		mustGet(t, b, "k39", "newest")
		mustPut(t, b, "k20", "newer")
		mustGet(t, b, "k20", "newer")
		h.close()
		if now, err := h.disk.ReadFile(file); err != nil || !bytes.Equal(now, damaged) {
			t.Errorf("the damaged file has changed, %v", err)
		}
	}
	h.open()
	b = h.find("b")
	if _, err := b.AcceptLoss(ctx); err != nil {
		t.Fatal(err)
	}
	h.kill()
	h.open()
	h.reopen()
	wantKeys(t, collect(t, h.find("b")), want...)
	mustGet(t, h.find("b"), "k00", "old")
	mustGet(t, h.find("b"), "k20", "newer")
	// More of the same segment is lost: that was not accepted.
	h.close()
	if err := h.disk.Corrupt(file, 0, first.Size, func(b []byte) { clear(b) }); err != nil {
		t.Fatal(err)
	}
	h.open()
	_, err = h.find("b").Get(ctx, "k01")
	wantError(t, err, kv.ErrCorrupt, path.Base(file), "51 records are missing")
}

func errOf[T any](_ T, err error) error { return err }

// Nobody knows what a log held that is gone. What needs it is in doubt.
func TestALogThatIsGone(t *testing.T) {
	gone := func(h *harness) {
		for _, name := range h.names(manifest.LogDir) {
			if err := h.disk.Remove(path.Join(testDir, manifest.LogDir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("behind a checkpoint", func(t *testing.T) {
		h := newHarness(t)
		b := h.bucket("b")
		mustPut(t, b, "k", "v")
		h.checkpoint()
		mustPut(t, b, "k", "lost")
		h.kill()
		gone(h)
		for range 2 {
			h.open()
			b := h.find("b")
			_, err := b.Get(ctx, "k")
			wantError(t, err, kv.ErrCorrupt, testDir+"/"+manifest.LogDir, "accept")
			_, err = b.PutString(ctx, "k", "w")
			wantError(t, err, kv.ErrReadOnly, manifest.LogDir)
			_, err = h.s.CreateBucket(ctx, kv.Config{Bucket: "new"}) // it may exist
			wantError(t, err, kv.ErrCorrupt, "new")
			_, err = h.s.Bucket(ctx, "other")
			wantError(t, err, kv.ErrCorrupt, "other")
			wantError(t, lastError(h.s.BucketNames(ctx)), kv.ErrCorrupt, "accept")
			if err := h.s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		h.open()
		if n, err := h.s.AcceptOperations(ctx); err != nil || n == 0 {
			t.Fatalf("%d changes were given up, %v", n, err)
		}
		if _, err := h.find("b").AcceptLoss(ctx); err != nil {
			t.Fatal(err)
		}
		mustGet(t, h.find("b"), "k", "v")
		h.reopen()
		mustPut(t, h.find("b"), "k", "w")
		h.bucket("new")
		wantNoError(t, "the names of the buckets", lastError(h.s.BucketNames(ctx)))
	})
	t.Run("behind a clean close", func(t *testing.T) {
		h := newHarness(t)
		mustPut(t, h.bucket("b"), "k", "v")
		if err := h.s.Close(); err != nil {
			t.Fatal(err)
		}
		gone(h)
		h.open()
		mustGet(t, h.find("b"), "k", "v")
		mustPut(t, h.find("b"), "k", "w")
	})
	t.Run("before the first checkpoint", func(t *testing.T) {
		h := newHarness(t)
		mustPut(t, h.bucket("b"), "k", "lost")
		h.kill()
		gone(h)
		before := h.names(manifest.SegmentDir)
		h.open()
		wantError(t, h.s.Report().ReadOnly, kv.ErrReadOnly, testDir+"/"+manifest.LogDir)
		_, err := h.s.CreateBucket(ctx, kv.Config{Bucket: "new"})
		wantError(t, err, kv.ErrReadOnly)
		if got := h.names(manifest.SegmentDir); !slices.Equal(got, before) {
			t.Errorf("files %q became %q", before, got)
		}
	})
}

// After a kill the segments have what a damaged frame held: the store goes on, and the report
// names the file, which stays as evidence.
func TestADamagedLogIsFilledFromTheSegments(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	mustPut(t, b, "damaged", "needle in the log")
	mustPut(t, b, "later", "v")
	h.kill()
	file, offset := h.locate(manifest.LogDir, "needle in the log")
	h.flip(file, offset, 3)
	for range 2 {
		h.open()
		b = h.find("b")
		mustGet(t, b, "k", "v")
		mustGet(t, b, "damaged", "needle in the log")
		mustGet(t, b, "later", "v")
		mustPut(t, b, "later", "v")
		if r := h.s.Report(); len(r.Damages) > 0 && (r.Damages[0].File != file || !strings.Contains(fmt.Sprint(r.Notes), "nothing is missing")) {
			t.Errorf("report %+v", r)
		}
		if err := h.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// After a clean close the log is not needed. What is bad in it, or missing, is a note.
func TestTheLogBehindACleanCloseIsNotNeeded(t *testing.T) {
	closed := func() *harness {
		h := newHarness(t)
		mustPut(t, h.bucket("b"), "k", "v")
		if err := h.s.Close(); err != nil {
			t.Fatal(err)
		}
		return h
	}
	usable := func(what string, h *harness) {
		t.Helper()
		h.open()
		if r := h.s.Report(); r.ReadOnly != nil || len(r.Damages) > 0 {
			t.Errorf("%s: %v", what, r.Damages)
		}
		for range 2 {
			mustGet(t, h.find("b"), "k", "v")
			mustPut(t, h.find("b"), "k", "v")
			h.reopen()
		}
		if r := h.s.Report(); len(r.Notes) > 0 {
			t.Errorf("%s: notes stay: %q", what, r.Notes)
		}
	}
	files := closed().names(manifest.LogDir)
	for _, name := range files {
		file := path.Join(testDir, manifest.LogDir, name)
		h := closed()
		if err := h.disk.Remove(file); err != nil {
			t.Fatal(err)
		}
		usable(name+" removed", h)
		info, err := closed().disk.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < info.Size; at += 4096 {
			h := closed()
			if err := h.disk.Corrupt(file, at, min(4096, info.Size-at), func(b []byte) { clear(b) }); err != nil {
				t.Fatal(err)
			}
			usable(fmt.Sprintf("%s without page %d", name, at/4096), h)
		}
	}
	h := closed()
	for _, name := range files {
		if err := h.disk.Remove(path.Join(testDir, manifest.LogDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	usable("without a log", h)
}

// A log that the disk does not give back may be given back another time. Until then the
// store is read-only, everything is in doubt, and nothing is changed.
func TestALogThatCannotBeRead(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	h.checkpoint()
	mustPut(t, b, "k", "needle in the log")
	mustPut(t, b, "later", "v")
	mustPut(t, b, "last", "v")
	h.powerCut() // the segments have nothing of it
	before := tree(t, h.disk, testDir)
	file, offset := h.locate(manifest.LogDir, "needle in the log")
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpReadAt && op.Path == file && op.Offset <= offset && offset < op.Offset+int64(op.Len) {
			return simdisk.Action{Err: syscall.EIO}
		}
		return simdisk.Action{}
	})
	h.open()
	wantError(t, h.s.Report().ReadOnly, kv.ErrReadOnly, file)
	b = h.find("b")
	_, err := b.Get(ctx, "k")
	wantError(t, err, kv.ErrCorrupt, file)
	wantError(t, err, syscall.EIO)
	_, err = b.Get(ctx, "absent")
	wantError(t, err, kv.ErrCorrupt)
	wantError(t, lastError(h.s.BucketNames(ctx)), kv.ErrCorrupt)
	_, err = b.PutString(ctx, "k", "w")
	wantError(t, err, kv.ErrReadOnly)
	h.close()
	if after := tree(t, h.disk, testDir); !reflect.DeepEqual(before, after) {
		t.Error("the directory was changed")
	}
	h.fs.Inject(nil)
	h.open()
	mustGet(t, h.find("b"), "k", "needle in the log")
	mustGet(t, h.find("b"), "last", "v")
	mustPut(t, h.find("b"), "k", "w")
}

// locate returns the file of a directory that holds a text, and where.
func (h *harness) locate(dir, text string) (file string, offset int64) {
	h.t.Helper()
	for _, name := range h.names(dir) {
		file := path.Join(testDir, dir, name)
		b, err := h.disk.ReadFile(file)
		if err != nil {
			h.t.Fatal(err)
		}
		if i := strings.Index(string(b), text); i >= 0 {
			return file, int64(i)
		}
	}
	h.t.Fatalf("no file of %s holds %q", dir, text)
	return "", 0
}

func TestADamagedRecordCostsItsKeyAlone(t *testing.T) {
	for name, reopen := range map[string]bool{"while open": false, "found by the next open": true} {
		t.Run(name, func(t *testing.T) {
			h, fileA, _ := twoBuckets(t)
			if !reopen {
				h.open()
			}
			file, offset := h.locate(manifest.SegmentDir, "value 1")
			if file != fileA {
				t.Fatalf("the value stands in %s", file)
			}
			h.flip(file, offset, 0)
			if reopen {
				h.open()
			}
			a := h.find("a")
			for range 2 {
				dst := []byte("kept")
				got, _, err := a.GetAppend(ctx, dst, "k1")
				if string(got) != "kept" {
					t.Errorf("dst came back as %q", got)
				}
				wantError(t, err, kv.ErrCorrupt, `"k1"`, `"a"`, file)
				var c *kv.CorruptError
				if !errors.As(err, &c) || c.File != file || c.Offset < 64 || c.Offset > offset || c.Offset < offset-200 {
					t.Errorf("damage %+v, the value stands at %d", c, offset)
				}
				mustGet(t, a, "k0", "value 0")
				mustGet(t, a, "k2", "value 2")
				wantKeys(t, collect(t, a), "k0", "k1", "k2")
			}
			// Its history has the older and the newer entries.
			rev := mustPut(t, a, "k1", "again")
			var errs, entries int
			for e, err := range a.History(ctx, "k1") {
				if e.Key != "k1" || e.Revision == 0 {
					t.Errorf("entry %+v", e)
				}
				if err != nil {
					wantError(t, err, kv.ErrCorrupt)
					errs++
				} else if e.Revision == rev {
					entries++
				}
			}
			if errs != 1 || entries != 1 {
				t.Errorf("%d damaged and %d sound entries", errs, entries)
			}
			mustGet(t, a, "k1", "again")
		})
	}
}

// Every bit of a bucket's segment may flip, one at a time: each key comes back
// as it was or as a *kv.CorruptError.
func TestEveryFlippedBitOfASegmentIsFound(t *testing.T) {
	h, fileA, _ := twoBuckets(t)
	left := h.disk
	info, err := left.Stat(fileA)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < info.Size; at++ {
		if at > 1000 && at%64 != 0 { // zeros up to the next page
			continue
		}
		h.insert(left.Clone())
		h.flip(fileA, at, int(at%8))
		h.open()
		a := h.find("a")
		for i := range 3 {
			e, err := a.Get(ctx, fmt.Sprintf("k%d", i))
			switch {
			case errors.Is(err, kv.ErrKeyNotFound):
				if d := damages(h.s.Report()); len(d) == 0 {
					t.Errorf("byte %d: k%d is gone and nothing says why", at, i)
				}
			case err != nil:
				wantError(t, err, kv.ErrCorrupt, fileA)
			case string(e.Value) != fmt.Sprintf("value %d", i):
				t.Errorf("byte %d: k%d is %q", at, i, e.Value)
			}
		}
		mustGet(t, h.find("b"), "k", "v")
		h.close()
		if t.Failed() {
			return
		}
	}
}

// An index block that cannot be read costs time, not records.
func TestADamagedIndexBlockCostsNoRecord(t *testing.T) {
	h, fileA, _ := twoBuckets(t)
	h.open()
	before := shown(t, h.find("a"))
	d := h.find("a").active.Desc()
	if d.LastIndex == 0 {
		t.Fatal("there is no index block")
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 8, 24, 60} {
		h.kill()
		h.flip(fileA, d.LastIndex+at, 2)
		h.open()
		r := h.s.Report()
		if got := damages(r); len(got) == 0 || !strings.Contains(got[0], fileA) || !strings.Contains(got[0], "index page") || r.ReadOnly != nil {
			t.Errorf("byte %d: report %v", at, r)
		}
		a := h.find("a")
		wantShown(t, a, before)
		mustGet(t, a, "k2", "value 2")
		mustPut(t, a, "k9", "v")
		if _, err := a.Delete(ctx, "k9"); err != nil {
			t.Error(err)
		}
		before["k9"] = shown(t, a)["k9"]
		h.close()
		h.flip(fileA, d.LastIndex+at, 2)
	}
}

// A page that cannot be read is an error of that read; the next may succeed.
func TestAnUnreadablePageIsAnErrorOfItsKey(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	h.fail(simdisk.OpReadMapping, manifest.SegmentDir, vfs.ErrFault)
	_, err := b.Get(ctx, "k")
	wantError(t, err, kv.ErrCorrupt, `"k"`, manifest.SegmentDir)
	h.fail(simdisk.OpMap, manifest.SegmentDir, syscall.ENOMEM)
	h.fs.Inject(nil)
	mustGet(t, b, "k", "v")
	mustPut(t, b, "k", "w")
}

// Faults in the background are for the log, not for the callers.
func TestAFailedRecycleIsTriedAgain(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for i := range 80 {
		if _, err := b.Put(ctx, fmt.Sprint(i), make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	files := len(h.names(manifest.LogDir))
	h.fail(simdisk.OpRemove, manifest.LogDir, syscall.EIO)
	h.checkpoint()
	h.fs.Inject(nil)
	mustPut(t, b, "k", "v")
	h.checkpoint()
	if n := len(h.names(manifest.LogDir)); n >= files || n > 6 { // the mark, the current file and the spares
		t.Errorf("%d log files, %d before", n, files)
	}
}

// Many writers meet a fault at once: each gets one answer, and what was
// acknowledged is found.
func TestAFaultBesideManyWriters(t *testing.T) {
	const writers = 8
	for _, n := range []int64{5, 50, 333} {
		h := newHarness(t, func(o *Options) { o.env.Manual = false })
		b := h.bucket("b")
		h.fs.Inject(func(op simdisk.Op) simdisk.Action {
			if op.N >= n && op.Kind == simdisk.OpSync && strings.Contains(op.Path, manifest.LogDir) {
				return simdisk.Action{Err: syscall.EIO, DropSync: true}
			}
			return simdisk.Action{}
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked := showing{}
		for w := range writers {
			wg.Go(func() {
				for i := 0; ; i++ {
					key := fmt.Sprintf("k%d.%d", w, i)
					rev, err := b.PutString(ctx, key, "v")
					if err != nil {
						if !errors.Is(err, kv.ErrOutcomeUnknown) && !errors.Is(err, kv.ErrReadOnly) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					acked[key] = revs{rev}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		wantShown(t, b, acked)
		h.powerCut()
		h.open()
		wantShown(t, h.find("b"), acked)
		h.close()
	}
}
