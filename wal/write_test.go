package wal

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

// fullAfter makes the next write to a log file find the disk full after that many bytes, a
// negative number counting from the end.
func fullAfter(fault *simdisk.Fault, bytes int) {
	done := false
	fault.Inject(func(op simdisk.Op) simdisk.Action {
		if done || op.Kind != simdisk.OpWriteAt || !strings.Contains(op.Path, fileSuffix) {
			return simdisk.Action{}
		}
		done = true
		short := bytes
		if short < 0 {
			short += op.Len + 1
		}
		return simdisk.Action{Err: syscall.ENOSPC, Short: short}
	})
}

// A frame that was refused because the disk was full while it was written does not exist,
// however much of it was written, after any power cut. The log goes on.
func TestARefusedFrameIsGone(t *testing.T) {
	for _, bytes := range []int{0, 1, FrameHeaderSize, 3000, -2, -1} {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("bytes=%d/packed=%v", bytes, packed), func(t *testing.T) {
				disk := newDisk(t)
				fault := simdisk.NewFault(disk)
				o := testOptions(fault)
				w := startLog(t, o)
				w.addSynced(100, 100)
				if packed {
					w.add(50)
				}
				last := w.Last()
				fullAfter(fault, bytes)
				_, err := w.Append(append(NewFrame(nil), make([]byte, 3000)...), 1, wordsOf(last+2))
				fault.Inject(nil)
				if !errors.Is(err, vfs.ErrNoSpace) || w.Err() != nil || w.Last() != last {
					t.Fatalf("refused with %v; the log is at %d, was at %d; broken %v", err, w.Last(), last, w.Err())
				}
				images(disk, 4, func(image string, crashed *simdisk.Disk) {
					o.FS = crashed
					_, got, err := replayAll(o, 0)
					check(t, err)
					if got.Last < w.Synced() || got.Last > last || got.damage() != nil {
						t.Fatalf("%s: the log ends at %d, want %d; damage %v", image, got.Last, last, got.damage())
					}
				})
				w.addSynced(200, 300)
				w.close()
				o.FS = disk.Crash(simdisk.KeepNone())
				wantWhole(t, o, w.written)
			})
		}
	}
}

// If the refused frame cannot be withdrawn, the log is broken.
func TestAFrameThatCannotBeWithdrawnBreaksTheLog(t *testing.T) {
	for _, kind := range []simdisk.OpKind{simdisk.OpWriteAt, simdisk.OpSync} {
		fault := simdisk.NewFault(newDisk(t))
		w := startLog(t, testOptions(fault))
		w.addSynced(100)
		writes := 0
		fault.Inject(func(op simdisk.Op) simdisk.Action {
			if op.Kind == simdisk.OpWriteAt {
				writes++
			}
			switch {
			case op.Kind == simdisk.OpWriteAt && writes == 1:
				return simdisk.Action{Err: syscall.ENOSPC, Short: 1000}
			case op.Kind == kind:
				return simdisk.Action{Err: syscall.ENOSPC}
			}
			return simdisk.Action{}
		})
		_, err := w.Append(append(NewFrame(nil), make([]byte, 3000)...), 1, wordsOf(3))
		if err == nil || errors.Is(err, vfs.ErrNoSpace) || w.Err() == nil {
			t.Errorf("%v fails: %v, broken %v", kind, err, w.Err())
		}
	}
}

// On a disk that copies what is overwritten the log uses the room that it is lent, in frames
// and in rotations.
func TestTheLogUsesTheRoomThatItIsLent(t *testing.T) {
	disk := newDisk(t)
	disk.SetCopyOnWrite(true)
	o := testOptions(disk)
	lent := 0
	o.MakeRoom = func() bool {
		lent++
		disk.SetCapacity(-1)
		return true
	}
	w := startLog(t, o)
	for range 60 {
		w.addSynced(3000)
		check(t, w.Recycle(w.Last()))
		check(t, w.Prepare())
		disk.SetCapacity(disk.Used())
	}
	if lent < 50 {
		t.Errorf("room was lent %d times", lent)
	}
	check(t, w.Recycle(1))
	disk.SetCapacity(-1)
	last := w.Last()
	w.addSynced(10, 10)
	_, got, err := replayAll(o, last+1)
	check(t, err)
	wantFrames(t, got, w.written, last+1)
	w.close()
}

// A rotation to a spare that the disk has no room to overwrite is refused, and keeps the spare.
func TestARotationThatFindsTheDiskFullIsRefused(t *testing.T) {
	disk := newDisk(t)
	disk.SetCopyOnWrite(true)
	o := testOptions(disk)
	w := startLog(t, o)
	for !w.NeedsSpare() {
		w.addSynced(3000)
	}
	check(t, w.Prepare())
	disk.SetCapacity(disk.Used())
	var err error
	for range 10 {
		if err = w.Reserve(3000); err != nil {
			break
		}
		disk.SetCapacity(-1)
		w.addSynced(3000)
		disk.SetCapacity(disk.Used())
	}
	wantNoSpace(t, err)
	if w.Err() != nil || len(w.mu.spares) != 1 {
		t.Fatalf("broken %v; %d spares", w.Err(), len(w.mu.spares))
	}
	disk.SetCapacity(-1)
	w.addSynced(3000, 3000)
	w.close()
	wantWhole(t, o, w.written)
}
