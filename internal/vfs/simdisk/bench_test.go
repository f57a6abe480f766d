package simdisk

import (
	"fmt"
	"testing"
)

// BenchmarkCrash makes images of a store of 64 KiB in eight files. Pending is one log
// frame or everything.
func BenchmarkCrash(b *testing.B) {
	for _, pending := range []string{"frame", "all"} {
		d := newDisk(b)
		must(b, d.Mkdir("store"))
		d.syncDir("/")
		data := make([]byte, 8<<10)
		for i := range data {
			data[i] = byte(i) | 1
		}
		for i := range 8 {
			f := d.create(fmt.Sprintf("store/%d", i))
			writeAt(b, f, string(data), 0)
			if pending == "frame" {
				must(b, f.Sync())
			}
			if i == 7 && pending == "frame" {
				d.syncDir("store")
				writeAt(b, f, string(data[:4096]), 4096)
			}
		}
		for _, c := range []struct {
			name   string
			choice Choice
		}{{"none", KeepNone()}, {"all", KeepAll()}, {"prefix", Prefix(d.Pending())}, {"random", Random(1)}} {
			b.Run(fmt.Sprintf("pending=%s/choice=%s", pending, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					d.Crash(c.choice)
				}
			})
		}
		b.Run("pending="+pending+"/clone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.Clone()
			}
		})
	}
}

// BenchmarkWrite measures a log's work: a 4 KiB frame and a sync.
func BenchmarkWrite(b *testing.B) {
	d := newDisk(b)
	f := d.create("log")
	must(b, f.Allocate(0, 16<<20))
	frame := make([]byte, 4096)
	frame[0] = 1
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	var off int64
	for b.Loop() {
		if _, err := f.WriteAt(frame, off); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		off = (off + 4096) % (16 << 20)
	}
}

// BenchmarkZeroFill preallocates a log of 16 MiB as the engine does.
func BenchmarkZeroFill(b *testing.B) {
	zeros := make([]byte, 1<<20)
	b.ReportAllocs()
	b.SetBytes(16 << 20)
	for b.Loop() {
		d := newDisk(b)
		f := d.create("log")
		for off := int64(0); off < 16<<20; off += 1 << 20 {
			if _, err := f.WriteAt(zeros, off); err != nil {
				b.Fatal(err)
			}
		}
		d.Crash(Random(1))
		must(b, f.Sync())
		d.Crash(Random(1))
	}
}
