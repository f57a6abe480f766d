package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/bucket/verify"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// verify checks the harness's store, which is closed, and fails the test if that
// would write anything but the lock.
func (h *harness) verify() verify.Report {
	h.t.Helper()
	report, err := h.tryVerify()
	if err != nil {
		h.t.Fatal(err)
	}
	return report
}

func (h *harness) tryVerify() (verify.Report, error) {
	h.t.Helper()
	h.fs.Inject(func(op simdisk.Op) simdisk.Action {
		switch op.Kind {
		case simdisk.OpWriteAt, simdisk.OpTruncate, simdisk.OpAllocate, simdisk.OpSync, simdisk.OpSyncDir, simdisk.OpMkdir, simdisk.OpRename, simdisk.OpRemove:
			h.t.Errorf("verify calls %v of %s", op.Kind, op.Path)
		}
		return simdisk.Action{}
	})
	defer h.fs.Inject(nil)
	return verify.Store(testDir, environment.With(verify.Options{}, environment.Env{FS: h.gates}))
}

// fill makes two buckets with records of every kind, in two segments and the log.
func (h *harness) fill() {
	h.t.Helper()
	a := h.bucket("a", withHistory(3))
	for i := range 20 {
		mustPut(h.t, a, fmt.Sprintf("key.%d", i%7), fmt.Sprintf("value %d", i))
	}
	if _, err := a.Delete(ctx, "key.1"); err != nil {
		h.t.Fatal(err)
	}
	h.checkpoint()
	b := h.bucket("b")
	mustPut(h.t, b, "empty", "")
	if _, err := a.Purge(ctx, "key.2"); err != nil {
		h.t.Fatal(err)
	}
	mustPut(h.t, a, "last", strings.Repeat("x", 5000))
}

func TestVerifySoundStore(t *testing.T) {
	tests := map[string]struct {
		end          func(*harness)
		buckets      int
		records, log int
	}{
		"after a clean close":                            {func(h *harness) { h.close() }, 2, 24, 0},
		"after the end of its process":                   {(*harness).kill, 1, 21, 3},
		"after a power cut":                              {(*harness).powerCut, 1, 21, 3},
		"after a power cut and the recovery from it":     {func(h *harness) { h.powerCut(); h.open(); h.close() }, 2, 24, 0},
		"after a power cut in the recovery from another": {func(h *harness) { h.powerCut(); h.open(); h.powerCut() }, 2, 24, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.fill()
			tt.end(h)
			r := h.verify()
			if err := r.Err(); err != nil {
				t.Errorf("a sound store is said to be damaged: %v", err)
			}
			if r.Buckets != tt.buckets || r.Records != tt.records || r.LogRecords != tt.log {
				t.Errorf("found %d buckets, %d records and %d in the log, want %d, %d and %d",
					r.Buckets, r.Records, r.LogRecords, tt.buckets, tt.records, tt.log)
			}
		})
	}
}

// TestVerifyEveryByteOfASegment changes every byte that counts, one at a time:
// each is damage, found in that file.
func TestVerifyEveryByteOfASegment(t *testing.T) {
	h := newHarness(t)
	a := h.bucket("a", withHistory(3))
	for i := range 9 {
		mustPut(t, a, fmt.Sprintf("key.%d", i%4), strings.Repeat("v", i))
	}
	h.close()
	m, err := manifest.Load(h.disk, testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range m.Best.State.Buckets {
		for _, s := range b.Segments {
			file := path.Join(testDir, manifest.SegmentDir, fmt.Sprintf("%016x.seg", s.Number))
			for offset := range s.Size {
				h.flip(file, offset, int(offset%8))
				r := h.verify()
				if len(r.Damages) == 0 || r.Damages[0].File != file || !errors.Is(r.Err(), kv.ErrCorrupt) {
					t.Fatalf("%s, byte %d: damages are %v", file, offset, r.Damages)
				}
				h.flip(file, offset, int(offset%8))
			}
		}
	}
	if err := h.verifyErr(); err != nil {
		t.Fatalf("the store is not as it was: %v", err)
	}
}

func (h *harness) verifyErr() error {
	h.t.Helper()
	r := h.verify()
	return r.Err()
}

// TestVerifyEveryByteOfTheManifest changes one copy at a time: it is damage, or a
// note where a crash leaves the same, and never goes unnoticed.
func TestVerifyEveryByteOfTheManifest(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.close()
	for _, name := range manifest.Names {
		file := path.Join(testDir, name)
		content, err := h.disk.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		padding := manifestPadding(content)
		for offset := range int64(len(content)) {
			if padding[offset] {
				continue
			}
			h.flip(file, offset, int(offset%8))
			r, err := h.tryVerify()
			if err == nil && len(r.Damages) == 0 && len(r.Notes) == 0 {
				t.Fatalf("%s, byte %d: nothing is found", file, offset)
			}
			h.flip(file, offset, int(offset%8))
		}
	}
}

// manifestPadding returns the offsets of the zeros between records, which mean
// nothing. Package manifest has the format.
func manifestPadding(content []byte) map[int64]bool {
	const headerSize, recordHeadSize = 56, 16
	padding := map[int64]bool{}
	for at := headerSize; at+recordHeadSize <= len(content); {
		end := at + recordHeadSize + int(binary.LittleEndian.Uint32(content[at:]))
		for at = end; at%8 != 0; at++ {
			padding[int64(at)] = true
		}
	}
	return padding
}

// TestVerifyEveryByteOfTheLog changes each byte of the log's frames and of the
// pages behind them. What Open would refuse, verify finds, and nothing else.
func TestVerifyEveryByteOfTheLog(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.kill()
	files := h.names(manifest.LogDir)
	found := 0
	for _, name := range files {
		file := path.Join(testDir, manifest.LogDir, name)
		size, stride := int64(64<<10), int64(251)
		if name == wal.MarkFile { // a mark that cannot be read proves nothing: no damage
			info, err := h.disk.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			size, stride = info.Size, 1
		}
		for offset := int64(0); offset < size; offset += stride {
			h.flip(file, offset, 3)
			r := h.verify()
			disk := h.disk.Clone()
			s, err := Open(testDir, Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{FS: disk, Manual: true}})
			if err != nil {
				t.Fatalf("%s, byte %d: %v", file, offset, err)
			}
			if got, want := r.Damage > 0, len(s.Report().Damages) > 0; got != want {
				t.Fatalf("%s, byte %d: verify finds %v, open %v", file, offset, r.Damages, s.Report())
			}
			if r.Damage > 0 {
				found++
			}
			_ = s.Close() // of a store that is read-only it is an error
			h.flip(file, offset, 3)
		}
	}
	if found == 0 {
		t.Error("no change of the log was damage")
	}
}

func TestVerifyMissingSegment(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.close()
	files := h.segmentFiles()
	if err := h.disk.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	r := h.verify()
	if len(r.Damages) != 1 || r.Damages[0].File != files[0] || !strings.Contains(r.Damages[0].Error(), "missing") {
		t.Errorf("damages are %v", r.Damages)
	}
}

func TestVerifySwappedSegments(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.close()
	files := h.segmentFiles()
	for _, move := range [][2]string{{files[0], "x"}, {files[1], files[0]}, {"x", files[1]}} {
		if err := h.disk.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.verify(); len(r.Damages) != 2 {
		t.Errorf("damages are %v", r.Damages)
	}
}

func TestVerifyMissingLog(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.kill()
	for _, name := range h.names(manifest.LogDir) {
		if err := h.disk.Remove(path.Join(testDir, manifest.LogDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.verify(); r.Damage == 0 {
		t.Error("a missing log is not found")
	}
	if err := h.disk.Remove(path.Join(testDir, manifest.LogDir)); err != nil {
		t.Fatal(err)
	}
	if r := h.verify(); r.Damage == 0 {
		t.Error("a missing directory of the log is not found")
	}
}

// TestVerifyRecordOutOfOrder has sound records where no store writes them.
func TestVerifyRecordOutOfOrder(t *testing.T) {
	disk := simdisk.New()
	w := written{segments: [][]segment.Record{
		{put("a", 1, 1), put("b", 2, 2)},
		{put("c", 2, 2)},
	}}
	w.onto(t, disk)
	r, err := verify.Store(testDir, environment.With(verify.Options{}, environment.Env{FS: disk}))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Damages) != 1 || !strings.Contains(r.Damages[0].Error(), `key "c", revision 2`) {
		t.Errorf("damages are %v", r.Damages)
	}
}

func TestVerifyStrangers(t *testing.T) {
	h := newHarness(t)
	h.fill()
	h.close()
	for _, name := range []string{"notes.txt", "0000000000000007.seg"} {
		if _, err := h.disk.Open(path.Join(testDir, manifest.SegmentDir, name), vfs.Create); err != nil {
			t.Fatal(err)
		}
	}
	r := h.verify()
	if r.Damage != 0 {
		t.Errorf("strangers are no damage: %v", r.Damages)
	}
	for _, want := range []string{"seg/notes.txt is not the store's", "seg/0000000000000007.seg is left from unfinished work"} {
		if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("notes are %q, want one that says %q", r.Notes, want)
		}
	}
}

func TestVerifyRefusals(t *testing.T) {
	t.Run("a store in use", func(t *testing.T) {
		h := newHarness(t)
		_, err := h.tryVerify()
		wantError(t, err, kv.ErrLocked, testDir)
	})
	t.Run("a directory of something else", func(t *testing.T) {
		disk := simdisk.New()
		if err := disk.Mkdir(testDir); err != nil {
			t.Fatal(err)
		}
		_, err := verify.Store(testDir, environment.With(verify.Options{}, environment.Env{FS: disk}))
		wantError(t, err, kv.ErrNotStore, testDir)
	})
	t.Run("both copies of the manifest unreadable", func(t *testing.T) {
		h := newHarness(t)
		h.close()
		for _, name := range manifest.Names {
			h.flip(path.Join(testDir, name), 20, 0)
		}
		r, err := h.tryVerify()
		wantError(t, err, kv.ErrCorrupt, "manifest")
		if r.Damage != 2 {
			t.Errorf("damages are %v", r.Damages)
		}
	})
	t.Run("a disk that does not answer", func(t *testing.T) {
		h := newHarness(t)
		h.fill()
		h.close()
		boom := errors.New("boom")
		h.fail(simdisk.OpList, manifest.SegmentDir, boom)
		_, err := verify.Store(testDir, environment.With(verify.Options{}, environment.Env{FS: h.gates}))
		wantError(t, err, boom)
	})
}

// TestVerifyTellsEveryDamage has more damage than a report has room for.
func TestVerifyTellsEveryDamage(t *testing.T) {
	const damagesMax = 1000 // of a report
	h := newHarness(t)
	b := h.bucket("b", withHistory(64))
	const records = damagesMax + 10
	for i := range records {
		mustPut(t, b, fmt.Sprintf("k%04d", i), "v")
	}
	h.close()
	file := h.segmentFiles()[0]
	size := segment.RecordSize(len("k0000"), 0, 1, false, false)
	for i := range records {
		h.flip(file, int64(segment.HeaderSize+i*size+size-3), 0) // its value
	}
	told := 0
	r, err := verify.Store(testDir, environment.With(verify.Options{Damaged: func(*kv.CorruptError) { told++ }}, environment.Env{FS: h.gates}))
	if err != nil {
		t.Fatal(err)
	}
	if told != records || r.Damage != records || len(r.Damages) != damagesMax {
		t.Errorf("%d were told, %d counted and %d kept, of %d", told, r.Damage, len(r.Damages), records)
	}
}

// Damage that a walk finds does not say whether records are missing: the totals do.
func TestVerifyCountsWhatIsMissing(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "1")
	h.checkpoint()
	first := b.active.Desc()
	mustPut(t, b, "b", "2")
	mustPut(t, b, "c", "3")
	h.close()
	file := h.segmentFiles()[0]
	if err := h.disk.Corrupt(file, segment.HeaderSize, first.Size-segment.HeaderSize, func(b []byte) { clear(b) }); err != nil {
		t.Fatal(err)
	}
	r := h.verify()
	if !slices.ContainsFunc(r.Damages, func(d *kv.CorruptError) bool {
		return d.File == file && strings.Contains(d.Detail, "1 records are missing") && d.Bucket == "b"
	}) {
		t.Errorf("damages are %v", r.Damages)
	}
}

// Each frame of the log counts what is before it. A frame with other counts is damage, though
// its checksum is right.
func TestVerifyComparesTheTotalsOfTheLog(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "1")
	h.appendFrame(journal.Append(wal.NewFrame(nil), &journal.Issue{Bucket: b.id})) // the store does not count it
	mustPut(t, b, "b", "2")
	h.kill()
	r := h.verify()
	if len(r.Damages) == 0 || !strings.Contains(r.Damages[0].Detail, "counts 1 records and 2 operations") {
		t.Errorf("damages are %v", r.Damages)
	}
}
