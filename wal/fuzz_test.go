package wal

import (
	"bytes"
	"path"
	"runtime"
	"testing"

	"kvd/internal/vfs/simdisk"
)

// FuzzWALDecode reads a log file in which data replaces a part or everything. The patches
// are small, because the fuzzer is slow with inputs as large as files. Every delivered frame
// must be one that was written.
func FuzzWALDecode(f *testing.F) {
	disk := simdisk.New()
	check(f, disk.Mkdir(testDir))
	o := testOptions(disk)
	o.FileSize = 5 * pageSize
	w := startLog(f, o)
	w.add(5)
	w.add(20)
	check(f, w.Sync())
	w.addSynced(10)
	w.close()
	name := fileNames(f, disk)[0]
	whole, err := disk.ReadFile(path.Join(testDir, name))
	check(f, err)
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Add(whole[pageSize:pageSize+140], uint16(pageSize), uint16(0))
	f.Add(whole[pageSize:pageSize+53], uint16(2*pageSize), uint16(0)) // a frame in the place of another
	f.Add(whole[:80], uint16(4*pageSize), uint16(pageSize+100))
	f.Add(bytes.Repeat([]byte{0xff}, 64), uint16(pageSize), uint16(0))
	f.Add(whole[:100], uint16(1<<16-1), uint16(0))

	f.Fuzz(func(t *testing.T, data []byte, at, size uint16) {
		file := data
		if int(at) < len(whole) {
			file = bytes.Clone(whole)
			copy(file[at:], data)
			if size > 0 {
				file = file[:min(int(size), len(file))]
			}
		}
		o := o
		o.FS = &rom{files: map[string][]byte{name: file}}
		r, err := Open(o)
		if err != nil {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := r.Replay(Wanted{Frame: func(f Frame) error {
			if c, ok := w.written[f.LSN]; !ok || c.payload != string(f.Payload) || c.time != f.Time {
				t.Errorf("frame %d was never written with these bytes", f.LSN)
			}
			return nil
		}})
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(2*len(file)+64<<10) {
			t.Errorf("%d bytes allocated for a file of %d", allocated, len(file))
		}
		if bytes.Equal(file, whole) && (got.damage() != nil || got.Frames != len(w.written)) {
			t.Errorf("the unchanged log: %d frames, damage %v", got.Frames, got.damage())
		}
	})
}

// FuzzWALRecycle writes a log into files with stale bytes and cuts the power at the end. Each
// byte of ops is a step.
func FuzzWALRecycle(f *testing.F) {
	donor := simdisk.New()
	check(f, donor.Mkdir(testDir))
	w := startLog(f, crashOptions(donor, 9))
	w.addSynced(100, 100, 100)
	stale, err := donor.ReadFile(path.Join(testDir, fileNames(f, donor)[0]))
	check(f, err)
	stale = stale[pageSize : 4*pageSize]
	f.Add([]byte{3, 0, 3, 0, 3, 0, 3, 0}, stale, uint64(1))
	f.Add([]byte{3, 9, 17, 0, 201, 0, 201, 1, 2, 201, 0, 4, 9}, stale, uint64(2))
	f.Add([]byte{201, 0, 201, 0, 201, 0, 1, 2, 201, 0, 201, 0, 1, 2, 201, 3, 3, 5}, stale[:50], uint64(3))
	f.Add([]byte{255, 0, 255, 0, 1, 2, 255, 5, 3, 0}, []byte{1}, uint64(4))

	f.Fuzz(func(t *testing.T, ops, stale []byte, seed uint64) {
		disk, h := newDisk(t), newHistory()
		l, err := h.recoverLog(crashOptions(disk, seed))
		check(t, err)
		check(t, l.Prepare())
		spoil(t, disk, l, stale)
		for _, op := range ops[:min(len(ops), 64)] {
			if op == 5 { // the process is killed, and another one continues
				check(t, l.closeFiles())
				l, err = h.recoverLog(crashOptions(disk, seed+1))
				check(t, err)
				continue
			}
			if err := opStep(op)(h, l); err != nil && err != ErrFull {
				t.Fatal(err)
			}
		}
		for k := range uint64(4) {
			if _, err := h.clone().recoverLog(crashOptions(disk.Crash(simdisk.Random(seed+k)), seed+2)); err != nil {
				t.Fatal(err)
			}
		}
		check(t, h.run(crashOptions(disk, seed+3), []step{appendStep(7), syncStep}))
	})
}

func opStep(op byte) step {
	switch op {
	case 0:
		return syncStep
	case 1:
		return checkpointStep(1)
	case 2:
		return prepareStep
	case 4:
		return vouchStep
	}
	return appendStep(int(op) * int(op) / 5) // up to 13,005 bytes
}

// spoil fills the spares of the log with stale frames.
func spoil(t *testing.T, disk *simdisk.Disk, l *Log, stale []byte) {
	for _, f := range l.mu.spares {
		if len(stale) == 0 {
			return
		}
		name := path.Join(testDir, fileName(f.fileID))
		check(t, disk.Corrupt(name, pageSize, f.end()-pageSize, func(b []byte) {
			for n := 0; n < len(b); n += copy(b[n:], stale) {
			}
		}))
	}
}
