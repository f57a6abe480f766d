package index

import (
	"sync/atomic"
)

// window is the next few keys of a snapshot's walk, with their versions in it. It reads
// their entries side by side, then their rows: a walk that went from one key to the next
// would wait for memory twice a key.
type window struct {
	rows, kept [windowKeys]uint32
	size       int // keys of the next window
}

// A walk begins with a small window, because many end after a few keys, and doubles it.
const (
	windowKeys  = 32
	windowFirst = 4
)

// each calls fn for every key from from on in ascending order, until it returns false,
// with the newest row that the snapshot sees and the number of versions kept from there
// on.
func (s *Snapshot) each(from string, fn func(ref, row, kept uint32) bool) {
	w := window{size: windowFirst}
	ascend(s.leaves, &s.x.keys, from, func(refs []uint32) bool {
		for len(refs) > 0 {
			next := refs[:min(len(refs), w.size)]
			w.read(s, next)
			for i, ref := range next {
				if !fn(ref, w.rows[i], w.kept[i]) {
					return false
				}
			}
			refs = refs[len(next):]
			w.size = min(2*w.size, windowKeys)
		}
		return true
	})
}

// read finds the versions of the keys, and brings what a listing reads of them into the
// processor's cache. No load of a loop waits for another one of it.
func (w *window) read(s *Snapshot, refs []uint32) {
	for i, ref := range refs {
		w.rows[i], w.kept[i] = s.chain(ref)
	}
	for i, ref := range refs {
		s.x.rows.touch(w.rows[i])
		s.x.keys.touch(ref)
	}
}

// touch reads a word of the row. An atomic load is not optimised away.
func (r *rows) touch(id uint32) { _ = atomic.LoadUint64(&r.pages.at(id).place) }

// touchTop reads the first word of an entry.
func (a *arena) touchTop(ref uint32) { _ = atomic.LoadUint64(a.word(ref)) }

// touch reads the last word of an entry, whose first was read: many lie in two cache lines.
func (a *arena) touch(ref uint32) {
	last := ref + entrySize(int(*a.length(ref)&entryLenMask)) - 1
	_ = atomic.LoadUint64(a.word(last))
}
