package bucket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/wal"
)

func TestAStoreThatIsOpenIsLockedWithinTheProcess(t *testing.T) {
	for name, disk := range map[string]vfs.FS{"on the system's files": vfs.OS(), "in memory": simdisk.New()} {
		t.Run(name, func(t *testing.T) {
			dir := testDir
			if disk == vfs.OS() {
				dir = filepath.Join(t.TempDir(), testDir)
			}
			o := Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{FS: disk, Manual: true}}
			s, err := Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, o)
			wantError(t, err, kv.ErrLocked, dir, fmt.Sprintf("process %d", os.Getpid()))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAStoreThatAnotherProcessHasOpenIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), testDir)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	_, err = Open(dir, Options{ReserveSize: -1})
	wantError(t, err, kv.ErrLocked, fmt.Sprintf("process %d", child.Process.Pid))
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.PID != child.Process.Pid {
		t.Errorf("got %+v, want process %d", locked, child.Process.Pid)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{ReserveSize: -1, LogFileSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryOfSomethingElseIsRefusedUntouched(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		dirs  []string
	}{
		{name: "a file", files: []string{"notes.txt"}},
		{name: "a file beside names of ours", files: []string{"LOCK", "reserve", "README"}, dirs: []string{"wal", "seg"}},
		{name: "a directory", dirs: []string{"src"}},
		{name: "a name that begins like ours", files: []string{"manifest"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := simdisk.New()
			if err := disk.Mkdir(testDir); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.files {
				if err := disk.WriteFile(path.Join(testDir, f), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			for _, d := range c.dirs {
				if err := disk.Mkdir(path.Join(testDir, d)); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, disk, testDir)
			_, err := Open(testDir, Options{ReserveSize: -1, env: environment.Env{FS: disk}})
			wantError(t, err, kv.ErrNotStore, testDir)
			if after := tree(t, disk, testDir); !reflect.DeepEqual(before, after) {
				t.Errorf("before %v, after %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

// tree returns the files below a directory and their contents; directories have
// none.
func tree(t testing.TB, disk *simdisk.Disk, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	infos, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		name := path.Join(dir, i.Name)
		if i.Dir {
			all[name+"/"] = ""
			maps.Copy(all, tree(t, disk, name))
			continue
		}
		b, err := disk.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

func TestAFileIsNotAStore(t *testing.T) {
	disk := simdisk.New()
	if err := disk.WriteFile("file", nil); err != nil {
		t.Fatal(err)
	}
	o := Options{ReserveSize: -1, env: environment.Env{FS: disk}}
	_, err := Open("file", o)
	wantError(t, err, kv.ErrNotStore, "file", "not a directory")
	_, err = Open("file/below", o)
	wantError(t, err, syscall.ENOTDIR, "file")
}

func TestMissingParentsAreMadeAndDurable(t *testing.T) {
	disk := simdisk.New()
	o := Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{FS: disk, Manual: true}}
	s, err := Open("a/b/c", o)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Report().Created {
		t.Errorf("report: %+v", s.Report())
	}
	if _, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	o.env.FS = disk.Crash(simdisk.KeepNone())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open("a/b/c", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Bucket(ctx, "b"); err != nil || s.Report().Created {
		t.Errorf("%v; report: %v", err, s.Report())
	}
}

// A file system that is mounted read-only is met at the first thing that Open writes. The store
// opens for reading, with the records that only the log has. A new store cannot be made.
func TestAReadOnlyFileSystem(t *testing.T) {
	writes := map[simdisk.OpKind]bool{
		simdisk.OpLock: true, simdisk.OpWriteAt: true, simdisk.OpTruncate: true, simdisk.OpAllocate: true,
		simdisk.OpRename: true, simdisk.OpRemove: true,
	}
	for _, c := range []struct {
		name  string
		exist bool
		fails func(simdisk.Op) bool
	}{
		{"where the directory is missing", false, func(op simdisk.Op) bool { return op.Kind == simdisk.OpMkdir }},
		{"at the lock of a new store", false, func(op simdisk.Op) bool { return op.Kind == simdisk.OpLock }},
		{"at the lock", true, func(op simdisk.Op) bool { return writes[op.Kind] }},
		{"where the lock can be taken", true, func(op simdisk.Op) bool { return writes[op.Kind] && op.Kind != simdisk.OpLock }},
		{"at the manifest", true, func(op simdisk.Op) bool { return op.Kind == simdisk.OpRename }},
		{"at the log", true, func(op simdisk.Op) bool {
			return op.Kind == simdisk.OpWriteAt && strings.Contains(op.Path, "/"+manifest.LogDir+"/")
		}},
		{"at a segment", true, func(op simdisk.Op) bool {
			return op.Kind == simdisk.OpTruncate && strings.Contains(op.Path, "/"+manifest.SegmentDir+"/")
		}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			h := newHarness(t, withoutLargeValues)
			b := h.bucket("b")
			for i := range 5 { // segments so large that removing one shrinks it first
				if _, err := b.Put(ctx, fmt.Sprint(i), make([]byte, 1_000_000)); err != nil {
					t.Fatal(err)
				}
			}
			mustPut(t, b, "k", "only the log has it")
			want := shown(t, b)
			h.kill()
			if !c.exist {
				h.insert(simdisk.New())
			}
			h.fs.Inject(func(op simdisk.Op) simdisk.Action {
				if c.fails(op) {
					return simdisk.Action{Err: syscall.EROFS}
				}
				return simdisk.Action{}
			})
			err := h.tryOpen()
			if c.exist && err == nil {
				err = h.s.Report().ReadOnly
				wantShown(t, h.find("b"), want)
				mustGet(t, h.find("b"), "k", "only the log has it")
				_, putErr := h.find("b").PutString(ctx, "k", "v")
				wantError(t, putErr, kv.ErrReadOnly)
				wantError(t, putErr, syscall.EROFS)
				_, createErr := h.s.CreateBucket(ctx, kv.Config{Bucket: "c"})
				wantError(t, createErr, kv.ErrReadOnly)
				wantError(t, h.s.Close(), kv.ErrReadOnly)
			} else if c.exist {
				t.Fatal(err)
			}
			wantError(t, err, kv.ErrReadOnly, testDir)
			wantError(t, err, syscall.EROFS)
			if n := strings.Count(err.Error(), kv.ErrReadOnly.Error()+":"); n > 1 {
				t.Errorf("%q says %d times that it is read-only", err, n)
			}
		})
	}
}

func TestANewerStoreIsRefusedUntouched(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range manifest.Names {
		content, err := h.disk.ReadFile(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(content[8:], 3) // the version, under the checksum of the header
		binary.LittleEndian.PutUint64(content[48:], xxhash.Sum64(content[:48]))
		if err := h.disk.WriteFile(path.Join(testDir, name), content); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, h.disk, testDir)
	for range 2 { // the second is not locked out by the first
		wantError(t, h.tryOpen(), kv.ErrVersion, testDir, "manifest.1")
	}
	after := tree(t, h.disk, testDir)
	if !reflect.DeepEqual(before, after) {
		t.Error("the directory was changed")
	}
}

// An operation of a later version in the log must not be passed over.
func TestANewerOperationInTheLogIsRefused(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	frame := journal.Append(wal.NewFrame(nil), &journal.Reveal{Bucket: b.id, Next: 1})
	frame[wal.FrameHeaderSize+4]++ // the kind, which is the newest
	h.appendFrame(frame)
	h.kill()
	wantError(t, h.tryOpen(), kv.ErrVersion, "kind 12", "LSN")
}

// appendFrame writes a frame to the log behind the store's back.
func (h *harness) appendFrame(frame []byte) {
	h.t.Helper()
	h.s.path.Lock()
	defer h.s.path.Unlock()
	err := h.s.log.Reserve(len(frame) - wal.FrameHeaderSize)
	if err == nil {
		_, err = h.s.log.Append(frame, 0, h.s.path.totals.words)
	}
	if err == nil {
		err = h.s.log.Sync()
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// What is in a frame that validates and still makes no sense keeps the store
// from opening, by file and offset; nothing panics.
func TestAFrameThatMakesNoSenseIsAnError(t *testing.T) {
	record := func(change func([]byte) []byte) []byte {
		frame, head := journal.BeginRecords(wal.NewFrame(nil))
		return journal.EndItem(change(frame), head)
	}
	for name, frame := range map[string][]byte{
		"half an item":              append(wal.NewFrame(nil), 1, 2, 3),
		"an item beyond the frame":  append(wal.NewFrame(nil), 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0),
		"an operation cut short":    append(wal.NewFrame(nil), 8, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
		"records that are none":     record(func(b []byte) []byte { return append(b, make([]byte, 64)...) }),
		"a record of nobody's":      record(func(b []byte) []byte { return appendRecordOf(b, 99) }),
		"a configuration of no use": append(wal.NewFrame(nil), append([]byte{24, 0, 0, 0, 2, 0, 0, 0}, make([]byte, 24)...)...),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.env.Random = seeded(1) })
			h.bucket("b")
			h.appendFrame(bytes.Clone(frame))
			h.kill()
			err := h.tryOpen()
			if err == nil {
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), testDir+"/"+manifest.LogDir) || !strings.Contains(err.Error(), "LSN") {
				t.Errorf("%v", err)
			}
		})
	}
}

// appendRecordOf appends a record of a bucket to a frame of a store whose random
// numbers are seeded(1).
func appendRecordOf(frame []byte, bucketID uint64) []byte {
	r := put("k", 1, 1)
	r.BucketID = bucketID
	return recordSeed().AppendRecord(frame, &r)
}

func TestAManifestThatIsGoneIsNotANewStore(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range manifest.Names {
		if err := h.disk.Remove(path.Join(testDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, h.disk, testDir)
	wantError(t, h.tryOpen(), kv.ErrCorrupt, "manifest", "missing")
	if after := tree(t, h.disk, testDir); !reflect.DeepEqual(before, after) {
		t.Error("the directory was changed")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"a log file that is too small": {LogFileSize: 4096},
		"a log file that is unaligned": {LogFileSize: 64<<10 + 1},
		"a log of less than two files": {LogFileSize: 64 << 10, LogMaxSize: 100 << 10},
	} {
		o.env.FS = simdisk.New()
		_, err := Open(testDir, o)
		if !errors.Is(err, kv.ErrInvalidConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := o.env.FS.Stat(testDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was made", name)
		}
	}
}

// sampleStore leaves a killed store with a checkpoint, two buckets, one of them
// deleted, and records that only the log holds.
func sampleStore(t *testing.T) (*harness, showing) {
	t.Helper()
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	mustPut(t, h.bucket("gone"), "k", "v")
	for i := range 4 {
		mustPut(t, b, "k", fmt.Sprint(i))
	}
	h.checkpoint()
	mustPut(t, b, "k", "4")
	if _, err := b.Delete(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	h.bucket("late")
	if err := h.s.DeleteBucket(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	h.kill()
	return h, showing{"k": revs{3, 4, 5}, "other": revs{6}}
}

// Whatever call of an open fails, once or from then on, it says so or goes on,
// gives the lock back, and the next open finds everything.
func TestOpenSurvivesTheFailureOfEachOfItsCalls(t *testing.T) {
	h, want := sampleStore(t)
	left := h.disk
	for what, fail := range map[string]func(int64, error) func(simdisk.Op) simdisk.Action{"once": simdisk.FailNth, "from then on": simdisk.FailFrom} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			for n := int64(1); ; n++ {
				h.insert(left.Clone())
				h.fs.Inject(fail(n, cause))
				err := h.tryOpen()
				calls := h.fs.Calls()
				if err == nil {
					h.close()
				} else if !strings.Contains(err.Error(), cause.Error()) || errors.Is(err, kv.ErrOutcomeUnknown) {
					t.Errorf("call %d, %v %s: %v", n, cause, what, err)
				}
				h.fs.Inject(nil)
				if err := h.tryOpen(); err != nil {
					t.Fatalf("behind call %d, %v %s: %v", n, cause, what, err)
				}
				wantShown(t, h.find("b"), want)
				if _, err := h.s.Bucket(ctx, "gone"); !errors.Is(err, kv.ErrBucketNotFound) {
					t.Errorf("call %d, %v %s: the deleted bucket: %v", n, cause, what, err)
				}
				if got := h.s.Report(); got.ReadOnly != nil || len(got.Damages) > 0 {
					t.Errorf("behind call %d, %v %s: %v", n, cause, what, got)
				}
				mustPut(t, h.find("late"), "k", "v")
				h.close()
				if t.Failed() {
					return
				}
				if calls < n {
					break
				}
			}
		}
	}
}

func TestOpenReportsWhatItDid(t *testing.T) {
	h, _ := sampleStore(t)
	var stages []progress.Stage
	h.opts.Progress = func(p Progress) { stages = append(stages, p.Stage) }
	h.open()
	r := h.s.Report()
	if r.Created || r.Buckets != 2 || r.Keys != 2 || r.Records != 2 || r.Frames == 0 || r.Torn != nil || r.ReadOnly != nil || len(r.Damages) > 0 || len(r.Strays) > 0 {
		t.Errorf("%+v", r)
	}
	if want := []progress.Stage{StageIndex, StageReplay, StageCheckpoint}; !slices.Equal(stages, want) {
		t.Errorf("stages %q, want %q", stages, want)
	}
	if s := r.String(); !strings.Contains(s, "2 buckets, 2 keys") || !strings.Contains(s, "2 records replayed") {
		t.Errorf("%q", s)
	}
	h.reopen()
	if r := h.s.Report(); r.Frames != 0 || r.Records != 0 {
		t.Errorf("after a clean close: %+v", r)
	}
}

// A bucket's position in the manifest may be ahead of the log's: what its
// segments hold is not written to them again.
func TestReplaySkipsWhatABucketsSegmentsHold(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(5))
	mustPut(t, b, "k", "1")
	if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 4}); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "k", "2")
	h.checkpoint()
	mustPut(t, b, "k", "3")
	h.kill()
	m, err := manifest.Load(h.disk, testDir)
	if err != nil {
		t.Fatal(err)
	}
	m.Best.State.LogLow, m.Best.State.LogWords = 0, wal.Words{}
	rewritten, err := manifest.Rewrite(h.disk, testDir, m.Best.Identity, m.Best.Generation+1, &m.Best.State)
	if err != nil {
		t.Fatal(err)
	}
	rewritten.Close()
	h.open()
	if r := h.s.Report(); r.Frames != 7 || r.Records != 1 || len(r.Damages) > 0 {
		t.Errorf("%v; want 7 frames with 1 record replayed, an operation being two", r)
	}
	b = h.find("b")
	wantShown(t, b, showing{"k": revs{1, 2, 3}})
	if got := recordFloors(t, b)["k"]; len(got) != 3 {
		t.Errorf("revisions and floors on disk: %v", got)
	}
	if got := b.mu.live.Cuts; len(got) != 1 {
		t.Errorf("cuts: %v", got)
	}
}

// What an unfinished run left is removed, once.
func TestScratchIsRemoved(t *testing.T) {
	h, want := sampleStore(t)
	h.open()
	first := h.s.Report().Scratch
	h.kill()
	h.open()
	if first != 0 || h.s.Report().Scratch != 0 {
		t.Errorf("scratch: %d, then %d; what was written is named by the manifest", first, h.s.Report().Scratch)
	}
	scratch := path.Join(testDir, manifest.SegmentDir, "0000000000000009.seg")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.disk.WriteFile(scratch, []byte("unfinished")); err != nil {
		t.Fatal(err)
	}
	h.open()
	if n := h.s.Report().Scratch; n != 1 {
		t.Errorf("%d files were removed, want 1", n)
	}
	if _, err := h.disk.Stat(scratch); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	wantShown(t, h.find("b"), want)
}

// A bucket made anew is another one, and its predecessor's handle knows.
func TestAHandleOfADeletedBucketStaysWithIt(t *testing.T) {
	h := newHarness(t)
	old := h.bucket("b")
	mustPut(t, old, "k", "old")
	h.checkpoint()
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	b := h.bucket("b")
	if b.ID() == old.ID() {
		t.Errorf("both have id %d", b.ID())
	}
	if rev := mustPut(t, b, "k", "new"); rev != 1 {
		t.Errorf("the first revision is %d", rev)
	}
	for name, err := range callAll(old) {
		if !errors.Is(err, kv.ErrBucketNotFound) {
			t.Errorf("%s of the deleted bucket: %v", name, err)
		}
	}
	mustGet(t, b, "k", "new")
	if files := h.segmentFiles(); len(files) != 2 {
		t.Errorf("files before the checkpoint: %q", files)
	}
	h.checkpoint()
	if files := h.segmentFiles(); len(files) != 1 {
		t.Errorf("files after the checkpoint: %q", files)
	}
	id := b.ID()
	h.reopen()
	if got := h.find("b").ID(); got != id {
		t.Errorf("after a restart the id is %d, want %d", got, id)
	}
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if got := h.bucket("b").ID(); got == id {
		t.Errorf("id %d was given out again", id)
	}
}

// callAll calls every method of a bucket that can fail and returns the errors.
func callAll(b *Bucket) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = b.Get(ctx, "k")
	_, _, errs["GetAppend"] = b.GetAppend(ctx, nil, "k")
	_, errs["GetRevision"] = b.GetRevision(ctx, "k", 1)
	_, errs["Put"] = b.Put(ctx, "k", nil)
	_, errs["PutString"] = b.PutString(ctx, "k", "")
	_, errs["Create"] = b.Create(ctx, "k", nil)
	_, errs["Update"] = b.Update(ctx, "k", nil, 1)
	_, errs["Touch"] = b.Touch(ctx, "k")
	_, errs["Delete"] = b.Delete(ctx, "k")
	_, errs["Purge"] = b.Purge(ctx, "k")
	errs["PurgeDeletes"] = b.PurgeDeletes(ctx, 0)
	_, errs["Status"] = b.Status(ctx)
	_, errs["Watch"] = b.Watch(ctx, nil)
	for _, err := range b.History(ctx, "k") {
		errs["History"] = err
	}
	for _, err := range b.Keys(ctx) {
		errs["Keys"] = err
	}
	return errs
}

// callStore is callAll for a store with a bucket "b".
func callStore(s *Store) map[string]error {
	config := kv.Config{Bucket: "b"}
	errs := map[string]error{}
	_, errs["CreateBucket"] = s.CreateBucket(ctx, config)
	_, errs["UpdateBucket"] = s.UpdateBucket(ctx, config)
	_, errs["CreateOrUpdateBucket"] = s.CreateOrUpdateBucket(ctx, config)
	_, errs["Bucket"] = s.Bucket(ctx, "b")
	errs["DeleteBucket"] = s.DeleteBucket(ctx, "b")
	errs["Checkpoint"] = s.Checkpoint(ctx)
	for _, err := range s.BucketNames(ctx) {
		errs["BucketNames"] = err
	}
	for _, err := range s.Buckets(ctx) {
		errs["Buckets"] = err
	}
	for _, op := range []kv.MutationOp{kv.MutatePut, kv.MutateTouch, kv.MutateDelete} {
		m := []kv.Mutation{{Bucket: "b", Op: op, Key: "k"}}
		errs["Submit"] = s.Submit(ctx, m)
		errs[fmt.Sprintf("mutation %v", op)] = m[0].Err
	}
	return errs
}

func TestAClosedStoreAnswersErrClosed(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := h.fs.Calls()
	errs := callAll(b)
	maps.Copy(errs, callStore(h.s))
	delete(errs, "Submit") // says what became of each mutation instead
	for name, err := range errs {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.s.Close(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	if n := h.fs.Calls() - calls; n != 0 {
		t.Errorf("%d calls of the file system after Close", n)
	}
	if b.Name() != "b" || b.ID() == 0 || h.s.ID() == [16]byte{} {
		t.Error("name and ids are gone")
	}
}

// A checkpoint that was waiting while the store closed must not write to a
// directory that may be another process's by now.
func TestACheckpointThatComesTooLateWritesNothing(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := h.fs.Calls()
	wantError(t, h.s.makeCheckpoint(unpaced), kv.ErrClosed)
	if n := h.fs.Calls() - calls; n != 0 {
		t.Errorf("%d calls of the file system after Close", n)
	}
	if err := h.s.checkFailure(); err != nil {
		t.Errorf("it passes for a fault: %v", err)
	}
}

func TestCallsWithAContextThatEnded(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	live := ctx
	ctx = ended
	errs := callAll(b)
	maps.Copy(errs, callStore(h.s))
	ctx = live
	for name, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An open reads more entries than it hands over at once, with a goroutine that loads them. It
// loads them in their order: erasures and floors count for the records before them alone.
func TestAnOpenLoadsEntriesInTheirOrder(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	const keys = batchSize*2/3 + 1
	for round := range 7 {
		for n := range keys {
			key := fmt.Sprintf("k%03d", n)
			switch {
			case (n+round)%11 == 0:
				if _, err := b.Purge(ctx, key); err != nil {
					t.Fatal(err)
				}
			default:
				mustPut(t, b, key, "v")
			}
			if (n+round)%50 == 0 {
				if _, err := b.Erase(ctx, fmt.Sprintf("k%03d", n/2), 0, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round%3 == 2 {
			h.checkpoint()
		}
	}
	h.checkpoint()
	want := shown(t, b)
	if len(want) != keys {
		t.Fatalf("%d keys of %d have records", len(want), keys)
	}
	h.reopen()
	wantShown(t, h.find("b"), want)
}
