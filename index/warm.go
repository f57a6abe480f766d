package index

import (
	"sync/atomic"
	"unsafe"

	"kvd/internal/prefetch"
)

// WarmMax is how many keys a call of [Index.Warm] should have: some more than a processor
// fetches side by side, and few enough that they are still in its cache at the last.
const WarmMax = 64

// Warm fetches what a look-up, [Index.Load] or [Index.Apply] of the keys with these hashes
// reads. They are fetched side by side, where one key after the other would wait for memory
// twice. A read.
func (x *Index) Warm(hashes []uint64) {
	if x.table.count == 0 {
		return
	}
	for _, hash := range hashes {
		x.table.prefetch(tagOf(hash))
	}
	for _, hash := range hashes {
		if s := x.table.home(tagOf(hash)); s.key != 0 {
			x.rows.prefetch(s.row)
			x.keys.prefetch(s.key)
		}
	}
}

// Prefetch fetches what [Index.Newest] reads for the key with that hash, without waiting for more
// than the key's slot, and returns where the record of its newest version probably is: rounded down
// to 64 bytes, and of a segment that need not exist. A caller that fetches these bytes too, and then
// calls Newest, waits for memory once and not twice. ok is false if nothing is known. A read.
func (x *Index) Prefetch(hash uint64) (record Place, ok bool) {
	if x.table.count == 0 {
		return Place{}, false
	}
	s := x.table.home(tagOf(hash))
	if s.key == 0 {
		return Place{}, false
	}
	x.rows.touch(s.row)
	x.keys.touch(s.key)
	return s.at.place(x.uses.end())
}

// prefetch fetches the slot where the search for a tag begins.
func (t *table) prefetch(tag uint32) {
	slots := t.binOf(tag).slots
	prefetch.Lines(unsafe.Pointer(&slots[home(tag, len(slots))]), 1)
}

// home returns the slot of a tag: the one where the search for it begins, or one of the next few
// behind it, nearly always. The zero slot if there is none.
func (t *table) home(tag uint32) slot {
	const probes = 16
	slots := t.binOf(tag).slots
	i := home(tag, len(slots))
	for range probes {
		if s := slots[i]; s.tag == tag || s.key == 0 {
			return s
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return slot{}
}

// touch reads a word of the row, without waiting for it. An atomic load is not optimised away.
func (r *rows) touch(id uint32) { _ = atomic.LoadUint64(&r.pages.at(id).place) }

// touch reads the first word of an entry, without waiting for it.
func (a *arena) touch(ref uint32) { _ = atomic.LoadUint64(a.word(ref)) }
