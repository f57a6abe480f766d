//go:build !race

package hugemem_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"kvd/internal/hugemem"
)

// isMapped reports whether an address is within a mapping of the process.
func isMapped(t *testing.T, address uintptr) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if from <= address && address < to {
			return true
		}
	}
	return false
}

// A chunk is aligned, stays while its source is reachable, and is unmapped after that.
func TestUnreachableSourceIsUnmapped(t *testing.T) {
	s := new(hugemem.Source)
	address := uintptr(unsafe.Pointer(&s.Chunk()[0]))
	if address%hugemem.ChunkSize != 0 {
		t.Errorf("a chunk begins at %#x", address)
	}
	for range 3 {
		runtime.GC()
	}
	if got := hugemem.InUse(); got < hugemem.ChunkSize {
		t.Errorf("%d bytes are in use", got)
	}
	if !isMapped(t, address) {
		t.Fatal("unmapped while the source is in use")
	}
	runtime.KeepAlive(s)
	s = nil
	const most = 1000
	for n := 0; isMapped(t, address); n++ {
		if n == most {
			t.Fatalf("still mapped after %d collections", most)
		}
		runtime.GC() // cleanups run after it, in a goroutine
	}
}
