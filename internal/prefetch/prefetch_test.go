package prefetch_test

import (
	"os"
	"testing"
	"unsafe"

	"github.com/edsrzf/mmap-go"

	"kvd/internal/prefetch"
)

// A prefetch of memory that does not exist is ignored, and so is one of an unmapped file.
func TestPrefetchNeverFaults(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 16); err != nil {
		t.Fatal(err)
	}
	m, err := mmap.Map(f, mmap.RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := unsafe.Pointer(&m[0])
	prefetch.Lines(p, len(m)/prefetch.LineSize)
	prefetch.Lines(unsafe.Add(p, 1), 2*len(m)/prefetch.LineSize) // beyond the end
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	prefetch.Lines(p, 4) // a read would be SIGBUS
	if err := m.Unmap(); err != nil {
		t.Fatal(err)
	}
	prefetch.Lines(p, 4) // a read would be SIGSEGV
	prefetch.Lines(nil, 4)
	prefetch.Lines(p, 0)
	prefetch.Lines(p, -1)
}

func BenchmarkLines(b *testing.B) {
	memory := make([]byte, 4096)
	for b.Loop() {
		prefetch.Lines(unsafe.Pointer(&memory[0]), 4)
	}
}
