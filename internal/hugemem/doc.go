// Package hugemem hands out memory outside Go's heap, which the system is asked to back by huge
// pages.
//
// A structure of hundreds of megabytes without pointers gains twice there. With pages of 4 KiB
// nearly every access to it also misses the processor's cache of addresses. And Go's collector lets
// the heap grow to twice of what is live, so in the heap such a structure takes its size twice as
// soon as anything else allocates.
//
// Memory is handed out in chunks of 2 MiB, aligned to their size, and zeroed. Clearing a huge page takes
// 100 to 200 µs, which nobody should wait for. So a caller that has used most of a chunk calls
// [Source.Prepare], and a goroutine has the system make the next one present. A goroutine that is late
// does no harm.
//
// Chunks are never given back one by one. When a [Source] is no longer reachable, the collector
// unmaps all of its chunks. Pointers into a chunk do not make the source reachable.
//
// On Linux only, and not under the race detector, which sees Go's heap alone. Elsewhere, and where
// the system refuses memory, chunks come from Go's heap.
package hugemem

import "sync/atomic"

// ChunkSize is the size of a chunk in bytes: that of a huge page on amd64, and on arm64 with pages of
// 4 KiB.
const ChunkSize = 2 << 20

// Source hands out chunks. The zero value is ready to use. It must not be copied, and is not safe for
// concurrent use.
type Source struct {
	rest   []byte  // whole chunks
	region *region // that rest is part of; nil: Go's heap
}

// region is a part of the address space.
type region struct {
	mapped []byte
	given  int64 // bytes of it that are in chunks handed out
}

var inUse atomic.Int64

// InUse returns the bytes of all chunks handed out, without those in Go's heap and those whose source
// the collector has found to be unreachable. It is safe for concurrent use.
func InUse() int64 { return inUse.Load() }

// Chunk returns ChunkSize zeroed bytes. They may be used as long as the source is reachable.
func (s *Source) Chunk() []byte {
	if len(s.rest) == 0 {
		s.rest = s.grow()
	}
	chunk := s.rest[:ChunkSize:ChunkSize]
	if s.region != nil {
		s.region.given += ChunkSize
		inUse.Add(ChunkSize)
	}
	s.rest = s.rest[ChunkSize:]
	return chunk
}

// Prepare makes the next chunk present, in the background.
func (s *Source) Prepare() {
	if len(s.rest) > 0 {
		s.prepare(s.rest[:ChunkSize])
	}
}
