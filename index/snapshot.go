package index

import (
	"slices"
)

// Snapshot is the index as it was at one moment. Its methods but Release may be
// called without the index's lock, beside its writer, and beside each other.
// While it is open the index frees nothing that it sees.
type Snapshot struct {
	x      *Index
	leaves *leaves // nil: no keys
	count  int
	epoch  uint64
}

// Snapshot returns the index as it is. It costs the same whatever the number of
// keys, but afterwards a put of a new key copies tree nodes, a few KiB, until
// those it meets are copied; so take one per long read. If loaded keys wait for
// [Index.BuildTree], it builds the tree first. The caller must Release it.
func (x *Index) Snapshot() *Snapshot {
	x.BuildTree(buildAll)
	s := &Snapshot{x: x, count: x.tree.count, epoch: x.epoch}
	if x.tree.leaves != nil {
		s.leaves = x.tree.leaves.Clone()
	}
	x.open = append(x.open, x.epoch)
	x.epoch++
	return s
}

// Release gives the snapshot up; it must not be used afterwards, nor be in use.
// It needs the index's lock as a writer does. A second Release does nothing.
func (s *Snapshot) Release() {
	x := s.x
	if i, ok := slices.BinarySearch(x.open, s.epoch); ok {
		x.open = slices.Delete(x.open, i, i+1)
	}
	s.leaves = nil
	x.drain()
}

// Len returns how many keys have a version.
func (s *Snapshot) Len() int { return s.count }

// Ascend calls fn for every key from from on, that one included, in ascending
// order of bytes, with its newest version, marker or not, until fn returns
// false. The key is the index's: it is valid until fn returns.
func (s *Snapshot) Ascend(from string, fn func(key []byte, newest Version) bool) {
	ascend(s.leaves, &s.x.keys, from, func(ref uint32) bool {
		row, _ := s.chain(ref)
		return fn(s.x.keys.key(ref), s.x.rows.version(row))
	})
}

// AscendPrefix is Ascend for the keys that begin with prefix.
func (s *Snapshot) AscendPrefix(prefix string, fn func(key []byte, newest Version) bool) {
	s.Ascend(prefix, func(key []byte, newest Version) bool {
		return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix && fn(key, newest)
	})
}

// AscendVersions is [Snapshot.AscendPrefix] with all kept versions of each key,
// oldest first; they are fn's until it returns.
func (s *Snapshot) AscendVersions(prefix string, fn func(key []byte, versions []Version) bool) {
	var room []Version
	ascend(s.leaves, &s.x.keys, prefix, func(ref uint32) bool {
		key := s.x.keys.key(ref)
		if len(key) < len(prefix) || string(key[:len(prefix)]) != prefix {
			return false
		}
		row, kept := s.chain(ref)
		room = s.x.rows.appendVersions(room[:0], row, kept)
		return fn(key, room)
	})
}

// Newest returns the newest version of key, marker or not.
func (s *Snapshot) Newest(key string) (Version, bool) {
	row, _ := s.find(key)
	if row == 0 {
		return Version{}, false
	}
	return s.x.rows.version(row), true
}

// Versions appends the kept versions of key to dst, oldest first.
func (s *Snapshot) Versions(dst []Version, key string) []Version {
	row, kept := s.find(key)
	return s.x.rows.appendVersions(dst, row, kept)
}

func (s *Snapshot) find(key string) (row, kept uint32) {
	ref := find(s.leaves, &s.x.keys, key)
	if ref == 0 {
		return 0, 0
	}
	return s.chain(ref)
}

func (s *Snapshot) chain(key uint32) (row, kept uint32) {
	return s.x.heads.as(s.x.keys.top(key).Load(), s.epoch)
}
