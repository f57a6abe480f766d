package bench

import (
	"path/filepath"
	"testing"
	"time"

	"kvd/internal/vfs"
)

const (
	rawFileSize = 16 << 20
	rawPage     = 4096
	rawTime     = 300 * time.Millisecond
)

// rawFile is a file that was written completely, like the log's files.
func rawFile(tb testing.TB) vfs.File {
	tb.Helper()
	f, err := vfs.OS().Open(filepath.Join(tb.TempDir(), "raw"), vfs.Create)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < rawFileSize; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, off); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// raw overwrites one page after the other and syncs after each.
type raw struct {
	file vfs.File
	page [rawPage]byte
	off  int64
}

func (r *raw) step(tb testing.TB) {
	if _, err := r.file.WriteAt(r.page[:], r.off); err != nil {
		tb.Fatal(err)
	}
	if err := r.file.Sync(); err != nil {
		tb.Fatal(err)
	}
	r.off = (r.off + rawPage) % rawFileSize
}

// rate runs the loop for a while and returns its iterations per second.
func (r *raw) rate(tb testing.TB) float64 {
	start := time.Now()
	n := 0
	for ; time.Since(start) < rawTime; n++ {
		r.step(tb)
	}
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkRaw measures the limit of sequential synced writes.
func BenchmarkRaw(b *testing.B) {
	r := &raw{file: rawFile(b)}
	for b.Loop() {
		r.step(b)
	}
}
