package index

import (
	"unsafe"

	"kvd/internal/hugemem"
)

// supply gives the pages of one index. A small index has them in Go's heap. What a large one has
// beyond that is in memory of package hugemem. That memory must not contain Go pointers, and is
// valid only while the index is reachable.
type supply struct {
	held   int64 // bytes of the pages given
	large  bool
	source hugemem.Source
	rest   []byte // of a chunk
}

const (
	pageBytes  = 64 << 10
	smallIndex = 8 << 20 // bytes: a chunk is a quarter of it
)

// page returns a page of pageBytes zeroed bytes, nil if it belongs in Go's heap. A nil supply is
// that of an index that stays small.
func (m *supply) page() unsafe.Pointer {
	if m == nil {
		return nil
	}
	if m.held += pageBytes; m.held <= smallIndex && !m.large {
		return nil
	}
	m.large = true
	if len(m.rest) == 0 {
		m.rest = m.source.Chunk()
	}
	p := unsafe.Pointer(&m.rest[0])
	if m.rest = m.rest[pageBytes:]; len(m.rest) == hugemem.ChunkSize/4 {
		m.source.Prepare() // not earlier: it takes memory, and many indexes do not grow
	}
	return p
}

// expect prepares for n keys.
func (m *supply) expect(n int) {
	const least = 64 // bytes a key
	if m != nil && int64(n)*least > smallIndex {
		m.large = true
	}
}

// isLarge reports whether the next page is outside Go's heap.
func (m *supply) isLarge() bool { return m != nil && m.large }
