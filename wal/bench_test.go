package wal

import (
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	"kvd/internal/vfs"
)

// BenchmarkAppendSync appends and syncs one frame at a time on a real file, including
// rotation and recycling. impl=raw is the limit of the disk: it overwrites as many pages of
// a recycled file and calls fdatasync.
func BenchmarkAppendSync(b *testing.B) {
	for _, size := range []int{256, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("impl=wal/size=%d", size), func(b *testing.B) { benchmarkLog(b, size) })
		b.Run(fmt.Sprintf("impl=raw/size=%d", size), func(b *testing.B) { benchmarkRaw(b, size) })
	}
}

func benchmarkLog(b *testing.B, size int) {
	r, err := Open(Options{FS: vfs.OS(), Dir: b.TempDir()})
	check(b, err)
	l, err := r.Start(0, Words{})
	check(b, err)
	for range sparesKept { // files that were written once, as in a log that has been used for a while
		check(b, l.open(header{number: l.file.number + 1, size: l.opts.FileSize, prev: l.file.number}))
	}
	check(b, l.Recycle(1))
	text, frame := make([]byte, size), []byte(nil)
	times := make([]time.Duration, 0, 1<<20)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		check(b, l.Reserve(size))
		frame = append(NewFrame(frame), text...)
		_, err := l.Append(frame, 1, Words{})
		check(b, err)
		check(b, l.Sync())
		times = append(times, time.Since(start))
		if l.Used() > l.opts.FileSize {
			check(b, l.Recycle(l.Last()))
		}
	}
	reportTimes(b, times)
	if int(l.Synced()) != b.N {
		b.Fatalf("synced %d of %d frames", l.Synced(), b.N)
	}
	check(b, l.Close())
}

func benchmarkRaw(b *testing.B, size int) {
	f, err := vfs.OS().Open(path.Join(b.TempDir(), "raw"), vfs.Create)
	check(b, err)
	defer f.Close()
	for at := int64(0); at < fileSizeDefault; at += int64(len(zeros)) {
		_, err := f.WriteAt(zeros[:], at)
		check(b, err)
	}
	check(b, f.Sync())
	pages := make([]byte, pageUp(FrameHeaderSize+int64(size)))
	times := make([]time.Duration, 0, 1<<20)
	at := int64(0)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		_, err := f.WriteAt(pages, at)
		check(b, err)
		check(b, f.Sync())
		times = append(times, time.Since(start))
		if at += int64(len(pages)); at+int64(len(pages)) > fileSizeDefault {
			at = 0
		}
	}
	reportTimes(b, times)
}

func reportTimes(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(times[len(times)*p/100].Microseconds()), fmt.Sprintf("p%d-µs", p))
	}
}

// BenchmarkReplay reads a full file of frames.
func BenchmarkReplay(b *testing.B) {
	for _, size := range []int{256, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			disk := newDisk(b)
			w := startLog(b, Options{FS: disk, Dir: testDir})
			for len(fileNames(b, disk)) == 1 {
				w.addSynced(size)
			}
			w.close()
			o := Options{FS: romOf(b, disk), Dir: testDir}
			b.ReportAllocs()
			for b.Loop() {
				r, err := Open(o)
				check(b, err)
				got, err := r.Replay(Wanted{Frame: func(Frame) error { return nil }})
				check(b, err)
				if got.Frames != len(w.written) {
					b.Fatalf("%d frames of %d", got.Frames, len(w.written))
				}
				b.SetBytes(got.Bytes)
			}
		})
	}
}
