package hugemem_test

import (
	"testing"

	"kvd/internal/hugemem"
)

// Chunks are zeroed, do not overlap, and have no room to be extended. More are taken than a region
// has.
func TestChunks(t *testing.T) {
	const chunks = 70
	var s hugemem.Source
	var all [][]byte
	for n := range chunks {
		c := s.Chunk()
		if len(c) != hugemem.ChunkSize || cap(c) != hugemem.ChunkSize {
			t.Fatalf("chunk %d has %d bytes and room for %d", n, len(c), cap(c))
		}
		for at := 0; at < len(c); at += 4096 {
			if c[at] != 0 {
				t.Fatalf("chunk %d is %d at %d", n, c[at], at)
			}
			c[at] = byte(n + 1)
		}
		all = append(all, c)
		s.Prepare() // may be before the last chunk of a region, and twice
		s.Prepare()
	}
	for n, c := range all {
		for at := 0; at < len(c); at += 4096 {
			if c[at] != byte(n+1) {
				t.Fatalf("chunk %d is %d at %d", n, c[at], at)
			}
		}
	}
}
