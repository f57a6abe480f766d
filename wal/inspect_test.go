package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// inspected is what Inspect tells of a file.
type inspected struct {
	headers []FileHeader
	frames  []FileFrame // payloads copied
	gaps    [][2]int64  // those that are not zero
}

func inspectFile(t testing.TB, disk vfs.FS, file string) (in inspected) {
	t.Helper()
	at := int64(0)
	next := func(offset, size int64) {
		if offset < at {
			t.Fatalf("%s: a part at %d behind one that ends at %d", file, offset, at)
		}
		at = offset + size
	}
	check(t, Inspect(disk, file, Inspection{
		Header: func(h *FileHeader) error { in.headers = append(in.headers, *h); return nil },
		Frame: func(f *FileFrame) error {
			next(f.Offset, f.Size())
			own := *f
			own.Payload = slices.Clone(f.Payload)
			in.frames = append(in.frames, own)
			return nil
		},
		Gap: func(from, to int64, zeros bool, _ error) error {
			next(from, to-from)
			if !zeros {
				in.gaps = append(in.gaps, [2]int64{from, to})
			}
			return nil
		},
	}))
	return in
}

// Inspect finds the frames that Replay delivers, at the same places, in the log that has
// everything that the format has.
func TestInspectFindsWhatReplayDelivers(t *testing.T) {
	disk := newDisk(t)
	goldenLog(t, disk)
	_, want, err := replayAll(testOptions(disk), 0)
	check(t, err)
	var got []string
	for _, name := range fileNames(t, disk) {
		in := inspectFile(t, disk, path.Join(testDir, name))
		for _, f := range in.frames {
			if f.Stored != f.Computed {
				t.Errorf("frame %d: checksum %x, computed %x", f.LSN, f.Stored, f.Computed)
			}
			got = append(got, fmt.Sprint(name, f.Offset, f.LSN, f.Time, f.Words, string(f.Payload)))
		}
		if h := in.headers; len(h) != 2 || h[0].Err != nil || h[1].Err != nil || h[0].Number != h[1].Number || h[0].StoreID != testStore || h[0].Stored != h[0].Computed || len(in.gaps) > 0 {
			t.Errorf("%s: headers %+v, gaps %v", name, h, in.gaps)
		}
	}
	var delivered []string
	for _, f := range want.frames {
		delivered = append(delivered, fmt.Sprint(path.Base(f.File), f.Offset, f.LSN, f.Time, f.Words, string(f.Payload)))
	}
	if !slices.Equal(got, delivered) {
		t.Errorf("found\n%q\ndelivered\n%q", got, delivered)
	}
	mark, err := InspectMark(disk, path.Join(testDir, MarkFile))
	if err != nil || mark.Err != nil || mark.LSN != want.Last || mark.StoreID != testStore || mark.Stored != mark.Computed {
		t.Errorf("the mark is %+v, %v", mark, err)
	}
}

// One header is enough. A copy with another name is read by what its header says.
func TestInspectOfADamagedFile(t *testing.T) {
	disk := newDisk(t)
	goldenLog(t, disk)
	name := path.Join(testDir, fileNames(t, disk)[0])
	want := inspectFile(t, disk, name)
	flip := func(name string, at int64) {
		t.Helper()
		check(t, disk.Corrupt(name, at, 1, func(b []byte) { b[0] ^= 1 }))
	}
	other := path.Join(testDir, "a copy")
	b, err := disk.ReadFile(name)
	check(t, err)
	check(t, disk.WriteFile(other, b))
	flip(other, 100)
	in := inspectFile(t, disk, other)
	if !errors.Is(in.headers[0].Err, kv.ErrCorrupt) || in.headers[0].Stored == in.headers[0].Computed || in.headers[1].Err != nil {
		t.Errorf("headers %+v", in.headers)
	}
	if !reflect.DeepEqual(in.frames, want.frames) {
		t.Errorf("found %d frames, want %d", len(in.frames), len(want.frames))
	}
	flip(other, want.frames[0].Offset+FrameHeaderSize) // a payload
	flip(other, want.frames[2].Offset)                 // a header
	in = inspectFile(t, disk, other)
	if f := in.frames[0]; f.Stored == f.Computed || len(in.frames) != len(want.frames)-1 || len(in.gaps) != 1 {
		t.Errorf("frame %+v, %d frames, gaps %v", f, len(in.frames), in.gaps)
	}
	flip(other, int64(len(b))-100) // the other header
	if in := inspectFile(t, disk, other); len(in.frames) > 0 {
		t.Errorf("%d frames in a file without a header", len(in.frames))
	}
	flip(path.Join(testDir, MarkFile), 50)
	if mark, err := InspectMark(disk, path.Join(testDir, MarkFile)); err != nil || !errors.Is(mark.Err, kv.ErrCorrupt) || mark.LSN != 0 {
		t.Errorf("the mark is %+v, %v", mark, err)
	}
}

// FuzzInspect inspects files of any bytes, and the golden file with some of its bytes replaced:
// parts never overlap, and none is beyond the end.
func FuzzInspect(f *testing.F) {
	whole := newDisk(f)
	goldenLog(f, whole)
	name := path.Join(testDir, fileNames(f, whole)[0])
	golden, err := whole.ReadFile(name)
	check(f, err)
	f.Add(golden, uint64(0))
	f.Add([]byte("kvd.wal\n"), uint64(1))
	f.Add(golden[:pageSize], uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		mixed := slices.Clone(golden)
		copy(mixed[r.IntN(len(mixed)):], b)
		for _, content := range [][]byte{b, mixed} {
			disk := simdisk.New()
			check(t, disk.Mkdir(testDir))
			check(t, disk.WriteFile(name, content))
			check(t, disk.WriteFile(path.Join(testDir, MarkFile), content))
			for _, frame := range inspectFile(t, disk, name).frames {
				if frame.Offset+frame.Size() > int64(len(content)) {
					t.Fatalf("frame %+v in %d bytes", frame, len(content))
				}
			}
			if _, err := InspectMark(disk, path.Join(testDir, MarkFile)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
