package index

import (
	"slices"
)

// Snapshot is the index as it was at one moment. All methods but Release may be called
// without the index's lock, beside its writer and beside each other. While a snapshot
// is open the index frees nothing that the snapshot can see.
type Snapshot struct {
	x      *Index
	leaves *leaves // nil: no keys
	count  int
	epoch  uint64
}

// Snapshot returns the index as it is now. Its cost does not depend on the number of
// keys. Afterwards the first new key in each leaf copies the leaf and nodes above it, a
// few KiB, so take one snapshot per long read. If loaded keys wait for
// [Index.BuildTree], Snapshot builds the tree first. The caller must Release it.
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

// Release gives the snapshot up. No other method may be running or be called
// afterwards. Release needs the index's lock as a writer does. A second Release does
// nothing.
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

// Ascend is AscendPrefix for every key from from on, from included.
func (s *Snapshot) Ascend(from string, fn func(key []byte, newest Version) bool) {
	s.each(from, func(ref, row, _ uint32) bool {
		return fn(s.x.keys.key(ref), s.x.rows.version(row))
	})
}

// AscendPrefix calls fn for every key that begins with prefix, in ascending order of
// bytes, with its newest version, marker or not, until fn returns false. The key
// belongs to the index and is valid until fn returns.
func (s *Snapshot) AscendPrefix(prefix string, fn func(key []byte, newest Version) bool) {
	s.Ascend(prefix, func(key []byte, newest Version) bool {
		return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix && fn(key, newest)
	})
}

// Descend calls fn for every key below to in descending order of bytes, with its newest version,
// marker or not, until fn returns false. An empty to is above all keys. The key belongs to the
// index and is valid until fn returns.
func (s *Snapshot) Descend(to string, fn func(key []byte, newest Version) bool) {
	s.walk(func(fn func([]uint32) bool) { descend(s.leaves, &s.x.keys, to, fn) },
		func(ref, row, _ uint32) bool { return fn(s.x.keys.key(ref), s.x.rows.version(row)) })
}

// AscendVersions is [Snapshot.AscendPrefix] with all kept versions of each key, oldest
// first. The slice is valid until fn returns.
func (s *Snapshot) AscendVersions(prefix string, fn func(key []byte, versions []Version) bool) {
	var room []Version
	s.each(prefix, func(ref, row, kept uint32) bool {
		key := s.x.keys.key(ref)
		if len(key) < len(prefix) || string(key[:len(prefix)]) != prefix {
			return false
		}
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
