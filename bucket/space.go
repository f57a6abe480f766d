package bucket

import (
	"path"

	"kvd/bucket/manifest"
)

// Space is what a store uses of its disk beside the files of its buckets, and whether the disk is
// full.
type Space struct {
	Log     int64 // bytes of the log that a checkpoint has not released yet
	LogMax  int64 // bytes; writers wait for a checkpoint at that size
	Reserve int64 // bytes of the reserve on the disk; 0: none, or all is spent
	Full    bool  // puts are refused for want of space
}

// Space returns how the store uses its disk now. It waits for no write. Safe for concurrent use
// until Close.
func (s *Store) Space() Space {
	sp := Space{LogMax: s.opts.LogMaxSize, Full: s.full.Load()}
	if s.log != nil {
		sp.Log = s.log.Used()
	}
	if s.opts.ReserveSize > 0 {
		// Asked of the file system: the reserve itself is guarded by path, which a write holds
		// for as long as the disk takes to sync.
		if info, err := s.opts.env.FS.Stat(path.Join(s.dir, manifest.ReserveFile)); err == nil {
			sp.Reserve = info.Size
		}
	}
	return sp
}
