package wal

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"kvd/internal/vfs"
)

// sizesOptions are those of a log whose files have 16 to 256 KiB.
func sizesOptions(fsys vfs.FS) Options {
	o := testOptions(fsys)
	o.FirstFileSize, o.FileSize, o.MaxSize = 16<<10, 256<<10, 2<<20
	return o
}

// fillFile appends frames at one rate until the log moves to the next file, and returns the
// size of that file in KiB.
func (w *writer) fillFile(now *time.Duration, every time.Duration) int64 {
	w.t.Helper()
	for before := w.file; w.file == before; {
		w.fillPage(now, every)
		if !w.mu.preparing {
			check(w.t, w.Prepare())
		}
	}
	return w.file.size >> 10
}

// fillPage appends a frame of a page, some time after the one before.
func (w *writer) fillPage(now *time.Duration, every time.Duration) {
	w.t.Helper()
	check(w.t, w.Reserve(3000))
	*now += every
	w.written[w.Last()+1] = content{payload(w.Last()+1, 3000), int64(*now)}
	_, err := w.Append(append(NewFrame(nil), w.written[w.Last()+1].payload...), int64(*now), wordsOf(w.Last()+2))
	check(w.t, err)
	check(w.t, w.Sync())
}

// Files become four times as large while they are filled within a second, twice as large while
// that takes ten, and half as large while it takes more than a minute.
func TestFileSizesFollowTheLoad(t *testing.T) {
	o := sizesOptions(newDisk(t))
	w := startLog(t, o)
	if size := w.file.size; size != o.FirstFileSize {
		t.Fatalf("the log begins with a file of %d bytes", size)
	}
	var now time.Duration
	for _, c := range []struct {
		every time.Duration // between two pages
		want  []int64       // KiB of the next files
	}{
		{time.Millisecond, []int64{64, 256, 256}},
		{time.Second / 2, []int64{256, 256}}, // in 32 s
		{2 * time.Second, []int64{128, 64, 64}},
		{10 * time.Second, []int64{32, 16, 16}},
		{2 * time.Second, []int64{16, 32, 32}}, // the frame before the first file was 10 s older
		{300 * time.Millisecond, []int64{64, 128}},
	} {
		var got []int64
		for range c.want {
			got = append(got, w.fillFile(&now, c.every))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("a page every %v: files of %d KiB, want %d", c.every, got, c.want)
		}
		check(t, w.Recycle(w.Last()))
	}
	w.close()
}

// The next file is wanted once an eighth of a file is written, if that was quick, and otherwise
// once half of it is.
func TestASpareIsWantedBeforeTheFileIsFull(t *testing.T) {
	for _, c := range []struct {
		every time.Duration // between two pages
		pages int64         // of 16: frames until then
	}{{time.Millisecond, 2}, {500 * time.Millisecond, 2}, {2 * time.Second, 8}, {time.Minute, 8}} {
		o := sizesOptions(newDisk(t))
		o.FirstFileSize = 16 * pageSize
		w := startLog(t, o)
		now, frames := time.Duration(0), int64(0)
		for ; !w.NeedsSpare(); frames++ {
			w.fillPage(&now, c.every)
		}
		if frames != c.pages {
			t.Errorf("a page every %v: a spare is wanted after %d, want after %d", c.every, frames, c.pages)
		}
		w.close()
	}
}

// A log that is full while its next file is being made moves to a small file, or to another
// spare, and does not make a second file of that size.
func TestAFullLogDoesNotMakeTheFileThatIsBeingMade(t *testing.T) {
	disk := newDisk(t)
	o := sizesOptions(disk)
	salt, meanwhile := o.Salt, func() {}
	o.Salt = func() uint64 { // Prepare calls it before it makes the file
		do := meanwhile
		meanwhile = func() {}
		do()
		return salt()
	}
	w := startLog(t, o)
	var now time.Duration
	var got []int64 // KiB of the files that the log moves to
	fill := func() { got = append(got, w.fillFile(&now, time.Millisecond)) }
	for !w.NeedsSpare() {
		w.fillPage(&now, time.Millisecond)
	}
	meanwhile = func() { fill(); fill() }
	check(t, w.Prepare()) // of 64 KiB
	for !w.NeedsSpare() {
		w.fillPage(&now, time.Millisecond)
	}
	meanwhile = fill
	check(t, w.Prepare()) // of 256 KiB
	fill()
	if want := []int64{16, 16, 64, 256}; !slices.Equal(got, want) {
		t.Errorf("the log moved to files of %d KiB, want %d", got, want)
	}
	if n := len(fileNames(t, disk)); n != 5 {
		t.Errorf("%d files were made, want 5", n)
	}
	w.close()
	_, replayed, err := replayAll(o, 0)
	check(t, err)
	wantFrames(t, replayed, w.written, 0)
}

// A frame that does not fit makes the files grow, too.
func TestFileSizesFollowTheFrames(t *testing.T) {
	w := startLog(t, sizesOptions(newDisk(t)))
	for _, c := range []struct{ frame, file int64 }{{40, 64}, {100, 256}, {300, 316}, {1, 256}} {
		for before := w.file; w.file == before; {
			w.addSynced(int(c.frame << 10))
		}
		if got := w.file.size >> 10; got != c.file {
			t.Errorf("after a frame of %d KiB the file has %d, want %d", c.frame, got, c.file)
		}
	}
	w.close()
}

// A log that shrinks keeps one small file, whatever it had.
func TestShrinkLeavesOneSmallFile(t *testing.T) {
	disk := newDisk(t)
	o := sizesOptions(disk)
	w := startLog(t, o)
	if w.Oversized() {
		t.Error("a new log is oversized")
	}
	var now time.Duration
	for range 8 {
		w.fillFile(&now, time.Millisecond)
	}
	check(t, w.Recycle(w.Last()))
	before := disk.Used()
	if !w.Oversized() || before < 3*o.FileSize {
		t.Fatalf("oversized is %v with %d bytes", w.Oversized(), before)
	}
	check(t, w.Shrink())
	check(t, w.Recycle(w.Last()+1))
	if names := fileNames(t, disk); w.Oversized() || len(names) != 1 || w.Used() != o.FirstFileSize || disk.Used() > o.FirstFileSize+pageSize {
		t.Errorf("oversized is %v; %d bytes needed, %d on the disk, in %v", w.Oversized(), w.Used(), disk.Used(), names)
	}
	last := w.Last()
	calls := w.file
	check(t, w.Shrink()) // again: it has nothing to do
	if w.file != calls {
		t.Error("a small log moved to another file")
	}
	w.addSynced(10, 20)
	_, got, err := replayAll(o, last+1)
	check(t, err)
	wantFrames(t, got, w.written, last+1)
	w.close()
}

// On a disk without room for a file of the planned size the log takes a smaller one, and
// refuses once there is no room for the smallest.
func TestASmallDiskGetsSmallFiles(t *testing.T) {
	for _, spares := range []bool{false, true} {
		t.Run(fmt.Sprintf("spares=%v", spares), func(t *testing.T) {
			disk := newDisk(t)
			o := sizesOptions(disk)
			w := startLog(t, o)
			disk.SetCapacity(disk.Used() + 100<<10)
			for range 1000 {
				if spares {
					if err := w.Prepare(); err != nil {
						wantNoSpace(t, err)
					}
				}
				if err := w.Reserve(3000); errors.Is(err, vfs.ErrNoSpace) {
					break
				}
				w.addSynced(3000)
			}
			if n := len(w.written); n < 17 || disk.Used() < 100<<10 {
				t.Errorf("%d frames of a page fit in 116 KiB, of which %d are used", n, disk.Used()>>10)
			}
			check(t, w.Recycle(w.Last()))
			w.addSynced(3000, 3000, 3000)
			if err := w.Shrink(); err != nil { // the old files have the room
				wantNoSpace(t, err)
				check(t, w.Recycle(w.Last()))
				check(t, w.Shrink())
			}
			w.close()
		})
	}
}

func wantNoSpace(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("got %v, want an error that matches vfs.ErrNoSpace", err)
	}
}
