package segment

import "kvd/internal/vfs"

// mapping is the mapping of a segment's file.
type mapping struct {
	vfs.Mapping
	prefetcher vfs.Prefetcher // the mapping; nil: it cannot prefetch
}

// Prefetch asks the processor to bring up to 256 bytes from offset on into its cache, if the file is
// mapped and they are in memory. It waits for nothing, so it may be called under a lock that Pin may
// be called under. Any offset is possible.
func (s *Segment) Prefetch(offset int64) {
	if m := s.mapping.Load(); m != nil && m.prefetcher != nil {
		m.prefetcher.Prefetch(offset)
	}
}
