package wal

import (
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

func TestReplayDeliversWhatWasAppended(t *testing.T) {
	page := pageSize - FrameHeaderSize // payload that fills a page
	for name, c := range map[string]struct {
		groups [][]int // payload sizes; a sync after each group
	}{
		"nothing":                  {},
		"one frame":                {[][]int{{10}}},
		"an empty payload":         {[][]int{{0}, {0, 0}}},
		"synced one by one":        {[][]int{{10}, {100}, {1000}}},
		"packed":                   {[][]int{{1, 2, 3, 8, 9}, {100, 200}}},
		"packed over pages":        {[][]int{{3000, 3000, 3000}, {1}}},
		"exactly a page":           {[][]int{{page}, {page}, {page, page}, {1}}},
		"all but a byte of a page": {[][]int{{page - 1, 1}, {page + 1, 1}}},
		"no room for a header":     {[][]int{{page - 8, 1}, {page - 40, 1}, {page - 48, 1}}},
		"over several files":       {[][]int{{5000}, {5000}, {5000}, {5000, 1, 2}, {5000}, {9000}, {1}}},
		"one too large for a file": {[][]int{{1}, {6 * pageSize}, {1}, {12*pageSize + 3}, {20000}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(newDisk(t))
			w := startLog(t, o)
			for _, group := range c.groups {
				for _, size := range group {
					w.add(size)
				}
				check(t, w.Sync())
				if w.Synced() != w.Last() {
					t.Fatalf("synced %d of %d", w.Synced(), w.Last())
				}
			}
			wantWhole(t, o, w.written)
			w.close()
			wantWhole(t, o, w.written)
			for from := LSN(1); from <= w.Last()+1; from++ {
				_, got, err := replayAll(o, from)
				check(t, err)
				if got.damage() != nil || got.Last != w.Last() {
					t.Fatalf("from %d: last %d, damage %v", from, got.Last, got.damage())
				}
				wantFrames(t, got, w.written, from)
			}
		})
	}
}

func TestLogContinuesOverManySessions(t *testing.T) {
	o := testOptions(newDisk(t))
	o.MaxSize = 100 * o.FileSize
	var written map[LSN]content
	for session := range 5 {
		w := startLog(t, o)
		if session > 0 && len(w.written) != len(written) {
			t.Fatalf("session %d starts with %v, written were %v", session, lsns(w.written), lsns(written))
		}
		w.addSynced(10, 5000, 20)
		if session%2 == 0 {
			w.close()
		}
		written = w.written
	}
	got := wantWhole(t, o, written)
	for _, f := range got.frames[1:] {
		if f.synced < f.LSN-1 {
			t.Errorf("frame %d names %d as durable", f.LSN, f.synced)
		}
	}
}

func TestOnlyFramesOfOneSyncArePacked(t *testing.T) {
	o := testOptions(newDisk(t))
	o.FileSize = 8 * pageSize
	w := startLog(t, o)
	w.add(1)
	w.add(8)
	w.add(4096)
	check(t, w.Sync())
	w.add(1)
	check(t, w.Sync())
	check(t, w.Sync())
	w.add(1)
	want := []struct {
		offset int64
		synced LSN
	}{{4096, 0}, {4096 + 96, 0}, {4096 + 192, 0}, {3 * 4096, 3}, {4 * 4096, 4}}
	_, got, err := replayAll(o, 0)
	check(t, err)
	for i, f := range got.frames {
		if f.Offset != want[i].offset || f.synced != want[i].synced {
			t.Errorf("frame %d is at offset %d with synced %d, want %v", f.LSN, f.Offset, f.synced, want[i])
		}
	}
}

func TestAppendWritesWholePagesOfZeros(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	for _, spare := range []int{0, 100, pageSize} { // capacity after the payload
		w := startLog(t, o)
		frame := append(NewFrame(make([]byte, 0, FrameHeaderSize+10+spare)), payload(1, 10)...)
		for i := range frame[len(frame):cap(frame)] {
			frame[len(frame):cap(frame)][i] = 0xee
		}
		check(t, disk.Corrupt(w.file.path, pageSize, 2*pageSize, func(b []byte) {
			for i := range b {
				b[i] = 0xdd // like a page of an earlier use
			}
		}))
		_, err := w.Append(frame, 1, wordsOf(w.Last()+2))
		check(t, err)
		b, err := disk.ReadFile(w.file.path)
		check(t, err)
		if !allZero(b[pageSize+FrameHeaderSize+10:2*pageSize]) || b[2*pageSize] != 0xdd {
			t.Errorf("capacity %d: the bytes after the frame are not one page of zeros", spare)
		}
		w.close()
	}
}

func TestVouch(t *testing.T) {
	o := testOptions(newDisk(t))
	w := startLog(t, o)
	w.vouch()
	if w.Last() != 0 {
		t.Fatal("Vouch wrote a frame although the log is empty")
	}
	w.add(10) // not synced: Vouch syncs it
	w.vouch()
	w.vouch()
	if w.Last() != 2 || w.Synced() != 2 {
		t.Fatalf("last %d, synced %d, want 2", w.Last(), w.Synced())
	}
	got := wantWhole(t, o, w.written)
	if f := got.frames[1]; f.synced != 1 || len(f.Payload) != 0 {
		t.Errorf("vouching frame %+v", f)
	}
	w.addSynced(10)
	w.close()
	if got := wantWhole(t, o, w.written); got.Last != 4 {
		t.Errorf("Close left the log at %d, want a vouching frame 4", got.Last)
	}
}

// A page is reserved for a vouching frame, so it always fits into the file.
func TestVouchNeverNeedsAnotherFile(t *testing.T) {
	for pages := range 4 {
		for off := -60; off <= 20; off++ {
			size := pages*pageSize + off
			if size < 0 {
				continue
			}
			o := testOptions(newDisk(t))
			w := startLog(t, o)
			w.add(1)
			check(t, w.Reserve(size))
			files := len(fileNames(t, o.FS))
			w.add(size)
			w.vouch()
			if len(fileNames(t, o.FS)) != files {
				t.Fatalf("the vouching frame after a frame of %d bytes needed another file", size)
			}
			wantWhole(t, o, w.written)
		}
	}
}

func TestReserveRefusesWhenFull(t *testing.T) {
	o := testOptions(newDisk(t))
	o.MaxSize = 3 * o.FileSize
	w := startLog(t, o)
	for range 9 {
		w.addSynced(100)
	}
	used := w.Used()
	if err := w.Reserve(100); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if w.Used() != used || used != o.MaxSize || w.Err() != nil {
		t.Errorf("used %d, then %d of %d; broken %v", used, w.Used(), o.MaxSize, w.Err())
	}
	w.vouch() // there is always room for it
	check(t, w.Recycle(4))
	if w.Used() != 2*o.FileSize {
		t.Errorf("used %d after the first file was recycled", w.Used())
	}
	w.addSynced(100)
	w.close()
	_, got, err := replayAll(o, 4)
	check(t, err)
	wantFrames(t, got, w.written, 4)
}

func TestReserveRefusesPayloadsBeyondTheLimit(t *testing.T) {
	w := startLog(t, testOptions(newDisk(t)))
	for _, n := range []int{-1, maxLonePayload + 1} {
		if err := w.Reserve(n); !errors.Is(err, kv.ErrValueTooLarge) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
	w.addSynced(10)
}

func TestReserveRefusesWhenTheDiskIsFull(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(100, 100)
	disk.SetCapacity(disk.Used() + o.FileSize/2)
	before := disk.Used()
	if err := w.Reserve(3 * pageSize); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("got %v, want one matching vfs.ErrNoSpace", err)
	}
	if w.Err() != nil || disk.Used() != before || len(fileNames(t, disk)) != 1 {
		t.Fatalf("broken %v, %d bytes of disk used, were %d; files %v", w.Err(), disk.Used(), before, fileNames(t, disk))
	}
	w.addSynced(100) // fits into the current file
	wantWhole(t, o, w.written)
	disk.SetCapacity(-1)
	w.addSynced(3*pageSize, 100)
	w.close()
	wantWhole(t, o, w.written)
}

func TestAppendWithoutRoomBreaksTheLog(t *testing.T) {
	o := testOptions(newDisk(t))
	for _, frame := range [][]byte{append(NewFrame(nil), payload(1, int(o.FileSize))...), make([]byte, FrameHeaderSize-1), nil} {
		w := startLog(t, o)
		_, err := w.Append(frame, 1, wordsOf(w.Last()+2))
		if err == nil || w.Err() == nil || w.Reserve(1) == nil {
			t.Errorf("%d bytes: got %v, then %v", len(frame), err, w.Err())
		}
		check(t, w.Close())
	}
}

func TestCallsAfterClose(t *testing.T) {
	w := startLog(t, testOptions(newDisk(t)))
	check(t, w.Prepare())
	w.addSynced(10)
	w.close()
	_, errAppend := w.Append(NewFrame(nil), 1, Words{})
	for name, err := range map[string]error{
		"Append": errAppend, "Reserve": w.Reserve(1), "Sync": w.Sync(), "Vouch": w.Vouch(1, Words{}), "Err": w.Err(),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if w.Prepare() != nil || w.Recycle(100) != nil || w.NeedsSpare() || w.Close() != nil {
		t.Error("Prepare or Recycle did something after Close")
	}
}

func TestStartRefuses(t *testing.T) {
	o := testOptions(newDisk(t))
	w := startLog(t, o)
	w.addSynced(10, 20)
	w.close()
	open := func() *Reader {
		r, err := Open(o)
		check(t, err)
		return r
	}
	for _, after := range []LSN{0, 3} {
		if _, err := open().Start(after, Words{}); err == nil {
			t.Errorf("after LSN %d without a replay", after)
		}
	}
	r := open()
	errStop := errors.New("stop")
	if _, err := r.Replay(Wanted{Frame: func(Frame) error { return errStop }}); err != errStop {
		t.Errorf("Replay returned %v", err)
	}
	for _, after := range []LSN{0, 3} {
		if _, err := r.Start(after, wordsOf(after+1)); err == nil {
			t.Errorf("after LSN %d and a replay that was stopped", after)
		}
	}
	r, got, err := replayAll(o, 0)
	check(t, err)
	for _, after := range []LSN{0, got.Last - 1, got.Last + 1} {
		if _, err := r.Start(after, wordsOf(after+1)); err == nil {
			t.Errorf("after LSN %d of %d", after, got.Last)
		}
	}
	l, err := r.Start(got.End, wordsOf(got.End+1))
	check(t, err)
	check(t, l.Close())
}

func TestStartInAnEmptyDirectory(t *testing.T) {
	for _, after := range []LSN{0, 1000} {
		o := testOptions(newDisk(t))
		r, err := Open(o)
		check(t, err)
		if r.First() != 1 {
			t.Errorf("First is %d", r.First())
		}
		l, err := r.Start(after, wordsOf(after+1))
		check(t, err)
		w := &writer{Log: l, t: t, written: map[LSN]content{}}
		w.addSynced(10, 20)
		w.close()
		r, got, err := replayAll(o, 0)
		check(t, err)
		wantFrames(t, got, w.written, 0)
		if r.First() != after+1 {
			t.Errorf("First is %d after a start at %d", r.First(), after)
		}
	}
}

func TestRotationUsesSpares(t *testing.T) {
	o := testOptions(newDisk(t))
	w := startLog(t, o)
	check(t, w.Prepare())
	if names := fileNames(t, o.FS); w.NeedsSpare() || len(names) != 1 {
		t.Fatalf("an empty log needs a spare: %v; files %v", w.NeedsSpare(), names)
	}
	for !w.NeedsSpare() {
		w.addSynced(100)
	}
	check(t, w.Prepare())
	check(t, w.Prepare())
	if names := fileNames(t, o.FS); w.NeedsSpare() || len(names) != 2 {
		t.Fatalf("needs a spare: %v; files %v", w.NeedsSpare(), names)
	}
	wantWhole(t, o, w.written)
	r, err := Open(o)
	check(t, err)
	if len(r.chain) != 1 || len(r.stale) != 1 {
		t.Errorf("%d files in the chain, %d outside", len(r.chain), len(r.stale))
	}
	for range 60 {
		w.addSynced(3000)
		check(t, w.Recycle(w.Last())) // all but the newest frame
	}
	if names := fileNames(t, o.FS); len(names) > 2+sparesKept {
		t.Errorf("%d files for a log that needs one: %v", len(names), names)
	}
	w.close()
	r, got, err := replayAll(o, w.Last()-1)
	check(t, err)
	wantFrames(t, got, w.written, w.Last()-1)
	if got.damage() != nil || r.First() < 40 {
		t.Errorf("damage %v; the log starts at %d", got.damage(), r.First())
	}
}

func TestRecycleKeepsNeededFiles(t *testing.T) {
	for below := LSN(0); below <= 14; below++ {
		o := testOptions(newDisk(t))
		w := startLog(t, o)
		w.addSynced(3000, 3000, 3000, 3000, 3000, 3000, 6*pageSize, 3000, 3000, 3000, 3000)
		check(t, w.Recycle(below))
		w.addSynced(3000, 3000)
		w.close()
		_, got, err := replayAll(o, max(below, 1))
		check(t, err)
		if got.damage() != nil {
			t.Fatal(got.damage())
		}
		wantFrames(t, got, w.written, max(below, 1))
	}
}

func TestRecycleShrinksBeforeItRemoves(t *testing.T) {
	disk := newDisk(t)
	fault := simdisk.NewFault(disk)
	o := testOptions(fault)
	o.FileSize, o.MaxSize = 2<<20+4*pageSize, 32<<20
	w := startLog(t, o)
	for range sparesKept + 3 {
		w.addSynced(2 << 20)
	}
	var sizes []int64
	removed := 0
	fault.Inject(func(op simdisk.Op) simdisk.Action {
		switch op.Kind {
		case simdisk.OpTruncate:
			sizes = append(sizes, op.Offset)
		case simdisk.OpRemove:
			removed++
		}
		return simdisk.Action{}
	})
	check(t, w.Recycle(sparesKept+3))
	step := []int64{1<<20 + 4*pageSize, 4 * pageSize, pageSize}
	if !slices.Equal(sizes, slices.Concat(step, step)) || removed != 2 {
		t.Errorf("%d files removed, truncated to %v", removed, sizes)
	}
}

func TestOversizedFilesAreNoSpares(t *testing.T) {
	o := testOptions(newDisk(t))
	w := startLog(t, o)
	w.addSynced(10*pageSize, 10)
	check(t, w.Recycle(2))
	if names := fileNames(t, o.FS); len(names) != 2 {
		t.Errorf("files %v, want the first as a spare and the current one", names)
	}
	check(t, w.Close())
}

func TestFilesOfAnotherSizeAreNoSpares(t *testing.T) {
	o := testOptions(newDisk(t))
	w := startLog(t, o)
	w.addSynced(3000, 3000, 3000, 3000)
	w.close()
	o.FileSize += pageSize
	w = startLog(t, o)
	if w.Used() != 2*(o.FileSize-pageSize)+o.FileSize {
		t.Errorf("used %d", w.Used())
	}
	check(t, w.Recycle(w.Last()+1))
	if names := fileNames(t, o.FS); len(w.mu.spares) != 0 || len(names) != 1 {
		t.Errorf("files %v", names)
	}
	check(t, w.Close())
}

func TestStartReusesSparesAndRemovesScratch(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(3000, 3000, 3000, 3000, 3000, 3000, 3000)
	check(t, w.Recycle(w.Last()))
	w.addSynced(3000)
	w.close()
	before := fileNames(t, disk)
	check(t, disk.WriteFile(path.Join(testDir, scratchName(77)), []byte("half a file")))
	check(t, disk.WriteFile(path.Join(testDir, "README"), []byte("somebody's")))
	check(t, disk.Mkdir(path.Join(testDir, fileName(78))))
	_, got, err := replayAll(o, w.Last())
	check(t, err)
	if len(got.Notes) != 2 || !strings.Contains(got.Notes[0]+got.Notes[1], "README") {
		t.Errorf("notes %q, want one for each foreign file", got.Notes)
	}
	r, got, err := replayAll(o, w.Last())
	check(t, err)
	l, err := r.Start(got.End, wordsOf(got.End+1))
	check(t, err)
	defer l.Close()
	want := append(slices.Clone(before), fileName(78), "README")
	slices.Sort(want)
	if after := fileNames(t, disk); !slices.Equal(after, want) {
		t.Errorf("files %v, want %v", after, want)
	}
	if _, err := disk.Stat(path.Join(testDir, "README")); err != nil {
		t.Error(err)
	}
}

// Start may reuse only files whose frames are all below the start of the replay.
func TestStartKeepsFilesThatTheReplayWanted(t *testing.T) {
	for from := LSN(1); from <= 11; from++ {
		o := testOptions(newDisk(t))
		w := startLog(t, o)
		w.addSynced(3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000)
		w.close()
		r, got, err := replayAll(o, from)
		check(t, err)
		l, err := r.Start(got.End, wordsOf(got.End+1))
		check(t, err)
		reused := len(fileNames(t, o.FS)) == 3
		if wantReused := from > 3; reused != wantReused {
			t.Errorf("from %d: a file was reused: %v", from, reused)
		}
		check(t, l.Close())
		_, got, err = replayAll(o, from)
		check(t, err)
		if got.damage() != nil {
			t.Fatal(got.damage())
		}
		wantFrames(t, got, w.written, from)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no file system":   func(o *Options) { o.FS = nil },
		"too small":        func(o *Options) { o.FileSize = 3 * pageSize },
		"not whole pages":  func(o *Options) { o.FileSize = 5*pageSize + 1 },
		"too large":        func(o *Options) { o.FileSize = 1<<30 + pageSize; o.MaxSize = 1 << 40 },
		"a log of no file": func(o *Options) { o.MaxSize = o.FileSize },
		"no directory":     func(o *Options) { o.Dir = "nowhere" },
	} {
		o := testOptions(newDisk(t))
		change(&o)
		if _, err := Open(o); err == nil || !strings.HasPrefix(err.Error(), "wal: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	o := Options{FS: newDisk(t), Dir: testDir}
	r, err := Open(o)
	check(t, err)
	one, other := r.opts.Salt(), r.opts.Salt()
	if r.opts.FileSize != fileSizeDefault || r.opts.MaxSize != maxSizeDefault || one == other {
		t.Error("defaults are not filled in")
	}
}

func TestAppendAndSyncDoNotAllocate(t *testing.T) {
	o := testOptions(nullFS{newDisk(t)})
	o.FileSize, o.MaxSize = 64<<20, 256<<20
	w := startLog(t, o)
	frame := make([]byte, 0, 2*pageSize)
	text := payload(1, 1000)
	if n := testing.AllocsPerRun(1000, func() {
		check(t, w.Reserve(len(text)))
		frame = append(NewFrame(frame), text...)
		_, err := w.Append(frame, 1, wordsOf(w.Last()+2))
		check(t, err)
		check(t, w.Sync())
		check(t, w.Vouch(1, wordsOf(w.Last()+2)))
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// nullFS discards writes: the simulated disk would allocate.
type nullFS struct{ vfs.FS }

type nullFile struct{ vfs.File }

func (n nullFS) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := n.FS.Open(path, mode)
	return nullFile{f}, err
}

func (nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nullFile) Sync() error                            { return nil }

// One goroutine appends, another one prepares and recycles files, a third one reads the state.
func TestBackgroundWorkBesideAppends(t *testing.T) {
	o := testOptions(newDisk(t))
	o.MaxSize = 1 << 30
	w := startLog(t, o)
	done := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := errors.Join(w.Prepare(), w.Recycle(w.Synced()/2)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	background.Go(func() {
		for last := LSN(0); last < 500; last = w.Last() {
			if synced := w.Synced(); synced < last && w.Used() < 0 && w.NeedsSpare() {
				t.Error("impossible")
			}
		}
	})
	for i := range 500 {
		w.add(i * 13 % 4000)
		if i%3 == 0 {
			check(t, w.Sync())
		}
	}
	w.close() // while the others still run
	close(done)
	background.Wait()
	_, got, err := replayAll(o, w.Last()/2+1)
	check(t, err)
	if got.damage() != nil {
		t.Fatal(got.damage())
	}
	wantFrames(t, got, w.written, w.Last()/2+1)
}
