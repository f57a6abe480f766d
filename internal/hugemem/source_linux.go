//go:build !race

package hugemem

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// regionSize is how much address space is mapped at a time, in bytes. Only the chunks that are used,
// and the next one, take memory.
const regionSize = 64 << 20

// grow maps a region and returns its chunks.
func (s *Source) grow() []byte {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
	mapped, err := unix.Mmap(-1, 0, regionSize+ChunkSize, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		s.region = nil
		return make([]byte, ChunkSize)
	}
	s.region = &region{mapped: mapped}
	runtime.AddCleanup(s, (*region).unmap, s.region)
	base := uintptr(unsafe.Pointer(&mapped[0]))
	aligned := mapped[-base%ChunkSize:][:regionSize]
	_ = unix.Madvise(aligned, unix.MADV_HUGEPAGE) // a kernel without huge pages refuses
	return aligned
}

func (r *region) unmap() {
	inUse.Add(-r.given)
	_ = unix.Munmap(r.mapped)
}

// prepare makes a chunk present, in the background.
func (s *Source) prepare(chunk []byte) {
	go func() {
		_ = unix.Madvise(chunk, unix.MADV_POPULATE_WRITE) // before Linux 5.14 it is made present when it is used
		runtime.KeepAlive(s)
	}()
}
