package index

import (
	"github.com/cespare/xxhash/v2"

	"kvd/kv"
)

// Index is the index of one bucket. It is not safe for concurrent use: methods
// documented as a read may run beside each other, all others must run alone. Only a
// [Snapshot] may be read beside a writer.
//
// Keys passed in are not kept. hash is always [Hash] of the key beside it.
type Index struct {
	supply supply
	table  table
	keys   arena
	rows   rows
	heads  heads
	rings  rings // nil: no chain was ever long
	tree   tree
	build  build

	epoch uint64   // of the present; counts snapshots
	open  []uint64 // epochs of the open snapshots, ascending
	queue retirees
	owed  int // how many items drain frees beyond drainLeast

	queues [agendas]*queue // nil: no version was ever on it

	live     int // keys whose newest version is a put
	versions int
	bytes    int64
	digest   kv.Digest // of the versions
	uses     uses
}

// New returns an empty index.
func New() *Index {
	x := &Index{epoch: 1}
	x.tree.x = x
	x.table.runs.supply = &x.supply
	x.keys.pages.supply, x.rows.pages.supply, x.heads.pages.supply = &x.supply, &x.supply, &x.supply
	return x
}

// Hash returns the hash that the methods take beside a key. Callers compute it, so
// that they can do it outside locks.
func Hash(key string) uint64 { return xxhash.Sum64String(key) }

// Keys returns how many keys have a put as their newest version. A read.
func (x *Index) Keys() int { return x.live }

// Len returns how many keys have a version. A read.
func (x *Index) Len() int { return x.table.used }

// Count returns how many versions are kept. A read.
func (x *Index) Count() int { return x.versions }

// Bytes returns the sum of Size of the versions kept. A read.
func (x *Index) Bytes() int64 { return x.bytes }

// Digest returns the digest of the versions kept (package kv/digest). A read.
func (x *Index) Digest() kv.Digest { return x.digest }

// Full reports that the index is nine tenths full: its references can name 2³¹
// versions and 32 GiB of keys. Methods that add a key or version beyond that panic.
// A read.
func (x *Index) Full() bool {
	const tenths = 9
	return x.rows.held > poolLimit/10*tenths || x.keys.held > arenaLimit/10*tenths
}

// memory returns about how many bytes the index holds. A read.
func (x *Index) memory() int64 {
	return x.table.memory() + x.keys.memory() + x.rows.pages.memory() + x.heads.pages.memory() +
		x.tree.memory() + x.build.memory() + int64(x.queue.chunks)*retireeChunkSize + x.queueMemory() +
		x.uses.memory() + x.rings.memory()
}

// Newest returns the newest version of key, marker or not. A read; it does not
// allocate.
func (x *Index) Newest(hash uint64, key string) (Version, bool) {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return Version{}, false
	}
	return x.rows.version(s.row), true
}

// At returns the version of key at exactly that revision, if it is kept. A read.
func (x *Index) At(hash uint64, key string, rev kv.Revision) (Version, bool) {
	v, ok := x.atOrBelow(hash, key, rev)
	if !ok || v.Revision != rev {
		return Version{}, false
	}
	return v, true
}

// atOrBelow returns the newest version of key whose revision is at most rev, if
// one is kept. A read.
func (x *Index) atOrBelow(hash uint64, key string, rev kv.Revision) (Version, bool) {
	row, kept := x.lookup(hash, key)
	if id := x.rows.atOrBelow(row, kept, rev); id != 0 {
		return x.rows.version(id), true
	}
	return Version{}, false
}

// Versions appends the kept versions of key to dst, oldest first. A read.
func (x *Index) Versions(dst []Version, hash uint64, key string) []Version {
	row, kept := x.lookup(hash, key)
	return x.rows.appendVersions(dst, row, kept)
}

// FloorAfter returns the oldest revision that stays if only the newest keep of
// the versions present stay, and 0 if there are none. With keep 0 none stays:
// it is the newest revision plus one. A read.
func (x *Index) FloorAfter(hash uint64, key string, keep int) kv.Revision {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return 0
	}
	row, kept := x.present(s)
	if keep <= 0 {
		return x.rows.revision(row) + 1
	}
	if r, ok := x.ringOf(s.key); ok {
		return x.rows.revision(r.at(uint32(min(int64(keep), int64(r.count))) - 1))
	}
	for n := min(int64(kept), int64(keep)); n > 1; n-- {
		older := x.rows.older(row)
		if older == 0 {
			break
		}
		row = older
	}
	return x.rows.revision(row)
}

// All yields every key and its newest version, in no order, until yield returns
// false. yield may read, and may Move, Trim or Remove versions of the key that it was
// given, but must do nothing else to the index. The key belongs to the index: it is
// valid until yield returns or removes it.
func (x *Index) All(yield func(key []byte, newest Version) bool) {
	x.table.each(func(s slot) bool {
		return yield(x.keys.key(s.key), x.rows.version(s.row))
	})
}

// Part calls fn for the keys of the n-th part of the index, some hundreds, as All
// does, and reports whether there is such a part. fn may do what yield may do in All.
// A caller that asks for all parts from 0 on, in order, sees every key that is present
// all the time, whatever changes the index between two calls. It may see some keys
// twice. A read.
func (x *Index) Part(n int, fn func(key []byte, newest Version)) bool {
	if n >= int(x.table.count) {
		return false
	}
	x.table.part(uint32(n), nil, func(s slot) bool {
		fn(x.keys.key(s.key), x.rows.version(s.row))
		return true
	})
	return true
}

// lookup returns the key's newest row, 0 if it has none, and how many versions
// of the chain from there are kept.
func (x *Index) lookup(hash uint64, key string) (row, kept uint32) {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return 0, 0
	}
	return x.present(s)
}

// newestOpen returns the epoch of the newest open snapshot, 0 if none is open.
func (x *Index) newestOpen() uint64 {
	if len(x.open) == 0 {
		return 0
	}
	return x.open[len(x.open)-1]
}

func (x *Index) present(s *slot) (row, kept uint32) {
	if h := x.heads.of(x.keys.top(s.key).Load()); h != nil {
		return h.row, h.kept
	}
	return s.row, keptAll
}
